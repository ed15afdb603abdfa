//! Bytes that rot in a log that was closed: found when they are about to be served, named once, and never
//! given out; what lies before and behind them is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use braid_storage::sim::{Loss, SimDisk};
use braid_storage::{
    CleanRules, Cleaner, Disk, Error, Log, LogConfig, OpenMode, Plan, ReadError, batches, records,
};
use bytes::Bytes;

use crate::support::{DIR, Model, NOW, batch, config, open, read_all};

/// A log of some segments that was closed, and its `.log` files.
fn log() -> (SimDisk, Model, Vec<PathBuf>) {
    let disk = SimDisk::new();
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    let mut model = Model::default();
    for n in 0..24 {
        log.append(&batch(1000 + n * 5, 1 + n as usize % 3, 20), None, 0, NOW).unwrap();
        model.push(1000 + n * 5, 1 + n as usize % 3);
    }
    log.close().unwrap();
    assert!(log.segment_count() >= 3);
    let names = disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name);
    let logs = names.filter(|name| name.ends_with(".log")).map(|name| Path::new(DIR).join(name));
    (disk, model, logs.collect())
}

fn reopen(disk: &SimDisk) -> Log {
    open(Arc::new(disk.clone()), OpenMode::Clean).unwrap()
}

/// Reads at every offset of the log, in order or backwards. What can be read is as the model has it; returns
/// the rest.
fn unreadable(log: &Log, model: &Model, backwards: bool, file: &Path) -> BTreeSet<i64> {
    let mut missing = BTreeSet::new();
    for n in 0..model.end() {
        let offset = if backwards { model.end() - 1 - n } else { n };
        match log.read(offset, 300, model.end(), true) {
            Ok(slice) => {
                let mut next = model.starts[model.starts.partition_point(|start| *start <= offset) - 1];
                for record in batches(&slice.bytes)
                    .flat_map(|(_, batch)| records(&batch).unwrap().map(Result::unwrap).collect::<Vec<_>>())
                {
                    assert_eq!(record.offset, next, "asked for {offset}");
                    let time = model.times[next as usize];
                    assert_eq!(record.timestamp, time);
                    assert_eq!(record.value.unwrap(), format!("{time}{}", "x".repeat(20)));
                    next += 1;
                }
                assert!(next > offset);
            }
            Err(ReadError::Storage(Error::Corrupt { path, offset: named, .. })) => {
                assert_eq!(path, file);
                assert!(named <= offset, "{named} is named, but {offset} cannot be read");
                missing.insert(offset);
            }
            Err(error) => panic!("{offset}: {error}"),
        }
    }
    missing
}

/// The batches of a file: where each begins, its length, its offsets.
fn batches_of(bytes: &[u8]) -> Vec<(usize, usize, std::ops::Range<i64>)> {
    let mut at = 0;
    let found = batches(&Bytes::copy_from_slice(bytes)).map(|(header, batch)| {
        at += batch.len();
        (at - batch.len(), batch.len(), header.base_offset..header.next_offset())
    });
    found.collect()
}

#[test]
fn a_wrong_bit_costs_its_batch_and_is_never_served() {
    let (disk, model, logs) = log();
    for (file, n) in logs.iter().zip(0..3) {
        let bytes = disk.contents(file).unwrap();
        let found = batches_of(&bytes);
        for (at, len, offsets) in &found {
            // Neither the epoch nor anything else of the broker's own is covered by a checksum.
            for byte in (0..*len).filter(|byte| !(12..16).contains(byte)) {
                let disk = disk.crash(Loss::Nothing);
                let mut bad = bytes.clone();
                bad[at + byte] ^= 1 << ((byte + n) % 8);
                disk.plant(file, &bad);
                let log = reopen(&disk);
                let missing = unreadable(&log, &model, byte % 2 == 0, file);
                assert!(offsets.clone().all(|offset| missing.contains(&offset)), "{at}+{byte}: {missing:?}");
                // If its length is not to be believed, the index tells where to go on.
                let covered = byte >= 17 || (0..8).contains(&byte);
                let last = offsets.end + if covered { 0 } else { 6 };
                assert!(
                    missing.iter().all(|offset| (offsets.start..last).contains(offset)),
                    "{at}+{byte}: {missing:?}"
                );
                assert_eq!(unreadable(&log, &model, byte % 2 == 1, file), missing);
                assert_eq!(log.quarantined(), 1, "{at}+{byte}");
                assert_eq!(disk.contents(file).unwrap(), bad, "nothing is cut");
            }
        }
    }
}

