//! The handle that everyone holds: finds the partition of a group and asks its driver.

use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_protocol::api::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use braid_protocol::api::describe_groups::DescribedGroup;
use braid_protocol::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use braid_protocol::api::join_group::JoinGroupResponse;
use braid_protocol::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use braid_protocol::api::list_groups::{ListGroupsRequest, ListedGroup};
use braid_protocol::api::offset_commit::OffsetCommitResponse;
use braid_protocol::api::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use braid_protocol::api::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup};
use braid_protocol::api::sync_group::{SyncGroupRequest, SyncGroupResponse};
use tokio::sync::{mpsc, oneshot};

use super::{Beat, Commit, ConsumerDescribed, Groups, Input, Join, Record, Reply, Stats};
use crate::cluster::Image;
use crate::machine::{Ask, Clock, Journal, drive};

/// Questions that may wait for one driver; above it, askers wait.
const INBOX_MAX: usize = 1_024;

/// The partition of `__consumer_offsets` that a group lives in: Java's hash of the id, without its sign.
/// Tools that read that topic count on it.
pub fn partition_of(group_id: &str, partitions: usize) -> usize {
    let hash = group_id.encode_utf16().fold(0u32, |h, unit| h.wrapping_mul(31).wrapping_add(u32::from(unit)));
    (hash & 0x7fff_ffff) as usize % partitions.max(1)
}

/// All group coordinators of this broker. Cheap to clone; the drivers end when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Coordinator {
    /// None for a partition that could not be loaded: its groups are not available, those of the others are.
    drivers: Arc<[Option<mpsc::Sender<Ask<Groups>>>]>,
}

/// Takes the reply that belongs to the question.
macro_rules! reply {
    ($asked:expr, $Kind:ident) => {
        match $asked.await? {
            Reply::$Kind(it) => Ok(it),
            other => unreachable!("a group answered {other:?}"),
        }
    };
}

impl Coordinator {
    /// Starts one driver for each partition, in order; the machines have replayed what their partition holds.
    /// None stands for a partition that cannot be read: an empty machine in its place would tell consumers
    /// that they never committed anything.
    pub fn start<J: Journal<Record = Record>>(
        clock: Clock,
        partitions: Vec<Option<(Groups, J)>>,
    ) -> Coordinator {
        let start = |(machine, journal)| {
            let (sender, inbox) = mpsc::channel(INBOX_MAX);
            tokio::spawn(drive(machine, journal, clock, inbox));
            sender
        };
        Coordinator { drivers: partitions.into_iter().map(|partition| partition.map(start)).collect() }
    }

    /// Asks about one group. The errors are for the whole request, and all can be tried again:
    /// NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE; only UNKNOWN_SERVER_ERROR (a record too large for the log)
    /// cannot.
    pub async fn ask(&self, group_id: &str, input: Input) -> Result<Reply, ErrorCode> {
        let driver = self.drivers.get(partition_of(group_id, self.drivers.len()));
        let answer =
            send(driver.and_then(Option::as_ref).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?, input).await?;
        receive(answer).await
    }

    /// Asks every partition that is available, all at the same time.
    async fn ask_all(&self, input: Input) -> Result<Vec<Reply>, ErrorCode> {
        let (mut waiting, mut replies) = (Vec::new(), Vec::new());
        for driver in self.drivers.iter().flatten() {
            waiting.push(send(driver, input.clone()).await?);
        }
        for answer in waiting {
            replies.push(receive(answer).await?);
        }
        Ok(replies)
    }

    /// JoinGroup.
    pub async fn join(&self, join: Join) -> Result<JoinGroupResponse, ErrorCode> {
        let id = join.request.group_id.clone();
        reply!(self.ask(&id, Input::Join(join)), Join)
    }

    /// SyncGroup.
    pub async fn sync(&self, request: SyncGroupRequest) -> Result<SyncGroupResponse, ErrorCode> {
        let id = request.group_id.clone();
        reply!(self.ask(&id, Input::Sync(request)), Sync)
    }

    /// Heartbeat.
    pub async fn heartbeat(&self, request: HeartbeatRequest) -> Result<HeartbeatResponse, ErrorCode> {
        let id = request.group_id.clone();
        reply!(self.ask(&id, Input::Heartbeat(request)), Heartbeat)
    }

    /// ConsumerGroupHeartbeat.
    pub async fn consumer_heartbeat(&self, beat: Beat) -> Result<ConsumerGroupHeartbeatResponse, ErrorCode> {
        let id = beat.request.group_id.clone();
        reply!(self.ask(&id, Input::ConsumerHeartbeat(beat)), ConsumerHeartbeat)
    }

