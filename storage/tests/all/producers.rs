//! Idempotence and transactions through the log: duplicates, gaps, epochs, restarts, the last stable offset.

use std::sync::Arc;

use braid_storage::producers::{ProducerError, Producers};
use braid_storage::sim::{Loss, SimDisk};
use braid_storage::{AppendError, Appended, BatchBuilder, Log, OpenMode};

use crate::support::{NOW, open};

fn log() -> Log {
    open(Arc::new(SimDisk::new()), OpenMode::Clean).unwrap()
}

fn send(log: &mut Log, id: i64, epoch: i16, sequence: i32, count: i64) -> Result<Appended, ProducerError> {
    append(log, BatchBuilder::new().producer(id, epoch, sequence), count)
}

fn send_in_txn(log: &mut Log, id: i64, epoch: i16, sequence: i32) -> Result<Appended, ProducerError> {
    append(log, BatchBuilder::new().producer(id, epoch, sequence).transactional(), 1)
}

fn append(log: &mut Log, mut builder: BatchBuilder, count: i64) -> Result<Appended, ProducerError> {
    for n in 0..count {
        builder.push(n, None, Some(b"v"), &[]);
    }
    finish(log, builder)
}

fn end_txn(log: &mut Log, id: i64, epoch: i16, coordinator: i32) -> Result<Appended, ProducerError> {
    let mut builder = BatchBuilder::new().producer(id, epoch, -1).transactional().control();
    builder.push_marker(NOW, true, coordinator);
    finish(log, builder)
}

fn finish(log: &mut Log, builder: BatchBuilder) -> Result<Appended, ProducerError> {
    match log.append(&builder.build(), 0, NOW) {
        Err(AppendError::Producer(error)) => Err(error),
        appended => Ok(appended.unwrap()),
    }
}

#[test]
fn the_last_five_batches_are_duplicates_and_older_ones_out_of_order() {
    let mut log = log();
    let first: Vec<_> = (0..7).map(|n| send(&mut log, 9, 0, n * 2, 2).unwrap()).collect();
    for n in 2..7 {
        let again = send(&mut log, 9, 0, n * 2, 2).unwrap();
        assert_eq!(again, Appended { duplicate: true, bytes: 0, ..first[n as usize] });
    }
    let old = send(&mut log, 9, 0, 2, 2);
    assert_eq!(old, Err(ProducerError::OutOfOrder { producer_id: 9, given: 2, last: 13 }));
    assert_eq!(log.end_offset(), 14);
}

#[test]
fn sequences_have_no_gaps_but_wrap_and_start_again_in_a_new_epoch() {
    let mut log = log();
    assert!(send(&mut log, 1, 0, 77, 1).is_ok(), "an unknown producer may start anywhere");
    assert!(matches!(send(&mut log, 1, 0, 79, 1), Err(ProducerError::OutOfOrder { .. })));
    assert!(matches!(send(&mut log, 1, 0, 77, 2), Err(ProducerError::OutOfOrder { .. })));
    assert!(send(&mut log, 1, 0, 78, 1).is_ok());
    assert!(matches!(send(&mut log, 1, 1, 79, 1), Err(ProducerError::OutOfOrder { .. })));
    assert!(send(&mut log, 1, 1, 0, 1).is_ok());
    let fenced = send(&mut log, 1, 0, 79, 1);
    assert_eq!(fenced, Err(ProducerError::InvalidEpoch { producer_id: 1, given: 0, current: 1 }));
    assert!(send(&mut log, 2, 0, i32::MAX - 1, 3).is_ok());
    assert!(send(&mut log, 2, 0, 1, 1).is_ok(), "MAX-1, MAX, 0, then 1");
    assert!(send(&mut log, 2, 0, i32::MAX - 1, 3).unwrap().duplicate);
}

