//! What goes from the beginning of a partition's log: by DeleteRecords and by retention.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use braid_storage::retain::Deleted;
use braid_storage::{Log, ReadError};

use super::fault::Fault;
use super::partition::Partition;
use super::wait::Waiter;

impl Partition {
    /// Returns when everything below `offset` is on stable storage, whatever an acknowledgement means.
    async fn synced(self: &Arc<Self>, offset: i64) -> Result<(), Fault> {
        let waiter = Waiter::new(0);
        // The watermark may be there already; a sync that ends wakes us all the same.
        let _place = self.waiters.add_offset(&waiter, offset);
        while self.look(Log::synced_offset)? < offset {
            self.submit()?;
            waiter.woken().await;
        }
        Ok(())
    }

    /// Nothing below `offset`, which must not be beyond the high watermark, is served from now on. Returns
    /// the first offset there is. The caller has it written down ([`super::LogDirs::save_starts`]).
    pub async fn delete_records(self: &Arc<Self>, offset: i64) -> Result<i64, Fault> {
        let watermark = self.watermark();
        if !(0..=watermark).contains(&offset) {
            let start = self.start_offset()?;
            return Err(Fault::Read(ReadError::OutOfRange { offset, start, end: watermark }));
        }
        // A log that lost its end to a power cut must not end before its start.
        self.synced(offset).await?;
        let mut state = self.lock()?;
        state.log.advance_start(offset);
        self.stable.fetch_max(state.log.start_offset(), Ordering::AcqRel);
        Ok(state.log.start_offset())
    }

    /// Deletes the segments that the topic's settings no longer keep, and forgets producers that were idle
    /// for too long.
    pub fn retain(self: &Arc<Self>, now_ms: i64) -> Result<Deleted, Fault> {
        let deleted = {
            let mut state = self.lock()?;
            state.log.expire_producers(now_ms);
            let result = state.log.retain(self.watermark(), now_ms);
            self.stable.fetch_max(state.log.start_offset(), Ordering::AcqRel);
            self.judged(result)?
        };
        if deleted.segments() > 0 {
            self.submit()?;
        }
        Ok(deleted)
    }

    /// Unlinks the files of deleted segments that are due. Returns when the next are.
    pub fn unlink(&self, now_ms: i64) -> Result<Option<i64>, Fault> {
        let (due, next) = {
            let mut state = self.lock()?;
            (state.log.take_due(now_ms), state.log.next_due())
        };
        // Takes its time, so without the lock.
        self.judged(due.run())?;
        Ok(next)
    }
}
