//! What the tests of both crates know of transactions: what happened, and what a `read_committed` consumer of
//! the log must be told of it.

use std::collections::{BTreeMap, BTreeSet};

use braid_storage::{AbortedTxn, Log, Record, batches, records};

/// What was written, and what became of it.
#[derive(Clone, Default)]
pub(crate) struct Model {
    /// Per batch: base offset, last offset, and the producer of a transactional one.
    batches: Vec<(i64, i64, Option<i64>)>,
    /// Where open transactions began.
    pub(crate) open: BTreeMap<i64, i64>,
    /// Markers: what was aborted or committed, as the index should have it.
    pub(crate) ended: Vec<(AbortedTxn, bool)>,
}

impl Model {
    /// A batch of this producer, -1 for none, at these offsets.
    pub(crate) fn data(&mut self, base: i64, last: i64, producer: i64) {
        if producer >= 0 {
            self.open.entry(producer).or_insert(base);
        }
        self.batches.push((base, last, (producer >= 0).then_some(producer)));
    }

    /// The end of a producer's transaction, at the offset of the marker.
    pub(crate) fn end(&mut self, marker: i64, producer: i64, commit: bool) {
        let first_offset = self.open.remove(&producer).unwrap();
        let last_stable_offset = self.open.values().copied().min().unwrap_or(marker + 1);
        let txn = AbortedTxn { producer_id: producer, first_offset, last_offset: marker, last_stable_offset };
        self.ended.push((txn, commit));
    }

    /// The last stable offset of a log that ends at `end`.
    pub(crate) fn stable(&self, end: i64) -> i64 {
        self.open.values().copied().min().unwrap_or(end)
    }

    /// What is left when the log ends at `end`.
    pub(crate) fn cut(&self, end: i64) -> Model {
        let mut cut = Model::default();
        let mut ended = self.ended.iter().peekable();
        for (base, last, producer) in self.batches.iter().filter(|(base, ..)| *base < end) {
            while let Some((txn, commit)) = ended.next_if(|(txn, _)| txn.last_offset < *base) {
                cut.end(txn.last_offset, txn.producer_id, *commit);
            }
            cut.data(*base, *last, producer.unwrap_or(-1));
        }
        for (txn, commit) in ended.filter(|(txn, _)| txn.last_offset < end) {
            cut.end(txn.last_offset, txn.producer_id, *commit);
        }
        cut
    }

    /// The log answers this, wherever it is read from.
    pub(crate) fn check(&self, log: &Log) {
        let end = log.end_offset();
        let stable = self.stable(end);
        assert_eq!(log.last_stable_offset(end), stable);
        let aborted: Vec<AbortedTxn> = self.ended.iter().filter(|(_, c)| !c).map(|(txn, _)| *txn).collect();
        for from in (0..end).step_by(3) {
            let reader = log.reader(from, end).unwrap();
            let slice = reader.read(700, true).unwrap();
            let upper = batches(&slice.bytes).last().unwrap().0.next_offset();
            let wanted = aborted.iter().filter(|txn| txn.last_offset >= from && txn.first_offset < upper);
            let found = reader.aborted(&slice).unwrap();
            assert_eq!(found, wanted.copied().collect::<Vec<_>>(), "{from} to {upper}");
        }
        let is_aborted = |base: i64, producer: i64| {
            let of = |txn: &&AbortedTxn| txn.producer_id == producer && txn.last_offset > base;
            aborted.iter().find(of).is_some_and(|txn| txn.first_offset <= base)
        };
        let kept = self.batches.iter().filter(|(base, _, p)| !p.is_some_and(|p| is_aborted(*base, p)));
        let kept: Vec<i64> = kept.flat_map(|(base, last, _)| *base..=*last).filter(|o| *o < stable).collect();
        let found: Vec<i64> = committed(log, 0, 500).iter().map(|record| record.offset).collect();
        assert_eq!(found, kept);
    }
}

/// The records that a `read_committed` consumer keeps from `from` on, as Kafka's own consumer decides: what
/// it is told of aborted transactions counts for one answer only.
pub(crate) fn committed(log: &Log, from: i64, max_bytes: usize) -> Vec<Record> {
    let stable = log.last_stable_offset(log.end_offset());
    let (mut next, mut kept) = (from, Vec::new());
    while next < stable {
        let reader = log.reader(next, stable).unwrap();
        let slice = reader.read(max_bytes, true).unwrap();
        let mut told = reader.aborted(&slice).unwrap();
        assert!(told.is_sorted_by_key(|txn| txn.last_offset), "{told:?}");
        let mut dropped = BTreeSet::new();
        let before = next;
        for (header, batch) in batches(&slice.bytes) {
            for txn in told.extract_if(.., |txn| txn.first_offset <= header.last_offset()) {
                dropped.insert(txn.producer_id);
            }
            let inside: Vec<Record> = records(&batch).unwrap().map(Result::unwrap).collect();
            let is_abort = |record: &Record| record.key.as_deref().is_some_and(|key| key[3] == 0);
            if header.is_control() {
                if inside.first().is_some_and(is_abort) {
                    dropped.remove(&header.producer_id);
                }
            } else if !(header.is_transactional() && dropped.contains(&header.producer_id)) {
                kept.extend(inside.into_iter().filter(|record| record.offset >= from));
            }
            next = header.next_offset();
        }
        assert!(next > before && next <= stable, "{next} after {before}, below {stable}");
    }
    kept
}
