//! What becomes of a batch. Touches no file: a batch comes in, and its successor goes out.
//!
//! Below the end of the offset map, of each key the last record is kept. A tombstone stays until its batch's
//! delete horizon, which it gets when it is first cleaned. Data of aborted transactions goes at once; a
//! marker when a round finds nothing that it ends, and then only after a horizon too, since consumers may
//! still be reading that data. A batch of which nothing is left stays as a header if it has a producer's last
//! sequence number, or the last offset of the round.

use bytes::Bytes;

use crate::batch::{HEADER_LEN, Header, Invalid};
use crate::compact::map::OffsetMap;
use crate::compact::rewrite::{emptied, rewritten};
use crate::compact::txns::{Aborted, LastBatches, Markers};
use crate::record::{DECOMPRESSED_MAX, walk};

/// What is known when the second pass begins.
pub(super) struct Filter<'a> {
    pub(super) map: OffsetMap,
    /// The map knows of everything from the first dirty offset to here; what lies behind is left alone.
    pub(super) end: i64,
    pub(super) aborted: Aborted,
    pub(super) markers: Markers,
    pub(super) last_batches: &'a LastBatches,
    pub(super) now_ms: i64,
    /// The delete horizon of what is first cleaned now.
    pub(super) horizon_ms: i64,
    /// The first horizon that something waits for.
    pub(super) next_horizon_ms: Option<i64>,
}

/// What becomes of a batch.
#[derive(Debug, PartialEq)]
pub(super) enum Fate {
    Drop,
    Copy,
    Become(Header, Vec<u8>),
}

/// What is seen in a batch.
#[derive(Default)]
struct Count {
    all: usize,
    kept: usize,
    tombstones: usize,
}

impl Filter<'_> {
    /// Decides. Batches must come in the order of the log.
    pub(super) fn fate(&mut self, header: &Header, batch: &Bytes) -> Result<Fate, Invalid> {
        if header.base_offset >= self.end {
            return Ok(Fate::Copy);
        }
        let expired = self.has_expired(header);
        if header.is_control() {
            let idle = self.markers.control(header, batch);
            return Ok(match idle {
                _ if header.records_count == 0 || (idle && expired) => self.nothing_left(header),
                true => return self.waiting(header, batch, false),
                false => Fate::Copy,
            });
        }
        self.markers.data(header);
        if header.records_count == 0 || self.aborted.contains(header) {
            return Ok(self.nothing_left(header));
        }
        let count = self.count(header, batch, expired)?;
        if count.kept == 0 {
            return Ok(self.nothing_left(header));
        }
        if count.tombstones > 0 {
            return self.waiting(header, batch, count.kept < count.all);
        }
        if count.kept == count.all {
            return Ok(Fate::Copy);
        }
        self.rewrite(header, batch, None)
    }

    /// A batch with something that is to go at its horizon, which is noted if it was not yet.
    fn waiting(&mut self, header: &Header, batch: &Bytes, less: bool) -> Result<Fate, Invalid> {
        let new = (!header.delete_horizon()).then_some(self.horizon_ms);
        let horizon = new.unwrap_or(header.base_timestamp);
        self.next_horizon_ms = Some(self.next_horizon_ms.map_or(horizon, |next| next.min(horizon)));
        if less || new.is_some() { self.rewrite(header, batch, new) } else { Ok(Fate::Copy) }
    }

    fn rewrite(&self, header: &Header, batch: &Bytes, horizon: Option<i64>) -> Result<Fate, Invalid> {
        let expired = self.has_expired(header);
        let (header, body) = rewritten(header, batch, horizon, |record| {
            header.is_control()
                || self.keeps(record.offset, record.key.as_deref(), record.value.is_none(), expired)
        })?;
        Ok(Fate::Become(header, body))
    }

    fn nothing_left(&self, header: &Header) -> Fate {
        let stays = header.next_offset() == self.end || self.last_batches.contains(header);
        match stays {
            true => Fate::Become(emptied(header), Vec::new()),
            false => Fate::Drop,
        }
    }

    fn has_expired(&self, header: &Header) -> bool {
        header.delete_horizon() && header.base_timestamp <= self.now_ms
    }

    fn keeps(&self, offset: i64, key: Option<&[u8]>, tombstone: bool, expired: bool) -> bool {
        if offset >= self.end {
            return true;
        }
        // Records without a key are from before the topic was compacted.
        key.is_some_and(|key| self.map.get(key).is_none_or(|last| offset >= last) && !(tombstone && expired))
    }

    fn count(&self, header: &Header, batch: &Bytes, expired: bool) -> Result<Count, Invalid> {
        let mut count = Count::default();
        let body = batch.slice(HEADER_LEN..);
        walk(header, &body, DECOMPRESSED_MAX, |parts| {
            let offset = header.base_offset.saturating_add(i64::from(parts.offset_delta));
            let tombstone = parts.value.is_none();
            count.all += 1;
            if self.keeps(offset, parts.key, tombstone, expired) {
                count.kept += 1;
                count.tombstones += usize::from(tombstone && offset < self.end);
            }
            Ok(())
        })
        .map_err(|flaw| flaw.0)?;
        Ok(count)
    }
}
