//! Idempotence and transactions through the log: duplicates, gaps, epochs, restarts, the last stable offset.

use std::sync::Arc;

use braid_storage::producers::{ProducerError, Producers};
use braid_storage::sim::{Loss, SimDisk};
use braid_storage::{AppendError, Appended, BatchBuilder, Log, OpenMode, TxnGuard, TxnStatus};

use crate::support::{NOW, leave, open};

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
    let batch = builder.build().unwrap();
    let leave = leave(log, &batch);
    match log.append(&batch, leave, 0, NOW) {
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

/// A transactional batch with this leave to begin a transaction.
fn begin(
    log: &mut Log,
    (id, epoch, sequence): (i64, i16, i32),
    leave: Option<TxnGuard>,
) -> Result<Appended, ProducerError> {
    let mut builder = BatchBuilder::new().producer(id, epoch, sequence).transactional();
    builder.push(NOW, None, Some(b"v"), &[]);
    match log.append(&builder.build().unwrap(), leave, 0, NOW) {
        Err(AppendError::Producer(error)) => Err(error),
        appended => Ok(appended.unwrap()),
    }
}

fn guard(log: &Log, id: i64, epoch: i16) -> Option<TxnGuard> {
    match log.transaction(id, epoch) {
        TxnStatus::Closed(guard) => Some(guard),
        TxnStatus::Open => None,
    }
}

#[test]
fn a_transaction_begins_only_if_the_coordinator_was_asked_since_the_last_marker() {
    let mut log = log();
    let refused = Err(ProducerError::NotVerified { producer_id: 7 });
    let asked = guard(&log, 7, 0);
    assert!(asked.is_some());
    assert_eq!(begin(&mut log, (7, 0, 0), None), refused);
    assert_eq!(log.end_offset(), 0);
    assert!(begin(&mut log, (7, 0, 0), asked).is_ok());
    assert_eq!(log.transaction(7, 0), TxnStatus::Open);
    assert!(begin(&mut log, (7, 0, 1), None).is_ok(), "it has begun");
    assert_ne!(log.transaction(7, 1), TxnStatus::Open, "but not for the next epoch");
    // The race of KIP-890: asked, then the marker came, then the batch.
    let late = guard(&log, 7, 1);
    end_txn(&mut log, 7, 0, 1).unwrap();
    assert_eq!(begin(&mut log, (7, 0, 2), late), refused);
    assert_eq!(begin(&mut log, (7, 0, 2), asked), refused);
    assert!(begin(&mut log, (7, 0, 1), None).unwrap().duplicate, "what was done needs no leave");
    assert_eq!(log.last_stable_offset(log.end_offset()), log.end_offset(), "nothing hangs");
    let asked = guard(&log, 7, 0);
    assert!(begin(&mut log, (7, 0, 2), asked).is_ok());
    // Of a producer that nothing was known of when the coordinator was asked.
    let asked = guard(&log, 8, 3);
    end_txn(&mut log, 8, 3, 1).unwrap();
    assert_eq!(begin(&mut log, (8, 3, 0), asked), Err(ProducerError::NotVerified { producer_id: 8 }));
    let asked = guard(&log, 8, 3);
    assert!(begin(&mut log, (8, 3, 0), asked).is_ok());
}

#[test]
fn a_coordinators_batches_have_no_sequence_but_need_leave_and_the_epoch() {
    let mut log = log();
    for _ in 0..3 {
        let leave = guard(&log, 7, 4);
        assert!(!begin(&mut log, (7, 4, -1), leave).unwrap().duplicate, "none repeats another");
    }
    end_txn(&mut log, 7, 4, 1).unwrap();
    assert_eq!(begin(&mut log, (7, 4, -1), None), Err(ProducerError::NotVerified { producer_id: 7 }));
    let leave = guard(&log, 7, 3);
    let old = Err(ProducerError::InvalidEpoch { producer_id: 7, given: 3, current: 4 });
    assert_eq!(begin(&mut log, (7, 3, -1), leave), old);
}

#[test]
fn a_marker_bears_the_epoch_or_a_newer_one_and_fences_what_is_older() {
    let mut log = log();
    send_in_txn(&mut log, 7, 2, 0).unwrap();
    let old = ProducerError::InvalidEpoch { producer_id: 7, given: 1, current: 2 };
    assert_eq!(end_txn(&mut log, 7, 1, 1), Err(old));
    // Transaction version 2: the marker has the next epoch, and so has what follows (KIP-890).
    end_txn(&mut log, 7, 3, 1).unwrap();
    assert_eq!(log.last_stable_offset(2), 2);
    let late = ProducerError::InvalidEpoch { producer_id: 7, given: 2, current: 3 };
    assert_eq!(send_in_txn(&mut log, 7, 2, 1), Err(late));
    let gap = ProducerError::OutOfOrder { producer_id: 7, given: 1, last: -1 };
    assert_eq!(send_in_txn(&mut log, 7, 3, 1), Err(gap));
    send_in_txn(&mut log, 7, 3, 0).unwrap();
    end_txn(&mut log, 7, 3, 1).unwrap();
    end_txn(&mut log, 7, 3, 1).unwrap();
    assert_eq!(log.last_stable_offset(5), 5, "a marker that ends nothing holds nothing back");
}

#[test]
fn five_duplicates_across_the_wrap_get_the_first_answer_after_any_restart() {
    for (clean, rolls, snapshot) in [
        (true, false, false),
        (true, true, true),
        (false, false, false),
        (false, true, false),
        (false, true, true),
    ] {
        let disk = SimDisk::new();
        let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
        let mut first = Vec::new();
        // Three records each, so that one of them wraps from the middle: MAX-7 to -5, -4 to -2, -1 to 0, ...
        for n in 0..6u32 {
            let sequence = (i32::MAX - 7).wrapping_add(n as i32 * 3) & i32::MAX;
            first.push((sequence, send(&mut log, 9, 5, sequence, 3).unwrap()));
            if rolls && n % 2 == 0 {
                log.roll(NOW).unwrap();
            }
            if snapshot && n == 3 {
                log.checkpoint().unwrap();
            }
        }
        assert!(first.is_sorted_by_key(|(_, appended)| appended.base_offset) && first[5].0 < 10);
        let how = if clean { OpenMode::Clean } else { OpenMode::Recover { recovery_point: 0 } };
        if clean {
            log.close().unwrap();
        }
        let mut log = open(Arc::new(disk.crash(Loss::Nothing)), how).unwrap();
        for (sequence, appended) in &first[1..] {
            let again = send(&mut log, 9, 5, *sequence, 3).unwrap();
            assert_eq!(again, Appended { duplicate: true, bytes: 0, ..*appended }, "clean {clean}");
        }
        let oldest = send(&mut log, 9, 5, first[0].0, 3);
        assert!(matches!(oldest, Err(ProducerError::OutOfOrder { .. })), "{oldest:?}");
        assert!(matches!(send(&mut log, 9, 4, 0, 1), Err(ProducerError::InvalidEpoch { .. })));
        assert!(!send(&mut log, 9, 5, first[5].0 + 3, 3).unwrap().duplicate);
    }
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
