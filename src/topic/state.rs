//! The state of a partition, and its lock.

use std::ops::{Deref, DerefMut};

use braid_storage::Log;
use parking_lot::MappedMutexGuard;
use tracing::error;

use super::partition::Partition;
use super::status::Closed;

/// What the lock of a partition protects.
pub(super) struct State {
    pub(super) log: Log,
    /// Bytes appended since the log was opened.
    pub(super) appended: u64,
    /// How many of them were appended when the last sync began.
    pub(super) syncing: u64,
    /// How many of them are below the high watermark.
    pub(super) visible: u64,
}

impl State {
    pub(super) fn new(log: Log) -> State {
        State { log, appended: 0, syncing: 0, visible: 0 }
    }
}

/// The state of a partition, locked. A panic before the lock is released closes the partition: what the
/// panicking operation has changed, and what not, is unknown.
pub(super) struct Locked<'a> {
    partition: &'a Partition,
    state: MappedMutexGuard<'a, State>,
    /// Was the thread unwinding when it took the lock?
    panicking: bool,
}

impl<'a> Locked<'a> {
    pub(super) fn new(partition: &'a Partition, state: MappedMutexGuard<'a, State>) -> Locked<'a> {
        Locked { partition, state, panicking: std::thread::panicking() }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if !self.panicking && std::thread::panicking() {
            let (topic, partition) = (&**self.partition.topic(), self.partition.index());
            error!(
                topic,
                partition, "a panic while its log was locked: the partition is offline until a restart"
            );
            self.partition.shut(Closed::Panicked);
        }
    }
}
