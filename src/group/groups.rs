//! The machine: all groups of one `__consumer_offsets` partition. It finds the group, lets it decide, and
//! keeps an index of deadlines, so that a thousand quiet groups cost nothing. Pure.

use std::collections::{BTreeMap, BTreeSet};

use braid_protocol::ErrorCode;
use braid_protocol::api::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use braid_protocol::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use braid_protocol::api::join_group::JoinGroupRequest;
use braid_protocol::api::leave_group::LeaveGroupResponse;
use braid_protocol::api::sync_group::SyncGroupRequest;
use bytes::Bytes;

use super::consumer::{self, Consumers};
use super::group::{Group, Kind};
use super::turn::Turn;
use super::{
    Beat, GroupConfig, Input, Join, Patterns, Record, Reply, Stats, TEXT_MAX, TxnProducer, describe, join,
    leave, offset_delete, offsets, sync,
};
use crate::machine::{Effects, Machine, Millis, Ticket, has_room};

/// From this version a member of a group that is not there is told so.
const COMMIT_NAMES_MISSING_GROUP: i16 = 9;

/// All groups of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    config: GroupConfig,
    groups: BTreeMap<String, Group>,
    /// By producer: the groups that its open transaction has committed offsets of.
    open: BTreeMap<i64, BTreeSet<String>>,
    /// Who wants to be woken when.
    due: BTreeSet<(Millis, String)>,
    /// When offsets are looked through for old ones; not yet set after a start.
    next_expiry: Option<Millis>,
    skipped_records: usize,
}

impl Groups {
    /// No groups yet.
    pub fn new(config: GroupConfig) -> Groups {
        Groups {
            config,
            groups: BTreeMap::new(),
            open: BTreeMap::new(),
            due: BTreeSet::new(),
            next_expiry: None,
            skipped_records: 0,
        }
    }

    /// Takes over a record of the log at start-up, and within whose transaction it is. What cannot be read,
    /// or is of another kind, is counted and passed over: the groups of others must not suffer.
    pub fn load(&mut self, key: &Bytes, value: Option<&Bytes>, producer: Option<TxnProducer>) {
        match Record::read(key, value) {
            Ok(Some(record)) => self.replay(match producer {
                Some(producer) => record.within(producer),
                None => record,
            }),
            Ok(None) => self.skipped_records += 1,
            Err(error) => {
                tracing::warn!(%error, "skipped a record of a group that cannot be read");
                self.skipped_records += 1;
            }
        }
    }

    /// What it knows of patterns.
    pub(super) fn patterns(&self) -> &Patterns {
        &self.config.patterns
    }

    /// The patterns that members of its groups subscribe to.
    pub fn regexes(&self) -> impl Iterator<Item = &str> {
        self.groups.values().filter_map(Group::consumers).flat_map(Consumers::regexes)
    }

