//! One partition's folder, verified: every segment batch by batch, and everything that is about the segments
//! against them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use braid_storage::epochs::Epochs;
use braid_storage::{Header, checkpoint};

use super::entries::{self, Entry, OffsetEntry, Table, TimeEntry, TxnEntry};
use super::finding::Finding;
use super::folder::{Context, names, of_error, segment_file};
use super::read_only::ReadOnly;
use super::txns::Txns;
use super::walk::{Batch, Stop, Walk};

const EPOCHS: &str = "leader-epoch-checkpoint";
const REMADE: &str = "it is made again when it is needed";

/// What is in a partition, and what is wrong with it.
#[derive(Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    pub(super) segments: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// From `partition.metadata`.
    pub(super) topic_id: Option<uuid::Uuid>,
}

/// Verifies a partition's folder. `done` counts the bytes read. The error is a line for people: the folder
/// cannot be read at all.
pub(super) fn check(dir: &Path, context: Context, done: &AtomicU64) -> Result<Report, String> {
    let files = names(dir, false)?;
    let of_kind = |wanted: &str| -> Vec<i64> {
        let found = files.iter().filter_map(|name| segment_file(name));
        found.filter(|(_, kind)| *kind == wanted).map(|(offset, _)| offset).collect()
    };
    let logs = of_kind("log");
    let mut check = Check {
        dir: dir.to_path_buf(),
        context,
        done,
        report: Report::default(),
        epochs: Vec::new(),
        epochs_doubted: false,
        compacted: context.cleaned.is_some(),
        missing: Vec::new(),
        txns: Txns::default(),
        end: None,
    };
    check.leftovers(&files, &logs);
    let written =
        logs.iter().any(|base| check.path(*base, "log").metadata().is_ok_and(|file| file.len() > 0));
    check.read_epochs(written);
    for (n, base) in logs.iter().enumerate() {
        check.segment(*base, logs.get(n + 1).copied());
    }
    if !check.compacted {
        check.report.findings.append(&mut check.missing);
    }
    let end = check.end.unwrap_or(0);
    check.snapshots(&of_kind("snapshot"), logs.last().copied().unwrap_or(0), end);
    check.marks(end);
    check.topic_id();
    Ok(check.report)
}

struct Check<'a> {
    dir: PathBuf,
    context: Context,
    done: &'a AtomicU64,
    report: Report,
    /// Epoch and first offset.
    epochs: Vec<(i32, i64)>,
    /// Was a batch found that disagrees with them?
    epochs_doubted: bool,
    /// Compaction leaves gaps: it is known of, or there are gaps within a segment, where no file can be lost.
    compacted: bool,
    /// Gaps between segments, and what else compaction would explain.
    missing: Vec<Finding>,
    txns: Txns,
    /// The offset after the last batch.
    end: Option<i64>,
}

