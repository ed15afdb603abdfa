//! SyncGroup and Heartbeat: what a member does within its generation. Pure.
//!
//! The leader's SyncGroup carries everybody's assignment and makes the group stable; the others wait for it.

use std::collections::BTreeMap;

use braid_protocol::ErrorCode;
use braid_protocol::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use braid_protocol::api::sync_group::{SyncGroupRequest, SyncGroupResponse};
use bytes::Bytes;

use super::classic::{Classic, State};
use super::member::Waits;
use super::turn::Turn;
use crate::machine::Ticket;

/// A SyncGroup that went wrong.
pub(super) fn refused(error_code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code, ..Default::default() }
}

impl Classic {
    /// Gives a member its assignment, now or when the leader has decided it.
    pub(super) fn sync(&mut self, turn: &mut Turn<'_>, ticket: Ticket, request: &SyncGroupRequest) {
        if let Err(code) = self.try_sync(turn, ticket, request) {
            turn.reply(ticket, refused(code));
        }
    }

    fn try_sync(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        request: &SyncGroupRequest,
    ) -> Result<(), ErrorCode> {
        let id = request.member_id.as_str();
        self.check_generation(id, request.group_instance_id.as_deref(), request.generation_id)?;
        let differ = |asked: &Option<String>, ours: &Option<String>| asked.is_some() && asked != ours;
        if differ(&request.protocol_type, &self.protocol_type)
            || differ(&request.protocol_name, &self.protocol)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let leads = self.leader.as_deref() == Some(id);
        let synced = |assignment| self.synced(assignment);
        match self.state {
            State::Empty => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::PreparingRebalance { .. } => return Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::CompletingRebalance if leads => self.assign(turn, ticket, request),
            State::CompletingRebalance => {
                let Some(member) = self.members.get_mut(id) else { return Ok(()) };
                member.synced();
                if let Waits::Sync(earlier) = std::mem::replace(&mut member.waits, Waits::Sync(ticket)) {
                    turn.reply(earlier, refused(ErrorCode::REBALANCE_IN_PROGRESS));
                }
            }
            State::Stable => {
                let assignment = self.members.get(id).map(|m| m.assignment.clone()).unwrap_or_default();
                turn.reply(ticket, synced(assignment));
                if let Some(member) = self.members.get_mut(id) {
                    member.synced();
                    member.alive(turn.now);
                }
            }
        }
        Ok(())
    }

    fn synced(&self, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment,
            ..Default::default()
        }
    }

    /// The leader has decided. Members that it forgot get nothing.
    fn assign(&mut self, turn: &mut Turn<'_>, ticket: Ticket, request: &SyncGroupRequest) {
        let copied = request.assignments.iter();
        let copied = copied.map(|a| (a.member_id.as_str(), Bytes::copy_from_slice(&a.assignment)));
        let assignments: BTreeMap<&str, Bytes> = copied.collect();
        self.record_stable(turn, &assignments);
        let mut waiting = vec![(ticket, request.member_id.clone())];
        for (id, member) in &mut self.members {
            if let Waits::Sync(ticket) = member.waits {
                member.waits = Waits::Nothing;
                member.alive(turn.now);
                waiting.push((ticket, id.clone()));
            }
        }
        for (ticket, id) in waiting {
            let assignment = assignments.get(id.as_str()).cloned().unwrap_or_default();
            turn.reply(ticket, self.synced(assignment));
        }
        if let Some(leader) = self.members.get_mut(&request.member_id) {
            leader.alive(turn.now);
        }
    }

    /// A member is alive; it learns whether to join again.
    pub(super) fn heartbeat(&mut self, turn: &Turn<'_>, request: &HeartbeatRequest) -> HeartbeatResponse {
        let id = request.member_id.as_str();
        let checked = self.check_generation(id, request.group_instance_id.as_deref(), request.generation_id);
        let error_code = match (checked, &self.state) {
            (Err(code), _) => code,
            (Ok(()), State::Empty) => ErrorCode::UNKNOWN_MEMBER_ID,
            (Ok(()), State::PreparingRebalance { .. }) => ErrorCode::REBALANCE_IN_PROGRESS,
            (Ok(()), State::CompletingRebalance | State::Stable) => ErrorCode::NONE,
        };
        if let (Ok(()), Some(member)) = (checked, self.members.get_mut(id)) {
            member.alive(turn.now);
        }
        HeartbeatResponse { error_code, ..Default::default() }
    }

    /// The member, and the generation that it believes it is in.
    pub(super) fn check_generation(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        self.check_member(id, instance)?;
        if generation == self.generation { Ok(()) } else { Err(ErrorCode::ILLEGAL_GENERATION) }
    }
}
