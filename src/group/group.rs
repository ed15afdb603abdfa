//! One group: of what kind it is, and what it has committed. It passes on to its kind what is asked. Pure.

use std::collections::BTreeSet;

use braid_protocol::ErrorCode;
use braid_protocol::api::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use braid_protocol::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use braid_protocol::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use braid_protocol::api::sync_group::SyncGroupRequest;
use braid_protocol::data::offsets::GroupMetadataValue;

use super::classic::{Classic, Logged};
use super::committed::Offsets;
use super::consumer::{Change, Consumers, Refused};
use super::turn::Turn;
use super::{Beat, Join, leave, sync};
use crate::machine::{Millis, Ticket};

/// A group is of one kind at a time. The members that join decide which.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Kind {
    /// It has offsets alone: no members are known of, not even former ones.
    #[default]
    Empty,
    /// Its members agree on an assignment among themselves.
    Classic(Box<Classic>),
    /// The broker assigns (KIP-848).
    Consumer(Box<Consumers>),
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub(super) kind: Kind,
    pub(super) offsets: Offsets,
    /// The entry in the index of deadlines: the deadline or, because not every change looks at all members,
    /// a time before it.
    pub(super) due: Option<Millis>,
}

impl Group {
    /// Whether nothing is known of it that is worth keeping.
    pub(super) fn is_idle(&self) -> bool {
        let idle = match &self.kind {
            Kind::Empty => true,
            Kind::Classic(classic) => classic.is_idle(),
            Kind::Consumer(_) => false,
        };
        idle && self.offsets.is_empty()
    }

    /// Whether it has no members, of whatever kind. A client that only holds a member id is none.
    pub(super) fn is_empty(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Classic(classic) => classic.is_empty(),
            Kind::Consumer(consumers) => consumers.plan.is_empty(),
        }
    }

    /// The KIP-848 group, if it is one.
    pub(super) fn consumers(&self) -> Option<&Consumers> {
        match &self.kind {
            Kind::Consumer(consumers) => Some(consumers),
            Kind::Empty | Kind::Classic(_) => None,
        }
    }

    /// The topics that the consumers of this group read; `None` if that cannot be known.
    pub(super) fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        match &self.kind {
            Kind::Empty => None,
            Kind::Classic(classic) => classic.subscribed_topics(),
            Kind::Consumer(consumers) => Some(consumers.subscribed_topics()),
        }
    }

    /// Bytes of what members said along with their protocols, but for this one.
    pub(super) fn kept_bytes_without(&self, member: &str) -> usize {
        match &self.kind {
            Kind::Classic(classic) => classic.kept_bytes_without(member),
            Kind::Empty | Kind::Consumer(_) => 0,
        }
    }

    /// The next moment at which something is due.
    pub(super) fn deadline(&self) -> Option<Millis> {
        match &self.kind {
            Kind::Empty => None,
            Kind::Classic(classic) => classic.deadline(),
            Kind::Consumer(consumers) => consumers.deadline(),
        }
    }

    /// The moment at which this member is due.
    pub(super) fn deadline_of(&self, member: &str) -> Option<Millis> {
        match &self.kind {
            Kind::Empty => None,
            Kind::Classic(classic) => classic.deadline_of(member),
            Kind::Consumer(consumers) => consumers.deadline_of(member),
        }
    }
}

// Requests, and time.
impl Group {
    /// JoinGroup. A KIP-848 group without members, like one of no kind, becomes a classic group.
    pub(super) fn join(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: Join) {
        let mut classic = match std::mem::take(&mut self.kind) {
            Kind::Consumer(mut consumers) if !consumers.plan.is_empty() => {
                let joined = consumers.join(turn, &join);
                turn.reply(ticket, joined);
                self.kind = Kind::Consumer(consumers);
                return;
            }
            Kind::Consumer(consumers) => {
                consumers.write_tombstones(turn);
                Box::new(Classic { logged: Logged::Consumers(consumers), ..Classic::default() })
            }
            Kind::Classic(classic) => classic,
            Kind::Empty => Box::default(),
        };
        classic.join(turn, ticket, join);
        self.kind = Kind::Classic(classic);
    }

    /// SyncGroup.
    pub(super) fn sync(&mut self, turn: &mut Turn<'_>, ticket: Ticket, request: &SyncGroupRequest) {
        match &mut self.kind {
            Kind::Empty => turn.reply(ticket, sync::refused(ErrorCode::UNKNOWN_MEMBER_ID)),
            Kind::Classic(classic) => classic.sync(turn, ticket, request),
            Kind::Consumer(consumers) => {
                let synced = consumers.sync(turn, request);
                turn.reply(ticket, synced);
            }
        }
    }