impl Check<'_> {
    fn found(&mut self, finding: Finding) {
        self.report.findings.push(finding);
    }

    fn path(&self, offset: i64, kind: &str) -> PathBuf {
        self.dir.join(format!("{offset:020}.{kind}"))
    }

    /// Files that a crash or a deletion left, and files of segments that are not there.
    fn leftovers(&mut self, files: &[String], logs: &[i64]) {
        for name in files {
            let path = self.dir.join(name);
            let last = name.rsplit('.').next().unwrap_or_default();
            if ["deleted", "cleaned", "swap", "tmp"].contains(&last) {
                self.found(Finding::new(&path, "a leftover").harmless("the next start clears it away"));
            } else if let Some((base, "index" | "timeindex" | "txnindex")) = segment_file(name)
                && !logs.contains(&base)
            {
                self.found(Finding::new(&path, "the segment it belongs to is missing").offset(base));
            }
        }
    }

    /// Epochs are written down with the first batch.
    fn read_epochs(&mut self, written: bool) {
        let path = self.dir.join(EPOCHS);
        let text = match checkpoint::read(&ReadOnly, &path) {
            Err(error) => return self.found(of_error(&path, error)),
            // Kafka makes the file with the log, and writes to it before the first batch.
            Ok(bytes) if bytes.as_ref().is_none_or(|bytes| bytes.is_empty()) => {
                if written && !self.context.recovers(0) {
                    let what = "missing or empty: the leader epochs of this log are not known";
                    self.found(Finding::new(&path, what));
                }
                return;
            }
            Ok(bytes) => String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned(),
        };
        let Some(epochs) = Epochs::from_text(&text) else {
            return self.found(Finding::new(&path, "not in the format of this file"));
        };
        let pair = |line: &str| {
            let (epoch, offset) = line.split_once(' ')?;
            Some((epoch.parse().ok()?, offset.parse().ok()?))
        };
        self.epochs = epochs.to_text().lines().filter_map(pair).collect();
    }

    /// `after` is the base offset of the segment behind it.
    fn segment(&mut self, base: i64, after: Option<i64>) {
        let (is_last, limit) = (after.is_none(), after.unwrap_or(base.saturating_add(i64::from(i32::MAX))));
        let path = self.path(base, "log");
        match self.end {
            Some(end) if base < end => {
                let what = format!("the segment begins before the end of the one before, {end}");
                self.found(Finding::new(&path, what).offset(base));
            }
            Some(end) if base > end => {
                let what = format!("offsets {end} to {} before this segment are missing", base - 1);
                self.missing.push(Finding::new(&path, what).offset(base));
            }
            _ => {}
        }
        let mut walk = match Walk::open(&path) {
            Err(error) => return self.found(Finding::new(&path, format!("cannot be read: {error}"))),
            Ok(walk) => walk,
        };
        let mut next = base;
        let mut indexes = Indexes::read(self, base);
        self.report.segments += 1;
        loop {
            match walk.next() {
                Ok(None) => break,
                Ok(Some(batch)) => {
                    self.done.fetch_add(batch.bytes.len() as u64, Ordering::Relaxed);
                    let at_end = is_last && walk.left() == 0;
                    let sound = self.batch(&path, &batch, &mut next, limit, at_end);
                    if sound {
                        indexes.see(&batch.header, batch.position);
                        self.txns.see(&batch);
                    } else {
                        indexes.give_up();
                        self.txns.give_up();
                    }
                }
                Err(stop) => {
                    let torn = matches!(stop, Stop::Torn(_)) && is_last;
                    let what = format!("{} ({} bytes behind it)", stop.what(), walk.left());
                    let finding = Finding::new(&path, what).offset(next).position(walk.position());
                    self.found(self.judge(finding, next, torn));
                    indexes.give_up();
                    self.txns.give_up();
                    next = after.unwrap_or(next);
                    break;
                }
            }
        }
        self.report.bytes += walk.position();
        self.end = Some(next.max(self.end.unwrap_or(0)));
        let complete = !is_last || self.context.closed;
        let findings = indexes.finish(&self.context, next, complete && walk.position() > 0);
        self.report.findings.extend(findings);
        self.txn_index(base);
    }

    /// A torn end is what recovery is for, if it is going to happen.
    fn judge(&self, finding: Finding, offset: i64, torn: bool) -> Finding {
        finding.harmless_if(torn && self.context.recovers(offset), "the next start cuts the log here")
    }

    /// Checks a batch and its place; false if nothing in it can be relied on.
    fn batch(&mut self, path: &Path, batch: &Batch, next: &mut i64, limit: i64, at_end: bool) -> bool {
        let header = &batch.header;
        let here = |what: String| Finding::new(path, what).position(batch.position);
        self.report.batches += 1;
        if let Some(poison) = batch.poison() {
            self.found(here(poison).offset(header.base_offset));
        } else if let Some(flaw) = batch.flaw() {
            self.found(self.judge(here(flaw).offset(*next), *next, at_end));
            return false;
        }
        self.report.records += u64::try_from(header.records_count).unwrap_or(0);
        // The CRC does not cover the base offset.
        if header.base_offset < *next || header.last_offset() >= limit {
            let what = format!("the batch begins at {}, outside of {next} to {limit}", header.base_offset);
            self.found(here(what).offset(*next));
            *next = next.saturating_add(i64::from(header.last_offset_delta) + 1);
            return false;
        }
        self.compacted |= header.base_offset > *next && batch.position > 0;
        *next = header.next_offset();
        let known = self.epochs.iter().rev().find(|(_, start)| *start <= header.base_offset);
        if let Some((epoch, _)) = known.filter(|(epoch, _)| *epoch != header.partition_leader_epoch)
            && !self.epochs_doubted
        {
            self.epochs_doubted = true;
            let what = format!("it says epoch {epoch}, the log {}", header.partition_leader_epoch);
            let finding = Finding::new(&self.dir.join(EPOCHS), what).offset(header.base_offset);
            self.found(finding.harmless_if(self.context.recovers(header.base_offset), REMADE));
        }
        true
    }

    fn txn_index(&mut self, base: i64) {
        let path = self.path(base, "txnindex");
        let bytes = match checkpoint::read(&ReadOnly, &path) {
            // Where nothing was aborted there is no file.
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => return self.found(of_error(&path, error)),
        };
        let table: Table<TxnEntry> = Table::read(&path, &bytes, base);
        let verdict = self.txns.compare(&path, &table, &self.context);
        self.report.findings.extend(verdict.findings);
        self.missing.extend(verdict.unless_compacted);
        self.report.findings.extend(table.flaw);
    }

    /// Reads all snapshots; the newest must be named for the end of a log that was closed, since the next
    /// start believes it.
    fn snapshots(&mut self, offsets: &[i64], active: i64, end: i64) {
        for offset in offsets {
            let path = self.path(*offset, "snapshot");
            let bytes = match checkpoint::read(&ReadOnly, &path) {
                Ok(bytes) => bytes.unwrap_or_default(),
                Err(error) => {
                    self.found(of_error(&path, error));
                    continue;
                }
            };
            let table = entries::snapshot(&path, &bytes);
            let late = table.entries.iter().find(|entry| entry.last_offset >= *offset);
            if let Some(late) = late {
                let what = format!("producer {} wrote later than the snapshot", late.producer_id);
                self.found(Finding::new(&path, what).offset(late.last_offset));
            }
            self.report.findings.extend(table.flaw);
            if *offset > end {
                let finding =
                    Finding::new(&path, format!("beyond the end of the log, {end}")).offset(*offset);
                self.found(finding.harmless_if(self.context.recovers(end), "the next start removes it"));
            }
        }
        match offsets.last() {
            Some(newest) if self.context.closed && *newest > active && *newest < end => {
                let what = format!("the log was closed at this offset, but goes on to {end}");
                self.found(Finding::new(&self.path(*newest, "snapshot"), what).offset(*newest));
            }
            None if end > 0 && self.context.closed => {
                let then = "what was written last under a producer id is read from the log";
                self.found(Finding::new(&self.dir, "no producer snapshot").harmless(then));
            }
            _ => {}
        }
    }

    /// What the data folder's checkpoints say must be there.
    fn marks(&mut self, end: i64) {
        let Context { recovery_point, log_start, watermark, .. } = self.context;
        let marks = [
            (recovery_point, "recovery point"),
            (log_start, "log start offset"),
            (watermark, "high watermark"),
        ];
        for (mark, name) in marks {
            if let Some(mark) = mark.filter(|mark| *mark > end) {
                let what = format!("the log ends at {end}, below its {name}: records are missing");
                self.found(Finding::new(&self.dir, what).offset(mark));
            }
        }
    }

    fn topic_id(&mut self) {
        match checkpoint::read_topic_id(&ReadOnly, &self.dir) {
            Ok(id) => self.report.topic_id = id,
            Err(error) => self.found(of_error(&self.dir.join(checkpoint::PARTITION_METADATA), error)),
        }
    }
}