#[test]
fn duplicates_are_known_after_a_clean_stop_and_after_a_kill() {
    for clean in [true, false] {
        for steps in [3, 40] {
            let disk = SimDisk::new();
            let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
            let first: Vec<_> =
                (0..steps).map(|n| send(&mut log, n as i64 % 2, 3, n / 2, 1).unwrap()).collect();
            let how = if clean { OpenMode::Clean } else { OpenMode::Recover { recovery_point: 0 } };
            if clean {
                log.close().unwrap();
            }
            let mut log = open(Arc::new(disk.crash(Loss::Nothing)), how).unwrap();
            for n in (steps - 10).max(0)..steps {
                let again = send(&mut log, n as i64 % 2, 3, n / 2, 1).unwrap();
                assert_eq!(again.base_offset, first[n as usize].base_offset);
                assert!(again.duplicate, "step {n} of {steps}, clean: {clean}");
            }
            assert!(!send(&mut log, 0, 3, (steps + 1) / 2, 1).unwrap().duplicate);
        }
    }
}

#[test]
fn a_transaction_holds_back_the_last_stable_offset_until_its_end_is_visible() {
    let disk = SimDisk::new();
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    send(&mut log, 1, 0, 0, 2).unwrap();
    send_in_txn(&mut log, 7, 0, 0).unwrap();
    send_in_txn(&mut log, 8, 0, 0).unwrap();
    assert_eq!(send(&mut log, 7, 0, 1, 1), Err(ProducerError::InvalidTxnState { producer_id: 7 }));
    assert_eq!((log.last_stable_offset(1), log.last_stable_offset(4)), (1, 2));
    end_txn(&mut log, 7, 0, 5).unwrap();
    assert_eq!(log.last_stable_offset(4), 2, "the marker is not visible yet");
    assert_eq!(log.last_stable_offset(5), 3);
    log.checkpoint().unwrap();
    send_in_txn(&mut log, 8, 0, 1).unwrap();
    let mut log = open(Arc::new(disk.crash(Loss::Nothing)), OpenMode::Recover { recovery_point: 0 }).unwrap();
    assert_eq!(log.last_stable_offset(6), 3, "open transactions survive a restart");
    let fenced = end_txn(&mut log, 7, 0, 4);
    assert_eq!(fenced, Err(ProducerError::CoordinatorFenced { given: 4, current: 5 }));
    end_txn(&mut log, 8, 0, 5).unwrap();
    assert_eq!(log.last_stable_offset(7), 7);
}

#[test]
fn idle_producers_expire_unless_within_a_transaction() {
    let mut log = log();
    send(&mut log, 1, 0, 0, 1).unwrap();
    send_in_txn(&mut log, 2, 0, 0).unwrap();
    log.expire_producers(NOW + 86_399_999);
    assert_eq!(log.producers().len(), 2);
    log.expire_producers(NOW + 86_400_000);
    assert_eq!(log.producers().len(), 1);
    assert!(send(&mut log, 1, 0, 50, 1).is_ok(), "forgotten, so any sequence will do");
}

#[test]
fn a_snapshot_reads_back_and_damage_is_noticed() {
    let mut log = log();
    for n in 0..6 {
        send(&mut log, 1, 0, n, 1).unwrap();
    }
    send_in_txn(&mut log, 2, 4, 0).unwrap();
    send_in_txn(&mut log, 3, 0, 0).unwrap();
    end_txn(&mut log, 3, 1, 2).unwrap();
    let bytes = log.producers().snapshot();
    assert_eq!(bytes.len(), 10 + 46 * (5 + 1 + 1));
    let again = Producers::from_snapshot(&bytes, NOW).unwrap();
    assert_eq!(again.snapshot(), bytes);
    for n in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[n] ^= 1;
        assert_eq!(Producers::from_snapshot(&bad, NOW), None, "byte {n}");
        assert_eq!(Producers::from_snapshot(&bytes[..n], NOW), None, "cut at {n}");
    }
}
