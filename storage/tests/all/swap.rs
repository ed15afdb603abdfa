//! Swapping sealed segments for a cleaned one: all of it or nothing, whatever is cut off or fails, and nobody
//! who reads notices.

use std::io::IoSlice;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use braid_storage::sim::{Fault, Loss, SimDisk};
use braid_storage::{
    CleanedSegment, Disk, Error, Log, LogConfig, OpenMode, RealDisk, SealedSegment, batches,
};
use bytes::Bytes;

use crate::support::{DIR, NOW, batch, config, open, open_at, read_all};

const BATCHES: i64 = 40;

/// A log of many segments, all of it below the recovery point. Batch `n` has offset `n`.
fn full(disk: Arc<dyn Disk>, dir: &Path) -> Log {
    let mut log = open_at(disk, dir, OpenMode::Clean).unwrap();
    for n in 0..BATCHES {
        log.append(&batch(1000 + n, 1, 150), None, 0, NOW).unwrap();
    }
    log.close().unwrap();
    log.checkpointed(log.synced_offset());
    assert!(log.segment_count() > 5, "{}", log.segment_count());
    log
}

fn sim() -> (SimDisk, Log) {
    let disk = SimDisk::new();
    disk.plant(Path::new("/data/.lock"), b"");
    let log = full(Arc::new(disk.clone()), Path::new(DIR));
    (disk, log)
}

fn keep(offset: i64) -> bool {
    offset % 3 == 0
}

/// Replaces all sealed segments but the first.
fn clean(disk: &dyn Disk, log: &mut Log) -> Result<bool, Error> {
    let sealed = log.cleanable(i64::MAX).split_off(1);
    clean_run(disk, log, &sealed)
}

/// A stand-in for compaction: replaces these segments by one that has only what `keep` says.
fn clean_run(disk: &dyn Disk, log: &mut Log, sealed: &[SealedSegment]) -> Result<bool, Error> {
    // Not through the segments, whose files may not have been looked at yet when they lose their names.
    let bytes: Vec<_> = sealed.iter().map(|sealed| contents(disk, sealed)).collect();
    let kept = bytes.iter().flat_map(batches).filter(|(header, _)| keep(header.base_offset));
    let kept: Vec<_> = kept.collect();
    let log_file: Vec<u8> = kept.iter().flat_map(|(_, batch)| batch.to_vec()).collect();
    let first = &sealed[0];
    let (newest, _) = kept.last().unwrap();
    let mut times = newest.max_timestamp.to_be_bytes().to_vec();
    times.extend(((newest.last_offset() - first.base_offset()) as i32).to_be_bytes());
    write(disk, first, "log.cleaned", &log_file)?;
    write(disk, first, "index.cleaned", b"")?;
    write(disk, first, "timeindex.cleaned", &times)?;
    let bases: Vec<i64> = sealed.iter().map(SealedSegment::base_offset).collect();
    let cleaned = CleanedSegment { base_offset: bases[0], size_bytes: log_file.len() as u64 };
    log.replace(&bases, cleaned, NOW)
}

fn contents(disk: &dyn Disk, sealed: &SealedSegment) -> Bytes {
    let Ok(file) = disk.open(&sealed.path("log"), false, 0) else { return sealed.bytes().unwrap() };
    file.read(0, file.len() as usize).unwrap()
}

fn write(disk: &dyn Disk, sealed: &SealedSegment, suffix: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = sealed.path(suffix);
    let written = disk.open(&path, true, 0).and_then(|file| {
        file.set_len(0)?;
        file.append(0, &mut [IoSlice::new(bytes)])?;
        file.sync()
    });
    written.map_err(|source| Error::Io { path, source })
}

fn offsets(log: &Log) -> Vec<i64> {
    read_all(log, log.start_offset(), log.end_offset()).iter().map(|record| record.offset).collect()
}

/// All there were, and what cleaning leaves of them.
fn before_and_after(log: &Log) -> (Vec<i64>, Vec<i64>) {
    let sealed = log.cleanable(i64::MAX);
    let (first, last) = (sealed[0].next_offset(), sealed.last().unwrap().next_offset());
    let before: Vec<i64> = (0..BATCHES).collect();
    let stays = |offset: &i64| keep(*offset) || *offset < first || *offset >= last;
    (before.clone(), before.into_iter().filter(stays).collect())
}

fn leftovers(disk: &dyn Disk) -> Vec<String> {
    let names = disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| ["swap", "cleaned", "deleted", "tmp"].iter().any(|end| name.ends_with(end))).collect()
}

#[test]
fn a_swap_shows_what_was_kept_and_survives_a_restart() {
    let (disk, mut log) = sim();
    let (before, after) = before_and_after(&log);
    assert_eq!(offsets(&log), before);
    assert!(clean(&disk, &mut log).unwrap());
    assert_eq!((offsets(&log), log.segment_count()), (after.clone(), 3));
    assert_eq!(log.by_time().max_timestamp().unwrap(), Some((1000 + BATCHES - 1, BATCHES - 1)));
    for how in [OpenMode::Clean, OpenMode::Recover { recovery_point: BATCHES }] {
        let log = open(Arc::new(disk.crash(Loss::Everything)), how).unwrap();
        assert_eq!(offsets(&log), after);
    }
    assert!(clean(&disk, &mut log).unwrap(), "and may be cleaned again");
    assert_eq!(offsets(&log), after);
}

