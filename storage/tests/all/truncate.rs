//! The last segment cut at every byte, and damaged at every byte.

use std::path::Path;
use std::sync::Arc;

use braid_storage::sim::{Loss, SimDisk};
use braid_storage::{Disk, Error, Log, OpenMode};

use crate::support::{DIR, Model, NOW, batch, open};

/// A log of some segments that was not closed, and the name of its last file.
fn log() -> (SimDisk, Model, String) {
    let disk = SimDisk::new();
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    let mut model = Model::default();
    for n in 0..16 {
        log.append(&batch(1000 + n * 5, 1 + n as usize % 3, 60), None, 1, NOW).unwrap();
        model.push(1000 + n * 5, 1 + n as usize % 3);
    }
    assert!(log.segment_count() >= 2);
    let mut names = disk.list(Path::new(DIR)).unwrap();
    names.retain(|entry| entry.name.ends_with(".log"));
    (disk, model, format!("{DIR}/{}", names.last().unwrap().name))
}

/// Opens after a crash, with everything suspect from `recovery_point` on.
fn reopen(disk: &SimDisk, recovery_point: i64) -> Result<Log, Error> {
    open(Arc::new(disk.clone()), OpenMode::Recover { recovery_point })
}

/// How far the batches go that lie wholly in the first `len` bytes.
fn whole(bytes: &[u8], len: usize, base: i64) -> i64 {
    let bytes = bytes::Bytes::copy_from_slice(&bytes[..len]);
    braid_storage::batches(&bytes).last().map_or(base, |(header, _)| header.next_offset())
}

fn base(path: &str) -> i64 {
    Path::new(path).file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn cut_anywhere_the_whole_batches_stay_and_the_log_goes_on() {
    let (disk, model, last) = log();
    let bytes = disk.contents(Path::new(&last)).unwrap();
    for len in 0..=bytes.len() {
        let disk = disk.crash(Loss::Nothing);
        disk.plant(Path::new(&last), &bytes[..len]);
        let mut model = model.clone();
        model.cut(whole(&bytes, len, base(&last)));
        let mut log = reopen(&disk, 0).unwrap();
        model.check(&log);
        log.append(&batch(9000, 2, 60), None, 1, NOW).unwrap();
        model.push(9000, 2);
        log.close().unwrap();
        model.check(&open(Arc::new(disk.clone()), OpenMode::Clean).unwrap());
    }
}

#[test]
fn a_wrong_byte_anywhere_ends_the_log_before_its_batch() {
    let (disk, model, last) = log();
    let bytes = disk.contents(Path::new(&last)).unwrap();
    let headers: Vec<_> = braid_storage::batches(&bytes::Bytes::from(bytes.clone())).collect();
    let mut start = 0;
    for (header, batch) in &headers {
        for n in 0..batch.len() {
            // The leader epoch is the broker's own and not covered by the checksum.
            if (12..16).contains(&n) {
                continue;
            }
            let disk = disk.crash(Loss::Nothing);
            let mut bytes = bytes.clone();
            bytes[start + n] ^= 0x20;
            disk.plant(Path::new(&last), &bytes);
            let mut model = model.clone();
            model.cut(header.base_offset);
            model.check(&reopen(&disk, 0).unwrap());
        }
        start += batch.len();
    }
}

#[test]
fn what_was_synced_is_never_cut_but_reported() {
    let (disk, model, last) = log();
    let bytes = disk.contents(Path::new(&last)).unwrap();
    for len in 0..bytes.len() {
        let end = whole(&bytes, len, base(&last));
        let disk = disk.crash(Loss::Nothing);
        disk.plant(Path::new(&last), &bytes[..len]);
        match reopen(&disk, end + 1) {
            Err(Error::Corrupt { path, offset, .. }) => {
                assert_eq!((path.to_str().unwrap(), offset), (&*last, end))
            }
            other => panic!("{:?} at {len}", other.map(|log| log.end_offset())),
        }
        assert_eq!(disk.contents(Path::new(&last)).unwrap(), &bytes[..len], "nothing was cut");
    }
    assert!(reopen(&disk, model.end()).is_ok());
    assert!(matches!(reopen(&disk, model.end() + 1), Err(Error::Corrupt { .. })));
}

#[test]
fn zeros_and_old_bytes_behind_the_end_are_cut() {
    let (disk, model, last) = log();
    let bytes = disk.contents(Path::new(&last)).unwrap();
    let older = batch(1, 1, 10).to_bytes();
    for tail in [&[0u8; 1][..], &[0; 4096], &older, &bytes] {
        let disk = disk.crash(Loss::Nothing);
        disk.plant(Path::new(&last), &[&bytes, tail].concat());
        model.check(&reopen(&disk, 0).unwrap());
        assert_eq!(disk.contents(Path::new(&last)).unwrap(), bytes);
    }
}

#[test]
fn an_index_that_is_missing_or_lies_is_made_again() {
    let (disk, model, _) = log();
    let mut log = reopen(&disk, 0).unwrap();
    log.close().unwrap();
    let indexes: Vec<String> =
        disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect();
    for name in indexes.iter().filter(|name| name.ends_with("index")) {
        let path = Path::new(DIR).join(name);
        let good = disk.contents(&path).unwrap();
        let disk = disk.crash(Loss::Nothing);
        disk.remove(&path).unwrap();
        let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
        model.check(&log);
        log.close().unwrap();
        if name.ends_with(".index") && !good.is_empty() {
            let mut bad = good.clone();
            for entry in bad.chunks_mut(8) {
                entry[7] ^= 1;
            }
            disk.plant(&path, &bad);
            model.check(&open(Arc::new(disk.clone()), OpenMode::Clean).unwrap());
        }
        disk.plant(&path, &good[..good.len().saturating_sub(3)]);
        model.check(&open(Arc::new(disk.clone()), OpenMode::Clean).unwrap());
    }
}
