//! JoinGroup: how one becomes, or stays, a member of a classic group. Pure.
//!
//! A dynamic member of version 4 and up first gets an id and comes again with it (KIP-394). A static member
//! is known by its instance id (KIP-345): when it comes back without its member id it gets a new one, and
//! a client that still uses the old one is fenced; in a stable group that costs no rebalance.

use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_protocol::api::join_group::{JoinGroupRequest, JoinGroupResponse};
use bytes::Bytes;

use super::classic::{Classic, State};
use super::member::{Member, Waits};
use super::turn::Turn;
use crate::cluster::Image;
use crate::machine::{Millis, Ticket};

/// From this version a dynamic member must come with an id that it was given.
pub(super) const MEMBER_ID_REQUIRED: i16 = 4;
/// From this version a leader can be told to skip the assignment (KIP-814).
const SKIP_ASSIGNMENT: i16 = 9;

/// A JoinGroup request and what the connection knows about its sender.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Join {
    /// The request.
    pub request: JoinGroupRequest,
    /// Its version: the flow differs.
    pub version: i16,
    /// The client id of the request's header.
    pub client_id: String,
    /// The client's address, as Kafka shows it: `/127.0.0.1`.
    pub client_host: String,
    /// The id to give if the sender has none: `<instance or client id>-<uuid>`.
    pub new_member_id: String,
    /// The cluster as it is now: a KIP-848 group that a classic member joins needs it.
    pub topics: Arc<Image>,
}

impl Join {
    /// All text that may end up in a record.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let request = &self.request;
        let own = [&self.client_id, &self.client_host, &self.new_member_id, &request.protocol_type];
        let protocols = request.protocols.iter().map(|p| &p.name);
        own.into_iter().chain(&request.group_instance_id).chain(protocols).map(String::as_str)
    }

    /// Size of everything that the group would keep in memory for this member.
    pub(super) fn kept_bytes(&self) -> usize {
        let request = &self.request;
        let protocols: usize = request.protocols.iter().map(|p| p.name.len() + p.metadata.len()).sum();
        let instance = request.group_instance_id.as_ref().map_or(0, String::len);
        protocols + instance + request.protocol_type.len() + self.client_id.len() + self.new_member_id.len()
    }

    /// The member that asks. Bytes are copied: a slice would keep the whole frame in memory.
    fn member(&self, ticket: Ticket) -> Member {
        let request = &self.request;
        let protocols =
            request.protocols.iter().map(|p| (p.name.clone(), Bytes::copy_from_slice(&p.metadata)));
        let session_timeout = Millis::from(request.session_timeout_ms);
        Member {
            instance_id: request.group_instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            session_timeout,
            rebalance_timeout: match request.rebalance_timeout_ms {
                ..0 => session_timeout, // version 0 has no such field
                given => Millis::from(given),
            },
            protocols: protocols.collect(),
            waits: Waits::Join(ticket),
            ..Member::default()
        }
    }
}

/// A JoinGroup that went wrong.
pub(super) fn refused(member_id: &str, error_code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { error_code, member_id: member_id.to_owned(), ..Default::default() }
}

impl Classic {
    /// Lets someone in, parks it until the rebalance ends, or refuses.
    pub(super) fn join(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: Join) {
        let member = join.member(ticket);
        if let Err(code) = self.try_join(turn, ticket, &join, member) {
            turn.reply(ticket, refused(&join.request.member_id, code));
        }
    }

