//! Transactions through crashes and faults: what `read_committed` is told equals what happened, wherever the
//! power goes and whichever call fails.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use braid_storage::checkpoint::{self, Offsets, RECOVERY_POINTS};
use braid_storage::sim::{Call, Fault, Loss, SimDisk};
use braid_storage::{AbortedTxn, AppendError, BatchBuilder, Checked, Disk, Error, Log, OpenMode};

use crate::support::{DIR, Dice, NOW, fill, leave, open};
use crate::txn_model::Model;

const STEPS: u64 = 34;

/// A log under work, and what the world outside knows.
struct Work {
    disk: SimDisk,
    dice: Dice,
    model: Model,
    sequences: BTreeMap<i64, i32>,
    synced: i64,
}

fn data_folder() -> SimDisk {
    let disk = SimDisk::new();
    disk.plant(Path::new("/data/.lock"), b"");
    disk
}

fn recovery_points() -> std::path::PathBuf {
    Path::new("/data").join(RECOVERY_POINTS)
}

fn marker(producer: i64, commit: bool) -> Checked {
    let mut builder = BatchBuilder::new().producer(producer, 0, -1).transactional().control();
    builder.push_marker(NOW, commit, 1);
    builder.build().unwrap()
}

impl Work {
    fn new(disk: SimDisk, seed: u64) -> Work {
        let model = Model::default();
        Work { disk, dice: Dice(seed * 77 + 1), model, sequences: BTreeMap::new(), synced: 0 }
    }

    /// One batch of data or one marker. In the model even if it fails: it may be found later.
    fn step(&mut self, log: &mut Log) -> Result<(), Error> {
        let producer = self.dice.below(5) as i64 - 1;
        let base = log.end_offset();
        if self.model.open.contains_key(&producer) && self.dice.below(3) == 0 {
            let commit = self.dice.below(3) == 0;
            self.model.end(base, producer, commit);
            return append(log, &marker(producer, commit));
        }
        let count = 1 + self.dice.below(3) as usize;
        let mut builder = BatchBuilder::new();
        if producer >= 0 {
            let sequence = self.sequences.entry(producer).or_default();
            builder = builder.producer(producer, 0, *sequence).transactional();
            *sequence += count as i32;
        }
        fill(&mut builder, base, count, 60);
        self.model.data(base, base + count as i64 - 1, producer);
        append(log, &builder.build().unwrap())
    }

    fn run(&mut self) -> Result<Log, Error> {
        let mut log = open(Arc::new(self.disk.clone()), OpenMode::Clean)?;
        for n in 0..STEPS {
            self.step(&mut log)?;
            if n % 4 == 3 {
                log.sync()?;
                self.synced = log.synced_offset();
            }
            if n % 7 == 5 {
                self.checkpoint(&mut log)?;
            }
        }
        Ok(log)
    }

    fn checkpoint(&self, log: &mut Log) -> Result<(), Error> {
        log.checkpoint()?;
        let points = Offsets::from([(("topic".to_owned(), 0), log.synced_offset())]);
        checkpoint::write_offsets(&self.disk, &recovery_points(), &points)?;
        log.checkpointed(log.synced_offset());
        Ok(())
    }

    /// Opens what a crash has left and compares.
    fn recover(&mut self, disk: SimDisk) -> Log {
        let points = checkpoint::read_offsets(&disk, &recovery_points()).unwrap().unwrap_or_default();
        let recovery_point = points.get(&("topic".to_owned(), 0)).copied().unwrap_or(0);
        let how = OpenMode::Recover { recovery_point };
        let log = open(Arc::new(disk.clone()), how).unwrap();
        assert!(log.end_offset() >= self.synced);
        self.model = self.model.cut(log.end_offset());
        self.model.check(&log);
        self.disk = disk;
        log
    }
}

fn append(log: &mut Log, batch: &Checked) -> Result<(), Error> {
    let leave = leave(log, batch);
    match log.append(batch, leave, 0, NOW) {
        Err(AppendError::Storage(error)) => Err(error),
        appended => {
            appended.unwrap();
            Ok(())
        }
    }
}

#[test]
fn aborted_transactions_are_those_of_the_log_wherever_the_power_goes() {
    for seed in 1..=2 {
        let disk = data_folder();
        let mut work = Work::new(disk.clone(), seed);
        let log = work.run().unwrap();
        assert!(log.segment_count() > 2);
        let aborted = work.model.ended.iter().filter(|(_, commit)| !commit).count();
        assert!(aborted > 2 && aborted < work.model.ended.len(), "{aborted}");
        let calls = disk.calls();
        for call in 0..=calls {
            let disk = data_folder();
            disk.fail_at(call, Fault::PowerCut);
            let mut work = Work::new(disk.clone(), seed);
            assert_eq!(work.run().is_err(), call < calls);
            let random = (1..4).map(|n| Loss::Random(n * 1000 + call));
            for loss in [Loss::Nothing, Loss::Everything].into_iter().chain(random) {
                let after = disk.crash(loss);
                let mut work =
                    Work { dice: Dice(call + 3), model: work.model.clone(), ..Work::new(after, 1) };
                let story = std::panic::catch_unwind(AssertUnwindSafe(|| survive(&mut work)));
                assert!(story.is_ok(), "seed {seed}, power cut at call {call} of {calls}, {loss:?}");
            }
        }
    }
}

