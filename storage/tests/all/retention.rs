//! Retention: the oldest segments go, readers finish, the start survives, and a power cut at any moment
//! leaves a log that begins where a segment does.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use braid_storage::checkpoint::{self, LOG_STARTS, Offsets, RECOVERY_POINTS};
use braid_storage::retain::Deleted;
use braid_storage::sim::{Fault, Loss, SimDisk};
use braid_storage::{AppendError, BatchBuilder, Disk, Error, Log, LogConfig, OpenMode, ReadError, RealDisk};

use crate::support::{DIR, Model, NOW, batch, config, fill, open, open_at, read_all};

fn data_folder() -> SimDisk {
    let disk = SimDisk::new();
    disk.plant(Path::new("/data/.lock"), b"");
    disk
}

/// Ten segments or so; offset `n` has timestamp `NOW + n`.
fn full(disk: Arc<dyn Disk>, dir: &Path) -> Log {
    let mut log = open_at(disk, dir, OpenMode::Clean).unwrap();
    for n in 0..60 {
        log.append(&batch(NOW + n, 1, 150), None, n as i32 / 20, NOW).unwrap();
    }
    log.sync().unwrap();
    log
}

fn names(disk: &SimDisk, suffix: &str) -> usize {
    disk.list(Path::new(DIR)).unwrap().iter().filter(|entry| entry.name.ends_with(suffix)).count()
}

#[test]
fn old_segments_go_by_their_largest_timestamp() {
    let disk = data_folder();
    let mut log = full(Arc::new(disk.clone()), Path::new(DIR));
    log.set_config(LogConfig { retention_ms: 1000, ..config() });
    let before = log.segment_count();
    assert_eq!(log.retain(60, NOW + 1000).unwrap(), Deleted::default());
    let deleted = log.retain(60, NOW + 1020).unwrap();
    assert_eq!(deleted, Deleted { by_time: deleted.segments(), ..Deleted::default() });
    let start = log.start_offset();
    assert!((10..=20).contains(&start), "{start}");
    assert_eq!(log.segment_count(), before - deleted.segments());
    assert_eq!(read_all(&log, start, 60).len() as i64, 60 - start);
    assert!(matches!(log.reader(start - 1, 60), Err(ReadError::OutOfRange { .. })));
    assert_eq!(log.epoch_end_offset(0, 0), Some((0, 20)));
    // Everything is old: also the segment that was written to, which is sealed first.
    assert!(log.retain(60, NOW + 5000).unwrap().segments() > 1);
    assert_eq!((log.start_offset(), log.end_offset(), log.segment_count()), (60, 60, 1));
    assert_eq!((log.size_bytes(), log.latest_epoch()), (0, Some(2)));
    assert_eq!(log.retain(60, NOW + 9000).unwrap(), Deleted::default());
    assert_eq!(log.append(&batch(NOW, 1, 0), None, 3, NOW).unwrap().base_offset, 60);
    log.close().unwrap();
    let log = open(Arc::new(disk), OpenMode::Clean).unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (60, 61));
    assert_eq!((log.epoch_end_offset(2, 0), log.epoch_end_offset(3, 0)), (Some((2, 60)), Some((3, 61))));
}

#[test]
fn a_log_shrinks_to_its_size_limit_but_not_beyond_the_watermark() {
    let mut log = full(Arc::new(data_folder()), Path::new(DIR));
    let size = log.size_bytes();
    log.set_config(LogConfig { retention_bytes: size as i64 / 2, retention_ms: -1, ..config() });
    let some = log.retain(10, NOW).unwrap();
    assert!(some.by_size > 0 && log.start_offset() <= 10);
    log.retain(60, NOW).unwrap();
    assert!(log.size_bytes() >= size / 2 && log.size_bytes() < size / 2 + 1500);
}

#[test]
fn what_lies_below_the_start_goes_and_the_start_stays() {
    let disk = data_folder();
    let mut log = full(Arc::new(disk.clone()), Path::new(DIR));
    log.set_config(LogConfig { delete: false, retention_ms: 0, ..config() });
    log.advance_start(33);
    let deleted = log.retain(60, i64::MAX).unwrap();
    assert_eq!(deleted, Deleted { by_start: deleted.segments(), ..Deleted::default() });
    assert!(deleted.by_start > 2 && log.first_base_offset() <= 33);
    assert_eq!(log.start_offset(), 33);
    assert_eq!(log.by_time().offset_for_timestamp(0, 60).unwrap(), Some((NOW + 33, 33)));
    log.close().unwrap();
    let log = Log::open(Arc::new(disk), Path::new(DIR), config(), OpenMode::Clean, 33, NOW).unwrap();
    assert_eq!((log.start_offset(), log.read(33, 1, 60, true).unwrap().base_offset), (33, 33));
}