#[test]
fn lookups_pass_over_what_is_bad_and_the_log_goes_on() {
    let (disk, mut model, logs) = log();
    let file = logs.last().unwrap();
    let mut bytes = disk.contents(file).unwrap();
    let (at, len, offsets) = batches_of(&bytes)[0].clone();
    bytes[at + len - 1] ^= 4;
    disk.plant(file, &bytes);
    let mut log = reopen(&disk);
    let time = model.times[offsets.start as usize];
    let next = (model.times[offsets.end as usize], offsets.end);
    assert_eq!(log.by_time().offset_for_timestamp(time, model.end()).unwrap(), Some(next));
    for n in 0..20 {
        log.append(&batch(9000 + n, 1, 20), None, 0, NOW).unwrap();
        model.push(9000 + n, 1);
    }
    assert_eq!(unreadable(&log, &model, false, file), offsets.clone().collect());
    log.close().unwrap();
    assert_eq!(unreadable(&reopen(&disk), &model, true, file), offsets.collect());
}

#[test]
fn two_bad_neighbours_and_a_missing_index_hide_nothing_else() {
    let (disk, model, logs) = log();
    let file = &logs[1];
    let mut bytes = disk.contents(file).unwrap();
    let found = batches_of(&bytes);
    for (at, len, _) in &found[2..4] {
        bytes[at + len - 1] ^= 4;
    }
    disk.plant(file, &bytes);
    let lost: BTreeSet<i64> = (found[2].2.start..found[3].2.end).collect();
    for suffix in ["log", "index", "timeindex"] {
        if suffix != "log" {
            disk.remove(&file.with_extension(suffix)).unwrap();
        }
        let log = reopen(&disk);
        assert_eq!(unreadable(&log, &model, suffix == "index", file), lost, "{suffix}");
        assert_eq!(log.quarantined(), 2);
    }
}

#[test]
fn compaction_leaves_a_segment_with_bad_bytes_alone_and_retention_takes_it() {
    let (disk, model, logs) = log();
    let mut bytes = disk.contents(&logs[0]).unwrap();
    bytes[70] ^= 1;
    disk.plant(&logs[0], &bytes);
    let compact = LogConfig { delete: false, ..config() };
    let open =
        |config| Log::open(Arc::new(disk.clone()), Path::new(DIR), config, OpenMode::Clean, 0, NOW).unwrap();
    let mut log = open(compact);
    log.checkpointed(model.end());
    let rules =
        CleanRules { min_dirty_ratio: 0.0, min_lag_ms: 0, max_lag_ms: i64::MAX, delete_retention_ms: 0 };
    let plan = Plan::new(log.view_to_clean(model.end()), rules, None, NOW).unwrap();
    let mut cleaner = Cleaner::new(1 << 20, |_| true);
    let cleaned = cleaner.clean(&plan, NOW, |old, new| log.replace(old, new, NOW));
    assert!(matches!(&cleaned, Err(Error::Corrupt { path, .. }) if *path == logs[0]), "{cleaned:?}");
    assert_eq!(disk.contents(&logs[0]).unwrap(), bytes);
    assert_eq!(log.first_base_offset(), 0);
    drop(log);

    let mut log = open(LogConfig { retention_bytes: 1, ..config() });
    assert!(log.read(0, 300, model.end(), true).is_err());
    log.retain(model.end(), NOW).unwrap();
    assert!(log.start_offset() > 0);
    assert_eq!(
        read_all(&log, log.start_offset(), model.end()).len() as i64,
        model.end() - log.start_offset()
    );
}
