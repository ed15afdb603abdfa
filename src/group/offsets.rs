//! Committed offsets: who may commit, what is remembered, and for how long. Pure.
//!
//! Not done: offsets committed in transactions (TxnOffsetCommit), so nothing is ever unstable.

use std::collections::{BTreeMap, BTreeSet};

use braid_protocol::ErrorCode;
use braid_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use braid_protocol::api::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use braid_protocol::data::offsets::OffsetCommitValue;

use super::classic::{Group, State, Turn};
use super::{Commit, Record};
use crate::machine::Millis;

/// What one group has committed: topic, partition, value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Offsets(BTreeMap<String, BTreeMap<i32, OffsetCommitValue>>);

impl Offsets {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    fn get(&self, topic: &str, partition: i32) -> Option<&OffsetCommitValue> {
        self.0.get(topic)?.get(&partition)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, i32, &OffsetCommitValue)> {
        self.0.iter().flat_map(|(t, partitions)| partitions.iter().map(move |(p, v)| (t.as_str(), *p, v)))
    }

    pub(super) fn replay(&mut self, topic: String, partition: i32, value: Option<OffsetCommitValue>) {
        match value {
            Some(value) => {
                self.0.entry(topic).or_default().insert(partition, value);
            }
            None => {
                let Some(partitions) = self.0.get_mut(&topic) else { return };
                partitions.remove(&partition);
                if partitions.is_empty() {
                    self.0.remove(&topic);
                }
            }
        }
    }
}

