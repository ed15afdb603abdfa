//! Reading a partition: by offset and by time, up to the watermark or to the last stable offset.

use std::sync::Arc;

use braid_storage::AbortedTxn;
use bytes::Bytes;

use super::fault::Fault;
use super::partition::Partition;
use super::wait::{Waiter, Waiting};

/// Which records a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All below the watermark.
    ReadUncommitted,
    /// Those below the last stable offset; the reader leaves out what was aborted (KIP-98).
    ReadCommitted,
}

/// What was read, and the bounds it was read within.
#[derive(Clone, Debug)]
pub struct Read {
    /// Whole batches: a slice of the segment's map. The first may begin before the offset asked for.
    pub bytes: Bytes,
    /// The first offset that can be read.
    pub log_start_offset: i64,
    /// The high watermark.
    pub watermark: i64,
    /// The last stable offset.
    pub last_stable_offset: i64,
    /// For `read_committed`: the aborted transactions with records among those bytes, in the order of their
    /// ends.
    pub aborted: Option<Vec<AbortedTxn>>,
}

impl Isolation {
    /// As requests write it: 1 is `read_committed`.
    pub fn of(level: i8) -> Isolation {
        match level {
            1 => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        }
    }
}

impl Partition {
    /// The offset that a reader may not see, nor those behind it.
    pub fn end_for(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.watermark(),
            Isolation::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// Counts bytes that such a reader may see from now on for the waiter.
    pub fn wait<'a>(&'a self, waiter: &Arc<Waiter>, isolation: Isolation) -> Waiting<'a> {
        match isolation {
            Isolation::ReadUncommitted => self.waiters.add_bytes(waiter),
            Isolation::ReadCommitted => self.waiters.add_stable_bytes(waiter),
        }
    }

    /// Whole batches from the one that holds `offset`, below the watermark, at most `max_bytes` of them; or
    /// one batch of any size if `at_least_one`. Takes the lock only for a look at which segments there are.
    pub fn read(&self, offset: i64, max_bytes: usize, at_least_one: bool) -> Result<Read, Fault> {
        self.read_as(Isolation::ReadUncommitted, offset, max_bytes, at_least_one)
    }

    /// [`Partition::read`] up to what such a reader may see.
    pub fn read_as(
        &self,
        isolation: Isolation,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Read, Fault> {
        let (reader, log_start_offset, watermark, last_stable_offset) = {
            let state = self.lock()?;
            let reader = state.log.reader(offset, self.end_for(isolation))?;
            (reader, state.log.start_offset(), self.watermark(), self.last_stable_offset())
        };
        let slice = self.judged(reader.read(max_bytes, at_least_one))?;
        let aborted = match isolation {
            Isolation::ReadUncommitted => None,
            Isolation::ReadCommitted => Some(self.judged(reader.aborted(&slice))?),
        };
        Ok(Read { bytes: slice.bytes, log_start_offset, watermark, last_stable_offset, aborted })
    }

    /// The first record at or after a time, in ms since the epoch, that such a reader may see: its time and
    /// offset. May unpack batches, and so compute for long, without the lock.
    pub fn offset_for_timestamp(
        &self,
        timestamp: i64,
        isolation: Isolation,
    ) -> Result<Option<(i64, i64)>, Fault> {
        let log = self.lock()?.log.by_time();
        self.judged(log.offset_for_timestamp(timestamp, self.end_for(isolation)))
    }

    /// The largest time of a record, and the first offset that has it; none if such a reader may not see it
    /// yet. May unpack batches, as above.
    pub fn max_timestamp(&self, isolation: Isolation) -> Result<Option<(i64, i64)>, Fault> {
        let log = self.lock()?.log.by_time();
        Ok(self.judged(log.max_timestamp())?.filter(|(_, offset)| *offset < self.end_for(isolation)))
    }

    /// How many places with bad bytes were found in the log since it was opened; they are not served.
    pub fn quarantined(&self) -> Result<u64, Fault> {
        Ok(self.lock()?.log.quarantined())
    }

    /// The first offset that can be read.
    pub fn start_offset(&self) -> Result<i64, Fault> {
        Ok(self.lock()?.log.start_offset())
    }
}
