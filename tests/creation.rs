//! The creation and the deletion of topics on a disk in memory that fails, or loses its power, at every call
//! in turn: a topic is there as a whole or not at all, later topics work, and nothing is left behind.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use braid::broker::{Broker, NewTopic, Requester};
use braid::config::BrokerConfig;
use braid::machine::Clock;
use braid::metrics::Metrics;
use braid_protocol::ErrorCode;
use braid_storage::disk::{Entry, File};
use braid_storage::sim::{Fault, Loss, SimDisk};
use braid_storage::{BatchBuilder, Disk};
use support::disk::{NOW, open, read};

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn new(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions, replication_factor: 1, ..NewTopic::default() }
}

/// The names in the log directory that begin with this.
fn names(disk: &SimDisk, prefix: &str) -> Vec<String> {
    let entries = disk.list(Path::new("/data")).unwrap();
    entries.into_iter().map(|entry| entry.name).filter(|name| name.starts_with(prefix)).collect()
}

async fn produce(broker: &Broker, topic: &str, index: i32) -> bool {
    let Some(partition) = broker.topic(topic).and_then(|topic| topic.partition(index)) else { return false };
    let mut batch = BatchBuilder::new();
    batch.push(NOW, None, Some(b"a record"), &[]);
    match partition.append(&batch.build().unwrap(), None, NOW) {
        Ok(appended) => partition.reached(appended.last_offset).await.is_ok(),
        Err(_) => false,
    }
}

/// A topic of two partitions with a record in the first, and one that is to be deleted.
fn before() -> SimDisk {
    let disk = SimDisk::new();
    let broker = open(&disk);
    runtime().block_on(async {
        broker.create_topic(new("old", 2), &Requester::Broker).await.unwrap();
        broker.create_topic(new("doomed", 2), &Requester::Broker).await.unwrap();
        assert!(produce(&broker, "old", 0).await && produce(&broker, "doomed", 0).await);
    });
    drop(broker);
    disk.crash(Loss::Nothing)
}

/// What is asked for: a new topic, more partitions, and the end of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Grow,
    Delete,
}

const STEPS: [Step; 3] = [Step::Create, Step::Grow, Step::Delete];

impl Step {
    async fn run(self, broker: &Arc<Broker>) -> Result<(), ErrorCode> {
        let doomed = broker.topic("doomed").map(|topic| topic.id);
        let done = match self {
            Step::Create => broker.create_topic(new("new", 3), &Requester::Broker).await.map(drop),
            Step::Grow => broker.grow_topic("old".to_owned(), 4, &Requester::Broker).await,
            Step::Delete => broker.delete_topic(doomed.unwrap(), &Requester::Broker).await,
        };
        done.map_err(|(code, _)| code)
    }

    /// Whether the image says that it was done.
    fn is_done(self, broker: &Broker) -> bool {
        let image = broker.cluster.image();
        match self {
            Step::Create => image.topic("new").is_some_and(|topic| topic.partitions == 3),
            Step::Grow => image.topic("old").unwrap().partitions == 4,
            Step::Delete => image.topic("doomed").is_none(),
        }
    }
}

/// The open topics are those of the image, all of their partitions work, and on the disk is nothing else.
async fn verify(broker: &Arc<Broker>, disk: &SimDisk) {
    let image = broker.cluster.image();
    for topic in image.topics() {
        let open = broker.topics.get_by_id(topic.id).unwrap_or_else(|| panic!("{} is half made", topic.name));
        assert_eq!(open.partitions().len(), topic.partitions as usize, "{}", topic.name);
        for index in 0..topic.partitions {
            assert!(produce(broker, &topic.name, index).await, "{}-{index} does not work", topic.name);
        }
    }
    assert_eq!(broker.topics.all().len(), image.topic_count());
    let expected: usize = image.partition_count() + 1;
    let dirs = disk.list(Path::new("/data")).unwrap().into_iter().filter(|entry| entry.is_dir);
    let dirs: Vec<String> = dirs.map(|entry| entry.name).collect();
    assert_eq!(dirs.len(), expected, "{dirs:?}");
    assert_eq!(read(&broker.topic("old").unwrap().partition(0).unwrap())[&0].1, "a record");
}