    /// How many there are.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { skipped_records: self.skipped_records, ..Stats::default() };
        self.groups.values().for_each(|g| stats.count(g));
        stats
    }

    #[cfg(test)]
    pub(super) fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Group)> {
        self.groups.iter()
    }

    /// Lets a group decide, if it is there.
    fn with<T>(
        &mut self,
        now: Millis,
        id: &str,
        out: &mut Effects<Self>,
        decide: impl FnOnce(&mut Group, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(id)?;
        let decided = decide(group, &mut Turn { now, config: &self.config, group_id: id, out });
        self.touched(id);
        Some(decided)
    }

    /// The same when nobody but this member can be due sooner for it. Heartbeats and commits are most of the
    /// traffic: in a large group they must not look at everybody.
    fn with_member<T>(
        &mut self,
        now: Millis,
        (id, member): (&str, &str),
        out: &mut Effects<Self>,
        decide: impl FnOnce(&mut Group, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(id)?;
        let decided = decide(group, &mut Turn { now, config: &self.config, group_id: id, out });
        self.hurried(id, Some(member));
        Some(decided)
    }

    /// Sets the group's deadline again.
    fn touched(&mut self, id: &str) {
        let due = self.groups.get(id).and_then(Group::deadline);
        self.set_due(id, due);
    }

    /// Sets the group's deadline no later than this member's. What may have become later is found out by the
    /// next wake, which then comes too early and does nothing else.
    fn hurried(&mut self, id: &str, member: Option<&str>) {
        let Some(group) = self.groups.get(id) else { return };
        let sooner = member.and_then(|member| group.deadline_of(member));
        self.set_due(id, group.due.into_iter().chain(sooner).min());
    }

    /// Keeps the index, and removes a group of which nothing is left.
    fn set_due(&mut self, id: &str, due: Option<Millis>) {
        let Some(group) = self.groups.get_mut(id) else { return };
        group.drop_unlogged();
        let idle = group.is_idle();
        let due = due.filter(|_| !idle);
        if due != group.due {
            if let Some(was) = group.due {
                self.due.remove(&(was, id.to_owned()));
            }
            self.due.extend(due.map(|t| (t, id.to_owned())));
            group.due = due;
        }
        if idle {
            self.groups.remove(id);
        }
    }

    /// Whether one more group may begin.
    fn has_room(&self, id: &str) -> bool {
        has_room(self.groups.len(), self.config.groups_max, id)
    }

    /// Whether the members of a group would take too much memory if this one said what it says now.
    fn is_too_large_with(&self, join: &Join) -> bool {
        let JoinGroupRequest { group_id, member_id, .. } = &join.request;
        let others = self.groups.get(group_id).map_or(0, |group| group.kept_bytes_without(member_id));
        others + join.kept_bytes() > self.config.group_max_bytes
    }

    /// What is wrong with a JoinGroup before any group is asked.
    fn refuse_join(&self, join: &Join) -> Option<ErrorCode> {
        let config = &self.config;
        let JoinGroupRequest { group_id, member_id, session_timeout_ms, .. } = &join.request;
        let missing = !self.groups.contains_key(group_id);
        if group_id.is_empty() || group_id.len() > TEXT_MAX {
            Some(ErrorCode::INVALID_GROUP_ID)
        } else if !(config.session_timeout_min_ms..=config.session_timeout_max_ms)
            .contains(session_timeout_ms)
        {
            Some(ErrorCode::INVALID_SESSION_TIMEOUT)
        } else if join.texts().any(|text| text.len() > TEXT_MAX)
            || join.kept_bytes() > config.member_max_bytes
        {
            Some(ErrorCode::INVALID_REQUEST)
        } else if missing && !member_id.is_empty() {
            Some(ErrorCode::UNKNOWN_MEMBER_ID)
        } else if (missing && !self.has_room(group_id)) || self.is_too_large_with(join) {
            Some(ErrorCode::GROUP_MAX_SIZE_REACHED)
        } else {
            None
        }
    }

    fn join(&mut self, now: Millis, ticket: Ticket, join: Join, out: &mut Effects<Self>) {
        if let Some(code) = self.refuse_join(&join) {
            let refused = join::refused(&join.request.member_id, code);
            return out.replies.push((ticket, refused.into()));
        }
        let id = join.request.group_id.clone();
        self.groups.entry(id.clone()).or_default();
        self.with(now, &id, out, |group, turn| group.join(turn, ticket, join));
    }

    fn sync(&mut self, now: Millis, ticket: Ticket, request: &SyncGroupRequest, out: &mut Effects<Self>) {
        let known = self.with(now, &request.group_id, out, |group, turn| group.sync(turn, ticket, request));
        if known.is_none() {
            out.replies.push((ticket, sync::refused(missing(&request.group_id)).into()));
        }
    }

    fn heartbeat(&mut self, now: Millis, request: &HeartbeatRequest, out: &mut Effects<Self>) -> Reply {
        let member = (request.group_id.as_str(), request.member_id.as_str());
        let heard = self.with_member(now, member, out, |group, turn| group.heartbeat(turn, request));
        let missing = || HeartbeatResponse { error_code: missing(&request.group_id), ..Default::default() };
        heard.unwrap_or_else(missing).into()
    }

    /// A member of a KIP-848 group is heard. A group that is not there begins with it, and a classic one may
    /// become one.
    fn consumer_heartbeat(
        &mut self,
        now: Millis,
        beat: &Beat,
        out: &mut Effects<Self>,
    ) -> Result<ConsumerGroupHeartbeatResponse, consumer::Refused> {
        beat.check(&self.config)?;
        let id = beat.request.group_id.as_str();
        let not_found = |why: &str| (ErrorCode::GROUP_ID_NOT_FOUND, format!("Group {id} {why}."));
        let heard = match self.groups.get(id).map(|group| &group.kind) {
            Some(Kind::Consumer(_)) => self.with_member(now, (id, beat.member_id()), out, |group, turn| {
                group.consumer_heartbeat(turn, beat)
            }),
            Some(Kind::Empty | Kind::Classic(_)) if !beat.joins() => {
                return Err(not_found("is not a consumer group"));
            }
            Some(Kind::Empty | Kind::Classic(_)) => {
                self.with(now, id, out, |group, turn| group.consumer_heartbeat(turn, beat))
            }
            None => None,
        };
        if let Some(answer) = heard {
            return answer;
        }
        if !beat.joins() {
            return Err(not_found("not found"));
        }
        if !self.has_room(&beat.request.group_id) {
            let why = "There are too many groups.".to_owned();
            return Err((ErrorCode::GROUP_MAX_SIZE_REACHED, why));
        }
        // the group begins to exist when its first record is replayed
        let turn = &mut Turn { now, config: &self.config, group_id: id, out };
        Consumers::default().beat(turn, beat, None)
    }

    fn commit(&mut self, now: Millis, request: &super::Commit, out: &mut Effects<Self>) -> Reply {
        let (commit, request, version) = (request, &request.request, request.version);
        let id = request.group_id.as_str();
        if id.len() > TEXT_MAX {
            return offsets::answer_commit(request, |_, _| ErrorCode::INVALID_GROUP_ID).into();
        }
        if commit.kept_bytes() > self.config.commit_max_bytes {
            // as the log would answer, but the records are not even made
            return offsets::answer_commit(request, |_, _| ErrorCode::UNKNOWN_SERVER_ERROR).into();
        }
        let member = request.member_id.as_str();
        if let Some(response) =
            self.with_member(now, (id, member), out, |group, turn| group.commit(turn, commit))
        {
            return response.into();
        }
        let refused = match request.generation_id_or_member_epoch {
            0.. if version >= COMMIT_NAMES_MISSING_GROUP && commit.txn.is_none() => {
                Some(ErrorCode::GROUP_ID_NOT_FOUND)
            }
            0.. => Some(ErrorCode::ILLEGAL_GENERATION),
            _ if self.has_room(id) => None,
            _ => Some(ErrorCode::GROUP_MAX_SIZE_REACHED),
        };
        if let Some(code) = refused {
            return offsets::answer_commit(request, |_, _| code).into();
        }
        // the group begins to exist when its first offset is replayed
        let turn = &mut Turn { now, config: &self.config, group_id: id, out };
        Group::default().commit(turn, commit).into()
    }

    /// A group that is not there has committed nothing.
    fn fetch(&self, request: super::OffsetFetchRequestGroup, require_stable: bool) -> Reply {
        let group = self.groups.get(&request.group_id);
        group.unwrap_or(&Group::default()).fetch(request, require_stable).into()
    }

    fn leave(&mut self, now: Millis, request: super::LeaveGroupRequest, out: &mut Effects<Self>) -> Reply {
        if request.group_id.is_empty() {
            let error_code = ErrorCode::INVALID_GROUP_ID;
            return LeaveGroupResponse { error_code, ..Default::default() }.into();
        }
        if !self.groups.contains_key(&request.group_id) {
            return leave::nobody_known(request).into();
        }
        let id = request.group_id.clone();
        self.with(now, &id, out, |group, turn| group.leave(turn, request)).unwrap_or_default().into()
    }

    fn forget_topic(&mut self, now: Millis, topic: &str, out: &mut Effects<Self>) {
        for (id, group) in &self.groups {
            let offsets = group.known(|t, _, _| t == topic);
            if !offsets.is_empty() {
                let turn = &mut Turn { now, config: &self.config, group_id: id, out };
                group.forget_offsets(turn, offsets); // the group itself stays until its time is over
            }
        }
    }
}

/// What a member of a group that is not there is answered.
fn missing(group_id: &str) -> ErrorCode {
    if group_id.is_empty() { ErrorCode::INVALID_GROUP_ID } else { ErrorCode::UNKNOWN_MEMBER_ID }
}

impl Machine for Groups {
    type Input = Input;
    type Reply = Reply;
    type Record = Record;

    /// Commits are most of the traffic, and none depends on another. Those within a transaction are a batch
    /// of their own.
    fn batches(input: &Input) -> bool {
        matches!(input, Input::Commit(commit) if commit.txn.is_none())
    }

    fn handle(&mut self, now: Millis, ticket: Ticket, input: Input, out: &mut Effects<Self>) {
        let reply: Reply = match input {
            Input::Join(join) => return self.join(now, ticket, join, out),
            Input::Sync(request) => return self.sync(now, ticket, &request, out),
            Input::Heartbeat(request) => self.heartbeat(now, &request, out),
            Input::ConsumerHeartbeat(beat) => {
                self.consumer_heartbeat(now, &beat, out).unwrap_or_else(consumer::refused).into()
            }
            Input::Leave(request) => self.leave(now, request, out),
            Input::Commit(commit) => self.commit(now, &commit, out),
            Input::EndTxn(marker) => {
                // also when nothing waits: the partition must know that the transaction is over
                out.records.push(Record::Marker(marker));
                Reply::Done(ErrorCode::NONE)
            }
            Input::Fetch { request, require_stable } => self.fetch(request, require_stable),
            Input::Describe { group_id, version } => {
                describe::describe(self.groups.get(&group_id), group_id, version).into()
            }
            Input::ConsumerDescribe { group_id, topics } => {
                describe::describe_consumers(self.groups.get(&group_id), group_id, &topics).into()
            }
            Input::List(request) => {
                Reply::List(self.groups.iter().filter_map(|(id, g)| g.listed(id, &request)).collect())
            }
            Input::Delete { group_id } => {
                let deleted = self.with(now, &group_id, out, |group, turn| group.delete(turn));
                Reply::Done(deleted.unwrap_or(ErrorCode::GROUP_ID_NOT_FOUND))
            }
            Input::DeleteOffsets(request) => {
                let id = request.group_id.clone();
                let deleted = self.with(now, &id, out, |group, turn| group.delete_offsets(turn, request));
                deleted.unwrap_or_else(|| offset_delete::refused(ErrorCode::GROUP_ID_NOT_FOUND)).into()
            }
            Input::ForgetTopic { topic } => {
                self.forget_topic(now, &topic, out);
                Reply::Done(ErrorCode::NONE)
            }
            Input::Stats => Reply::Stats(self.stats()),
            Input::Committed(room) => Reply::Committed(describe::figures(&self.groups, room)),
        };
        out.replies.push((ticket, reply));
    }

    fn wake(&mut self, now: Millis, out: &mut Effects<Self>) {
        let later = self.due.split_off(&(now.saturating_add(1), String::new()));
        for (_, id) in std::mem::replace(&mut self.due, later) {
            if let Some(group) = self.groups.get_mut(&id) {
                group.due = None;
            }
            out.end_decision();
            self.with(now, &id, out, |group, turn| group.wake(turn));
        }
        match self.next_expiry {
            Some(later) if later > now => return,
            Some(_) if out.records.is_empty() => {
                for (id, group) in &self.groups {
                    group.expire(&mut Turn { now, config: &self.config, group_id: id, out });
                }
            }
            // after a start nothing is expired at once: its consumers may be about to come back
            None => {}
            // a group decides once per call, so offsets have to wait for the next
            Some(_) => return,
        }
        self.next_expiry = Some(now.saturating_add(self.config.offsets_retention_check_interval_ms));
    }

    fn deadline(&self) -> Option<Millis> {
        let group = self.due.first().map(|(t, _)| *t);
        let expiry = self.next_expiry.unwrap_or(Millis::MIN);
        Some(group.map_or(expiry, |t| t.min(expiry)))
    }

    /// At a start this is all that happens, so no record but a group's own looks at every member.
    fn replay(&mut self, record: Record) {
        let (id, member) = match record {
            Record::Offset { group, topic, partition, value } => {
                self.groups.entry(group.clone()).or_default().offsets.replay(topic, partition, value);
                (group, None)
            }
            Record::TxnOffset { producer, group, topic, partition, value } => {
                self.open.entry(producer.id).or_default().insert(group.clone());
                let offsets = &mut self.groups.entry(group.clone()).or_default().offsets;
                offsets.replay_pending(producer.id, topic, partition, value);
                (group, None)
            }
            Record::Marker(marker) => {
                for id in self.open.remove(&marker.producer_id).unwrap_or_default() {
                    if let Some(group) = self.groups.get_mut(&id) {
                        group.offsets.replay_end(marker.producer_id, marker.commit);
                    }
                    self.hurried(&id, None);
                }
                return;
            }
            Record::Group { group, value } => {
                self.groups.entry(group.clone()).or_default().replay_classic(value);
                return self.touched(&group);
            }
            Record::Consumer { group, change } => {
                let member = change.hurries().map(str::to_owned);
                self.groups.entry(group.clone()).or_default().replay_consumers(change);
                (group, member)
            }
        };
        self.hurried(&id, member.as_deref());
    }
}