    /// Heartbeat.
    pub(super) fn heartbeat(&mut self, turn: &Turn<'_>, request: &HeartbeatRequest) -> HeartbeatResponse {
        match &mut self.kind {
            Kind::Empty => {
                HeartbeatResponse { error_code: ErrorCode::UNKNOWN_MEMBER_ID, ..Default::default() }
            }
            Kind::Classic(classic) => classic.heartbeat(turn, request),
            Kind::Consumer(consumers) => consumers.heartbeat(turn, request),
        }
    }

    /// ConsumerGroupHeartbeat. The first member that speaks KIP-848 upgrades a group of another kind.
    pub(super) fn consumer_heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        beat: &Beat,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
        match &mut self.kind {
            Kind::Empty => Classic::default().upgrade(turn, beat),
            Kind::Classic(classic) => classic.upgrade(turn, beat),
            Kind::Consumer(consumers) => consumers.beat(turn, beat, None),
        }
    }

    /// LeaveGroup.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
        match &mut self.kind {
            Kind::Empty => leave::nobody_known(request),
            Kind::Classic(classic) => classic.leave(turn, request),
            Kind::Consumer(consumers) => consumers.leave_classic(turn, request),
        }
    }

    /// DeleteGroups.
    pub(super) fn delete(&mut self, turn: &mut Turn<'_>) -> ErrorCode {
        if !self.is_empty() {
            return ErrorCode::NON_EMPTY_GROUP;
        }
        if let Kind::Classic(classic) = &mut self.kind {
            classic.pending.clear(); // a client that comes with such an id has to begin again
        }
        self.forget(turn, self.known(|_, _, _| true));
        ErrorCode::NONE
    }

    /// Removes members that were not heard of in time, and ends the phase that has lasted long enough.
    pub(super) fn wake(&mut self, turn: &mut Turn<'_>) {
        match &mut self.kind {
            Kind::Empty => {}
            Kind::Classic(classic) => classic.wake(turn),
            Kind::Consumer(consumers) => consumers.wake(turn),
        }
    }
}

// What the log holds of it.
impl Group {
    /// Decides that the log shall hold nothing of the group but offsets.
    pub(super) fn write_tombstones(&self, turn: &mut Turn<'_>) {
        match &self.kind {
            Kind::Empty => {}
            Kind::Classic(classic) => classic.write_tombstones(turn),
            Kind::Consumer(consumers) => {
                turn.out.end_decision();
                consumers.write_tombstones(turn);
            }
        }
    }

    /// A classic group is stable, or has no members; `None` is its tombstone. What has records of its own
    /// stays: offsets, and a KIP-848 group.
    pub(super) fn replay_classic(&mut self, value: Option<GroupMetadataValue>) {
        let kind = std::mem::take(&mut self.kind);
        self.kind = match value {
            None => without_classic(kind),
            Some(value) => {
                let mut classic = match kind {
                    Kind::Classic(classic) => classic,
                    Kind::Empty | Kind::Consumer(_) => Box::default(),
                };
                classic.replay(value);
                Kind::Classic(classic)
            }
        };
    }

    /// One change of a KIP-848 group; the last one ends it.
    pub(super) fn replay_consumers(&mut self, change: Change) {
        self.kind = match std::mem::take(&mut self.kind) {
            Kind::Empty => replayed(Box::default(), change).map_or(Kind::Empty, Kind::Consumer),
            Kind::Consumer(consumers) => replayed(consumers, change).map_or(Kind::Empty, Kind::Consumer),
            Kind::Classic(mut classic) => match classic.logged {
                Logged::Consumers(consumers) => {
                    classic.logged = replayed(consumers, change).map_or(Logged::Nothing, Logged::Consumers);
                    Kind::Classic(classic)
                }
                // a classic group gets its tombstone first, so only tombstones are expected here
                Logged::Nothing | Logged::Group => match replayed(Box::default(), change) {
                    Some(consumers) => Kind::Consumer(consumers),
                    None => Kind::Classic(classic),
                },
            },
        };
    }

    /// A classic group that was never logged ends with its last member or member id, and becomes what it was
    /// before.
    pub(super) fn drop_unlogged(&mut self) {
        if let Kind::Classic(classic) = &self.kind
            && classic.is_unlogged()
        {
            self.kind = without_classic(std::mem::take(&mut self.kind));
        }
    }
}

/// What is left without the classic group.
fn without_classic(kind: Kind) -> Kind {
    match kind {
        Kind::Classic(classic) => match classic.logged {
            Logged::Nothing | Logged::Group => Kind::Empty,
            Logged::Consumers(consumers) => Kind::Consumer(consumers),
        },
        Kind::Empty | Kind::Consumer(_) => kind,
    }
}

/// The KIP-848 group after this change, unless nothing is left of it.
fn replayed(mut consumers: Box<Consumers>, change: Change) -> Option<Box<Consumers>> {
    consumers.replay(change);
    (!consumers.plan.is_blank()).then_some(consumers)
}
