//! Random producers, transactions, rounds of cleaning and restarts, and what the log must hold after each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use braid_storage::checkpoint::{Offsets, RECOVERY_POINTS, read_offsets, write_offsets};
use braid_storage::compact::CLEANER_OFFSETS;
use braid_storage::sim::SimDisk;
use braid_storage::{
    AppendError, BatchBuilder, Checked, CleanRules, Cleaner, Codec, Error, Header, Log, OpenMode, Plan,
    Record, Rules, TimestampType, batches, records, validate,
};

use super::plan;
use crate::codecs::with_body;
use crate::support::{Dice, NOW, leave, open, rules};
use crate::txn_model::committed;

/// A record that was appended once.
#[derive(Clone, Debug)]
struct Written {
    key: Option<String>,
    value: Option<String>,
    time: i64,
    /// Where its batch begins.
    batch: i64,
    txn: Option<usize>,
    marker: bool,
}

#[derive(Default)]
struct Txn {
    committed: Option<bool>,
    marker: Option<i64>,
}

pub(super) struct Story {
    pub(super) disk: SimDisk,
    log: Log,
    now: i64,
    written: BTreeMap<i64, Written>,
    txns: Vec<Txn>,
    open: BTreeMap<i64, usize>,
    sequences: BTreeMap<i64, i32>,
    /// What should be there of the data.
    present: BTreeSet<i64>,
    /// Delete horizons, by batch.
    horizons: BTreeMap<i64, i64>,
    first_dirty: i64,
    pub(super) synced: i64,
    /// Something went wrong on the way: a round may have done part of its work.
    pub(super) rough: bool,
}

fn checkpoint_path(name: &str) -> PathBuf {
    Path::new("/data").join(name)
}

fn keep(disk: &SimDisk, name: &str, offset: i64) -> Result<(), Error> {
    write_offsets(disk, &checkpoint_path(name), &Offsets::from([(("topic".to_owned(), 0), offset)]))
}

fn kept(disk: &SimDisk, name: &str) -> i64 {
    let offsets = read_offsets(disk, &checkpoint_path(name)).unwrap().unwrap_or_default();
    offsets.get(&("topic".to_owned(), 0)).copied().unwrap_or(0)
}

fn data_folder() -> SimDisk {
    let disk = SimDisk::new();
    disk.plant(Path::new("/data/.lock"), b"");
    disk
}

fn storage(error: AppendError) -> Error {
    match error {
        AppendError::Storage(error) => error,
        other => panic!("{other}"),
    }
}

/// What a client would send: compressed, perhaps stamped by the broker.
fn sent(plain: Checked, dice: &mut Dice, now: i64) -> Checked {
    let body = plain.body();
    let (codec, body) = match dice.below(8) {
        0 => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(body).unwrap();
            (Codec::Gzip, gzip.finish().unwrap())
        }
        1 => (Codec::Snappy, snap::raw::Encoder::new().compress_vec(body).unwrap()),
        2 => {
            let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
            lz4.write_all(body).unwrap();
            (Codec::Lz4, lz4.finish().unwrap())
        }
        3 => (Codec::Zstd, zstd::encode_all(&body[..], 1).unwrap()),
        _ => (Codec::None, body.to_vec()),
    };
    let broker_clock = dice.below(5) == 0;
    let timestamp_type = if broker_clock { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
    let bytes = with_body(plain.header(), codec, &body);
    validate(&bytes, &Rules { timestamp_type, ..rules() }, now).unwrap()
}

impl Story {
    pub(super) fn new(seed: u64) -> Story {
        Story::on(data_folder(), seed).unwrap()
    }

    pub(super) fn on(disk: SimDisk, seed: u64) -> Result<Story, Error> {
        disk.plant(Path::new("/data/.lock"), b"");
        let log = open(Arc::new(disk.clone()), OpenMode::Clean)?;
        Ok(Story {
            disk,
            log,
            now: NOW + seed as i64,
            written: BTreeMap::new(),
            txns: Vec::new(),
            open: BTreeMap::new(),
            sequences: BTreeMap::new(),
            present: BTreeSet::new(),
            horizons: BTreeMap::new(),
            first_dirty: 0,
            synced: 0,
            rough: false,
        })
    }