    fn try_join(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        join: &Join,
        member: Member,
    ) -> Result<(), ErrorCode> {
        let JoinGroupRequest { member_id: id, group_instance_id, protocol_type, .. } = &join.request;
        let instance = group_instance_id.as_deref();
        let replaced = instance.and_then(|i| self.instances.get(i)).cloned();
        if !self.has_room(turn.config.members_max, replaced.as_deref().unwrap_or(id)) {
            return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        if !self.supports(protocol_type, &member.protocols) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        match (id.is_empty(), instance, replaced) {
            (true, Some(_), Some(old)) => self.come_back(turn, ticket, join, member, &old),
            (true, None, _) if join.version >= MEMBER_ID_REQUIRED => {
                if self.pending.len() >= turn.config.members_max {
                    return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
                }
                let until = turn.now.saturating_add(member.session_timeout);
                self.pending.insert(join.new_member_id.clone(), until);
                turn.reply(ticket, refused(&join.new_member_id, ErrorCode::MEMBER_ID_REQUIRED));
            }
            (true, ..) => self.arrive(turn, join.new_member_id.clone(), member, protocol_type),
            (false, None, _) if self.pending.contains_key(id) => {
                self.arrive(turn, id.clone(), member, protocol_type);
            }
            (false, ..) => {
                self.check_member(id, instance)?;
                self.join_again(turn, ticket, id, member);
            }
        }
        Ok(())
    }

    /// Members that are there already stay; in a rebalance, those who come first.
    fn has_room(&self, max: usize, id: &str) -> bool {
        match self.state {
            State::Empty => true,
            State::PreparingRebalance { .. } => {
                self.members.get(id).is_some_and(Member::is_joining)
                    || self.members.values().filter(|m| m.is_joining()).count() < max
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains_key(id) || self.members.len() < max
            }
        }
    }

    fn arrive(&mut self, turn: &mut Turn<'_>, id: String, member: Member, protocol_type: &str) {
        self.add(turn, id, member, protocol_type.to_owned());
        self.rebalance(turn);
    }

    /// A member joins once more. Without news from it, and unless a stable group's leader asks for it,
    /// nothing changes: it may have missed the answer.
    fn join_again(&mut self, turn: &mut Turn<'_>, ticket: Ticket, id: &str, asked: Member) {
        let Some(member) = self.members.get_mut(id) else { return };
        let unchanged = member.protocols == asked.protocols;
        let leads = self.leader.as_deref() == Some(id);
        let missed_it = match self.state {
            State::Empty | State::PreparingRebalance { .. } => false,
            State::CompletingRebalance => unchanged,
            State::Stable => unchanged && !leads,
        };
        if missed_it {
            return turn.reply(ticket, self.joined(id));
        }
        let was = std::mem::take(member);
        *member = Member {
            instance_id: was.instance_id,
            assignment: was.assignment,
            expires: was.expires,
            progress: was.progress,
            ..asked
        };
        was.waits.refuse(turn, id, ErrorCode::REBALANCE_IN_PROGRESS);
        self.rebalance(turn);
    }

    /// A static member is back and gets a new id.
    fn come_back(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: &Join, new: Member, old_id: &str) {
        let id = &join.new_member_id;
        if self.state == State::Stable && self.same_without_rebalance(old_id, &new) {
            let response = self.rejoined(join, old_id, &new);
            self.record_replaced(turn, old_id, id, &new);
            if let Some(old) = self.members.get_mut(old_id) {
                old.protocols = new.protocols; // the record has only the elected one, see `Classic::replay`
            }
            return turn.reply(ticket, response);
        }
        let Some(old) = self.members.remove(old_id) else { return };
        old.waits.refuse(turn, old_id, ErrorCode::FENCED_INSTANCE_ID);
        if self.leader.as_deref() == Some(old_id) {
            self.leader = Some(id.clone());
        }
        if let Some(instance) = &new.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        let mut new = Member { assignment: old.assignment, ..new };
        new.alive(turn.now);
        self.members.insert(id.clone(), new);
        self.rebalance(turn);
    }

    /// Whether the group would still choose its protocol, and the member (if it is a consumer) read its
    /// topics.
    fn same_without_rebalance(&mut self, old_id: &str, new: &Member) -> bool {
        let Some(member) = self.members.get_mut(old_id) else { return false };
        let old = std::mem::replace(&mut member.protocols, new.protocols.clone());
        let elected = self.elect_protocol();
        if let Some(member) = self.members.get_mut(old_id) {
            member.protocols = old;
        }
        let same_topics = || {
            let topics_of = |m: &Member| elected.as_deref().and_then(|p| m.topics(p));
            self.members.get(old_id).map(topics_of) == Some(topics_of(new))
        };
        elected == self.protocol && (!self.has_consumers() || same_topics())
    }

    /// What a static member hears that comes back to a stable group. A leader that cannot be told to skip the
    /// assignment is made to believe that its old self leads.
    fn rejoined(&self, join: &Join, old_id: &str, new: &Member) -> JoinGroupResponse {
        let id = &join.new_member_id;
        let mut response = self.joined(old_id);
        response.member_id.clone_from(id);
        if join.version < SKIP_ASSIGNMENT {
            response.members.clear();
        } else if response.leader == old_id {
            response.leader.clone_from(id);
            response.skip_assignment = true;
            for member in response.members.iter_mut().filter(|m| m.member_id == old_id) {
                member.member_id.clone_from(id);
                member.metadata = new.metadata(self.protocol.as_deref().unwrap_or_default());
            }
        }
        response
    }
}
