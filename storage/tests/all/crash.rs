//! A power cut at each write, sync and rename in turn, with all, nothing or some of what was not synced lost.
//!
//! Always: nothing below the synced offset is lost, nothing is there that was not appended, offsets have no
//! gaps, every index agrees with the log, duplicates are still duplicates, and the log goes on.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use braid_storage::checkpoint::{self, Offsets, RECOVERY_POINTS};
use braid_storage::sim::{Fault, Loss, SimDisk};
use braid_storage::{AppendError, BatchBuilder, Checked, Disk, Error, Log, OpenMode};

use crate::support::{DIR, Model, NOW, config, fill, open};

const STEPS: i64 = 24;

fn recovery_points() -> std::path::PathBuf {
    Path::new("/data").join(RECOVERY_POINTS)
}

/// The batch of step `n`: every producer writes every third.
fn step_batch(n: i64) -> (Checked, i64, usize) {
    let (time, count) = (1000 + (n * 37) % 200, 1 + n as usize % 3);
    let sequence = (0..n).filter(|m| m % 3 == n % 3).map(|m| 1 + m as i32 % 3).sum();
    let mut builder = BatchBuilder::new().producer(n % 3, 0, sequence);
    fill(&mut builder, time, count, 50 + (n as usize * 13) % 90);
    (builder.build().unwrap(), time, count)
}

/// A disk with a data folder on it.
fn data_folder() -> SimDisk {
    let disk = SimDisk::new();
    disk.plant(Path::new("/data/.lock"), b"");
    disk
}

/// What is known to the world outside when the power goes.
#[derive(Default)]
struct Outside {
    model: Model,
    synced: i64,
}

/// Appends, syncs and checkpoints until an error comes.
fn work(disk: &SimDisk, outside: &mut Outside) -> Result<(), Error> {
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean)?;
    for n in 0..STEPS {
        let (batch, time, count) = step_batch(n);
        // A write that failed may still be found after the crash.
        outside.model.push(time, count);
        match log.append(&batch, None, n as i32 / 10, NOW) {
            Err(AppendError::Storage(error)) => return Err(error),
            appended => appended.unwrap(),
        };
        if n % 4 == 3 {
            log.sync()?;
            outside.synced = log.synced_offset();
        }
        if n % 8 == 5 {
            log.checkpoint()?;
            let points = Offsets::from([(("topic".to_owned(), 0), log.synced_offset())]);
            checkpoint::write_offsets(disk, &recovery_points(), &points)?;
        }
    }
    log.close()?;
    outside.synced = log.synced_offset();
    Ok(())
}

fn recovery_point(disk: &SimDisk) -> i64 {
    let points = checkpoint::read_offsets(disk, &recovery_points()).unwrap().unwrap_or_default();
    points.get(&("topic".to_owned(), 0)).copied().unwrap_or(0)
}

fn recover(disk: &SimDisk) -> Log {
    let how = OpenMode::Recover { recovery_point: recovery_point(disk) };
    open(Arc::new(disk.clone()), how).unwrap()
}

/// The same for a log that is opened without a sync: it claims no more than was synced, loses none of that to
/// another power cut, and nothing at all once it has been synced.
fn verify_written(disk: &SimDisk, outside: &Outside) {
    let how = OpenMode::Recover { recovery_point: recovery_point(disk) };
    let mut log = Log::open_written(Arc::new(disk.clone()), Path::new(DIR), config(), how, 0, NOW).unwrap();
    let mut model = outside.model.clone();
    model.cut(log.end_offset());
    model.check(&log);
    let claimed = log.synced_offset();
    assert!((recovery_point(disk)..=log.end_offset()).contains(&claimed), "{claimed}");
    let again = recover(&disk.crash(Loss::Everything)).end_offset();
    assert!(again >= claimed, "{again} < {claimed}");
    let (batch, time, count) = step_batch(model.starts.len() as i64);
    log.append(&batch, None, 7, NOW).unwrap();
    model.push(time, count);
    model.check(&log);
    log.sync().unwrap();
    assert_eq!(log.synced_offset(), model.end());
    model.check(&recover(&disk.crash(Loss::Everything)));
}

/// After the crash: compares, goes on writing, and survives the worst second crash.
fn verify(disk: &SimDisk, outside: &Outside) {
    let mut log = recover(disk);
    let end = log.end_offset();
    assert!(end >= outside.synced, "{end} < {}", outside.synced);
    let mut model = outside.model.clone();
    model.cut(end);
    model.check(&log);
    assert_eq!(log.synced_offset(), end);
    let survived = model.starts.len() as i64;
    for n in (survived - 3).max(0)..survived {
        let again = log.append(&step_batch(n).0, None, 0, NOW).unwrap();
        assert!(again.duplicate, "step {n}");
        assert_eq!(again.base_offset, model.starts[n as usize]);
    }
    for n in survived..(survived + 4) {
        let (batch, time, count) = step_batch(n);
        assert!(!log.append(&batch, None, 7, NOW).unwrap().duplicate);
        model.push(time, count);
    }
    log.sync().unwrap();
    let log = recover(&disk.crash(Loss::Everything));
    model.check(&log);
    assert_eq!(log.epoch_end_offset(7, 0), Some((7, model.end())));
}

