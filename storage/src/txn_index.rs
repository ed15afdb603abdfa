//! The aborted transactions of a segment, in Kafka's format (KIP-98): those whose markers are in it. Pure but
//! for the last part, which reads and makes the file of a segment.
//!
//! `.txnindex`: 34 bytes an entry, `version i16 = 0 | producerId i64 | firstOffset i64 | lastOffset i64 |
//! lastStableOffset i64`: the transaction's first record, its marker, and where the next open one began (the
//! offset after the marker, if there was none). In the order of markers; no file without an entry.
//!
//! Unlike the other indexes it says what its segment alone does not, and that it is missing says that nothing
//! was aborted. So it is synced whenever it is written: whatever recovery does not walk again is in it. One
//! that cannot be right is made again from the log.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::batch::HEADER_LEN;
use crate::checkpoint;
use crate::error::{At, Error};
use crate::index::{Floor, Table};
use crate::producers::{EndedTxn, Producers};
use crate::proof::{Hints, Step, Survey};
use crate::segment::{Found, Segment};

const VERSION: i16 = 0;
/// Bytes of an entry.
pub const TXN_ENTRY: usize = 34;

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    /// Whose it was.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
    /// Offset of its marker.
    pub last_offset: i64,
    /// All transactions that began below had ended by then.
    pub last_stable_offset: i64,
}

impl AbortedTxn {
    /// Reads an entry; `None` if it is of another version.
    pub fn read(mut entry: &[u8]) -> Option<AbortedTxn> {
        (entry.try_get_i16().ok()? == VERSION).then_some(())?;
        Some(AbortedTxn {
            producer_id: entry.try_get_i64().ok()?,
            first_offset: entry.try_get_i64().ok()?,
            last_offset: entry.try_get_i64().ok()?,
            last_stable_offset: entry.try_get_i64().ok()?,
        })
    }

    /// Writes an entry.
    pub(crate) fn write(&self, into: &mut Vec<u8>) {
        into.put_i16(VERSION);
        into.put_i64(self.producer_id);
        into.put_i64(self.first_offset);
        into.put_i64(self.last_offset);
        into.put_i64(self.last_stable_offset);
    }

    /// Can there be such a transaction, with its marker behind `after` and below `below`?
    fn is_possible(&self, after: Option<i64>, base: i64, below: i64) -> bool {
        self.producer_id >= 0
            && (0..self.last_offset).contains(&self.first_offset)
            && (base..below).contains(&self.last_offset)
            && after.is_none_or(|after| after < self.last_offset)
            && (0..=self.last_offset + 1).contains(&self.last_stable_offset)
    }
}

/// The index of one segment.
#[derive(Debug, Default)]
pub(crate) struct TxnIndex {
    pub(crate) table: Table<TXN_ENTRY>,
    /// There is a file, perhaps with other contents.
    pub(crate) has_file: bool,
}

impl TxnIndex {
    /// From the file of a segment with offsets from `base` to below `below`; `None` if it cannot be right.
    fn load(bytes: Bytes, base: i64, below: i64) -> Option<TxnIndex> {
        let table: Table<TXN_ENTRY> = Table::load(bytes)?;
        let mut last = None;
        for entry in table.entries() {
            let entry = AbortedTxn::read(entry).filter(|entry| entry.is_possible(last, base, below))?;
            last = Some(entry.last_offset);
        }
        Some(TxnIndex { table, has_file: true })
    }

    /// All entries, in the order of their markers.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = AbortedTxn> {
        self.table.entries().iter().filter_map(|entry| AbortedTxn::read(entry))
    }

    /// Forgets the transactions whose markers are at `offset` or behind it.
    pub(crate) fn truncate_to(&mut self, offset: i64) {
        self.table.truncate(|entry| AbortedTxn::read(entry).is_some_and(|txn| txn.last_offset < offset));
    }

    /// Takes note of the end of a transaction, unless it has before.
    pub(crate) fn push(&mut self, ended: &EndedTxn) {
        let EndedTxn { producer_id, first_offset, last_offset, last_stable_offset, aborted } = *ended;
        let is_news = self.entries().next_back().is_none_or(|last| last.last_offset < last_offset);
        if aborted && is_news {
            let entry = AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset };
            self.table.push(|table| entry.write(table));
        }
    }

    /// Adds the transactions with records from `from` to below `upper`. True if later ones have none there.
    pub(crate) fn collect(&self, from: i64, upper: i64, into: &mut Vec<AbortedTxn>) -> bool {
        let entries = self.table.entries();
        let last_offset = |entry: &[u8; TXN_ENTRY]| AbortedTxn::read(entry).map_or(0, |txn| txn.last_offset);
        let first = entries.partition_point(|entry| last_offset(entry) < from);
        for txn in entries.iter().skip(first).filter_map(|entry| AbortedTxn::read(entry)) {
            if txn.first_offset < upper {
                into.push(txn);
            }
            if txn.last_stable_offset >= upper {
                return true;
            }
        }
        false
    }
}

