//! Transactions, and the batches that stay for their producers.

use std::path::Path;
use std::sync::Arc;

use braid_storage::sim::SimDisk;
use braid_storage::{AppendError, BatchBuilder, CleanRules, Disk, Log, OpenMode, batches};

use super::{clean, new_log, offsets, put};
use crate::support::{DIR, NOW, leave, open, read_all};

fn send(log: &mut Log, producer: i64, sequence: i32, key: &str) -> Result<i64, AppendError> {
    let mut batch = BatchBuilder::new().producer(producer, 0, sequence).transactional();
    batch.push(NOW, Some(key.as_bytes()), Some(b"v"), &[]);
    let batch = batch.build().unwrap();
    let leave = leave(log, &batch);
    log.append(&batch, leave, 0, NOW).map(|appended| appended.base_offset)
}

fn end(log: &mut Log, producer: i64, commit: bool) {
    let mut marker = BatchBuilder::new().producer(producer, 0, -1).transactional().control();
    marker.push_marker(NOW, commit, 1);
    log.append(&marker.build().unwrap(), None, 0, NOW).unwrap();
}

/// Base offset, records, and whether it has a horizon, of each batch.
fn shape(log: &Log) -> Vec<(i64, i32, bool)> {
    let (mut next, mut found) = (0, Vec::new());
    while next < log.end_offset() {
        for (header, _) in batches(&log.read(next, 1, log.end_offset(), true).unwrap().bytes) {
            found.push((header.base_offset, header.records_count, header.delete_horizon()));
            next = header.next_offset();
        }
    }
    found
}

#[test]
fn aborted_data_goes_at_once_and_its_marker_after_a_horizon() {
    let (_disk, mut log) = new_log();
    let rules = CleanRules { delete_retention_ms: 100, ..CleanRules::default() };
    put(&mut log, NOW, &[("a", Some("old"))]);
    send(&mut log, 5, 0, "a").unwrap();
    send(&mut log, 6, 0, "b").unwrap();
    end(&mut log, 5, false);
    end(&mut log, 6, true);
    send(&mut log, 5, 1, "c").unwrap();
    end(&mut log, 5, true);
    put(&mut log, NOW, &[("z", Some("1"))]);
    assert_eq!(clean(&mut log, &rules, 0, NOW).next_horizon_ms, None, "both end something still");
    assert_eq!(offsets(&log), [0, 2, 3, 4, 5, 6, 7], "a is as it was before the transaction");
    let second = clean(&mut log, &rules, 8, NOW + 1);
    assert_eq!(second.next_horizon_ms, Some(NOW + 101), "nothing is left that the first marker ends");
    assert_eq!(shape(&log)[2], (3, 1, true));
    assert_eq!(read_all(&log, 3, 4)[0].timestamp, NOW);
    clean(&mut log, &rules, 8, NOW + 100);
    assert_eq!(offsets(&log).len(), 7);
    assert_eq!(clean(&mut log, &rules, 8, NOW + 101).next_horizon_ms, None);
    assert_eq!(offsets(&log), [0, 2, 4, 5, 6, 7], "a committed transaction keeps its marker");
}

#[test]
fn a_commit_marker_goes_when_all_its_data_was_overwritten() {
    let (_disk, mut log) = new_log();
    let rules = CleanRules { delete_retention_ms: 0, ..CleanRules::default() };
    send(&mut log, 5, 0, "a").unwrap();
    end(&mut log, 5, true);
    send(&mut log, 5, 1, "a").unwrap();
    end(&mut log, 5, true);
    put(&mut log, NOW, &[("z", Some("1"))]);
    clean(&mut log, &rules, 0, NOW);
    assert_eq!(offsets(&log), [1, 2, 3, 4]);
    clean(&mut log, &rules, 5, NOW);
    clean(&mut log, &rules, 5, NOW + 1);
    assert_eq!(offsets(&log), [2, 3, 4]);
}

