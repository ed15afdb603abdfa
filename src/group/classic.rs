//! One classic consumer group: its members, its state, and the moves that every request is made of. Pure.
//!
//! The state that a crash must keep (generation, protocol, leader, members and what they were assigned)
//! changes only in [`Group::replay`], from one record per rebalance. All else lives in memory, as in Kafka:
//! who is joining, who must still sync, when sessions end.

use std::collections::{BTreeMap, BTreeSet};

use braid_protocol::ErrorCode;
use braid_protocol::api::join_group::{JoinGroupResponse, JoinGroupResponseMember};
use braid_protocol::data::Data;
use braid_protocol::data::consumer::ConsumerProtocolSubscription;
use bytes::{Buf, Bytes};
use tracing::info;

use super::committed::Offsets;
use super::consumer::Consumers;
use super::{GroupConfig, Groups, Reply};
use crate::machine::{Effects, Millis, Ticket};

/// A new member that waits for the end of a rebalance is dropped after this long: its client has most likely
/// given up and joined again under another id. Kafka's fixed figure.
const NEW_MEMBER_JOIN_TIMEOUT_MS: Millis = 300_000;

/// While only absent static members are left a rebalance goes on at least this long: their timeout may be 0.
const POSTPONE_MIN_MS: Millis = 1_000;

/// What a group is doing. Dead is the name of a group that is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum State {
    /// No members, perhaps offsets.
    #[default]
    Empty,
    /// Waiting for the members to join again.
    PreparingRebalance {
        ends: Millis,
        /// Set while an empty group waits for its first members.
        initial: Option<InitialDelay>,
    },
    /// All have joined; the leader is at work on the assignment.
    CompletingRebalance,
    /// Every member may have its assignment.
    Stable,
}

impl State {
    /// Kafka's name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance { .. } => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// `group.initial.rebalance.delay.ms`, prolonged while new members keep arriving.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InitialDelay {
    /// How much longer it may still become.
    left: Millis,
    /// Whether a member arrived since it was last set.
    grew: bool,
}

/// What a member is waiting for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Waits {
    #[default]
    Nothing,
    Join(Ticket),
    Sync(Ticket),
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Member {
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout: Millis,
    pub(super) rebalance_timeout: Millis,
    /// Name and metadata, most wanted first.
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) assignment: Bytes,
    /// When the session ends; not yet set for a member that was just replayed.
    pub(super) expires: Option<Millis>,
    pub(super) waits: Waits,
    /// It has joined this generation and owes a SyncGroup.
    pub(super) must_sync: bool,
    /// It has not finished its first join, so it cannot send heartbeats.
    pub(super) is_new: bool,
}

impl Member {
    /// The session starts again: it was heard of.
    pub(super) fn alive(&mut self, now: Millis) {
        self.expires = Some(now.saturating_add(self.session_timeout));
    }

    /// What it said along with this protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, m)| m.clone()).unwrap_or_default()
    }

    /// The topics that a consumer wants to read; none known if its metadata is not a consumer's. As in Kafka
    /// whatever the version only what all have in common is read: kafka-go says 1 and writes 0.
    pub(super) fn topics(&self, protocol: &str) -> Option<BTreeSet<String>> {
        let mut subscription = self.metadata(protocol);
        subscription.try_get_i16().ok()?;
        let subscription = ConsumerProtocolSubscription::read_body(0, &subscription).ok()?;
        Some(subscription.topics.into_iter().collect())
    }

    fn is_joining(&self) -> bool {
        matches!(self.waits, Waits::Join(_))
    }

    /// While it waits for an answer it cannot send heartbeats, so only a new one's session may end.
    fn session_ends(&self) -> Option<Millis> {
        let counts = self.is_new || self.waits == Waits::Nothing;
        counts.then(|| self.expires.unwrap_or(Millis::MIN))
    }
}

/// One decision under way: the time, the rules, and where its effects go.
pub(super) struct Turn<'a> {
    pub(super) now: Millis,
    pub(super) config: &'a GroupConfig,
    pub(super) group_id: &'a str,
    pub(super) out: &'a mut Effects<Groups>,
}

