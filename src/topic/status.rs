//! Whether a partition is served, and if not, why: one value, from which every answer follows.

use std::sync::atomic::{AtomicU8, Ordering};

use braid_protocol::ErrorCode;

/// Why a partition is not served. A later one in this list replaces an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Closed {
    /// The broker is stopping.
    Stopped = 1,
    /// Its log could not be opened, or its log directory has failed.
    Failed = 2,
    /// A thread panicked while it changed or read the log, whose state in memory is therefore unknown.
    Panicked = 3,
    /// Its topic was deleted.
    Deleted = 4,
}

impl Closed {
    const ALL: [Closed; 4] = [Closed::Stopped, Closed::Failed, Closed::Panicked, Closed::Deleted];

    /// What Kafka answers for it. Of a topic that was named by its id it is UNKNOWN_TOPIC_ID (100) instead of
    /// UNKNOWN_TOPIC_OR_PARTITION (3).
    pub fn code(self) -> ErrorCode {
        match self {
            Closed::Stopped => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            Closed::Failed | Closed::Panicked => ErrorCode::KAFKA_STORAGE_ERROR,
            Closed::Deleted => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        }
    }

    /// For people.
    pub fn reason(self) -> &'static str {
        match self {
            Closed::Stopped => "the broker is stopping",
            Closed::Failed => "the partition is offline; see the first error in the broker's log",
            Closed::Panicked => "the partition is offline after a panic; see the broker's log",
            Closed::Deleted => "the topic was deleted",
        }
    }
}

/// Open, or closed for one reason.
pub(super) struct Status(AtomicU8);

impl Status {
    pub(super) fn new(closed: Option<Closed>) -> Status {
        Status(AtomicU8::new(closed.map_or(0, |why| why as u8)))
    }

    /// Why it is closed; `None` while it is open.
    pub(super) fn closed(&self) -> Option<Closed> {
        let now = self.0.load(Ordering::Acquire);
        Closed::ALL.into_iter().find(|why| *why as u8 == now)
    }

    /// Closes it; a reason that says more stays.
    pub(super) fn close(&self, why: Closed) {
        self.0.fetch_max(why as u8, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_that_says_most_stays() {
        let status = Status::new(None);
        assert_eq!(status.closed(), None);
        for (why, then) in [
            (Closed::Failed, Closed::Failed),
            (Closed::Stopped, Closed::Failed),
            (Closed::Deleted, Closed::Deleted),
            (Closed::Panicked, Closed::Deleted),
        ] {
            status.close(why);
            assert_eq!(status.closed(), Some(then));
        }
        for why in Closed::ALL {
            assert_eq!(Status::new(Some(why)).closed(), Some(why));
        }
    }
}
