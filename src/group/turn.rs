//! One decision of a group under way: the time, the settings, and where its effects go. Pure.

use super::{GroupConfig, Groups, Reply};
use crate::machine::{Effects, Millis, Ticket};

/// What a group is given to decide with.
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