/// After the crash: goes on, with a checkpoint on the way, and survives two more.
fn survive(work: &mut Work) {
    let mut log = work.recover(work.disk.clone());
    // Sequences and open transactions of what was lost are the clients' to sort out.
    work.sequences = log.producers().all().map(|p| (p.producer_id, p.last_sequence + 1)).collect();
    for n in 0..12 {
        work.step(&mut log).unwrap();
        if n == 5 {
            log.sync().unwrap();
            work.checkpoint(&mut log).unwrap();
        }
    }
    work.model.check(&log);
    let mut after = work.recover(work.disk.crash(Loss::Random(9)));
    after.sync().unwrap();
    after.close().unwrap();
    let after = open(Arc::new(work.disk.clone()), OpenMode::Clean).unwrap();
    work.model.check(&after);
}

#[test]
fn a_call_that_fails_once_leaves_no_transaction_out() {
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    for errno in [EIO, ENOSPC] {
        for call in 1.. {
            let disk = data_folder();
            let mut work = Work::new(disk.clone(), 1);
            disk.fail_once(call, errno);
            // A log that cannot be opened or synced is not used; everything else can be done again.
            let done = work.run();
            let failed = disk.failed();
            disk.heal();
            let story = std::panic::catch_unwind(AssertUnwindSafe(|| match done {
                Ok(mut log) => {
                    work.model.check(&log);
                    log.close().unwrap();
                    work.model.check(&open(Arc::new(disk.clone()), OpenMode::Clean).unwrap());
                }
                Err(_) => drop(work.recover(disk.crash(Loss::Nothing))),
            }));
            assert!(story.is_ok(), "errno {errno} at call {call}, {failed:?}");
            assert_eq!(disk.retried(), 0, "no file is synced again");
            if failed.is_none() {
                break;
            }
        }
    }
}

/// A closed log of some segments, and what is in it.
fn closed() -> (SimDisk, Model) {
    let mut work = Work::new(data_folder(), 2);
    let mut log = work.run().unwrap();
    log.close().unwrap();
    (work.disk, work.model)
}

fn txn_indexes(disk: &SimDisk) -> Vec<std::path::PathBuf> {
    let entries = disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name);
    entries.filter(|name| name.ends_with(".txnindex")).map(|name| Path::new(DIR).join(name)).collect()
}

#[test]
fn an_index_of_aborted_transactions_is_only_where_there_are_some_and_damage_is_mended() {
    let (disk, model) = closed();
    let files = txn_indexes(&disk);
    assert!(files.len() > 1);
    assert!(files.iter().all(|file| disk.contents(file).unwrap().len().is_multiple_of(34)));
    let sizes: usize = files.iter().map(|file| disk.contents(file).unwrap().len()).sum();
    assert_eq!(sizes / 34, model.ended.iter().filter(|(_, commit)| !commit).count());
    for file in &files {
        let right = disk.contents(file).unwrap();
        // Wherever it says something that cannot be, and wherever it was cut short of an entry.
        let mut wrong = vec![right[..right.len() - 1].to_vec(), [&right[..], &right[..34]].concat()];
        for (at, byte) in [(0, 1), (2, 0x80), (10, 0x80), (18, 0x7f), (26, 0x7f)] {
            wrong.push(right.clone());
            wrong.last_mut().unwrap()[at] ^= byte;
        }
        for (n, wrong) in wrong.iter().enumerate() {
            for how in [OpenMode::Clean, OpenMode::Recover { recovery_point: 20 }] {
                disk.plant(file, wrong);
                let log = open(Arc::new(disk.crash(Loss::Nothing)), how).unwrap();
                model.check(&log);
                let again = disk.crash(Loss::Nothing);
                let mut log = open(Arc::new(again.clone()), how).unwrap();
                model.check(&log);
                log.close().unwrap();
                assert_eq!(again.contents(file).unwrap(), right, "{} {n} {how:?}", file.display());
            }
        }
        disk.plant(file, &right);
    }
}

#[test]
fn one_that_is_missing_where_recovery_looks_is_made_again() {
    let (disk, model) = closed();
    for file in txn_indexes(&disk) {
        disk.remove(&file).unwrap();
    }
    let mut log = open(Arc::new(disk.clone()), OpenMode::Recover { recovery_point: 0 }).unwrap();
    model.check(&log);
    log.close().unwrap();
    assert!(txn_indexes(&disk).len() > 1);
    model.check(&open(Arc::new(disk.clone()), OpenMode::Clean).unwrap());
}

#[test]
fn retention_takes_the_index_with_its_segment_and_readers_keep_it() {
    let (disk, model) = closed();
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    let aborted: Vec<AbortedTxn> = model.ended.iter().filter(|(_, c)| !c).map(|(txn, _)| *txn).collect();
    let reader = log.reader(0, log.end_offset()).unwrap();
    let before = txn_indexes(&disk);
    log.set_config(braid_storage::LogConfig { retention_bytes: 0, ..log.config().clone() });
    assert!(log.retain(log.end_offset(), NOW).unwrap().segments() > 2);
    log.take_due(i64::MAX).run().unwrap();
    assert!(txn_indexes(&disk).len() < before.len());
    let slice = reader.read(1 << 20, true).unwrap();
    let upper = braid_storage::batches(&slice.bytes).last().unwrap().0.next_offset();
    let wanted = aborted.into_iter().filter(|txn| txn.first_offset < upper);
    assert_eq!(reader.aborted(&slice).unwrap(), wanted.collect::<Vec<_>>());
    assert!(disk.failed().is_none_or(|call| call != Call::Remove));
}
