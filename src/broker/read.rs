//! Reading from many partitions at once, and waiting until there is enough: what Fetch does, and every other
//! consumer of the log within the broker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::topic::{Fault, Isolation, Partition, Read, Waiter};

/// What is to be read of one partition.
pub struct Want {
    /// The partition.
    pub partition: Arc<Partition>,
    /// The first offset.
    pub offset: i64,
    /// Bytes at most, unless the first batch is larger and nothing was read before it.
    pub bytes_max: usize,
}

/// What is to be read, and how long to wait for it.
pub struct ReadPlan {
    /// By partition. Those named first are read first.
    pub wants: Vec<Want>,
    /// How long to wait for `bytes_min`.
    pub wait_max: Duration,
    /// Bytes that are worth an answer, all partitions together.
    pub bytes_min: usize,
    /// Bytes at most, all partitions together; but one batch if there is any.
    pub bytes_max: usize,
    /// Which records may be read.
    pub isolation: Isolation,
}

/// What one look found: an outcome for each want, in their order.
pub struct Reads {
    /// What was read, or why nothing can be.
    pub outcomes: Vec<Result<Read, Fault>>,
    bytes: usize,
    failed: bool,
}

impl ReadPlan {
    /// Reads until there is enough, a partition cannot be read, or the time is over.
    pub async fn run(&self) -> Reads {
        let deadline = Instant::now() + self.wait_max;
        loop {
            // The common case, something to read, needs no waiter; it is the second look that loses no
            // wake-up.
            let reads = self.look();
            if self.is_enough(&reads) || Instant::now() >= deadline {
                return reads;
            }
            let waiter = Waiter::new(self.bytes_min.saturating_sub(reads.bytes) as i64);
            let places: Vec<_> =
                self.wants.iter().map(|want| want.partition.wait(&waiter, self.isolation)).collect();
            let reads = self.look();
            if self.is_enough(&reads) || timeout_at(deadline, waiter.woken()).await.is_err() {
                return reads;
            }
            drop(places);
        }
    }

    /// One look at every partition, within the plan's budget. No await.
    pub fn look(&self) -> Reads {
        let mut reads = Reads { outcomes: Vec::with_capacity(self.wants.len()), bytes: 0, failed: false };
        for want in &self.wants {
            let budget = self.bytes_max.saturating_sub(reads.bytes).min(want.bytes_max);
            let read = want.partition.read_as(self.isolation, want.offset, budget, reads.bytes == 0);
            reads.bytes += read.as_ref().map_or(0, |read| Bytes::len(&read.bytes));
            reads.failed |= read.is_err();
            reads.outcomes.push(read);
        }
        reads
    }

    fn is_enough(&self, reads: &Reads) -> bool {
        reads.failed || reads.bytes >= self.bytes_min
    }
}
