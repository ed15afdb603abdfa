//! The indexes of aborted transactions, compared with the log: each abort marker that ends something has its
//! entry, and there is no entry without its marker.
//!
//! What retention or compaction has taken is not there to compare with: then an entry may name what is gone.

use std::collections::BTreeMap;
use std::path::Path;

use braid_storage::batch::HEADER_LEN;
use braid_storage::producers::{EndedTxn, Producers};

use super::entries::{Table, TxnEntry};
use super::finding::Finding;
use super::folder::Context;
use super::walk::Batch;

const REMADE: &str = "the next start makes it again";

/// Follows the transactions of a partition, batch by batch.
#[derive(Default)]
pub(super) struct Txns {
    producers: Producers,
    /// Where the log begins.
    first: Option<i64>,
    /// The abort markers of this segment: offset, producer, and what each ended.
    aborts: BTreeMap<i64, (i64, Option<EndedTxn>)>,
    /// The log is damaged: what is open is not known any more.
    lost: bool,
}

/// What is wrong with an index.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) findings: Vec<Finding>,
    /// Only if nothing was compacted away.
    pub(super) unless_compacted: Vec<Finding>,
}

impl Txns {
    /// A batch passes by.
    pub(super) fn see(&mut self, batch: &Batch) {
        let header = &batch.header;
        self.first.get_or_insert(header.base_offset);
        let body = batch.bytes.slice(HEADER_LEN.min(batch.bytes.len())..);
        let ended = self.producers.update(header, &body, 0);
        if is_abort(batch) {
            self.aborts.insert(header.last_offset(), (header.producer_id, ended));
        }
    }

    /// A batch cannot be read.
    pub(super) fn give_up(&mut self) {
        self.lost = true;
    }

    /// Compares with the index of the segment that has passed, and goes on to the next.
    pub(super) fn compare(&mut self, path: &Path, table: &Table<TxnEntry>, context: &Context) -> Verdict {
        let mut verdict = Verdict::default();
        let mut aborts = std::mem::take(&mut self.aborts);
        if self.lost || table.flaw.is_some() {
            return verdict;
        }
        let found = |offset: i64, what: String| {
            Finding::new(path, what).offset(offset).harmless_if(context.recovers(offset), REMADE)
        };
        for entry in &table.entries {
            match aborts.remove(&entry.last_offset) {
                Some((producer, ended)) if producer == entry.producer_id => {
                    if let Some(what) = self.differs(entry, ended) {
                        verdict.unless_compacted.push(found(entry.last_offset, what));
                    }
                }
                _ => {
                    let what = "no transaction of that producer was aborted at this offset".to_owned();
                    verdict.findings.push(found(entry.last_offset, what));
                }
            }
        }
        for ended in aborts.into_values().filter_map(|(_, ended)| ended) {
            let EndedTxn { producer_id, first_offset, last_offset, .. } = ended;
            let what = format!("the transaction of producer {producer_id} from {first_offset} is not in it");
            verdict.findings.push(found(last_offset, what));
        }
        verdict
    }

    /// What the entry says of a transaction that the log denies.
    fn differs(&self, entry: &TxnEntry, ended: Option<EndedTxn>) -> Option<String> {
        let begins_before = self.first.is_none_or(|first| entry.first_offset < first);
        let first = ended.map(|ended| ended.first_offset);
        if !begins_before && first != Some(entry.first_offset) {
            let says = format!("it says that the transaction began at {}", entry.first_offset);
            return Some(match first {
                Some(first) => format!("{says}, the log that it did at {first}"),
                None => format!("{says}, but there is nothing of it"),
            });
        }
        // Of a transaction whose beginning is gone, the log knows too little.
        let stable = ended.map_or(i64::MAX, |ended| ended.last_stable_offset);
        let is_whole = self.first == Some(0);
        let wrong = entry.last_stable_offset > stable || (is_whole && entry.last_stable_offset != stable);
        wrong.then(|| format!("it says stable offset {}, the log {stable}", entry.last_stable_offset))
    }
}

/// Is this the marker of a transaction that was aborted?
fn is_abort(batch: &Batch) -> bool {
    let mut abort = false;
    if batch.header.is_control() && batch.header.has_producer() {
        // What cannot be read has been said.
        let _ =
            batch.records(|record| abort = record.key.as_deref().is_some_and(|key| key.ends_with(&[0, 0])));
    }
    abort
}