    /// ConsumerGroupDescribe of one group; the cluster is asked for the names of topics.
    pub async fn consumer_describe(
        &self,
        group_id: String,
        topics: Arc<Image>,
    ) -> Result<ConsumerDescribed, ErrorCode> {
        let id = group_id.clone();
        reply!(self.ask(&id, Input::ConsumerDescribe { group_id, topics }), ConsumerDescribe)
    }

    /// LeaveGroup, with its members in the list.
    pub async fn leave(&self, request: LeaveGroupRequest) -> Result<LeaveGroupResponse, ErrorCode> {
        let id = request.group_id.clone();
        reply!(self.ask(&id, Input::Leave(request)), Leave)
    }

    /// OffsetCommit, with the names of topics.
    pub async fn commit(&self, commit: Commit) -> Result<OffsetCommitResponse, ErrorCode> {
        let id = commit.request.group_id.clone();
        reply!(self.ask(&id, Input::Commit(commit)), Commit)
    }

    /// OffsetFetch of one group, with the names of topics.
    pub async fn fetch(
        &self,
        request: OffsetFetchRequestGroup,
    ) -> Result<OffsetFetchResponseGroup, ErrorCode> {
        let id = request.group_id.clone();
        reply!(self.ask(&id, Input::Fetch(request)), Fetch)
    }

    /// DescribeGroups of one group; the version is the request's.
    pub async fn describe(&self, group_id: String, version: i16) -> Result<DescribedGroup, ErrorCode> {
        let id = group_id.clone();
        reply!(self.ask(&id, Input::Describe { group_id, version }), Describe)
    }

    /// Deletes one group; says why not.
    pub async fn delete(&self, group_id: String) -> Result<ErrorCode, ErrorCode> {
        let id = group_id.clone();
        reply!(self.ask(&id, Input::Delete { group_id }), Done)
    }

    /// OffsetDelete.
    pub async fn delete_offsets(
        &self,
        request: OffsetDeleteRequest,
    ) -> Result<OffsetDeleteResponse, ErrorCode> {
        let id = request.group_id.clone();
        reply!(self.ask(&id, Input::DeleteOffsets(request)), DeleteOffsets)
    }

    /// ListGroups: those of all partitions that the filters let through, sorted.
    pub async fn list(&self, request: ListGroupsRequest) -> Result<Vec<ListedGroup>, ErrorCode> {
        let replies = self.ask_all(Input::List(request)).await?.into_iter();
        let lists = replies.filter_map(|r| if let Reply::List(groups) = r { Some(groups) } else { None });
        let mut groups: Vec<ListedGroup> = lists.flatten().collect();
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(groups)
    }

    /// Forgets what any group has committed for a topic that was deleted.
    pub async fn forget_topic(&self, topic: &str) -> Result<(), ErrorCode> {
        self.ask_all(Input::ForgetTopic { topic: topic.to_owned() }).await.map(|_| ())
    }

    /// Figures for metrics, of all partitions together.
    pub async fn stats(&self) -> Result<Stats, ErrorCode> {
        let mut sum = Stats::default();
        for reply in self.ask_all(Input::Stats).await? {
            if let Reply::Stats(stats) = reply {
                sum += stats;
            }
        }
        Ok(sum)
    }
}

/// An answer on its way.
type Coming = oneshot::Receiver<Result<Reply, ErrorCode>>;

async fn send(driver: &mpsc::Sender<Ask<Groups>>, input: Input) -> Result<Coming, ErrorCode> {
    let (answer, coming) = oneshot::channel();
    driver.send(Ask { input, answer }).await.map_err(|_| ErrorCode::NOT_COORDINATOR)?;
    Ok(coming)
}

async fn receive(coming: Coming) -> Result<Reply, ErrorCode> {
    coming.await.map_err(|_| ErrorCode::NOT_COORDINATOR)?.map_err(as_coordinator_error)
}

/// What a client of a group is told when its log fails; the same as in Kafka.
fn as_coordinator_error(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => ErrorCode::UNKNOWN_SERVER_ERROR,
        _ => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_live_where_kafka_puts_them() {
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("a", 50), 97 % 50);
        assert_eq!(partition_of("ab", 50), (97 * 31 + 98) % 50);
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE: only the sign bit
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        // outside the basic plane a character counts as its two surrogates
        assert_eq!(partition_of("\u{1F600}", 1 << 20), (0xd83d * 31 + 0xde00) % (1 << 20));
    }
}