impl Turn<'_> {
    pub(super) fn reply(&mut self, ticket: Ticket, reply: impl Into<Reply>) {
        self.out.replies.push((ticket, reply.into()));
    }
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub(super) state: State,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    /// When it took its recorded state; -1 if unknown.
    pub(super) state_since: Millis,
    pub(super) members: BTreeMap<String, Member>,
    /// Instance id to member id.
    pub(super) instances: BTreeMap<String, String>,
    /// Member ids handed out (KIP-394) and until when they may be used.
    pub(super) pending: BTreeMap<String, Millis>,
    /// When those that owe a SyncGroup are dropped.
    pub(super) sync_ends: Millis,
    pub(super) offsets: Offsets,
    /// Whether the log holds a record of the group itself.
    pub(super) recorded: bool,
    /// Set if it is, or was, a KIP-848 group; see [`Group::consumers`].
    pub(super) consumers: Option<Box<Consumers>>,
    /// The entry in the index of deadlines: the deadline or, because not every change looks at all members,
    /// a time before it.
    pub(super) due: Option<Millis>,
}

// Members and what they want.
impl Group {
    /// Whether nothing is known of it that is worth keeping.
    pub(super) fn is_idle(&self) -> bool {
        !self.recorded
            && self.consumers.is_none()
            && self.members.is_empty()
            && self.pending.is_empty()
            && self.offsets.is_empty()
    }

    /// Whether it has no members, of whatever kind. Who only holds an id is none.
    pub(super) fn is_empty(&self) -> bool {
        let consumers = self.consumers.as_ref().is_some_and(|c| !c.plan.is_empty());
        self.state == State::Empty && !consumers
    }

    /// The KIP-848 group, if it is one. An empty one is a classic group as soon as a classic member comes.
    pub(super) fn consumers(&self) -> Option<&Consumers> {
        let here = self.members.is_empty() && self.pending.is_empty();
        self.consumers.as_deref().filter(|c| here || !c.plan.is_empty())
    }

    /// The same, to be changed.
    pub(super) fn consumers_mut(&mut self) -> Option<&mut Consumers> {
        let here = self.members.is_empty() && self.pending.is_empty();
        self.consumers.as_deref_mut().filter(|c| here || !c.plan.is_empty())
    }

    /// Answers everybody who waits: the group becomes a KIP-848 group, where they have to join again.
    pub(super) fn release_all(&mut self, turn: &mut Turn<'_>) {
        for (id, member) in &mut self.members {
            match std::mem::take(&mut member.waits) {
                Waits::Nothing => {}
                Waits::Join(t) => turn.reply(t, super::join::refused(id, ErrorCode::REBALANCE_IN_PROGRESS)),
                Waits::Sync(t) => turn.reply(t, super::sync::refused(ErrorCode::REBALANCE_IN_PROGRESS)),
            }
        }
    }

    /// A group that was a KIP-848 group a moment ago: nobody leads, and nobody knows yet.
    fn must_gather(&self) -> bool {
        self.state == State::Stable && self.leader.is_none() && !self.members.is_empty()
    }

