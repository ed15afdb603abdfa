//! A classic group: its members, its state, and the moves that every request is made of. Pure.
//!
//! The state that a crash must keep (generation, protocol, leader, members and what they were assigned)
//! changes only in [`Classic::replay`], from one record per rebalance. All else lives in memory, as in Kafka:
//! who is joining, who must still sync, when sessions end.

use std::collections::BTreeMap;

use braid_protocol::ErrorCode;
use braid_protocol::api::join_group::{JoinGroupResponse, JoinGroupResponseMember};
use bytes::Bytes;
use tracing::info;

use super::consumer::Consumers;
use super::member::{Member, Progress, Waits};
use super::sync;
use super::turn::Turn;
use crate::machine::Millis;

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

/// What the log holds of a group, besides offsets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Logged {
    #[default]
    Nothing,
    /// The record of a classic group.
    Group,
    /// The records of the KIP-848 group, without members, that it was before.
    Consumers(Box<Consumers>),
}

/// A classic group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Classic {
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
    pub(super) logged: Logged,
}

// Members and what they want.
impl Classic {
    /// Whether nothing is known of it that is worth keeping.
    pub(super) fn is_idle(&self) -> bool {
        self.logged == Logged::Nothing && self.members.is_empty() && self.pending.is_empty()
    }

    /// Whether it has no members. A client that only holds a member id is none.
    pub(super) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Whether it has no members, nobody holds a member id, and the log has no record of it.
    pub(super) fn is_unlogged(&self) -> bool {
        // a rebalance that has begun ends with a record, even if all have left
        self.is_empty()
            && self.members.is_empty()
            && self.pending.is_empty()
            && !matches!(self.logged, Logged::Group)
    }

    /// Refuses all requests that wait: the group becomes a KIP-848 group, where members have to join again.
    pub(super) fn release_all(&mut self, turn: &mut Turn<'_>) {
        for (id, member) in &mut self.members {
            std::mem::take(&mut member.waits).refuse(turn, id, ErrorCode::REBALANCE_IN_PROGRESS);
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
        member.progress = Progress::New;
        member.expires = Some(turn.now.saturating_add(NEW_MEMBER_JOIN_TIMEOUT_MS));
        self.pending.remove(&id);
        info!(group = turn.group_id, member = id, client = member.client_id, "member joined");
        self.members.insert(id, member);
    }

    /// Removes a member, and answers it if it waits. The caller then calls [`Classic::shrunk`].
    pub(super) fn remove(&mut self, turn: &mut Turn<'_>, id: &str, reason: &str) {
        let Some(member) = self.members.remove(id) else { return };
        info!(group = turn.group_id, member = id, client = member.client_id, reason, "member removed");
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        member.waits.refuse(turn, "", ErrorCode::UNKNOWN_MEMBER_ID);
    }
}

// The rounds of a rebalance.
impl Classic {
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
            member.synced();
            if let Waits::Sync(ticket) = member.waits {
                member.waits = Waits::Nothing;
                member.alive(turn.now);
                turn.reply(ticket, sync::refused(ErrorCode::REBALANCE_IN_PROGRESS));
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
            member.progress = Progress::MustSync;
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
                self.members.values().any(Member::must_sync).then_some(self.sync_ends)
            }
        };
        let gathers = self.must_gather().then_some(Millis::MIN);
        sessions.chain(self.pending.values().copied()).chain(phase).chain(gathers).min()
    }

    /// The moment at which this member's session ends.
    pub(super) fn deadline_of(&self, id: &str) -> Option<Millis> {
        self.members.get(id).and_then(Member::session_ends)
    }

    /// Removes members that were not heard of in time, and ends the phase that has lasted long enough.
    pub(super) fn wake(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        // group.max.size may have been lowered before the start: then those who join first stay, as in Kafka
        let was_replayed = self.members.values().any(|m| m.expires.is_none());
        let too_many = was_replayed && self.members.len() > turn.config.members_max;
        self.members.values_mut().filter(|m| m.expires.is_none()).for_each(|m| m.alive(now));
        let handed_out = self.pending.len();
        self.pending.retain(|_, until| *until > now);
        let syncing =
            matches!(self.state, State::CompletingRebalance | State::Stable) && self.sync_ends <= now;
        let late = |m: &Member| m.session_ends().is_some_and(|t| t <= now) || (syncing && m.must_sync());
        let gone: Vec<String> =
            self.members.iter().filter(|(_, m)| late(m)).map(|(id, _)| id.clone()).collect();
        for id in &gone {
            self.remove(turn, id, "was not heard of in time");
        }
        let shrunk = !gone.is_empty();
        match self.state {
            State::PreparingRebalance { ends, .. } if ends <= now => self.end_joining(turn),
            State::PreparingRebalance { .. } if shrunk || self.pending.len() < handed_out => {
                self.rebalance(turn);
            }
            State::CompletingRebalance | State::Stable if shrunk || too_many || self.must_gather() => {
                self.rebalance(turn);
            }
            _ => {}
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
