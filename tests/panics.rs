//! A panic under the lock of a partition, in each operation that has one: that partition is closed, whatever
//! was being done, the others go on, no request waits forever, and nothing acknowledged is lost.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use braid::broker::{Broker, NewTopic, Requester};
use braid::config::BrokerConfig;
use braid::machine::Clock;
use braid::metrics::Metrics;
use braid::topic::{Closed, Fault, Partition};
use braid_storage::disk::{Entry, File};
use braid_storage::sim::{Loss, SimDisk};
use braid_storage::{BatchBuilder, Disk};
use bytes::Bytes;
use support::disk::{NOW, open, partition, read};

/// The calls that can be made to panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum At {
    Nothing,
    Append,
    Rename,
    Sync,
}

/// A disk whose next call of a kind panics, once.
#[derive(Clone)]
struct Panicky {
    disk: SimDisk,
    at: Arc<AtomicU8>,
}

impl Panicky {
    fn arm(&self, at: At) {
        self.at.store(at as u8, Ordering::SeqCst);
    }

    fn comes_to(&self, at: At) {
        let armed = self.at.compare_exchange(at as u8, At::Nothing as u8, Ordering::SeqCst, Ordering::SeqCst);
        assert!(armed.is_err(), "the disk panics at {at:?}, as it was made to");
    }
}

impl Disk for Panicky {
    fn open(&self, path: &Path, create: bool, capacity: u64) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, create, capacity)?;
        Ok(Arc::new(PanickyFile { file, disk: self.clone() }))
    }
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        self.disk.make_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // Of a segment, not of a checkpoint.
        if from.extension().is_some_and(|suffix| suffix == "cleaned" || suffix == "swap") {
            self.comes_to(At::Rename);
        }
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

struct PanickyFile {
    file: Arc<dyn File>,
    disk: Panicky,
}

impl File for PanickyFile {
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
        self.file.read(at, len)
    }
    fn append(&self, at: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.disk.comes_to(At::Append);
        self.file.append(at, slices)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.comes_to(At::Sync);
        self.file.sync()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

/// A broker with two topics on such a disk, each with records that were acknowledged.
struct World {
    disk: Panicky,
    broker: Arc<Broker>,
    runtime: tokio::runtime::Runtime,
}

const RECORDS: usize = 60;

impl World {
    fn new() -> World {
        let disk = Panicky { disk: SimDisk::new(), at: Arc::default() };
        let settings = [
            ("log.dirs", "/data"),
            ("log.segment.bytes", "700"),
            ("log.cleaner.min.cleanable.ratio", "0.1"),
            ("log.segment.delete.delay.ms", "0"),
        ];
        let config = BrokerConfig::with(settings).unwrap();
        let metrics = Arc::new(Metrics::new(prometheus::Registry::new()).unwrap());
        let broker = Broker::open(config, metrics, Arc::new(disk.clone()), Clock::starting_at(NOW)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let world = World { disk, broker, runtime };
        for (name, policy) in [("hit", "compact"), ("other", "delete")] {
            let configs = [("cleanup.policy".to_owned(), policy.to_owned())].into();
            let new = NewTopic { name: name.into(), partitions: 1, replication_factor: 1, configs };
            world.runtime.block_on(world.broker.create_topic(new, &Requester::Broker)).unwrap();
            for n in 0..RECORDS {
                world.produce(name, n).unwrap();
            }
        }
        world
    }

    fn partition(&self, topic: &str) -> Arc<Partition> {
        partition(&self.broker, topic).unwrap()
    }

    /// Appends a record and waits until it is acknowledged, or refused.
    fn produce(&self, topic: &str, n: usize) -> Result<(), Fault> {
        let partition = self.partition(topic);
        let mut batch = BatchBuilder::new();
        batch.push(NOW, Some(format!("k{}", n % 7).as_bytes()), Some(&[b'v'; 40]), &[]);
        let appended = partition.append(&batch.build().unwrap(), None, NOW)?;
        self.runtime.block_on(async {
            let acknowledged = partition.reached(appended.last_offset);
            tokio::time::timeout(Duration::from_secs(20), acknowledged).await.expect("it waits forever")
        })
    }

    /// Makes one operation panic, and looks what becomes of everything.
    fn hit(at: At, operation: impl FnOnce(&World), closed: Closed, others: Option<Closed>) {
        let world = World::new();
        world.disk.arm(at);
        let _ = catch_unwind(AssertUnwindSafe(|| operation(&world)));
        assert_eq!(world.disk.at.load(Ordering::SeqCst), At::Nothing as u8, "{at:?} did not come");
        let hit = world.partition("hit");
        assert_eq!(hit.closed(), Some(closed), "{at:?}");
        let code = world.produce("hit", 0).unwrap_err().code();
        assert_eq!(code, closed.code());
        assert!(hit.read(0, 100, true).is_err());
        assert_eq!(world.partition("other").closed(), others, "{at:?}");
        assert_eq!(world.produce("other", 0).is_ok(), others.is_none(), "{at:?}");
        drop(hit);
        let World { disk, broker, .. } = world;
        let _ = broker.close();
        for loss in [Loss::Nothing, Loss::Everything] {
            let next = open(&disk.disk.crash(loss));
            for topic in ["hit", "other"] {
                let partition = partition(&next, topic).unwrap();
                assert!(partition.watermark() >= RECORDS as i64, "{at:?}: an acknowledged record is lost");
                let newest: Vec<i64> =
                    read(&partition).into_keys().filter(|o| *o >= RECORDS as i64 - 7).collect();
                assert!(newest.len() >= 7, "{at:?}: {newest:?}");
            }
        }
    }
}

#[test]
fn a_panic_in_an_append_closes_the_partition() {
    World::hit(At::Append, |world| drop(world.produce("hit", 1)), Closed::Panicked, None);
}

#[test]
fn a_panic_while_the_log_is_looked_at_closes_the_partition() {
    let look = |world: &World| drop(world.partition("hit").look(|_| panic!("while it looks")));
    World::hit(At::Nothing, look, Closed::Panicked, None);
}

#[test]
fn a_panic_in_a_checkpoint_closes_the_partition() {
    let checkpoint = |world: &World| {
        world.produce("hit", 1).unwrap();
        world.disk.arm(At::Append);
        drop(world.broker.dirs().checkpoint(&[world.partition("hit")], false));
    };
    World::hit(At::Nothing, checkpoint, Closed::Panicked, None);
}

#[test]
fn a_panic_in_the_swap_after_a_compaction_closes_the_partition() {
    let clean = |world: &World| {
        world.broker.checkpoint().unwrap();
        world.disk.arm(At::Rename);
        world.broker.clean();
    };
    World::hit(At::Nothing, clean, Closed::Panicked, None);
}

// A thread that panicked while it synced was gone, and requests that waited for it waited forever.
#[test]
fn a_panic_in_a_sync_is_a_disk_that_failed() {
    let failed = Closed::Failed;
    World::hit(At::Sync, |world| drop(world.produce("hit", 1).unwrap_err()), failed, Some(failed));
}