/// One call fails, and the broker goes on. Returns false if there was no such call.
fn fails_once(before: &SimDisk, step: Step, call: u64, errno: i32) -> bool {
    let disk = before.crash(Loss::Nothing);
    let broker = open(&disk);
    disk.fail_once(disk.all_calls() + call, errno);
    runtime().block_on(async {
        let done = step.run(&broker).await;
        assert!(done.is_ok_and_or(ErrorCode::KAFKA_STORAGE_ERROR), "{done:?}");
        assert_eq!(done.is_ok(), step.is_done(&broker));
        let failed = disk.failed().is_some();
        disk.heal();
        if broker.health().is_ok() {
            // What could not be removed is when it is next tried.
            broker.watch();
            if done.is_err() && failed {
                // The metadata log is given up once its sync has failed; everything else heals.
                if step.run(&broker).await.is_ok() {
                    assert!(step.is_done(&broker));
                }
            }
            verify(&broker, &disk).await;
        }
        let done = step.is_done(&broker);
        for loss in [Loss::Nothing, Loss::Everything] {
            let disk = disk.crash(loss);
            let next = open(&disk);
            assert!(step.is_done(&next) || !done, "{loss:?}: what was acknowledged is undone");
            verify(&next, &disk).await;
            assert!(names(&disk, "").iter().all(|name| !name.ends_with("-stray")), "{:?}", names(&disk, ""));
            if !step.is_done(&next) {
                step.run(&next).await.unwrap();
                verify(&next, &disk).await;
            }
        }
        failed
    })
}

trait Expected {
    fn is_ok_and_or(&self, code: ErrorCode) -> bool;
}

impl Expected for Result<(), ErrorCode> {
    /// Done, or refused with this code.
    fn is_ok_and_or(&self, code: ErrorCode) -> bool {
        self.is_ok() || *self == Err(code)
    }
}

// CreateTopics with more partitions than there were descriptors was answered with an error but stayed in the
// metadata log: half a topic, and every later one failed as well.
#[test]
fn a_topic_is_made_as_a_whole_or_not_at_all_whatever_call_fails() {
    let before = before();
    for step in STEPS {
        for errno in [EIO, EMFILE, ENOSPC] {
            let calls = (0..).take_while(|call| fails_once(&before, step, *call, errno)).count();
            assert!(calls > 5, "{step:?}: {calls} calls with errno {errno}");
            println!("{step:?}, errno {errno}: {calls} calls");
        }
    }
}

// A kill between the commit of a deletion and the renaming of the last directory, or in the middle of a
// creation, left directories that every later start put aside as -stray, forever.
#[test]
fn a_kill_at_any_call_leaves_nothing_behind() {
    let before = before();
    for step in STEPS {
        let (mut undone, mut done) = (0, 0);
        for call in 0.. {
            let disk = before.crash(Loss::Nothing);
            let broker = open(&disk);
            let begin = disk.calls();
            disk.fail_at(begin + call, Fault::PowerCut);
            runtime().block_on(async {
                let answered = step.run(&broker).await;
                for loss in [Loss::Nothing, Loss::Everything] {
                    let disk = disk.crash(loss);
                    let next = open(&disk);
                    assert!(
                        step.is_done(&next) || answered.is_err() || step == Step::Delete,
                        "{step:?} {call}"
                    );
                    match step.is_done(&next) {
                        true => done += 1,
                        false => undone += 1,
                    }
                    assert_eq!(next.health(), Ok(()));
                    let all = names(&disk, "");
                    assert!(
                        !all.iter().any(|name| name.ends_with("-stray")),
                        "{step:?} {call} {loss:?}: {all:?}"
                    );
                    verify(&next, &disk).await;
                }
            });
            if disk.calls() <= begin + call {
                break;
            }
        }
        println!("{step:?}: undone {undone}, done {done}");
        assert!(undone > 2 && done > 2, "{step:?}: undone {undone}, done {done}");
    }
}

// What an operator copied into a log directory is not the broker's to delete.
#[test]
fn the_directory_of_an_unknown_topic_is_put_aside_and_not_removed() {
    let disk = before();
    disk.plant(Path::new("/data/foreign-0/00000000000000000000.log"), b"");
    disk.plant(Path::new("/data/other-1/00000000000000000000.log"), b"records, perhaps");
    let broker = open(&disk);
    drop(broker);
    for name in ["foreign-0", "other-1"] {
        let found = names(&disk, name);
        assert!(matches!(&found[..], [one] if one.ends_with("-stray")), "{found:?}");
    }
}