/// One answer for every partition of a commit.
pub(super) fn answer_commit(
    request: &OffsetCommitRequest,
    mut answer: impl FnMut(&str, &OffsetCommitRequestPartition) -> ErrorCode,
) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|t| {
        let partitions = t.partitions.iter().map(|p| OffsetCommitResponsePartition {
            partition_index: p.partition_index,
            error_code: answer(&t.name, p),
        });
        OffsetCommitResponseTopic {
            name: t.name.clone(),
            topic_id: t.topic_id,
            partitions: partitions.collect(),
        }
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

/// What a group that is not there has committed: nothing.
pub(super) fn fetch_nothing(request: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    Group::default().fetch(request)
}

impl Group {
    /// Remembers offsets, if the sender may; a partition with too much metadata is refused alone.
    pub(super) fn commit(&mut self, turn: &mut Turn<'_>, commit: &Commit) -> OffsetCommitResponse {
        let (request, version) = (&commit.request, commit.version);
        let checked = match self.consumers() {
            Some(consumers) => consumers.check_commit(request, version),
            None => self.check_commit(request),
        };
        if let Err(code) = checked {
            return answer_commit(request, |_, _| code);
        }
        if let Some(member) = self.members.get_mut(&request.member_id) {
            member.alive(turn.now); // a commit is as good as a heartbeat
        }
        let expire_timestamp = match request.retention_time_ms {
            ..0 => -1,
            retention => turn.now.saturating_add(retention),
        };
        answer_commit(request, |topic, p| {
            let metadata = p.committed_metadata.clone().unwrap_or_default();
            if metadata.len() > turn.config.offset_metadata_max_bytes {
                return ErrorCode::OFFSET_METADATA_TOO_LARGE;
            }
            let (id, epoch) = (&request.member_id, request.generation_id_or_member_epoch);
            if self.consumers().is_some_and(|c| !c.may_commit(id, epoch, topic, p.partition_index)) {
                return ErrorCode::STALE_MEMBER_EPOCH;
            }
            let value = OffsetCommitValue {
                offset: p.committed_offset,
                leader_epoch: p.committed_leader_epoch,
                metadata,
                commit_timestamp: turn.now,
                expire_timestamp,
                ..Default::default()
            };
            turn.out.records.push(Record::Offset {
                group: turn.group_id.to_owned(),
                topic: topic.to_owned(),
                partition: p.partition_index,
                value: Some(value),
            });
            ErrorCode::NONE
        })
    }

    /// Consumers that share no group may commit while the group is empty; members in their generation, once
    /// the leader has seen who is in it.
    fn check_commit(&self, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
        let OffsetCommitRequest { generation_id_or_member_epoch: generation, member_id, .. } = request;
        let instance = request.group_instance_id.as_deref();
        if *generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if *generation < 0 && member_id.is_empty() && instance.is_none() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.check_generation(member_id, instance, *generation)?;
        match self.state {
            State::CompletingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            _ => Ok(()),
        }
    }

    /// Says what was committed: for the partitions asked, or for all. What was never committed is at -1.
    pub(super) fn fetch(&self, request: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
        let checked = self.consumers().map_or(Ok(()), |c| c.check_fetch(&request));
        if let Err(error_code) = checked {
            let group_id = request.group_id;
            return OffsetFetchResponseGroup { group_id, topics: Vec::new(), error_code };
        }
        let at = |partition_index: i32, value: Option<&OffsetCommitValue>| OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: value.map_or(-1, |v| v.offset),
            committed_leader_epoch: value.map_or(-1, |v| v.leader_epoch),
            metadata: Some(value.map(|v| v.metadata.clone()).unwrap_or_default()),
            error_code: ErrorCode::NONE,
        };
        let topics = match request.topics {
            Some(asked) => {
                let topics = asked.into_iter().map(|t| OffsetFetchResponseTopics {
                    partitions: t
                        .partition_indexes
                        .iter()
                        .map(|p| at(*p, self.offsets.get(&t.name, *p)))
                        .collect(),
                    name: t.name,
                    topic_id: t.topic_id,
                });
                topics.collect()
            }
            None => {
                let topics = self.offsets.0.iter().map(|(name, partitions)| OffsetFetchResponseTopics {
                    name: name.clone(),
                    partitions: partitions.iter().map(|(p, v)| at(*p, Some(v))).collect(),
                    ..Default::default()
                });
                topics.collect()
            }
        };
        OffsetFetchResponseGroup { group_id: request.group_id, topics, error_code: ErrorCode::NONE }
    }

    /// Forgets what was kept long enough, and the group itself when nothing of it is left.
    pub(super) fn expire(&self, turn: &mut Turn<'_>) {
        let subscribed = self.subscribed_topics();
        let is_over = |topic: &str, value: &OffsetCommitValue| match value.expire_timestamp {
            -1 => self
                .kept_since(topic, value, subscribed.as_ref())
                .is_some_and(|t| t.saturating_add(turn.config.offsets_retention_ms) <= turn.now),
            at => at <= turn.now,
        };
        let over = self.offsets.iter().filter(|(topic, _, value)| is_over(topic, value));
        let over: Vec<(String, i32)> =
            over.map(|(topic, partition, _)| (topic.to_owned(), partition)).collect();
        self.forget(turn, over);
    }

    /// Since when an offset is kept for nobody; `None` while it is in use.
    fn kept_since(
        &self,
        topic: &str,
        value: &OffsetCommitValue,
        subscribed: Option<&BTreeSet<String>>,
    ) -> Option<Millis> {
        if self.consumers().is_some() {
            let reads = subscribed.is_some_and(|topics| topics.contains(topic));
            return (!reads).then_some(value.commit_timestamp);
        }
        match (&self.protocol_type, &self.state, subscribed) {
            (None, _, _) => Some(value.commit_timestamp), // never had members
            (Some(_), State::Empty, _) => Some(value.commit_timestamp.max(self.state_since)),
            (Some(_), State::Stable, Some(topics)) if !topics.contains(topic) => Some(value.commit_timestamp),
            _ => None,
        }
    }

    /// The topics that the consumers of this group read; `None` if that cannot be known.
    pub(super) fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if let Some(consumers) = self.consumers() {
            return Some(consumers.plan.topics().into_iter().map(str::to_owned).collect());
        }
        let protocol =
            self.protocol.as_deref().filter(|_| self.protocol_type.as_deref() == Some("consumer"))?;
        let topics: Option<Vec<_>> = self.members.values().map(|m| m.topics(protocol)).collect();
        Some(topics?.into_iter().flatten().collect())
    }

    /// Decides that these offsets are forgotten, and with the last one an empty group.
    pub(super) fn forget(&self, turn: &mut Turn<'_>, offsets: Vec<(String, i32)>) {
        let all = offsets.len() == self.offsets.len();
        let group = || turn.group_id.to_owned();
        let tombstone = |(topic, partition)| Record::Offset { group: group(), topic, partition, value: None };
        let mut records: Vec<Record> = offsets.into_iter().map(tombstone).collect();
        let buried = all && self.has_nobody();
        if buried && self.recorded {
            records.push(Record::Group { group: group(), value: None });
        }
        turn.out.records.extend(records);
        if let Some(consumers) = self.consumers.as_ref().filter(|_| buried) {
            consumers.bury(turn);
        }
    }

    /// All that was committed for partitions that `which` names.
    pub(super) fn committed(&self, which: impl Fn(&str, i32) -> bool) -> Vec<(String, i32)> {
        let chosen = self.offsets.iter().filter(|(topic, partition, _)| which(topic, *partition));
        chosen.map(|(topic, partition, _)| (topic.to_owned(), partition)).collect()
    }
}