#[test]
fn a_power_cut_leaves_all_of_it_or_nothing() {
    let (disk, mut log) = sim();
    let (before, after) = before_and_after(&log);
    let begin = disk.calls();
    assert!(clean(&disk, &mut log).unwrap());
    let calls = disk.calls() - begin;
    let (mut old, mut new) = (0, 0);
    for call in 0..=calls {
        let (disk, mut log) = sim();
        disk.fail_at(begin + call, Fault::PowerCut);
        let done = clean(&disk, &mut log).is_ok();
        assert_eq!(done, call == calls);
        for loss in [Loss::Nothing, Loss::Everything].into_iter().chain((1..8).map(Loss::Random)) {
            let disk = disk.crash(loss);
            let story = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let mut log =
                    open(Arc::new(disk.clone()), OpenMode::Recover { recovery_point: BATCHES }).unwrap();
                let found = offsets(&log);
                assert!(found == after || (!done && found == before), "{found:?}");
                assert_eq!(leftovers(&disk), Vec::<String>::new());
                log.append(&batch(5000, 1, 0), None, 0, NOW).unwrap();
                log.sync().unwrap();
                let disk = disk.crash(Loss::Everything);
                let log = open(Arc::new(disk), OpenMode::Recover { recovery_point: BATCHES }).unwrap();
                assert_eq!(offsets(&log), [&found[..], &[BATCHES]].concat());
                found == after
            }));
            match story {
                Ok(true) => new += 1,
                Ok(false) => old += 1,
                Err(_) => panic!("power cut at call {call} of {calls}, {loss:?}"),
            }
        }
    }
    assert!(old > 20 && new > 20, "{old} {new}");
}

#[test]
fn a_call_that_fails_once_can_be_repeated_and_readers_never_see_a_mixture() {
    let begin = sim().0.calls();
    for call in 0.. {
        let (disk, mut log) = sim();
        let (before, after) = before_and_after(&log);
        disk.fail_at(begin + call, Fault::Once(5));
        let Err(_) = clean(&disk, &mut log) else { break };
        let found = offsets(&log);
        assert!(found == before || found == after, "call {call}: {found:?}");
        // As found by a start right now, and by one after the second attempt.
        let how = OpenMode::Recover { recovery_point: BATCHES };
        let restarted = open(Arc::new(disk.crash(Loss::Nothing)), how);
        let found = offsets(&restarted.unwrap());
        assert!(found == before || found == after, "call {call}, restarted: {found:?}");
        clean(&disk, &mut log).unwrap();
        assert_eq!(offsets(&log), after, "call {call}");
        log.close().unwrap();
        let restarted = open(Arc::new(disk.crash(Loss::Everything)), OpenMode::Clean).unwrap();
        assert_eq!(offsets(&restarted), after, "call {call}");
        assert!(call < 100);
    }
}

#[test]
fn what_is_deleted_after_a_swap_that_failed_does_not_come_back() {
    let begin = sim().0.calls();
    for call in 0.. {
        let (disk, mut log) = sim();
        disk.fail_at(begin + call, Fault::Once(5));
        let Err(_) = clean(&disk, &mut log) else { break };
        let active = log.cleanable(i64::MAX).last().unwrap().next_offset();
        log.advance_start(active);
        log.set_config(LogConfig { delete: false, ..config() });
        log.retain(BATCHES, NOW).unwrap();
        assert_eq!((log.segment_count(), log.first_base_offset()), (1, active), "call {call}");
        let how = OpenMode::Recover { recovery_point: BATCHES };
        let log = open(Arc::new(disk.crash(Loss::Everything)), how).unwrap();
        assert_eq!((log.segment_count(), log.start_offset()), (1, active), "call {call}");
        assert!(call < 100);
    }
}

#[test]
fn readers_of_the_old_segments_finish() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("topic-0");
    let mut log = full(Arc::new(RealDisk::default()), &path);
    drop(log);
    // Opened again, nothing is mapped yet.
    log = open_at(Arc::new(RealDisk::default()), &path, OpenMode::Clean).unwrap();
    log.checkpointed(BATCHES);
    let end = log.end_offset();
    let readers: Vec<_> = (0..end).map(|offset| (offset, log.reader(offset, end).unwrap())).collect();
    assert!(clean(&RealDisk::default(), &mut log).unwrap());
    log.take_due(i64::MAX).run().unwrap();
    for (offset, reader) in readers {
        assert_eq!(reader.read(1, true).unwrap().base_offset, offset);
    }
    assert_eq!(log.reader(end - 1, end).unwrap().read(1, true).unwrap().base_offset, end - 1);
    let names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_str().unwrap().ends_with("deleted")), "{names:?}");
    let log =
        open_at(Arc::new(RealDisk::default()), &path, OpenMode::Recover { recovery_point: end }).unwrap();
    assert!(offsets(&log).len() < end as usize);
}