/// Both indexes of a segment, compared with its batches in order.
struct Indexes {
    offsets: Compared<OffsetEntry>,
    times: Compared<TimeEntry>,
    /// The last position of an entry where a batch begins.
    begun: Option<u64>,
    /// The largest timestamp seen.
    max: i64,
    sound: bool,
}

/// An index, and how far it was compared.
struct Compared<E> {
    path: PathBuf,
    missing: bool,
    table: Table<E>,
    next: usize,
    doubt: Option<Finding>,
}

impl<E: Entry> Compared<E> {
    fn read(check: &mut Check<'_>, base: i64, kind: &str) -> Compared<E> {
        let path = check.path(base, kind);
        let bytes = checkpoint::read(&ReadOnly, &path);
        let missing = matches!(bytes, Ok(None));
        let bytes = bytes.unwrap_or_else(|error| {
            check.found(of_error(&path, error));
            None
        });
        let table = Table::read(&path, &bytes.unwrap_or_default(), base);
        Compared { path, missing, table, next: 0, doubt: None }
    }

    /// The first entry that was not compared yet.
    fn awaited(&self) -> Option<&E> {
        self.table.entries.get(self.next)
    }

    /// Compares the entries up to `last` that were not yet.
    fn up_to(&mut self, last: i64, agrees: impl Fn(&E) -> Result<(), String>) {
        while let Some(entry) = self.table.entries.get(self.next).filter(|entry| entry.offset() <= last) {
            if let Err(what) = agrees(entry) {
                let position = (self.next * E::LEN) as u64;
                let finding = Finding::new(&self.path, what).offset(entry.offset()).position(position);
                self.doubt.get_or_insert(finding);
            }
            self.next += 1;
        }
    }