#[test]
fn files_are_unlinked_after_their_delay_or_at_the_next_start() {
    let disk = data_folder();
    let mut log = full(Arc::new(disk.clone()), Path::new(DIR));
    log.set_config(LogConfig { retention_ms: 0, file_delete_delay_ms: 100, ..config() });
    assert!(log.retain(60, NOW + 30).unwrap().segments() > 2);
    let deleted = names(&disk, ".log.deleted");
    assert!(deleted > 2 && names(&disk, ".index.deleted") > 2);
    log.take_due(NOW + 129).run().unwrap();
    assert_eq!(names(&disk, ".log.deleted"), deleted);
    let after_kill = disk.crash(Loss::Nothing);
    open(Arc::new(after_kill.clone()), OpenMode::Recover { recovery_point: 0 }).unwrap();
    assert_eq!(names(&after_kill, ".deleted"), 0);
    log.take_due(NOW + 130).run().unwrap();
    assert_eq!(names(&disk, ".deleted"), 0);
}

#[test]
fn readers_of_deleted_segments_finish() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("topic-0");
    full(Arc::new(RealDisk::default()), &path).close().unwrap();
    let mut log = open_at(Arc::new(RealDisk::default()), &path, OpenMode::Clean).unwrap();
    log.append(&batch(NOW, 1, 2000), None, 3, NOW).unwrap();
    let readers: Vec<_> = (0..61).map(|offset| (offset, log.reader(offset, 61).unwrap())).collect();
    // Also what is not synced yet.
    log.set_config(LogConfig { retention_ms: 0, ..config() });
    log.retain(61, i64::MAX).unwrap();
    log.take_due(i64::MAX).run().unwrap();
    log.sync().unwrap();
    for (offset, reader) in readers {
        assert_eq!(reader.read(1, true).unwrap().base_offset, offset);
    }
    assert_eq!((log.start_offset(), log.segment_count()), (61, 1));
    let names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.iter().filter(|name| name.to_str().unwrap().ends_with(".log")).count(), 1, "{names:?}");
}

#[test]
fn segments_are_rolled_by_age_less_their_jitter() {
    for (jitter, segments) in [(0, 1), (99, 1), (100, 2), (5000, 2)] {
        let config = LogConfig { segment_ms: 1000, segment_jitter_ms: jitter, ..LogConfig::default() };
        let disk = Arc::new(data_folder());
        let mut log = Log::open(disk, Path::new(DIR), config, OpenMode::Clean, 0, NOW).unwrap();
        log.append(&batch(NOW, 1, 0), None, 0, NOW).unwrap();
        log.append(&batch(NOW + 901, 1, 0), None, 0, NOW + 901).unwrap();
        assert_eq!(log.segment_count(), segments, "{jitter}");
    }
}

const KEY: (&str, i32) = ("topic", 0);
const STEPS: i64 = 30;

/// What the world outside knows when the power goes.
#[derive(Default)]
struct Outside {
    model: Model,
    synced: i64,
    start: i64,
}

fn write(disk: &SimDisk, name: &str, offset: i64) -> Result<(), Error> {
    let offsets = Offsets::from([((KEY.0.to_owned(), KEY.1), offset)]);
    checkpoint::write_offsets(disk, &Path::new("/data").join(name), &offsets)
}

fn known(disk: &SimDisk, name: &str) -> i64 {
    let offsets = checkpoint::read_offsets(disk, &Path::new("/data").join(name)).unwrap();
    offsets.and_then(|offsets| offsets.get(&(KEY.0.to_owned(), KEY.1)).copied()).unwrap_or(0)
}

