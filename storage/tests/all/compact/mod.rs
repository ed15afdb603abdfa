//! Compaction against a `BTreeMap`: of each key the last value, at its offset, whatever was cleaned when.

mod crash;
mod story;
mod transactions;

use std::path::Path;
use std::sync::Arc;

use braid_storage::sim::SimDisk;
use braid_storage::{BatchBuilder, CleanRules, Cleaned, Cleaner, Error, Log, OpenMode, Plan, RealDisk};

use crate::support::{Dice, NOW, open, open_at, read_all};
use story::Story;

/// Everything is below the recovery point, and nothing in the segment that is written to.
fn seal(log: &mut Log, now: i64) {
    log.roll(now).unwrap();
    log.close().unwrap();
    log.checkpointed(log.synced_offset());
}

fn plan(log: &mut Log, rules: &CleanRules, first_dirty: i64, now: i64) -> Plan {
    let view = log.view_to_clean(log.end_offset());
    Plan::new(view, rules.clone(), Some(first_dirty), now).unwrap()
}

/// A round of all there is.
fn clean(log: &mut Log, rules: &CleanRules, first_dirty: i64, now: i64) -> Cleaned {
    seal(log, now);
    let plan = plan(log, rules, first_dirty, now);
    let cleaned = Cleaner::new(1 << 20, |_| true).clean(&plan, now, |old, new| log.replace(old, new, now));
    cleaned.unwrap().unwrap()
}

fn new_log() -> (SimDisk, Log) {
    let disk = SimDisk::new();
    disk.plant(Path::new("/data/.lock"), b"");
    let log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    (disk, log)
}

fn put(log: &mut Log, time: i64, pairs: &[(&str, Option<&str>)]) -> i64 {
    let mut batch = BatchBuilder::new();
    for (key, value) in pairs {
        batch.push(time, Some(key.as_bytes()), value.map(str::as_bytes), &[(b"h", Some(b"1")), (b"n", None)]);
    }
    log.append(&batch.build().unwrap(), None, 0, time).unwrap().base_offset
}

fn offsets(log: &Log) -> Vec<i64> {
    read_all(log, log.start_offset(), log.end_offset()).iter().map(|record| record.offset).collect()
}

