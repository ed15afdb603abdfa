//! Random appends, reads, rolls, restarts and kills against a `Vec`.

use std::sync::Arc;

use braid_storage::sim::{Loss, SimDisk};
use braid_storage::{Disk, Log, OpenMode, ReadError, RealDisk, batches};
use proptest::prelude::*;

use crate::support::{DIR, Model, NOW, batch, config, open, open_at, read_all};

#[derive(Clone, Debug)]
enum Op {
    Append { jump: i64, count: usize, padding: usize },
    Read { offset: prop::sample::Index, up_to: prop::sample::Index },
    Roll,
    Sync,
    Checkpoint,
    Restart,
    Kill { from: prop::sample::Index },
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => (-40..60i64, 1..6usize, 0..200usize)
            .prop_map(|(jump, count, padding)| Op::Append { jump, count, padding }),
        2 => (index(), index()).prop_map(|(offset, up_to)| Op::Read { offset, up_to }),
        1 => Just(Op::Roll),
        1 => Just(Op::Sync),
        1 => Just(Op::Checkpoint),
        1 => Just(Op::Restart),
        1 => index().prop_map(|from| Op::Kill { from }),
    ]
}

struct World {
    disk: SimDisk,
    log: Log,
    model: Model,
    time: i64,
}

impl World {
    fn step(&mut self, op: &Op) {
        match op {
            Op::Append { jump, count, padding } => {
                self.time += jump;
                let appended = self.log.append(&batch(self.time, *count, *padding), None, 3, NOW).unwrap();
                assert_eq!(appended.base_offset, self.model.end());
                self.model.push(self.time, *count);
                assert_eq!(appended.last_offset + 1, self.model.end());
            }
            Op::Read { offset, up_to } => {
                let ends: Vec<i64> = self.model.starts.iter().copied().chain([self.model.end()]).collect();
                let up_to = ends[up_to.index(ends.len())];
                let offset = offset.index(self.model.end() as usize + 1) as i64;
                let start = self.model.starts.iter().rev().find(|start| **start <= offset);
                let found = read_all(&self.log, *start.unwrap_or(&0), up_to);
                let wanted = self.model.times.get(*start.unwrap_or(&0) as usize..up_to as usize);
                let found: Vec<i64> = found.iter().map(|record| record.timestamp).collect();
                assert_eq!(found, wanted.unwrap_or_default());
            }
            Op::Roll => self.log.roll(NOW).unwrap(),
            Op::Sync => self.log.sync().unwrap(),
            Op::Checkpoint => self.log.checkpoint().unwrap(),
            Op::Restart => {
                self.log.close().unwrap();
                assert_eq!(self.log.synced_offset(), self.model.end());
                self.log = open(Arc::new(self.disk.clone()), OpenMode::Clean).unwrap();
            }
            Op::Kill { from } => {
                // Any point up to what is synced may have been kept, if the log was told.
                self.log.checkpoint().unwrap();
                let recovery_point = from.index(self.log.synced_offset() as usize + 1) as i64;
                self.disk = self.disk.crash(Loss::Nothing);
                self.log = open(Arc::new(self.disk.clone()), OpenMode::Recover { recovery_point }).unwrap();
                assert_eq!(self.log.synced_offset(), self.model.end());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_log_is_a_list_of_records(ops in prop::collection::vec(op(), 1..50)) {
        let disk = SimDisk::new();
        let log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
        let mut world = World { disk, log, model: Model::default(), time: 1000 };
        for op in &ops {
            world.step(op);
        }
        world.model.check(&world.log);
    }
}

#[test]
fn the_same_on_a_real_disk() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("topic-0");
    let mut model = Model::default();
    let mut how = OpenMode::Clean;
    for round in 0..4 {
        let mut log = open_at(Arc::new(RealDisk::default()), &dir, how).unwrap();
        model.check(&log);
        for n in 0..30 {
            let time = 1000 + round * 100 + n * 3;
            log.append(&batch(time, 2, 40), None, 0, NOW).unwrap();
            model.push(time, 2);
        }
        model.check(&log);
        if round % 2 == 0 {
            log.close().unwrap();
            how = OpenMode::Clean;
        } else {
            how = OpenMode::Recover { recovery_point: log.synced_offset() };
        }
    }
    let log = open_at(Arc::new(RealDisk::default()), &dir, how).unwrap();
    model.check(&log);
    log.delete().unwrap();
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0);
}

#[test]
fn readers_keep_what_they_have_while_the_log_rolls_and_is_deleted() {
    let tmp = tempfile::tempdir().unwrap();
    let mut log =
        open_at(Arc::new(RealDisk::default()), &tmp.path().join("topic-0"), OpenMode::Clean).unwrap();
    log.append(&batch(5, 3, 100), None, 0, NOW).unwrap();
    let reader = log.reader(0, 3).unwrap();
    let slice = reader.read(1 << 20, true).unwrap();
    let before = slice.bytes.to_vec();
    for n in 0..20 {
        log.append(&batch(50 + n, 3, 100), None, 0, NOW).unwrap();
    }
    assert!(log.segment_count() > 2);
    log.close().unwrap();
    assert_eq!(reader.read(1 << 20, true).unwrap(), slice);
    log.delete().unwrap();
    assert_eq!(slice.bytes, before);
}

#[test]
fn offsets_outside_the_log_are_refused_and_its_end_is_empty() {
    let mut log = open(Arc::new(SimDisk::new()), OpenMode::Clean).unwrap();
    assert!(log.read(0, 1, 0, true).unwrap().bytes.is_empty());
    log.append(&batch(5, 3, 0), None, 0, NOW).unwrap();
    assert!(matches!(log.read(4, 1, 3, true), Err(ReadError::OutOfRange { offset: 4, start: 0, end: 3 })));
    assert!(log.read(3, 1, 3, true).unwrap().bytes.is_empty());
    assert!(log.read(1, 1, 0, true).unwrap().bytes.is_empty(), "not visible yet");
    assert!(log.read(0, 1, 3, false).unwrap().bytes.is_empty(), "too large, and no right to one");
    log.advance_start(2);
    log.advance_start(1);
    assert!(matches!(log.read(1, 1, 3, true), Err(ReadError::OutOfRange { start: 2, .. })));
    assert_eq!(log.read(2, 1, 3, true).unwrap().base_offset, 0);
    assert_eq!(log.by_time().offset_for_timestamp(0, 3).unwrap(), Some((7, 2)));
}

#[test]
fn segments_roll_by_size_and_by_age() {
    let mut log = open(Arc::new(SimDisk::new()), OpenMode::Clean).unwrap();
    log.set_config(braid_storage::LogConfig { segment_ms: 100, ..config() });
    log.append(&batch(1000, 1, 0), None, 0, NOW).unwrap();
    log.append(&batch(1100, 1, 0), None, 0, NOW).unwrap();
    assert_eq!(log.segment_count(), 1);
    log.append(&batch(1101, 1, 0), None, 0, NOW).unwrap();
    assert_eq!(log.segment_count(), 2);
    log.append(&batch(1101, 1, 1400), None, 0, NOW).unwrap();
    assert_eq!(log.segment_count(), 3);
    log.append(&batch(1101, 1, 5000), None, 0, NOW).unwrap();
    assert_eq!(log.segment_count(), 4, "a batch that fits nowhere has a segment of its own");
}

#[test]
fn a_closed_folder_is_as_kafka_leaves_it() {
    let disk = SimDisk::new();
    let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    let names = || {
        use braid_storage::Disk;
        let entries = disk.list(std::path::Path::new(DIR)).unwrap();
        entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["00000000000000000000.log"], "an empty log is one file");
    log.close().unwrap();
    let empty =
        ["index", "log", "snapshot", "timeindex"].map(|suffix| format!("00000000000000000000.{suffix}"));
    assert_eq!(names(), empty);
    for n in 0..12 {
        log.append(&batch(n, 2, 200), None, 4, NOW).unwrap();
    }
    log.close().unwrap();
    let calls = disk.calls();
    log.close().unwrap();
    assert_eq!(disk.calls(), calls, "closing again does nothing");
    let names = names();
    assert!(names.contains(&"leader-epoch-checkpoint".to_owned()));
    assert!(names.contains(&"00000000000000000024.snapshot".to_owned()));
    for suffix in ["log", "index", "timeindex"] {
        assert_eq!(
            names.iter().filter(|name| name.ends_with(&format!(".{suffix}"))).count(),
            log.segment_count()
        );
    }
    assert_eq!(log.epoch_end_offset(4, 0), Some((4, 24)));
    let again = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
    assert_eq!((again.latest_epoch(), again.end_offset(), again.dirty()), (Some(4), 24, false));
    assert_eq!(disk.calls(), calls, "opening a closed log changes nothing");
}

#[test]
fn an_idle_log_is_small() {
    assert!(size_of::<Log>() < 1024, "{}", size_of::<Log>());
}

#[test]
fn readers_follow_a_writer_without_its_lock() {
    let tmp = tempfile::tempdir().unwrap();
    let log = open_at(Arc::new(RealDisk::default()), &tmp.path().join("topic-0"), OpenMode::Clean).unwrap();
    let log = std::sync::Mutex::new(log);
    const BATCHES: i64 = 400;
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for n in 0..BATCHES {
                log.lock().unwrap().append(&batch(n, 2, 60), None, 0, NOW).unwrap();
            }
        });
        for _ in 0..2 {
            threads.spawn(|| {
                let mut next = 0;
                while next < BATCHES * 2 {
                    let reader = {
                        let log = log.lock().unwrap();
                        log.reader(next, log.end_offset()).unwrap()
                    };
                    let slice = reader.read(1000, true).unwrap();
                    for record in
                        braid_storage::batches(&slice.bytes).flat_map(|(_, batch)| records_of(&batch))
                    {
                        assert_eq!((record.offset, record.timestamp), (next, next / 2 + next % 2));
                        next += 1;
                    }
                }
            });
        }
    });
    assert!(log.lock().unwrap().segment_count() > 20);
}