    /// Appends a batch of some producer, or ends a transaction.
    pub(super) fn append(&mut self, dice: &mut Dice) -> Result<(), Error> {
        self.now += dice.below(20) as i64;
        let producer = [-1, -1, 1, 2, 7, 8][dice.below(6) as usize];
        let within = producer >= 7;
        if let Some(txn) = self.open.get(&producer).copied()
            && dice.below(3) == 0
        {
            return self.end(producer, txn, dice.below(2) == 0);
        }
        let mut builder = BatchBuilder::new();
        let count = 1 + dice.below(5) as usize;
        if producer >= 0 {
            let sequence = self.sequences.entry(producer).or_insert(0);
            builder = builder.producer(producer, 0, *sequence);
            *sequence += count as i32;
        }
        if within {
            builder = builder.transactional();
        }
        for n in 0..count {
            let key = (dice.below(25) > 0).then(|| format!("key-{}", dice.below(14)));
            let value = (dice.below(4) > 0).then(|| format!("{}-{}", self.written.len() + n, "v".repeat(30)));
            let time = self.now + dice.below(30) as i64 - 15;
            let (key, value) = (key.as_deref(), value.as_deref());
            builder.push(time, key.map(str::as_bytes), value.map(str::as_bytes), &[(b"name", Some(b"v"))]);
        }
        let batch = sent(builder.build().unwrap(), dice, self.now);
        let txn = within.then(|| {
            *self.open.entry(producer).or_insert_with(|| {
                self.txns.push(Txn::default());
                self.txns.len() - 1
            })
        });
        self.write(&batch, txn, false)
    }

    fn end(&mut self, producer: i64, txn: usize, commit: bool) -> Result<(), Error> {
        let mut marker = BatchBuilder::new().producer(producer, 0, -1).transactional().control();
        marker.push_marker(self.now, commit, 1);
        let offset = self.log.end_offset();
        // Even if the power goes now, it may be found later.
        self.txns[txn] = Txn { committed: Some(commit), marker: Some(offset) };
        self.open.remove(&producer);
        self.write(&marker.build().unwrap(), Some(txn), true)
    }

    fn write(&mut self, batch: &Checked, txn: Option<usize>, marker: bool) -> Result<(), Error> {
        let base = self.log.end_offset();
        let text = |bytes: Option<bytes::Bytes>| bytes.map(|b| String::from_utf8_lossy(&b).into_owned());
        for record in batch.records().unwrap().map(Result::unwrap) {
            let (key, value) = (text(record.key), text(record.value));
            let written = Written { key, value, time: record.timestamp, batch: base, txn, marker };
            self.written.insert(base + record.offset, written);
            if !marker {
                self.present.insert(base + record.offset);
            }
        }
        self.log.append(batch, leave(&self.log, batch), 0, self.now).map(drop).map_err(storage)
    }

    /// A round of cleaning under random circumstances.
    pub(super) fn round(&mut self, dice: &mut Dice) -> Result<(), Error> {
        self.now += dice.below(80) as i64;
        let rolled = dice.below(3) > 0;
        if rolled {
            self.log.roll(self.now)?;
        }
        self.log.checkpoint()?;
        self.log.sync()?;
        self.synced = self.log.synced_offset();
        keep(&self.disk, RECOVERY_POINTS, self.synced)?;
        self.log.checkpointed(self.synced);
        let rules = CleanRules {
            delete_retention_ms: [0, 60, 300][dice.below(3) as usize],
            min_lag_ms: [0, 0, 50][dice.below(3) as usize],
            ..CleanRules::default()
        };
        let plan = plan(&mut self.log, &rules, self.first_dirty, self.now);
        let map_bytes = [1 << 20, 24 * 4, 24 * 9][dice.below(3) as usize];
        let (now, log) = (self.now, &mut self.log);
        let mut cleaner = Cleaner::new(map_bytes, |_| true);
        let cleaned = cleaner.clean(&plan, now, |old, new| log.replace(old, new, now))?.unwrap();
        let next = cleaned.next_dirty_offset;
        self.check_progress(&plan, &rules, next, rolled && map_bytes == 1 << 20);
        self.cleaned(next, rules.delete_retention_ms);
        let after = cleaned.next_horizon_ms.is_none_or(|horizon| horizon >= now);
        assert!(after, "{now} {:?}", cleaned.next_horizon_ms);
        self.first_dirty = next;
        keep(&self.disk, CLEANER_OFFSETS, next)
    }

    fn check_progress(&self, plan: &Plan, rules: &CleanRules, next: i64, unbound: bool) {
        assert!(next >= self.first_dirty && (plan.dirty_ratio() == 0.0 || next > self.first_dirty));
        if rules.min_lag_ms > 0 {
            let young = |w: &Written| w.time > self.now - rules.min_lag_ms;
            let stays = self.present.range(self.first_dirty..).find(|offset| young(&self.written[*offset]));
            assert!(stays.is_none_or(|offset| next <= *offset), "{next} {stays:?}");
        } else if unbound && self.open.is_empty() {
            assert_eq!(next, self.log.end_offset());
        }
    }

    fn aborted(&self, written: &Written) -> bool {
        written.txn.is_some_and(|txn| self.txns[txn].committed == Some(false))
    }