#[test]
fn an_open_transaction_holds_the_cleaner_back() {
    let (_disk, mut log) = new_log();
    for n in 0..20 {
        put(&mut log, NOW + n, &[("k", Some(&"v".repeat(200)))]);
    }
    send(&mut log, 5, 0, "a").unwrap();
    for n in 0..20 {
        put(&mut log, NOW + n, &[("k", Some(&"v".repeat(200)))]);
    }
    let cleaned = clean(&mut log, &CleanRules::default(), 0, NOW);
    assert!((15..=20).contains(&cleaned.next_dirty_offset), "{cleaned:?}");
    end(&mut log, 5, false);
    let cleaned = clean(&mut log, &CleanRules::default(), cleaned.next_dirty_offset, NOW);
    assert_eq!((cleaned.next_dirty_offset, offsets(&log)), (42, vec![40, 41]));
}

#[test]
fn a_producer_goes_on_where_it_was_even_if_nothing_of_it_is_left() {
    let (disk, mut log) = new_log();
    for n in 0..3 {
        let mut batch = BatchBuilder::new().producer(9, 0, n * 2);
        batch.push(NOW, Some(b"k"), Some(b"v"), &[]).push(NOW, Some(b"k"), Some(b"v"), &[]);
        log.append(&batch.build().unwrap(), None, 0, NOW).unwrap();
    }
    put(&mut log, NOW, &[("k", Some("last")), ("j", Some("1"))]);
    for _ in 0..2 {
        clean(&mut log, &CleanRules::default(), 0, NOW);
        assert_eq!(offsets(&log), [6, 7]);
        assert_eq!(shape(&log), [(4, 0, false), (6, 2, false)]);
    }
    forget_producers(&disk);
    let mut log = open(Arc::new(disk.clone()), OpenMode::Recover { recovery_point: 8 }).unwrap();
    let mut batch = BatchBuilder::new().producer(9, 0, 5);
    batch.push(NOW, Some(b"k"), Some(b"v"), &[]);
    assert!(
        matches!(log.append(&batch.build().unwrap(), None, 0, NOW), Err(AppendError::Producer(_))),
        "a gap"
    );
    let mut batch = BatchBuilder::new().producer(9, 0, 6);
    batch.push(NOW, Some(b"k"), Some(b"v"), &[]);
    assert_eq!(log.append(&batch.build().unwrap(), None, 0, NOW).unwrap().base_offset, 8);
}

#[test]
fn a_marker_that_is_all_that_is_known_of_a_producer_keeps_its_epoch() {
    let (disk, mut log) = new_log();
    let rules = CleanRules { delete_retention_ms: 0, ..CleanRules::default() };
    send(&mut log, 5, 0, "a").unwrap();
    // The coordinator ends the transaction with the next epoch (KIP-890).
    let mut marker = BatchBuilder::new().producer(5, 1, -1).transactional().control();
    marker.push_marker(NOW, false, 1);
    log.append(&marker.build().unwrap(), None, 0, NOW).unwrap();
    put(&mut log, NOW, &[("z", Some("1"))]);
    for _ in 0..3 {
        clean(&mut log, &rules, 0, NOW);
    }
    assert_eq!(shape(&log), [(1, 0, false), (2, 1, false)]);
    forget_producers(&disk);
    let mut log = open(Arc::new(disk.clone()), OpenMode::Recover { recovery_point: 3 }).unwrap();
    assert!(matches!(send(&mut log, 5, 1, "a"), Err(AppendError::Producer(_))), "epoch 0 is fenced");
}

/// Without a snapshot, what is known of producers is read from the log.
fn forget_producers(disk: &SimDisk) {
    for entry in disk.list(Path::new(DIR)).unwrap() {
        if entry.name.ends_with(".snapshot") {
            disk.remove(&Path::new(DIR).join(entry.name)).unwrap();
        }
    }
}

#[test]
fn the_index_of_aborted_transactions_names_those_that_are_still_there() {
    let (disk, mut log) = new_log();
    send(&mut log, 5, 0, "a").unwrap();
    end(&mut log, 5, false);
    send(&mut log, 5, 1, "b").unwrap();
    end(&mut log, 5, true);
    let path = Path::new(DIR).join("00000000000000000000.txnindex");
    let mut entry = vec![0, 0];
    for number in [5i64, 0, 1, 2] {
        entry.extend(number.to_be_bytes());
    }
    let rules = CleanRules { delete_retention_ms: 0, ..CleanRules::default() };
    clean(&mut log, &rules, 0, NOW);
    assert_eq!(disk.contents(&path).unwrap(), entry, "the marker ended something in this round");
    clean(&mut log, &rules, 4, NOW);
    assert_eq!(disk.contents(&path).unwrap(), b"");
}
