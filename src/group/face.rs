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
use tokio::sync::Semaphore;

use super::{
    Beat, Commit, ConsumerDescribed, Groups, Input, Join, Patterns, Record, Reply, Stats, TxnMarker, describe,
};
use crate::cluster::Image;
use crate::machine::{Clock, Drivers, Journal, partition_of};
use crate::metrics::{GroupRoom, GroupStat};

/// All group coordinators of this broker. Cheap to clone; the drivers end when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Coordinator {
    drivers: Drivers<Groups>,
    patterns: Patterns,
    /// Held while a pattern is compiled: one at a time uses one processor at most.
    compiling: Arc<Semaphore>,
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
        let patterns = partitions.iter().flatten().next().map(|(groups, _)| groups.patterns().clone());
        Coordinator {
            patterns: patterns.unwrap_or_default(),
            compiling: Arc::new(Semaphore::new(1)),
            drivers: Drivers::start(clock, partitions),
        }
    }

    /// The partition of `__consumer_offsets` that a group lives in.
    pub fn partition_of(&self, group_id: &str) -> i32 {
        i32::try_from(partition_of(group_id, self.drivers.partitions())).unwrap_or(i32::MAX)
    }

    /// Asks about one group. The errors are for the whole request, see [`Drivers::ask`].
    pub async fn ask(&self, group_id: &str, input: Input) -> Result<Reply, ErrorCode> {
        self.drivers.ask(partition_of(group_id, self.drivers.partitions()), input).await
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
        if let Some(regex) = beat.request.subscribed_topic_regex.as_ref().filter(|regex| !regex.is_empty()) {
            self.prepare(regex, &beat.topics).await;
        }
        reply!(self.ask(&id, Input::ConsumerHeartbeat(beat)), ConsumerHeartbeat)
    }

    /// Compiles a pattern that is new, and finds its topics, where no socket has to wait for it. The machine
    /// then only looks it up.
    async fn prepare(&self, regex: &str, topics: &Arc<Image>) {
        if self.patterns.knows(regex, topics) {
            return;
        }
        let Ok(turn) = self.compiling.clone().acquire_owned().await else { return };
        let (patterns, regex, topics) = (self.patterns.clone(), regex.to_owned(), topics.clone());
        let compiling = tokio::task::spawn_blocking(move || {
            // The machine answers with the error, if there is one.
            let _ = patterns.topics(&regex, &topics);
            drop(turn);
        });
        let _ = compiling.await;
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

    /// OffsetCommit or TxnOffsetCommit, with the names of topics. Within a transaction the whole may also
    /// fail with INVALID_PRODUCER_EPOCH and INVALID_TXN_STATE.
    pub async fn commit(&self, commit: Commit) -> Result<OffsetCommitResponse, ErrorCode> {
        let id = commit.request.group_id.clone();
        reply!(self.ask(&id, Input::Commit(commit)), Commit)
    }

    /// Writes a transaction's end into one partition of `__consumer_offsets`: what was committed within it
    /// counts from now on, or never will. Returns when that is durable; may be asked again. The errors are
    /// those of [`Coordinator::ask`], and for good INVALID_PRODUCER_EPOCH and
    /// TRANSACTION_COORDINATOR_FENCED.
    pub async fn end_transaction(&self, partition_index: i32, marker: TxnMarker) -> Result<(), ErrorCode> {
        let partition =
            usize::try_from(partition_index).map_err(|_| ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        reply!(self.drivers.ask(partition, Input::EndTxn(marker)), Done).map(|_: ErrorCode| ())
    }

    /// OffsetFetch of one group, with the names of topics.
    pub async fn fetch(
        &self,
        request: OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> Result<OffsetFetchResponseGroup, ErrorCode> {
        let id = request.group_id.clone();
        reply!(self.ask(&id, Input::Fetch { request, require_stable }), Fetch)
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
        let replies = self.drivers.ask_all(Input::List(request)).await?.into_iter();
        let lists = replies.filter_map(|r| if let Reply::List(groups) = r { Some(groups) } else { None });
        let mut groups: Vec<ListedGroup> = lists.flatten().collect();
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(groups)
    }

    /// Forgets what any group has committed for a topic that was deleted.
    pub async fn forget_topic(&self, topic: &str) -> Result<(), ErrorCode> {
        self.drivers.ask_all(Input::ForgetTopic { topic: topic.to_owned() }).await.map(|_| ())
    }

    /// Figures for metrics, of all partitions together.
    pub async fn stats(&self) -> Result<Stats, ErrorCode> {
        let mut sum = Stats::default();
        for reply in self.drivers.ask_all(Input::Stats).await? {
            if let Reply::Stats(stats) = reply {
                sum += stats;
            }
        }
        Ok(sum)
    }

    /// How many members groups have, and what they have committed, as far as there is room. Partitions that
    /// are not available have none.
    pub async fn committed(&self, room: GroupRoom) -> Result<Vec<GroupStat>, ErrorCode> {
        let stats = self.drivers.ask_each(|_| Input::Stats).await?;
        let stats = stats.into_iter().map(|reply| match reply {
            Some(Reply::Stats(stats)) => stats,
            _ => Stats::default(),
        });
        let rooms = describe::share(room, &stats.collect::<Vec<_>>());
        let wanted = |partition: usize| Input::Committed(rooms.get(partition).copied().unwrap_or_default());
        let replies = self.drivers.ask_each(wanted).await?.into_iter();
        let all =
            replies.filter_map(|r| if let Some(Reply::Committed(groups)) = r { Some(groups) } else { None });
        Ok(all.flatten().collect())
    }
}