    /// The last record of each key below `end` that counts.
    fn latest(&self, end: i64) -> BTreeMap<&str, i64> {
        let data = self.written.range(..end).filter(|(_, w)| !w.marker && !self.aborted(w));
        data.filter_map(|(offset, w)| Some((w.key.as_deref()?, *offset))).collect()
    }

    /// Works out what a round to `end` must have left.
    fn cleaned(&mut self, end: i64, delete_retention_ms: i64) {
        let latest: BTreeSet<i64> = self.latest(end).into_values().collect();
        let mut present = self.present.split_off(&end);
        let mut new_horizons = Vec::new();
        for offset in latest {
            let written = &self.written[&offset];
            let horizon = self.horizons.get(&written.batch);
            if written.value.is_some() || horizon.is_none_or(|horizon| *horizon > self.now) {
                present.insert(offset);
                new_horizons.extend(written.value.is_none().then_some(written.batch));
            }
        }
        for batch in new_horizons {
            self.horizons.entry(batch).or_insert(self.now + delete_retention_ms);
        }
        self.present = present;
    }

    /// Opens the log again, after a stop or a kill, with or without its checkpoint.
    pub(super) fn restart(&mut self, dice: &mut Dice) {
        match dice.below(2) {
            0 => {
                self.log.close().unwrap();
                self.open(OpenMode::Clean);
            }
            _ => self.recover(dice.below(2) == 0),
        }
    }

    /// Opens it after a kill. Once somebody had removed the checkpoint, and what had been compacted was cut
    /// at its first gap.
    pub(super) fn recover(&mut self, has_checkpoint: bool) {
        let recovery_point = kept(&self.disk, RECOVERY_POINTS);
        let known = has_checkpoint.then_some(OpenMode::Recover { recovery_point });
        self.open(known.unwrap_or(OpenMode::Unknown));
    }

    fn open(&mut self, how: OpenMode) {
        self.log = open(Arc::new(self.disk.clone()), how).unwrap();
        self.log.checkpointed(kept(&self.disk, RECOVERY_POINTS));
    }

    /// Goes on with what a crash has left.
    pub(super) fn survive(&mut self, disk: SimDisk) {
        self.disk = disk;
        self.rough = true;
        self.recover(true);
        let end = self.log.end_offset();
        assert!(end >= self.synced, "{end} < {}", self.synced);
        self.written.split_off(&end);
        self.present.split_off(&end);
        for txn in self.txns.iter_mut().filter(|txn| txn.marker.is_some_and(|marker| marker >= end)) {
            *txn = Txn::default();
        }
        self.open.clear();
        for (_, written) in self.written.iter().filter(|(_, written)| !written.marker) {
            if let Some(txn) = written.txn.filter(|txn| self.txns[*txn].marker.is_none()) {
                self.open.insert(-1 - txn as i64, txn);
            }
        }
        self.first_dirty = kept(&self.disk, CLEANER_OFFSETS);
    }

    /// Everything that is in the log, as a client would see it.
    fn read(&self) -> Vec<(Header, Vec<Record>)> {
        let (mut next, mut found) = (0, Vec::new());
        while next < self.log.end_offset() {
            let slice = self.log.read(next, 600, self.log.end_offset(), true).unwrap();
            assert!(!slice.bytes.is_empty(), "nothing at {next}");
            for (header, batch) in batches(&slice.bytes) {
                assert!(header.last_offset() >= next && header.base_offset >= 0);
                assert_eq!(header.crc, header.crc_with(&batch[61..]));
                let inside: Vec<_> = records(&batch).unwrap().map(Result::unwrap).collect();
                assert_eq!(inside.len(), header.records_count as usize);
                assert!(inside.iter().all(|record| (next..=header.last_offset()).contains(&record.offset)));
                assert!(inside.is_sorted_by(|a, b| a.offset < b.offset));
                let newest = inside.iter().map(|record| record.timestamp).max();
                assert!(newest.is_none_or(|newest| newest == header.max_timestamp));
                next = header.next_offset();
                found.push((header, inside));
            }
        }
        found
    }

    fn read_checked(&self) -> (BTreeSet<i64>, BTreeMap<i64, i64>) {
        let (mut data, mut times) = (BTreeSet::new(), BTreeMap::new());
        for (header, inside) in self.read() {
            for record in inside {
                let written = &self.written[&record.offset];
                assert_eq!(written.marker, header.is_control());
                assert_eq!(written.time, record.timestamp);
                times.insert(record.offset, record.timestamp);
                if written.marker {
                    continue;
                }
                assert_eq!(record.key.as_deref(), written.key.as_deref().map(str::as_bytes));
                assert_eq!(record.value.as_deref(), written.value.as_deref().map(str::as_bytes));
                assert_eq!(record.headers.len(), 1);
                data.insert(record.offset);
            }
        }
        (data, times)
    }

