//! Transactions, as far as cleaning must know them: which data was aborted, whether a marker still ends
//! anything, and which batch of a producer must stay.
//!
//! Markers are found by walking the headers of the part that was not cleaned yet, and on until every
//! transaction of it has ended: 40 bytes or so of memory for each aborted one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::batch::Header;
use crate::error::Error;
use crate::marker::EndMarker;
use crate::record;
use crate::segment::{Found, Segment};

/// What the marker in this control batch says; `None` for other kinds, and for one that was emptied.
pub(crate) fn ending(batch: &Bytes) -> Option<EndMarker> {
    EndMarker::of(&record::records(batch).ok()?.next()?.ok()?)
}

/// Aborted transactions: by producer and the marker's offset, where they began.
#[derive(Debug, Default)]
pub(crate) struct Aborted(BTreeMap<(i64, i64), i64>);

impl Aborted {
    /// Those with data between `from` and `below`, below which every transaction has ended. `pace` is told
    /// what was read, and may stop it: then `None`.
    pub(crate) fn find(
        segments: &[Arc<Segment>],
        from: i64,
        below: i64,
        pace: &mut impl FnMut(u64) -> bool,
    ) -> Result<Option<Aborted>, Error> {
        let mut aborted = Aborted::default();
        let mut open: HashMap<i64, i64> = HashMap::new();
        let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        for segment in segments.iter().skip(first) {
            for found in segment.walk(0, segment.size(), false) {
                let Found { header, position } = found?;
                if header.base_offset >= below && open.is_empty() {
                    return Ok(Some(aborted));
                }
                if header.last_offset() < from || !header.is_transactional() {
                    continue;
                }
                if !pace(header.encode().len() as u64) {
                    return Ok(None);
                }
                if !header.is_control() {
                    if header.base_offset < below {
                        open.entry(header.producer_id).or_insert(header.base_offset);
                    }
                    continue;
                }
                let batch = segment.read(position, header.total_len())?;
                match (ending(&batch), open.remove(&header.producer_id)) {
                    (Some(EndMarker { commit: false, .. }), Some(first)) => {
                        aborted.0.insert((header.producer_id, header.last_offset()), first);
                    }
                    (None, Some(first)) => {
                        open.insert(header.producer_id, first);
                    }
                    _ => {}
                }
            }
        }
        Ok(Some(aborted))
    }

    /// Was this batch written within a transaction that was aborted?
    pub(crate) fn contains(&self, header: &Header) -> bool {
        let next = self.0.range((header.producer_id, header.base_offset)..).next();
        header.is_transactional()
            && next.is_some_and(|((producer, _), first)| {
                *producer == header.producer_id && *first <= header.base_offset
            })
    }
}

/// The markers of a log, seen from its beginning: which of them still end a transaction of which there is a
/// batch, be it an empty one.
#[derive(Debug, Default)]
pub(crate) struct Markers {
    /// Producers of which a batch was seen since their last marker.
    open: HashSet<i64>,
    /// Producer and offset of the abort markers that end something.
    pub(crate) aborts: HashSet<(i64, i64)>,
}

impl Markers {
    /// A batch of data passes by.
    pub(crate) fn data(&mut self, header: &Header) {
        if header.is_transactional() {
            self.open.insert(header.producer_id);
        }
    }

    /// A control batch passes by. True if nothing is left that it ends, so that it may go in time.
    pub(crate) fn control(&mut self, header: &Header, batch: &Bytes) -> bool {
        match ending(batch) {
            // It was emptied by an earlier round.
            None => header.records_count == 0,
            Some(ending) => {
                let ends_something = self.open.remove(&header.producer_id);
                if ends_something && !ending.commit {
                    self.aborts.insert((header.producer_id, header.last_offset()));
                }
                !ends_something
            }
        }
    }
}

/// The last batch of each producer that is not forgotten yet: it has the sequence number, or, where that is
/// no longer known, the epoch.
#[derive(Debug, Default)]
pub(crate) struct LastBatches(HashMap<i64, (i64, i16)>);

impl LastBatches {
    const START: usize = 10;

    /// From the snapshot of a log's producers; its last entry for a producer counts.
    pub(crate) fn of(snapshot: &[u8]) -> LastBatches {
        let entries = snapshot.get(LastBatches::START..).unwrap_or_default().as_chunks::<46>().0;
        let last = |mut entry: &[u8]| {
            let (producer, epoch, _sequence) = (entry.get_i64(), entry.get_i16(), entry.get_i32());
            (producer, (entry.get_i64(), epoch))
        };
        LastBatches(entries.iter().map(|entry| last(entry)).collect())
    }

    /// Must the header of this batch stay?
    pub(crate) fn contains(&self, header: &Header) -> bool {
        self.0.get(&header.producer_id).is_some_and(|(offset, epoch)| match offset {
            0.. => *offset == header.last_offset(),
            _ => header.is_control() && *epoch == header.producer_epoch,
        })
    }
}