#[test]
fn a_deleted_topic_is_forgotten_once_its_directories_are_gone() {
    let disk = before();
    let broker = open(&disk);
    runtime().block_on(async {
        let id = broker.topic("doomed").unwrap().id;
        broker.delete_topic(id, &Requester::Broker).await.unwrap();
        assert!(broker.cluster.image().is_deleted(id));
        broker.create_topic(new("next", 1), &Requester::Broker).await.unwrap();
        assert_eq!(broker.cluster.image().deleted().count(), 0);
    });
    drop(broker);
    let broker = open(&disk.crash(Loss::Nothing));
    assert_eq!(broker.cluster.image().deleted().count(), 0);
}

/// A disk on which no directory of these topics can be made, and that counts syncs of directories.
struct Picky {
    disk: SimDisk,
    syncs: AtomicU64,
}

impl Disk for Picky {
    fn open(&self, path: &Path, create: bool, capacity: u64) -> io::Result<Arc<dyn File>> {
        self.disk.open(path, create, capacity)
    }
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        match dir.to_str().unwrap().contains("bad") {
            true => Err(io::Error::from_raw_os_error(ENOSPC)),
            false => self.disk.make_dir(dir),
        }
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.disk.sync_dir(dir)
    }
}

// 200 clients that each create a topic waited for each other's syncs.
#[test]
fn changes_that_wait_are_made_together_and_fail_alone() {
    let disk = Arc::new(Picky { disk: SimDisk::new(), syncs: AtomicU64::new(0) });
    let config = BrokerConfig::with([("log.dirs", "/data")]).unwrap();
    let metrics = Arc::new(Metrics::new(prometheus::Registry::new()).unwrap());
    let broker = Broker::open(config, metrics, disk.clone(), Clock::starting_at(NOW)).unwrap();
    let (begin, syncs) = (broker.cluster.end_offset(), disk.syncs.load(Ordering::Relaxed));
    runtime().block_on(async {
        let name = |n: usize| match n % 10 {
            3 => format!("bad{n}"),
            5 => "same".to_owned(),
            7 => "not a name".to_owned(),
            _ => format!("good{n}"),
        };
        let created = broker.create_topics((0..200).map(|n| new(&name(n), 2)), &Requester::Broker).await;
        let codes: Vec<ErrorCode> =
            created.iter().map(|created| created.as_ref().err().map_or(ErrorCode::NONE, |e| e.0)).collect();
        for (n, code) in codes.into_iter().enumerate() {
            let expected = match n % 10 {
                3 => ErrorCode::KAFKA_STORAGE_ERROR,
                5 if n > 5 => ErrorCode::TOPIC_ALREADY_EXISTS,
                7 => ErrorCode::INVALID_TOPIC_EXCEPTION,
                _ => ErrorCode::NONE,
            };
            assert_eq!(code, expected, "{}", name(n));
        }
        let image = broker.cluster.image();
        assert_eq!(image.topic_count(), 200 - 3 * 20 + 1);
        for topic in image.topics() {
            assert!(produce(&broker, &topic.name, 1).await, "{}", topic.name);
        }
    });
    assert_eq!(broker.cluster.end_offset() - begin, 141);
    let syncs = disk.syncs.load(Ordering::Relaxed) - syncs;
    assert!(syncs < 500, "{syncs} syncs of directories; those of the appends included");
    assert!(names(&disk.disk, "bad").is_empty());
}

// A topic that is deleted and created again at the same time, as often as the clients like.
#[test]
fn a_topic_deleted_and_created_at_the_same_time_is_the_old_or_the_new_one() {
    let (disk, by) = (before(), &Requester::Broker);
    let broker = open(&disk);
    runtime().block_on(async {
        for _ in 0..20 {
            let Some(old) = broker.topic("doomed").map(|topic| topic.id) else { break };
            let (deleted, created) =
                tokio::join!(broker.delete_topic(old, by), broker.create_topic(new("doomed", 2), by));
            deleted.unwrap();
            match created {
                Ok(topic) => assert_ne!(topic.id, old),
                Err((code, why)) => {
                    assert_eq!(code, ErrorCode::TOPIC_ALREADY_EXISTS, "{why}");
                    broker.create_topic(new("doomed", 2), by).await.unwrap();
                }
            }
            verify(&broker, &disk).await;
        }
    });
}