    /// The log holds what it must, nothing else, and can be read from everywhere.
    pub(super) fn check_all(&mut self) {
        self.check_committed();
        let (data, times) = self.read_checked();
        assert_eq!(data, self.present, "cleaned to {}", self.first_dirty);
        self.check_markers(&data, &times);
        for offset in (self.now % 4..self.log.end_offset()).step_by(4) {
            assert_eq!(self.next_record(offset), times.range(offset..).next().map(|(offset, _)| *offset));
        }
        for time in times.values().step_by(5).flat_map(|time| [*time, time + 1]) {
            let first =
                times.iter().find(|(_, other)| **other >= time).map(|(offset, time)| (*time, *offset));
            let found = self.log.by_time().offset_for_timestamp(time, self.log.end_offset()).unwrap();
            assert_eq!(found, first, "at {time}");
        }
    }

    /// No marker is missing that ends something, or that was not cleaned yet.
    fn check_markers(&self, data: &BTreeSet<i64>, times: &BTreeMap<i64, i64>) {
        for (n, marker) in self.txns.iter().enumerate().filter_map(|(n, txn)| Some((n, txn.marker?))) {
            let needed = data.iter().any(|offset| self.written[offset].txn == Some(n));
            assert!(times.contains_key(&marker) || !(needed || marker >= self.first_dirty), "{marker}");
        }
    }

    /// A reader that begins anywhere and reads what is committed gets that, and nothing else.
    fn check_committed(&mut self) {
        let (data, _) = self.read_checked();
        let stable = self.log.last_stable_offset(self.log.end_offset());
        let open = self.open.values().copied();
        let first = open.filter_map(|txn| self.written.iter().find(|(_, w)| w.txn == Some(txn)));
        assert_eq!(stable, first.map(|(offset, _)| *offset).min().unwrap_or(self.log.end_offset()));
        for from in (self.now % 31..stable).step_by(31) {
            let wanted = data.range(from..stable).filter(|offset| !self.aborted(&self.written[offset]));
            let wanted: Vec<i64> = wanted.copied().collect();
            let found = committed(&self.log, from, 100 + (from as usize * 37) % 900);
            let found: Vec<i64> = found.iter().map(|record| record.offset).collect();
            assert_eq!(found, wanted, "from {from}");
        }
    }

    fn next_record(&self, from: i64) -> Option<i64> {
        let mut next = from;
        while next < self.log.end_offset() {
            let slice = self.log.read(next, 1, self.log.end_offset(), true).unwrap();
            for (header, batch) in batches(&slice.bytes) {
                let mut inside = records(&batch).unwrap().map(|record| record.unwrap().offset);
                if let Some(found) = inside.find(|offset| *offset >= from) {
                    return Some(found);
                }
                next = header.next_offset();
            }
        }
        None
    }

    /// After a crash: a reader of everything knows the last value of each key.
    pub(super) fn check_values(&mut self) {
        self.check_committed();
        let (data, times) = self.read_checked();
        self.check_markers(&data, &times);
        let seen: BTreeMap<&str, i64> = data
            .iter()
            .map(|offset| (offset, &self.written[offset]))
            .filter(|(_, written)| !self.aborted(written))
            .filter_map(|(offset, written)| Some((written.key.as_deref()?, *offset)))
            .collect();
        for (key, offset) in self.latest(self.log.end_offset()) {
            let found = seen.get(key).copied();
            let tombstone = self.written[&offset].value.is_none();
            assert!(
                found == Some(offset) || (tombstone && found.is_none()),
                "{key}: {found:?}, not {offset}"
            );
        }
    }

    /// A last round over everything. Horizons may be those of a round that was cut off.
    pub(super) fn settle(&mut self) {
        self.now += 1000;
        self.log.roll(self.now).unwrap();
        self.log.close().unwrap();
        self.log.checkpointed(self.log.synced_offset());
        keep(&self.disk, RECOVERY_POINTS, self.log.synced_offset()).unwrap();
        let rules = CleanRules { delete_retention_ms: 0, ..CleanRules::default() };
        for _ in 0..2 {
            let plan = plan(&mut self.log, &rules, self.first_dirty, self.now);
            let (now, log) = (self.now, &mut self.log);
            let mut cleaner = Cleaner::new(1 << 20, |_| true);
            let cleaned = cleaner.clean(&plan, now, |old, new| log.replace(old, new, now)).unwrap().unwrap();
            self.first_dirty = cleaned.next_dirty_offset;
            self.now += 1;
        }
        assert!(!self.open.is_empty() || self.first_dirty == self.log.end_offset());
        let (data, _) = self.read_checked();
        let latest = self.latest(self.first_dirty);
        let values: BTreeSet<i64> =
            latest.into_values().filter(|offset| self.written[offset].value.is_some()).collect();
        let below: BTreeSet<i64> = data.range(..self.first_dirty).copied().collect();
        assert_eq!(below, values);
        self.check_values();
    }
}