impl Segment {
    /// Runs `ask` on the aborted transactions, which are loaded first if need be. `all`: the segments of the
    /// log, from which they are made if the file is damaged.
    pub(crate) fn with_txns<T>(
        &self,
        all: &[Arc<Segment>],
        ask: impl FnOnce(&mut TxnIndex) -> T,
    ) -> Result<T, Error> {
        let mut slot = self.txns.lock();
        let index = match &mut *slot {
            Some(index) => index,
            None => slot.insert(self.load_txns(all)?),
        };
        Ok(ask(index))
    }

    fn load_txns(&self, all: &[Arc<Segment>]) -> Result<TxnIndex, Error> {
        let Some(bytes) = checkpoint::read(self.disk(), &self.path("txnindex"))? else {
            return Ok(TxnIndex::default());
        };
        let below = all.iter().find(|other| other.base > self.base).map_or(i64::MAX, |next| next.base);
        if let Some(index) = TxnIndex::load(bytes, self.base, below) {
            return Ok(index);
        }
        tracing::warn!(
            path = %self.path("txnindex").display(),
            "the index of aborted transactions is damaged and is made again"
        );
        let mut index = self.make_txns(all)?;
        if let Err(error) = self.write_txns(&mut index) {
            tracing::warn!(%error, "it is not kept");
        }
        Ok(index)
    }

    /// The index as the log tells it: a transaction may have begun in any segment before.
    fn make_txns(&self, all: &[Arc<Segment>]) -> Result<TxnIndex, Error> {
        let mut index = TxnIndex { has_file: true, ..TxnIndex::default() };
        let mut producers = Producers::default();
        for segment in all.iter().filter(|segment| segment.base <= self.base) {
            for step in Survey::new(segment, Floor::default(), Hints::OfSegment) {
                // What a bad batch said of its producer is lost; that it is bad has been logged.
                let Step::Good(found) = step? else { continue };
                let ended = segment.replay(&found, &mut producers, 0)?;
                if let Some(ended) = ended.filter(|_| segment.base == self.base) {
                    index.push(&ended);
                }
            }
        }
        Ok(index)
    }

    /// Has `producers` take note of a batch of this segment.
    pub(crate) fn replay(
        &self,
        found: &Found,
        producers: &mut Producers,
        now_ms: i64,
    ) -> Result<Option<EndedTxn>, Error> {
        let body = match found.header.is_control() {
            true => self.read(found.position, found.header.total_len())?.slice(HEADER_LEN..),
            false => Bytes::new(),
        };
        Ok(producers.update(&found.header, &body, now_ms))
    }

    /// Writes what the file lacks, if anything, and syncs it.
    pub(crate) fn save_txns(&self) -> Result<(), Error> {
        match &mut *self.txns.lock() {
            Some(index) => self.write_txns(index),
            None => Ok(()),
        }
    }

    fn write_txns(&self, index: &mut TxnIndex) -> Result<(), Error> {
        if self.is_retired() {
            return Ok(());
        }
        let path = self.path("txnindex");
        match index.table.unsaved() {
            (None, []) if !index.has_file => return Ok(()),
            (Some(_), []) => return Ok(()),
            (None, all) => checkpoint::write(self.disk(), &path, all)?,
            (Some(at), more) => {
                let written = self.append_to(&path, at, more).and_then(|file| file.sync().at(&path));
                if written.is_err() {
                    index.table.lost();
                    return written;
                }
            }
        }
        index.table.saved();
        index.has_file = true;
        Ok(())
    }
}