    /// What is wrong with it, now that the segment was read up to `end`.
    fn finish(self, context: &Context, end: i64, sound: bool, complete: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        let beyond = self.table.entries.get(self.next).map(|entry| {
            let finding = Finding::new(&self.path, format!("beyond the end of the segment, {end}"));
            finding.offset(entry.offset()).position((self.next * E::LEN) as u64)
        });
        if self.missing && complete {
            findings.push(Finding::new(&self.path, "missing").harmless(REMADE));
        }
        // The first is enough: what follows is often its consequence.
        let flaw = self.table.flaw.or(self.doubt).or(beyond).filter(|_| sound);
        findings.extend(flaw.map(|flaw| {
            let then = "the next start makes it again";
            flaw.harmless_if(context.recovers(end), then)
        }));
        findings
    }
}

impl Indexes {
    fn read(check: &mut Check<'_>, base: i64) -> Indexes {
        let offsets = Compared::read(check, base, "index");
        let times = Compared::read(check, base, "timeindex");
        Indexes { offsets, times, begun: None, max: -1, sound: true }
    }

    /// Compares with a batch that begins at `position`.
    fn see(&mut self, header: &Header, position: u64) {
        let last = header.last_offset();
        self.max = self.max.max(header.max_timestamp);
        // The last offset of the batch, as since Kafka 2.0; or another one of it, as before. Kafka's cleaner
        // makes one entry for several batches: where the first of them begins, and an offset of the last.
        if self.offsets.awaited().is_some_and(|entry| entry.position == position) {
            self.begun = Some(position);
        }
        let (begun, named) = (self.begun, header.base_offset..=last);
        self.offsets.up_to(last, |entry| {
            match begun == Some(entry.position) && named.contains(&entry.offset) {
                true => Ok(()),
                false => {
                    let says = format!("it says position {}", entry.position);
                    Err(format!("{says}, but the batch that ends at {last} begins at {position}"))
                }
            }
        });
        let max = self.max;
        self.times.up_to(last, |entry| match entry.timestamp == max && entry.offset >= header.base_offset {
            true => Ok(()),
            false => {
                Err(format!("it says timestamp {}, but the largest up to here is {max}", entry.timestamp))
            }
        });
    }

    /// The log is damaged: nothing can be said about what is behind.
    fn give_up(&mut self) {
        self.sound = false;
    }

    /// What is wrong with them; they are `complete` if the segment is not written to any more.
    fn finish(mut self, context: &Context, end: i64, complete: bool) -> Vec<Finding> {
        let newest = self.times.table.entries.last().map_or(-1, |entry| entry.timestamp);
        let lacks = complete && !self.times.missing && newest < self.max && !context.recovers(end);
        if lacks {
            let what = format!("the segment's largest timestamp, {}, is not in it", self.max);
            self.times.doubt.get_or_insert(Finding::new(&self.times.path, what));
        }
        let mut findings = self.offsets.finish(context, end, self.sound, complete);
        findings.extend(self.times.finish(context, end, self.sound, complete));
        findings
    }
}