#[test]
fn of_each_key_the_last_value_stays_where_it_was() {
    for seed in 1..=1000 {
        let tale = std::panic::catch_unwind(|| {
            let mut dice = Dice(seed * 7919);
            let mut story = Story::new(seed);
            for _ in 0..3 + dice.below(4) {
                for _ in 0..5 + dice.below(25) {
                    story.append(&mut dice).unwrap();
                }
                story.round(&mut dice).unwrap();
                story.check_all();
                if dice.below(3) == 0 {
                    story.restart(&mut dice);
                    story.check_all();
                }
            }
        });
        assert!(tale.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_tombstone_stays_until_its_horizon() {
    let (_disk, mut log) = new_log();
    let rules = CleanRules { delete_retention_ms: 100, ..CleanRules::default() };
    put(&mut log, NOW, &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]);
    put(&mut log, NOW + 1, &[("a", None), ("d", Some("1"))]);
    let first = clean(&mut log, &rules, 0, NOW + 5);
    assert_eq!((first.next_dirty_offset, first.next_horizon_ms), (5, Some(NOW + 105)));
    assert_eq!((first.records_before, first.records_after), (5, 4));
    assert_eq!(offsets(&log), [1, 2, 3, 4]);
    let slice = log.read(3, 1, 5, true).unwrap();
    let (header, _) = braid_storage::batches(&slice.bytes).next().unwrap();
    assert!(header.delete_horizon() && header.base_timestamp == NOW + 105 && header.max_timestamp == NOW + 1);
    assert_eq!(read_all(&log, 3, 5)[0].timestamp, NOW + 1);
    assert_eq!(read_all(&log, 3, 5)[0].headers.len(), 2);

    put(&mut log, NOW + 6, &[("b", None)]);
    let second = clean(&mut log, &rules, 5, NOW + 104);
    assert_eq!(offsets(&log), [2, 3, 4, 5], "a is still there, b has just been removed");
    assert_eq!((second.next_dirty_offset, second.next_horizon_ms), (6, Some(NOW + 105)));
    // Nothing is dirty, but a's time has come.
    assert!(!plan(&mut log, &rules, 6, NOW + 105).is_due());
    let third = clean(&mut log, &rules, 6, NOW + 105);
    assert_eq!(third.next_horizon_ms, Some(NOW + 204));
    assert_eq!(offsets(&log), [2, 4, 5]);
    assert_eq!(clean(&mut log, &rules, 6, NOW + 204).next_horizon_ms, None);
    assert_eq!(offsets(&log), [2, 4]);
    assert_eq!(log.end_offset(), 6);
}

#[test]
fn a_round_is_due_when_enough_is_dirty_or_something_for_too_long() {
    let (_disk, mut log) = new_log();
    let rules = CleanRules::default();
    assert!(!plan(&mut log, &rules, 0, NOW).is_due(), "an empty log");
    for n in 0..30 {
        put(&mut log, NOW + n, &[(&format!("{n}"), Some(&"v".repeat(100)))]);
    }
    assert!(!plan(&mut log, &rules, 0, NOW).is_due(), "nothing is below the recovery point");
    seal(&mut log, NOW);
    assert!(plan(&mut log, &rules, 0, NOW).is_due());
    assert_eq!(plan(&mut log, &rules, 0, NOW).dirty_ratio(), 1.0);
    assert_eq!(plan(&mut log, &rules, 31, NOW).first_dirty_offset(), 0, "a checkpoint of another log");
    assert!(!plan(&mut log, &rules, 25, NOW).is_due());
    let mut late = CleanRules { max_lag_ms: 100, ..CleanRules::default() };
    assert!(!plan(&mut log, &late, 25, NOW + 124).is_due());
    assert!(
        plan(&mut log, &late, 25, NOW + 126).is_overdue() && plan(&mut log, &late, 25, NOW + 126).is_due()
    );
    late.min_lag_ms = 1000;
    assert!(!plan(&mut log, &late, 0, NOW + 999).is_due(), "too young");
    // Segments of a batch or more: those that begin before the 15th are old enough.
    let some = plan(&mut log, &late, 0, NOW + 1014);
    let cleaned = Cleaner::new(0, |_| true).clean(&some, NOW, |old, new| log.replace(old, new, NOW));
    assert_eq!(cleaned.unwrap().unwrap().next_dirty_offset, 1, "the smallest table holds one key");
    let cleaned = Cleaner::new(1 << 20, |_| true).clean(&some, NOW, |_, _| Ok(true));
    assert!((1..=15).contains(&cleaned.unwrap().unwrap().next_dirty_offset));
}

#[test]
fn a_batch_that_loses_nothing_is_copied_and_small_segments_become_one() {
    let (_disk, mut log) = new_log();
    for n in 0..60 {
        put(&mut log, NOW, &[(&format!("{}", n / 4), Some(&"v".repeat(60))), (&format!("k{n}"), Some("1"))]);
    }
    seal(&mut log, NOW);
    let before = log.segment_count();
    let whole = log.read(118, 1, 120, true).unwrap().bytes;
    let cleaned = clean(&mut log, &CleanRules::default(), 0, NOW);
    assert_eq!((cleaned.records_before, cleaned.records_after), (120, 75));
    assert!(cleaned.bytes_after < cleaned.bytes_before);
    assert_eq!(log.size_bytes(), cleaned.bytes_after);
    let again = clean(&mut log, &CleanRules::default(), 120, NOW);
    assert_eq!(again.bytes_after, cleaned.bytes_after);
    assert!(log.segment_count() < before, "{} {before}", log.segment_count());
    assert_eq!(log.read(118, 1, 120, true).unwrap().bytes, whole);
    assert_eq!(log.read(0, 1, 120, true).unwrap().base_offset, 0);
    assert_eq!(offsets(&log).len(), 75);
}

#[test]
fn more_keys_than_fit_are_cleaned_in_several_rounds() {
    let (_disk, mut log) = new_log();
    for n in 0..1200i64 {
        put(&mut log, NOW + n, &[(&format!("{}", n * 31 % 400), Some("v")), (&format!("{}", n % 400), None)]);
    }
    seal(&mut log, NOW);
    let rules = CleanRules { delete_retention_ms: i64::MAX, ..CleanRules::default() };
    let (mut next, mut rounds) = (0, 0);
    while next < 2400 {
        let plan = plan(&mut log, &rules, next, NOW);
        let mut cleaner = Cleaner::new(24 * 100, |_| true);
        let cleaned = cleaner.clean(&plan, NOW, |old, new| log.replace(old, new, NOW)).unwrap().unwrap();
        assert!(cleaned.next_dirty_offset > next && cleaned.next_dirty_offset <= next + 400);
        (next, rounds) = (cleaned.next_dirty_offset, rounds + 1);
    }
    assert!(rounds > 10, "{rounds}");
    let kept = read_all(&log, 0, 2400);
    assert_eq!(kept.len(), 400);
    let keys: std::collections::BTreeSet<_> = kept.iter().map(|record| record.key.clone()).collect();
    assert_eq!(keys.len(), 400);
}

#[test]
fn a_round_that_is_ended_early_has_done_no_harm() {
    for stop in 0.. {
        let (_disk, mut log) = new_log();
        for n in 0..40i64 {
            put(&mut log, NOW + n, &[(&format!("{}", n % 7), Some(&"v".repeat(100)))]);
        }
        seal(&mut log, NOW);
        let plan = plan(&mut log, &CleanRules::default(), 0, NOW);
        let mut calls = 0;
        let mut cleaner = Cleaner::new(1 << 20, |bytes| {
            assert!(bytes > 0);
            calls += 1;
            calls <= stop
        });
        let done = cleaner.clean(&plan, NOW, |old, new| log.replace(old, new, NOW)).unwrap();
        let left = offsets(&log);
        assert!((33..40).all(|offset| left.contains(&offset)), "stopped at {stop}: {left:?}");
        clean(&mut log, &CleanRules::default(), 0, NOW);
        assert_eq!(offsets(&log), (33..40).collect::<Vec<_>>());
        if done.is_some() {
            assert_eq!(stop, 80, "each batch is read twice");
            break;
        }
    }
}

#[test]
fn files_are_replaced_under_readers() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("topic-0");
    let mut log = open_at(Arc::new(RealDisk::default()), &dir, OpenMode::Clean).unwrap();
    for n in 0..200i64 {
        put(&mut log, NOW + n, &[(&format!("{}", n % 30), Some(&format!("{n}{}", "v".repeat(300))))]);
    }
    seal(&mut log, NOW);
    let readers: Vec<_> = (0..200).map(|offset| log.reader(offset, 200).unwrap()).collect();
    // An earlier attempt was cut off.
    for suffix in ["log", "index", "timeindex"] {
        std::fs::write(dir.join(format!("00000000000000000000.{suffix}.cleaned")), [7; 9999]).unwrap();
    }
    for first_dirty in [0, 200] {
        clean(&mut log, &CleanRules::default(), first_dirty, NOW);
        assert_eq!(offsets(&log), (170..200).collect::<Vec<_>>());
    }
    for (offset, reader) in readers.iter().enumerate() {
        let slice = reader.read(1, true).unwrap();
        assert_eq!(slice.base_offset, offset as i64);
        let record = braid_storage::records(&slice.bytes).unwrap().next().unwrap().unwrap();
        assert!(record.value.unwrap().starts_with(offset.to_string().as_bytes()));
    }
    log.close().unwrap();
    let log = open_at(Arc::new(RealDisk::default()), &dir, OpenMode::Clean).unwrap();
    assert_eq!(offsets(&log), (170..200).collect::<Vec<_>>());
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().ends_with(".cleaned")), "{left:?}");
}

