//! Committed offsets: who may commit, what is remembered, and for how long. Pure.
//!
//! A commit within a transaction (TxnOffsetCommit) is a commit like any other, but for who may, and for when
//! it counts: see [`super::committed`].

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

use super::classic::{Classic, State};
use super::committed::Kept;
use super::group::{Group, Kind};
use super::turn::Turn;
use super::{Commit, GroupConfig, Record, TEXT_MAX};
use crate::machine::Millis;

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

/// Kafka counts Java's characters, whatever the setting's name says; the record counts bytes.
fn is_too_long(metadata: &str, config: &GroupConfig) -> bool {
    metadata.len() > TEXT_MAX || metadata.encode_utf16().count() > config.offset_metadata_max_bytes
}

impl Group {
    /// Remembers offsets, if the sender may; a partition with too much metadata is refused alone.
    pub(super) fn commit(&mut self, turn: &mut Turn<'_>, commit: &Commit) -> OffsetCommitResponse {
        let request = &commit.request;
        let checked = match &self.kind {
            Kind::Empty => Classic::default().check_commit(commit),
            Kind::Classic(classic) => classic.check_commit(commit),
            Kind::Consumer(consumers) => consumers.check_commit(commit),
        };
        // TxnOffsetCommit knows no member epochs: what is stale spoils the whole
        let spoils = |code| commit.txn.is_some() && code == ErrorCode::STALE_MEMBER_EPOCH;
        if let Err(code) = checked {
            let code = if spoils(code) { ErrorCode::ILLEGAL_GENERATION } else { code };
            return answer_commit(request, |_, _| code);
        }
        if let (Kind::Classic(classic), None) = (&mut self.kind, commit.txn)
            && let Some(member) = classic.members.get_mut(&request.member_id)
        {
            member.alive(turn.now); // a commit is as good as a heartbeat; one of a producer is not
        }
        let had = turn.out.records.len();
        let response = self.commit_each(turn, commit);
        let mut codes = response.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
        if codes.any(spoils) {
            turn.out.records.truncate(had);
            return answer_commit(request, |_, _| ErrorCode::ILLEGAL_GENERATION);
        }
        response
    }