fn work(disk: &SimDisk, outside: &mut Outside) -> Result<(), Error> {
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean)?;
    log.set_config(LogConfig { retention_bytes: 2500, ..config() });
    for n in 0..STEPS {
        let mut builder = BatchBuilder::new().producer(7, 0, n as i32);
        fill(&mut builder, NOW + n, 1, 150);
        outside.model.push(NOW + n, 1);
        match log.append(&builder.build().unwrap(), None, n as i32 / 10, NOW) {
            Err(AppendError::Storage(error)) => return Err(error),
            appended => appended.unwrap(),
        };
        if n % 3 == 2 {
            log.sync()?;
            outside.synced = log.synced_offset();
        }
        if n % 7 == 5 {
            log.checkpoint()?;
            write(disk, RECOVERY_POINTS, log.synced_offset())?;
        }
        if n % 8 == 4 {
            // DeleteRecords, into the middle of a segment.
            log.advance_start(log.synced_offset() - 3);
            write(disk, LOG_STARTS, log.start_offset())?;
            outside.start = log.start_offset();
        }
        if n % 5 == 4 {
            // As under `written`: also what is not synced may go.
            log.retain(log.end_offset(), NOW)?;
            outside.start = log.start_offset();
            log.take_due(NOW + i64::from(n % 2 == 0) * 60_000).run()?;
        }
    }
    log.retain(log.end_offset(), i64::MAX)?;
    (outside.synced, outside.start) = (log.synced_offset(), log.start_offset());
    log.close()
}

fn recover(disk: &SimDisk) -> Log {
    let how = OpenMode::Recover { recovery_point: known(disk, RECOVERY_POINTS) };
    let start = known(disk, LOG_STARTS);
    Log::open(Arc::new(disk.clone()), Path::new(DIR), config(), how, start, NOW).unwrap()
}

fn verify(disk: &SimDisk, outside: &Outside) {
    let mut log = recover(disk);
    let (start, end) = (log.start_offset(), log.end_offset());
    assert!(end >= outside.synced, "{end} < {}", outside.synced);
    assert!(start >= outside.start, "{start} < {}: what was deleted is back", outside.start);
    let found: Vec<i64> = read_all(&log, start, end).iter().map(|record| record.timestamp).collect();
    assert_eq!(found, outside.model.times[start as usize..end as usize]);
    assert_eq!(names(disk, ".deleted") + names(disk, ".tmp"), 0);
    log.append(&batch(NOW, 1, 0), None, 9, NOW).unwrap();
    log.sync().unwrap();
    let log = recover(&disk.crash(Loss::Everything));
    assert_eq!((log.start_offset(), log.end_offset()), (start, end + 1));
    assert_eq!(log.epoch_end_offset(9, 0), Some((9, end + 1)));
}

#[test]
fn a_power_cut_during_retention_loses_nothing_that_was_to_stay() {
    let disk = data_folder();
    let mut outside = Outside::default();
    work(&disk, &mut outside).unwrap();
    assert_eq!(outside.start, STEPS, "all was old at last");
    let calls = disk.calls();
    for call in 0..=calls {
        let disk = data_folder();
        disk.fail_at(call, Fault::PowerCut);
        let mut outside = Outside::default();
        assert_eq!(work(&disk, &mut outside).is_err(), call < calls);
        let random = (1..6).map(|seed| Loss::Random(seed * 1000 + call));
        for loss in [Loss::Nothing, Loss::Everything].into_iter().chain(random) {
            let after = disk.crash(loss);
            let story = std::panic::catch_unwind(AssertUnwindSafe(|| verify(&after, &outside)));
            assert!(story.is_ok(), "power cut at call {call} of {calls}, {loss:?}");
        }
    }
}

#[test]
fn retention_that_fails_half_way_is_repeated() {
    for call in 0.. {
        let disk = data_folder();
        let mut log = full(Arc::new(disk.clone()), Path::new(DIR));
        log.set_config(LogConfig { retention_ms: 0, ..config() });
        disk.fail_at(disk.calls() + call, Fault::Once(5));
        let Err(_) = log.retain(60, NOW + 5000) else { break };
        assert_eq!(read_all(&log, log.start_offset(), 60).len() as i64, 60 - log.start_offset());
        log.retain(60, NOW + 5000).unwrap();
        assert_eq!((log.start_offset(), log.segment_count()), (60, 1));
        log.take_due(i64::MAX).run().unwrap();
        assert_eq!((names(&disk, ".deleted"), names(&disk, ".log")), (0, 1));
        log.append(&batch(NOW, 1, 0), None, 3, NOW).unwrap();
        log.sync().unwrap();
        let log = open(Arc::new(disk.crash(Loss::Everything)), OpenMode::Recover { recovery_point: 0 });
        assert_eq!(log.map(|log| (log.start_offset(), log.end_offset())).unwrap(), (60, 61));
        assert!(call < 200);
    }
}