    /// The member that a request speaks for, by the rules that all requests share.
    pub(super) fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        match instance {
            None if self.members.contains_key(id) => Ok(()),
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(instance) => match self.instances.get(instance) {
                None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(known) if known != id => Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => Ok(()),
            },
        }
    }

    /// Whether someone who offers these protocols can be in a group with the members there are.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        match self.members.is_empty() {
            true => !protocol_type.is_empty() && !protocols.is_empty(),
            false => {
                let common = self.common_protocols();
                self.protocol_type.as_deref() == Some(protocol_type)
                    && protocols.iter().any(|(name, _)| common.contains(name.as_str()))
            }
        }
    }

    /// Bytes of what members said along with their protocols, but for this one.
    pub(super) fn kept_bytes_without(&self, id: &str) -> usize {
        let others = self.members.iter().filter(|(other, _)| *other != id).flat_map(|(_, m)| &m.protocols);
        others.map(|(name, metadata)| name.len() + metadata.len()).sum()
    }

    /// The protocols that every member offers.
    fn common_protocols(&self) -> BTreeSet<&str> {
        let mut offers: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, _) in self.members.values().flat_map(|m| &m.protocols) {
            *offers.entry(name).or_default() += 1;
        }
        offers.into_iter().filter(|(_, n)| *n >= self.members.len()).map(|(name, _)| name).collect()
    }

    /// Each member votes for the first of its protocols that all can speak. The most votes win; between
    /// equals, the name that sorts first.
    pub(super) fn elect_protocol(&self) -> Option<String> {
        let common = self.common_protocols();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().map(|(n, _)| n.as_str()).find(|n| common.contains(n));
            if let Some(name) = vote {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, n)| *n == most).map(|(name, _)| name.to_owned())
    }

    /// What a JoinGroup is answered when it went well. Only the leader learns who the others are.
    pub(super) fn joined(&self, member_id: &str) -> JoinGroupResponse {
        let protocol = self.protocol.clone().unwrap_or_default();
        let is_leader = self.leader.as_deref() == Some(member_id);
        let describe = |(id, m): (&String, &Member)| JoinGroupResponseMember {
            member_id: id.clone(),
            group_instance_id: m.instance_id.clone(),
            metadata: m.metadata(&protocol),
        };
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.to_owned(),
            members: if is_leader { self.members.iter().map(describe).collect() } else { Vec::new() },
            ..Default::default()
        }
    }

    /// Adds a member that waits for the end of the next rebalance.
    pub(super) fn add(&mut self, turn: &mut Turn<'_>, id: String, mut member: Member, protocol_type: String) {
        if let State::PreparingRebalance { initial: Some(delay), .. } = &mut self.state {
            delay.grew = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type);
        }
        self.leader.get_or_insert_with(|| id.clone());
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        member.is_new = true;
        member.expires = Some(turn.now.saturating_add(NEW_MEMBER_JOIN_TIMEOUT_MS));
        self.pending.remove(&id);
        info!(group = turn.group_id, member = id, client = member.client_id, "member joined");
        self.members.insert(id, member);
    }

    /// Removes a member, and answers it if it waits. The caller then calls [`Group::shrunk`].
    pub(super) fn remove(&mut self, turn: &mut Turn<'_>, id: &str, reason: &str) {
        let Some(member) = self.members.remove(id) else { return };
        info!(group = turn.group_id, member = id, client = member.client_id, reason, "member removed");
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        match member.waits {
            Waits::Nothing => {}
            Waits::Join(ticket) => turn.reply(ticket, super::join::refused("", ErrorCode::UNKNOWN_MEMBER_ID)),
            Waits::Sync(ticket) => turn.reply(ticket, super::sync::refused(ErrorCode::UNKNOWN_MEMBER_ID)),
        }
    }
}