    /// Decides about each partition of a commit by a sender who may.
    fn commit_each(&self, turn: &mut Turn<'_>, commit: &Commit) -> OffsetCommitResponse {
        let request = &commit.request;
        let expire_timestamp = match request.retention_time_ms {
            ..0 => -1,
            retention => turn.now.saturating_add(retention),
        };
        answer_commit(request, |topic, p| {
            let metadata = p.committed_metadata.clone().unwrap_or_default();
            if is_too_long(&metadata, turn.config) {
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
            let (group, topic) = (turn.group_id.to_owned(), topic.to_owned());
            let partition = p.partition_index;
            turn.out.records.push(match commit.txn {
                Some(producer) => Record::TxnOffset { producer, group, topic, partition, value },
                None => Record::Offset { group, topic, partition, value: Some(value) },
            });
            ErrorCode::NONE
        })
    }

    /// Says what was committed: for the partitions asked, or for all. What was never committed is at -1. Who
    /// wants stable offsets is not told what an open transaction may yet change (KIP-447). A partition
    /// that is named again is not answered again: its metadata may be a thousand times as long.
    pub(super) fn fetch(
        &self,
        request: OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> OffsetFetchResponseGroup {
        let checked = self.consumers().map_or(Ok(()), |c| c.check_fetch(&request));
        if let Err(error_code) = checked {
            let group_id = request.group_id;
            return OffsetFetchResponseGroup { group_id, topics: Vec::new(), error_code };
        }
        let at = |partition_index: i32, kept: Option<&Kept>| {
            let unstable = require_stable && kept.is_some_and(Kept::is_pending);
            let value = kept.and_then(|kept| kept.committed.as_ref()).filter(|_| !unstable);
            OffsetFetchResponsePartitions {
                partition_index,
                committed_offset: value.map_or(-1, |v| v.offset),
                committed_leader_epoch: value.map_or(-1, |v| v.leader_epoch),
                metadata: Some(value.map(|v| v.metadata.clone()).unwrap_or_default()),
                error_code: if unstable { ErrorCode::UNSTABLE_OFFSET_COMMIT } else { ErrorCode::NONE },
            }
        };
        let topics = match request.topics {
            Some(asked) => {
                let mut told: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
                let topics = asked.into_iter().map(|t| {
                    let told = told.entry(t.name.clone()).or_default();
                    let asked = t.partition_indexes.iter().filter(|p| told.insert(**p));
                    OffsetFetchResponseTopics {
                        partitions: asked.map(|p| at(*p, self.offsets.get(&t.name, *p))).collect(),
                        name: t.name,
                        topic_id: t.topic_id,
                    }
                });
                topics.collect()
            }
            None => {
                let topics = self.offsets.topics().map(|(name, partitions)| OffsetFetchResponseTopics {
                    name: name.clone(),
                    partitions: partitions
                        .iter()
                        .filter(|(_, kept)| kept.committed.is_some())
                        .map(|(p, kept)| at(*p, Some(kept)))
                        .collect(),
                    ..Default::default()
                });
                topics.filter(|t| !t.partitions.is_empty()).collect()
            }
        };
        OffsetFetchResponseGroup { group_id: request.group_id, topics, error_code: ErrorCode::NONE }
    }

    /// Forgets what was kept long enough, and the group itself when nothing of it is left. While a
    /// transaction may change an offset it stays, and the group with it.
    pub(super) fn expire(&self, turn: &mut Turn<'_>) {
        let subscribed = self.subscribed_topics();
        let is_over = |topic: &str, value: &OffsetCommitValue| {
            self.kept_since(topic, value, subscribed.as_ref()).is_some_and(|since| {
                let ends = match value.expire_timestamp {
                    -1 => since.saturating_add(turn.config.offsets_retention_ms),
                    at => at,
                };
                ends <= turn.now
            })
        };
        let over = self.known(|topic, _, kept| {
            !kept.is_pending() && kept.committed.as_ref().is_some_and(|value| is_over(topic, value))
        });
        self.forget(turn, over);
    }

    /// Since when an offset is kept for nobody; `None` while it is in use.
    fn kept_since(
        &self,
        topic: &str,
        value: &OffsetCommitValue,
        subscribed: Option<&BTreeSet<String>>,
    ) -> Option<Millis> {
        let is_read = subscribed.is_some_and(|topics| topics.contains(topic));
        let committed = value.commit_timestamp;
        let Kind::Classic(classic) = &self.kind else { return (!is_read).then_some(committed) };
        match (&classic.protocol_type, &classic.state) {
            (None, _) => Some(committed), // never had members
            (Some(_), State::Empty) => Some(committed.max(classic.state_since)),
            (Some(_), State::Stable) if subscribed.is_some() && !is_read => Some(committed),
            _ => None,
        }
    }

    /// Decides that these offsets are forgotten, and with the last one an empty group.
    pub(super) fn forget(&self, turn: &mut Turn<'_>, offsets: Vec<(String, i32)>) {
        let all = offsets.len() == self.offsets.len();
        self.forget_offsets(turn, offsets);
        if all && self.is_empty() {
            self.write_tombstones(turn);
        }
    }

    /// The same, but the group stays. There may be too many for one batch: each is a decision of its own, as
    /// in Kafka.
    pub(super) fn forget_offsets(&self, turn: &mut Turn<'_>, offsets: Vec<(String, i32)>) {
        for (topic, partition) in offsets {
            turn.out.end_decision();
            let group = turn.group_id.to_owned();
            turn.out.records.push(Record::Offset { group, topic, partition, value: None });
        }
    }

    /// All partitions with offsets, also such as wait for the end of a transaction, that `which` names.
    pub(super) fn known(&self, which: impl Fn(&str, i32, &Kept) -> bool) -> Vec<(String, i32)> {
        let chosen = self.offsets.iter().filter(|(topic, partition, kept)| which(topic, *partition, kept));
        chosen.map(|(topic, partition, _)| (topic.to_owned(), partition)).collect()
    }
}

impl Classic {
    /// Consumers that share no group may commit while the group is empty; members in their generation, once
    /// the leader has seen who is in it. A producer need not name a member, and old ones cannot.
    fn check_commit(&self, commit: &Commit) -> Result<(), ErrorCode> {
        let OffsetCommitRequest { generation_id_or_member_epoch: generation, member_id, .. } =
            &commit.request;
        if *generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if commit.names_nobody() {
            return commit.txn.map(|_| ()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.check_generation(member_id, commit.request.group_instance_id.as_deref(), *generation)?;
        match self.state {
            State::CompletingRebalance if commit.txn.is_none() => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            _ => Ok(()),
        }
    }
}