fn records_of(batch: &bytes::Bytes) -> Vec<braid_storage::Record> {
    braid_storage::records(batch).unwrap().map(Result::unwrap).collect()
}

// Consumers that read old segments kept a file of each open for good, until none was left for new ones.
#[test]
fn segments_that_were_read_are_closed_where_files_are_scarce() {
    let tmp = tempfile::tempdir().unwrap();
    let disk = RealDisk::with_limit(1000);
    let mut log = open_at(Arc::new(disk.clone()), &tmp.path().join("topic-0"), OpenMode::Clean).unwrap();
    for n in 0..30 {
        log.append(&batch(50 + n, 3, 100), None, 0, NOW).unwrap();
    }
    log.sync().unwrap();
    let (files, segments) = (disk.open_files().unwrap(), log.segment_count());
    assert!(segments > 5 && files.open() == 1, "{segments} segments, {} files", files.open());
    let read = |log: &Log| {
        let mut next = 0;
        while next < log.end_offset() {
            let slice = log.read(next, 1 << 20, log.end_offset(), true).unwrap();
            next = batches(&slice.bytes).last().unwrap().0.last_offset() + 1;
        }
    };
    read(&log);
    assert_eq!(files.open(), segments);
    log.close_sealed();
    assert_eq!(files.open(), 1);
    files.keep_up_to(3, usize::MAX);
    read(&log);
    assert_eq!(files.open(), 3);
    log.close_sealed();
    files.set_sockets(10);
    files.keep_up_to(100, 12);
    read(&log);
    assert_eq!(files.open(), 2, "clients have taken the rest");
}
