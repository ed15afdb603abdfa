//! The files of a log, damaged at random: opening it never panics, and never holds much more memory than
//! there are bytes. `BRAID_FUZZ_LOGS` says how many (default: 600), `BRAID_FUZZ_SEED` where to begin.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use braid_storage::checkpoint::{self, MetaProperties};
use braid_storage::sim::SimDisk;
use braid_storage::{BatchBuilder, Disk, Log, OpenMode};

use crate::fuzz::{pick, setting};
use crate::memory::peak;
use crate::support::{DIR, Dice, NOW, fill, leave, open};

/// Memory for each byte of the files: their copies on the simulated disk, and what is made again from them.
const TIMES: usize = 24;
const MARGIN: usize = 1 << 20;
const KINDS: [&str; 6] = ["log", "index", "timeindex", "txnindex", "snapshot", "checkpoint"];

/// A log of several segments, with transactions, closed or not.
fn written(closed: bool) -> SimDisk {
    let disk = SimDisk::new();
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    for n in 0..14 {
        let mut builder = BatchBuilder::new().producer(n % 2, 0, (n / 2 * 2) as i32).transactional();
        fill(&mut builder, NOW + n, 2, 150);
        let batch = builder.build().unwrap();
        let guard = leave(&log, &batch);
        log.append(&batch, guard, n as i32 / 5, NOW).unwrap();
        if n % 3 == 2 {
            for producer in 0..2 {
                let mut end = BatchBuilder::new().producer(producer, 0, -1).transactional().control();
                end.push_marker(NOW + n, n % 2 == 0, 1);
                log.append(&end.build().unwrap(), None, n as i32 / 5, NOW).unwrap();
            }
        }
    }
    if closed {
        log.close().unwrap()
    } else {
        log.checkpoint().unwrap()
    }
    disk
}

fn spoil(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let at = |dice: &mut Dice, bytes: &[u8]| dice.below(bytes.len() as u64 + 1) as usize;
    for _ in 0..=dice.below(3) {
        let (from, to) = (at(dice, bytes), at(dice, bytes));
        match dice.below(7) {
            0 => bytes.truncate(from),
            1 => bytes.extend(std::iter::repeat_n(pick(dice, &[0, 0xff]), to)),
            2 => bytes.extend_from_within(from.min(to)..from.max(to)),
            3 => drop(bytes.drain(from.min(to)..from.max(to))),
            4 => *bytes = (0..dice.below(200)).map(|_| dice.below(256) as u8).collect(),
            _ if from + 4 <= bytes.len() => {
                let number = pick(dice, &[0, 1, -1, i32::MAX, i32::MIN, 1 << 24]);
                bytes[from..from + 4].copy_from_slice(&number.to_be_bytes());
            }
            _ => {}
        }
    }
}

/// Everything that a broker may ask of a log.
fn use_it(log: &mut Log) {
    for offset in (-1..45).step_by(3) {
        drop(log.read(offset, 1000, 40, true));
        drop(log.by_time().offset_for_timestamp(NOW + offset, 40));
        log.epoch_end_offset(offset as i32, 3);
    }
    drop(log.by_time().max_timestamp());
    let mut next = BatchBuilder::new();
    fill(&mut next, NOW, 1, 10);
    drop(log.append(&next.build().unwrap(), None, 3, NOW));
    drop(log.checkpoint());
    drop(log.retain(20, NOW + (1 << 40)));
    drop(log.close());
}

#[test]
fn logs() {
    let (seed, count) = (setting("BRAID_FUZZ_SEED", 1), setting("BRAID_FUZZ_LOGS", 600));
    let (mut opened, mut refused) = (0, 0);
    for n in seed..seed + count {
        let mut dice = Dice(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let disk = written(dice.below(2) == 0);
        let files: Vec<PathBuf> =
            disk.list(Path::new(DIR)).unwrap().iter().map(|entry| Path::new(DIR).join(&entry.name)).collect();
        let kind = pick(&mut dice, &KINDS);
        let mut size = 0;
        for path in &files {
            let mut bytes = disk.contents(path).unwrap();
            if path.to_str().unwrap().ends_with(kind) && dice.below(2) == 0 {
                spoil(&mut dice, &mut bytes);
                disk.plant(path, &bytes);
            }
            size += bytes.len();
        }
        let how = match dice.below(3) {
            0 => OpenMode::Clean,
            1 => OpenMode::Unknown,
            _ => OpenMode::Recover { recovery_point: dice.below(45) as i64 },
        };
        let (log, held) = peak(|| open(Arc::new(disk), how));
        assert!(held <= size * TIMES + MARGIN, "{n}: {held} bytes held for files of {size}");
        match log {
            Ok(mut log) => {
                opened += 1;
                let ((), held) = peak(|| use_it(&mut log));
                assert!(held <= size * TIMES + MARGIN, "{n}: {held} bytes held for files of {size}");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(opened > count / 5 && refused > count / 50, "{opened} opened, {refused} refused");
}

#[test]
fn small_files() {
    let dir = Path::new("/data");
    let path = dir.join(checkpoint::RECOVERY_POINTS);
    for n in 0..20_000 {
        let mut dice = Dice(n * 31 + 7);
        let mut bytes = pick(
            &mut dice,
            &[
                &b"0\n2\na-c 0 9223372036854775807\nb 1 7\n"[..],
                b"#\nversion=1\ncluster.id=MkU3OEVB\ndirectory.id=AAAAAAAAAAAAAAAAAAAATQ\nnode.id=4\n",
                b"version=0\nbroker.id=1001\n",
                b"version: 0\ntopic_id: ASNFZ4mrze_-3LqYdlQyEA\n",
                b"0\n99999999999999999999\n",
            ],
        )
        .to_vec();
        spoil(&mut dice, &mut bytes);
        let disk = SimDisk::new();
        disk.plant(&path, &bytes);
        disk.plant(&dir.join(checkpoint::META_PROPERTIES), &bytes);
        disk.plant(&dir.join(checkpoint::PARTITION_METADATA), &bytes);
        let ((), held) = peak(|| {
            if let Ok(Some(offsets)) = checkpoint::read_offsets(&disk, &path) {
                checkpoint::write_offsets(&disk, &path, &offsets).unwrap();
                assert_eq!(checkpoint::read_offsets(&disk, &path).unwrap(), Some(offsets));
            }
            if let Ok(Some(meta)) = MetaProperties::read(&disk, dir) {
                meta.write(&disk, dir).unwrap();
                assert_eq!(MetaProperties::read(&disk, dir).unwrap(), Some(meta));
            }
            drop(checkpoint::read_topic_id(&disk, dir));
        });
        assert!(held < bytes.len() * 32 + (64 << 10), "{n}: {held} bytes held for {}", bytes.len());
    }
}