#[test]
fn a_segment_that_is_gone_ends_the_round_and_a_bad_one_is_named() {
    let (disk, mut log) = new_log();
    for n in 0..40i64 {
        put(&mut log, NOW + n, &[("k", Some(&format!("{n}{}", "v".repeat(100))))]);
    }
    seal(&mut log, NOW);
    let view = plan(&mut log, &CleanRules::default(), 0, NOW);
    assert_eq!(Cleaner::new(99, |_| true).clean(&view, NOW, |_, _| Ok(false)).unwrap(), None);

    let path = Path::new(crate::support::DIR).join("00000000000000000000.log");
    let mut bytes = disk.contents(&path).unwrap();
    bytes[300] ^= 1;
    disk.plant(&path, &bytes);
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    log.checkpointed(40);
    let view = plan(&mut log, &CleanRules::default(), 0, NOW);
    let cleaned = Cleaner::new(99, |_| true).clean(&view, NOW, |old, new| log.replace(old, new, NOW));
    assert!(matches!(&cleaned, Err(Error::Corrupt { path: bad, .. }) if *bad == path), "{cleaned:?}");
    assert_eq!(disk.contents(&path).unwrap(), bytes);
}

#[test]
fn what_must_be_proven_before_a_round_is_paced_too() {
    let (disk, mut log) = new_log();
    for n in 0..40 {
        put(&mut log, NOW + n, &[("k", Some(&"v".repeat(100)))]);
    }
    seal(&mut log, NOW);
    let size = log.size_bytes();
    let total = |log: &mut Log, stop_at: u64| {
        let (plan, mut read) = (plan(log, &CleanRules::default(), 0, NOW), 0);
        let pace = |bytes: u64| {
            read += bytes;
            read <= stop_at
        };
        let cleaned = Cleaner::new(1 << 20, pace).clean(&plan, NOW, |_, _| Ok(false)).unwrap();
        assert_eq!(cleaned, None, "nothing is put in its place");
        read
    };
    let known = total(&mut log, u64::MAX);
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    log.checkpointed(log.synced_offset());
    assert!(total(&mut log, 0) < size / 10, "told to stop, it stops");
    let unknown = total(&mut log, u64::MAX);
    assert!(unknown > known + size / 2, "{unknown} after {known}, of {size}");
    assert_eq!(total(&mut log, u64::MAX), known, "proven once");
}