// The rounds of a rebalance.
impl Group {
    /// Members have left: those that stay need a new assignment.
    pub(super) fn shrunk(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::Empty => {}
            _ => self.rebalance(turn),
        }
    }

    /// Starts a rebalance, or ends the one under way if everybody is here.
    pub(super) fn rebalance(&mut self, turn: &mut Turn<'_>) {
        if !matches!(self.state, State::PreparingRebalance { .. }) {
            self.prepare_rebalance(turn);
        }
        let State::PreparingRebalance { initial: None, .. } = self.state else { return };
        if self.pending.is_empty() && self.members.values().all(Member::is_joining) {
            self.complete_join(turn);
        }
    }

    fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        for member in self.members.values_mut() {
            member.must_sync = false;
            if let Waits::Sync(ticket) = member.waits {
                member.waits = Waits::Nothing;
                member.alive(turn.now);
                turn.reply(ticket, super::sync::refused(ErrorCode::REBALANCE_IN_PROGRESS));
            }
        }
        let timeout = self.rebalance_timeout();
        info!(group = turn.group_id, generation = self.generation, "preparing to rebalance");
        self.state = if self.state == State::Empty {
            let delay = turn.config.initial_rebalance_delay_ms;
            let left = timeout.saturating_sub(delay).max(0);
            let initial = Some(InitialDelay { left, grew: false });
            State::PreparingRebalance { ends: turn.now.saturating_add(delay), initial }
        } else {
            State::PreparingRebalance { ends: turn.now.saturating_add(timeout), initial: None }
        };
    }

    fn rebalance_timeout(&self) -> Millis {
        self.members.values().map(|m| m.rebalance_timeout).max().unwrap_or(0)
    }

    /// Ends the joining: who has not come is out (a static member stays until its session ends).
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        let out = self.members.iter().filter(|(_, m)| !m.is_joining() && m.instance_id.is_none());
        let out: Vec<String> = out.map(|(id, _)| id.clone()).collect();
        for id in out {
            self.remove(turn, &id, "did not rejoin in time");
        }
        let timeout = self.rebalance_timeout();
        if self.members.is_empty() {
            return self.record_empty(turn);
        }
        if !self.elect_leader() {
            let ends = turn.now.saturating_add(timeout.max(POSTPONE_MIN_MS));
            self.state = State::PreparingRebalance { ends, initial: None };
            return;
        }
        self.generation = self.next_generation();
        self.protocol = self.elect_protocol();
        self.state = State::CompletingRebalance;
        let (group, generation, members) = (turn.group_id, self.generation, self.members.len());
        info!(group, generation, members, protocol = self.protocol, "generation bumped");
        self.sync_ends = turn.now.saturating_add(timeout);
        let mut waiting = Vec::new();
        for (id, member) in &mut self.members {
            if let Waits::Join(ticket) = std::mem::take(&mut member.waits) {
                waiting.push((ticket, id.clone()));
            }
            member.is_new = false;
            member.must_sync = true;
            member.assignment = Bytes::new();
            member.alive(turn.now);
        }
        for (ticket, id) in waiting {
            turn.reply(ticket, self.joined(&id));
        }
    }

    /// The leader stays if it has joined; else the first that has. False if nobody has.
    fn elect_leader(&mut self) -> bool {
        let joined = |id: &String| self.members.get(id).is_some_and(Member::is_joining);
        if !self.leader.as_ref().is_some_and(joined) {
            let Some((id, _)) = self.members.iter().find(|(_, m)| m.is_joining()) else { return false };
            self.leader = Some(id.clone());
        }
        true
    }

    pub(super) fn next_generation(&self) -> i32 {
        self.generation.checked_add(1).unwrap_or(0)
    }

    /// The next moment at which something is due.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let sessions = self.members.values().filter_map(Member::session_ends);
        let phase = match self.state {
            State::Empty => None,
            State::PreparingRebalance { ends, .. } => Some(ends),
            State::CompletingRebalance | State::Stable => {
                self.members.values().any(|m| m.must_sync).then_some(self.sync_ends)
            }
        };
        let gathers = self.must_gather().then_some(Millis::MIN);
        let consumers = self.consumers.as_ref().and_then(|c| c.deadline());
        sessions.chain(self.pending.values().copied()).chain(phase).chain(gathers).chain(consumers).min()
    }

    /// The moment at which this member, of whatever kind, is due.
    pub(super) fn deadline_of(&self, id: &str) -> Option<Millis> {
        let consumer = self.consumers.as_ref().and_then(|c| c.deadline_of(id));
        self.members.get(id).and_then(Member::session_ends).into_iter().chain(consumer).min()
    }

    /// Drops who was not heard of in time, and ends the phase that has lasted long enough.
    pub(super) fn wake(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        if let Some(consumers) = &mut self.consumers {
            consumers.wake(turn);
        }
        // group.max.size may have been lowered before the start: then those who join first stay, as in Kafka
        let was_replayed = self.members.values().any(|m| m.expires.is_none());
        let too_many = was_replayed && self.members.len() > turn.config.members_max;
        self.members.values_mut().filter(|m| m.expires.is_none()).for_each(|m| m.alive(now));
        let handed_out = self.pending.len();
        self.pending.retain(|_, until| *until > now);
        let syncing =
            matches!(self.state, State::CompletingRebalance | State::Stable) && self.sync_ends <= now;
        let late = |m: &Member| m.session_ends().is_some_and(|t| t <= now) || (syncing && m.must_sync);
        let gone: Vec<String> =
            self.members.iter().filter(|(_, m)| late(m)).map(|(id, _)| id.clone()).collect();
        for id in &gone {
            self.remove(turn, id, "was not heard of in time");
        }
        let (preparing, over) = match self.state {
            State::PreparingRebalance { ends, .. } => (true, ends <= now),
            _ => (false, false),
        };
        if over {
            self.end_joining(turn);
        } else if !gone.is_empty()
            || self.must_gather()
            || (too_many && !preparing)
            || (preparing && self.pending.len() < handed_out)
        {
            self.shrunk(turn);
        }
    }

    /// The time to join is over, unless a young group is still growing.
    fn end_joining(&mut self, turn: &mut Turn<'_>) {
        if let State::PreparingRebalance { ends, initial: Some(delay) } = &mut self.state
            && delay.grew
            && delay.left > 0
        {
            let more = turn.config.initial_rebalance_delay_ms.min(delay.left);
            *ends = turn.now.saturating_add(more);
            *delay = InitialDelay { left: delay.left - more, grew: false };
            return;
        }
        self.complete_join(turn);
    }
}
