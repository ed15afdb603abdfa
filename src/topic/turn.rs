//! What is to be synced together: a connection that has many requests appends them all, and then asks for one
//! sync.
//!
//! A sync that begins with the first of five requests leaves the other four to the next one: twice the syncs,
//! and for those four twice the wait.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Partition;

/// Appended bytes from which on a sync begins at once; later ones overlap with it.
const ENOUGH: usize = 128 << 10;

/// The partitions that were appended to in this turn. Dropping it ends the turn.
#[derive(Default)]
pub struct SyncTurn(Mutex<Appended>);

#[derive(Default)]
struct Appended {
    partitions: Vec<Arc<Partition>>,
    bytes: usize,
}

impl SyncTurn {
    /// Counts bytes that were appended to this partition. Ends the turn if it has become long.
    pub(super) fn add(&self, partition: &Arc<Partition>, bytes: usize) {
        let mut appended = self.0.lock();
        if !appended.partitions.last().is_some_and(|last| Arc::ptr_eq(last, partition)) {
            appended.partitions.push(partition.clone());
        }
        appended.bytes += bytes;
        if appended.bytes >= ENOUGH {
            appended.submit();
        }
    }

    /// Asks for a sync of all that was appended: before the request that appended it waits for anything. True
    /// if it was synced here and now, and so there may be something to answer.
    pub fn end(&self) -> bool {
        let mut appended = self.0.lock();
        let synced = matches!(&appended.partitions[..], [alone] if alone.sync_if_idle());
        match synced {
            true => appended.forget(),
            false => appended.submit(),
        }
        synced
    }
}

impl Drop for SyncTurn {
    fn drop(&mut self) {
        self.0.get_mut().submit();
    }
}

impl Appended {
    fn submit(&mut self) {
        for partition in &self.partitions {
            // A failure takes the partition offline, which wakes the requests that wait for it.
            let _ = partition.submit();
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.partitions.clear();
        self.bytes = 0;
    }
}