#[test]
fn only_what_is_below_the_recovery_point_can_be_cleaned() {
    let (disk, log) = sim();
    drop(log);
    let bases =
        |log: &Log, below| log.cleanable(below).iter().map(SealedSegment::base_offset).collect::<Vec<_>>();
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    assert_eq!(bases(&log, i64::MAX), [] as [i64; 0], "the checkpoint on disk is not known yet");
    log.checkpointed(i64::MAX);
    let all = bases(&log, i64::MAX);
    assert_eq!(all.len() + 1, log.segment_count(), "all but the one written to");
    assert_eq!(bases(&log, all[2]), all[..2]);
    assert_eq!(bases(&log, all[2] - 1), all[..1]);
    let log = open(Arc::new(disk), OpenMode::Recover { recovery_point: all[3] }).unwrap();
    assert_eq!(bases(&log, i64::MAX), all[..3]);
}

#[test]
fn work_on_segments_that_are_gone_is_thrown_away() {
    let (disk, mut log) = sim();
    let sealed = log.cleanable(i64::MAX);
    for sealed in &sealed[..2] {
        write(&disk, sealed, "log.cleaned", b"").unwrap();
    }
    let (first, second) = (sealed[0].base_offset(), sealed[1].base_offset());
    let wrong = [(vec![], first), (vec![second, first], second), (vec![first, first + 1], first)];
    for (old, base_offset) in wrong.into_iter().chain([(vec![first], second)]) {
        let cleaned = CleanedSegment { base_offset, size_bytes: 0 };
        assert!(!log.replace(&old, cleaned, NOW).unwrap(), "{old:?}");
    }
    assert_eq!((offsets(&log).len(), leftovers(&disk).len()), (BATCHES as usize, 0));
    write(&disk, &sealed[0], "log.cleaned", b"x").unwrap();
    let cleaned = CleanedSegment { base_offset: first, size_bytes: 0 };
    assert!(log.replace(&[first], cleaned, NOW).is_err(), "not the size it should be");
    assert_eq!(offsets(&log).len(), BATCHES as usize);
}

#[test]
fn a_segment_may_become_empty() {
    let (disk, mut log) = sim();
    let sealed = log.cleanable(i64::MAX);
    let run: Vec<i64> = sealed[1..3].iter().map(SealedSegment::base_offset).collect();
    for suffix in ["log.cleaned", "index.cleaned", "timeindex.cleaned"] {
        write(&disk, &sealed[1], suffix, b"").unwrap();
    }
    assert!(log.replace(&run, CleanedSegment { base_offset: run[0], size_bytes: 0 }, NOW).unwrap());
    let after: Vec<i64> = (0..run[0]).chain(sealed[2].next_offset()..BATCHES).collect();
    assert_eq!(offsets(&log), after);
    log.close().unwrap();
    for how in [OpenMode::Clean, OpenMode::Recover { recovery_point: BATCHES }] {
        assert_eq!(offsets(&open(Arc::new(disk.crash(Loss::Everything)), how).unwrap()), after);
    }
}

#[test]
fn deleted_files_stay_for_their_delay() {
    let (disk, mut log) = sim();
    log.set_config(LogConfig { file_delete_delay_ms: 500, ..config() });
    assert!(clean(&disk, &mut log).unwrap());
    let all = leftovers(&disk).len();
    assert!(all > 6, "{all}");
    log.take_due(NOW + 499).run().unwrap();
    assert_eq!(leftovers(&disk).len(), all);
    log.take_due(NOW + 500).run().unwrap();
    assert_eq!(leftovers(&disk).len(), 0);
}

#[test]
fn reading_up_to_what_was_synced_does_not_go_by_the_old_segments_size() {
    let (disk, mut log) = sim();
    // Everything up to the last roll is synced, nothing behind it.
    let before = log.segment_count();
    for n in 0.. {
        log.append(&batch(2000 + n, 1, 150), None, 0, NOW).unwrap();
        if log.segment_count() > before {
            break;
        }
        log.sync().unwrap();
        log.checkpointed(i64::MAX);
    }
    let synced = log.synced_offset();
    assert_eq!(log.cleanable(i64::MAX).last().unwrap().next_offset(), synced);
    let last = log.cleanable(i64::MAX).pop().unwrap();
    let first = last.base_offset();
    assert!(clean_run(&disk, &mut log, &[last]).unwrap());
    let slice = log.read(first, 1 << 20, synced, true).unwrap();
    let found: Vec<i64> = batches(&slice.bytes).map(|(header, _)| header.base_offset).collect();
    assert_eq!(found, (first..synced).filter(|offset| keep(*offset)).collect::<Vec<_>>());
}
