//! One member of a classic group: what it said, what it waits for, and when its session ends. Pure.

use std::collections::BTreeSet;

use braid_protocol::ErrorCode;
use braid_protocol::data::Data;
use braid_protocol::data::consumer::ConsumerProtocolSubscription;
use bytes::{Buf, Bytes};

use super::turn::Turn;
use super::{join, sync};
use crate::machine::{Millis, Ticket};

/// What a member is waiting for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Waits {
    #[default]
    Nothing,
    Join(Ticket),
    Sync(Ticket),
}

impl Waits {
    /// Answers the request that waits, if one does.
    pub(super) fn refuse(self, turn: &mut Turn<'_>, id: &str, why: ErrorCode) {
        match self {
            Waits::Nothing => {}
            Waits::Join(ticket) => turn.reply(ticket, join::refused(id, why)),
            Waits::Sync(ticket) => turn.reply(ticket, sync::refused(why)),
        }
    }
}

/// How far a member is in the rebalance protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has not finished its first join, so it cannot send heartbeats.
    New,
    /// It has joined this generation and owes a SyncGroup.
    MustSync,
    /// It owes nothing.
    #[default]
    Synced,
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
    pub(super) progress: Progress,
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

    pub(super) fn is_joining(&self) -> bool {
        matches!(self.waits, Waits::Join(_))
    }

    /// It owes no SyncGroup in this generation any more.
    pub(super) fn synced(&mut self) {
        if self.progress == Progress::MustSync {
            self.progress = Progress::Synced;
        }
    }

    pub(super) fn must_sync(&self) -> bool {
        self.progress == Progress::MustSync
    }

    /// While it waits for an answer it cannot send heartbeats, so only a new one's session may end.
    pub(super) fn session_ends(&self) -> Option<Millis> {
        let counts = self.progress == Progress::New || self.waits == Waits::Nothing;
        counts.then(|| self.expires.unwrap_or(Millis::MIN))
    }
}