#[test]
fn nothing_synced_is_lost_and_nothing_is_invented() {
    let disk = data_folder();
    work(&disk, &mut Outside::default()).unwrap();
    let calls = disk.calls();
    assert!(calls > 60, "{calls}");
    for call in 0..=calls {
        let disk = data_folder();
        disk.fail_at(call, Fault::PowerCut);
        let mut outside = Outside::default();
        assert_eq!(work(&disk, &mut outside).is_err(), call < calls);
        let random = (1..6).map(|seed| Loss::Random(seed * 1000 + call));
        for loss in [Loss::Nothing, Loss::Everything].into_iter().chain(random) {
            let after = disk.crash(loss);
            let written = disk.crash(loss);
            let story = std::panic::catch_unwind(AssertUnwindSafe(|| verify(&after, &outside)));
            assert!(story.is_ok(), "power cut at call {call} of {calls}, {loss:?}");
            let story = std::panic::catch_unwind(AssertUnwindSafe(|| verify_written(&written, &outside)));
            assert!(story.is_ok(), "the same, opened without a sync");
        }
    }
}

#[test]
fn a_call_that_fails_once_changes_nothing_and_can_be_repeated() {
    const ENOSPC: i32 = 28;
    for call in 1.. {
        let disk = data_folder();
        disk.fail_at(call, Fault::Once(ENOSPC));
        let mut model = Model::default();
        let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
        for n in 0..STEPS {
            let (batch, time, count) = step_batch(n);
            let appended = log.append(&batch, None, 0, NOW).or_else(|error| {
                assert!(matches!(error, AppendError::Storage(Error::Io { .. })), "{error}");
                model.check(&log);
                log.append(&batch, None, 0, NOW)
            });
            assert!(!appended.unwrap().duplicate);
            model.push(time, count);
        }
        let failed_before = disk.calls() > call;
        let after_kill = disk.crash(Loss::Nothing);
        model.check(&open(Arc::new(after_kill), OpenMode::Recover { recovery_point: 0 }).unwrap());
        if log.finish().is_err() {
            log.finish().unwrap();
        }
        model.check(&open(Arc::new(disk.clone()), OpenMode::Clean).unwrap());
        if !failed_before {
            break;
        }
    }
}

#[test]
fn what_a_kill_left_unsynced_is_synced_before_it_counts_as_such() {
    let disk = data_folder();
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    let mut model = Model::default();
    for n in 0..STEPS {
        let (batch, time, count) = step_batch(n);
        log.append(&batch, None, 0, NOW).unwrap();
        model.push(time, count);
    }
    assert!(log.segment_count() > 1);
    // The folder as the kill leaves it: everything is seen, nothing is durable.
    let log = open(Arc::new(disk.clone()), OpenMode::Recover { recovery_point: 0 }).unwrap();
    assert_eq!(log.synced_offset(), model.end());
    disk.sync_dir(Path::new("/data")).unwrap();
    model.check(&recover(&disk.crash(Loss::Everything)));
}

#[test]
fn a_snapshot_of_lost_batches_does_not_come_back_when_the_log_has_grown_again() {
    let disk = data_folder();
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    log.append(&step_batch(1).0, None, 0, NOW).unwrap();
    log.checkpoint().unwrap();
    let snapshot = Path::new(DIR).join("00000000000000000002.snapshot");
    let contents = disk.contents(&snapshot).unwrap();
    // The batch is lost, the snapshot is not.
    let disk = data_folder();
    disk.plant(&Path::new(DIR).join("00000000000000000000.log"), b"");
    disk.plant(&snapshot, &contents);
    let mut log = recover(&disk);
    assert_eq!((log.end_offset(), log.producers().len()), (0, 0));
    let mut others = BatchBuilder::new();
    fill(&mut others, 1, 3, 0);
    log.append(&others.build().unwrap(), None, 0, NOW).unwrap();
    log.sync().unwrap();
    let mut log = recover(&disk.crash(Loss::Everything));
    assert_eq!((log.end_offset(), log.producers().len()), (3, 0));
    assert!(!log.append(&step_batch(1).0, None, 0, NOW).unwrap().duplicate);
}

#[test]
fn what_a_failed_write_left_is_gone_when_the_log_is_closed() {
    let disk = data_folder();
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    let (batch, time, count) = step_batch(0);
    log.append(&batch, None, 0, NOW).unwrap();
    let mut model = Model::default();
    model.push(time, count);
    log.close().unwrap();
    // The write fails, and so does the attempt to cut off what it left.
    for also_cut in [false, true] {
        disk.fail_at(disk.calls(), if also_cut { Fault::PowerCut } else { Fault::Once(28) });
        log.append(&step_batch(3).0, None, 0, NOW).unwrap_err();
        disk.heal();
        log.close().unwrap();
        model.check(&open(Arc::new(disk.clone()), OpenMode::Clean).unwrap());
    }
}

#[test]
fn index_entries_are_durable_after_a_checkpoint() {
    let disk = data_folder();
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    for n in 0..7 {
        log.append(&step_batch(n).0, None, 0, NOW).unwrap();
        log.checkpoint().unwrap();
        log.sync().unwrap();
        for name in ["index", "timeindex"] {
            let path = Path::new(DIR).join(format!("00000000000000000000.{name}"));
            assert_eq!(disk.crash(Loss::Everything).contents(&path), disk.contents(&path));
            assert!(n < 6 || !disk.contents(&path).unwrap().is_empty());
        }
    }
}
