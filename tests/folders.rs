//! Several folders in `log.dirs`: where partitions go, what becomes of them when a folder or a log fails, and
//! that nothing that had records ever begins again in silence.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use braid::broker::{Broker, NewTopic, Requester};
use braid::config::BrokerConfig;
use braid::machine::Clock;
use braid::metrics::{Metrics, Scrape};
use braid_protocol::ErrorCode;
use braid_protocol::api::delete_topics::{DeleteTopics, DeleteTopicsRequest};
use braid_protocol::api::describe_log_dirs::{DescribeLogDirs, DescribeLogDirsRequest};
use braid_protocol::api::metadata::{Metadata as Describe, MetadataRequest, MetadataRequestTopic};
use braid_storage::disk::{Entry, File};
use braid_storage::sim::{Loss, SimDisk};
use braid_storage::{BatchBuilder, Disk};
use bytes::Bytes;
use support::{Client, TestBroker, files, now_ms, values};

const THREE: (&str, &str) = ("log.dirs", "a,b,c");

/// The folders of partitions in a log folder.
fn partitions(data: &Path, dir: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(data.join(dir)).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir()).map(|e| e.file_name().into_string().unwrap());
    folders.filter(|name| !name.starts_with("__braid")).collect()
}

/// The log folder of a partition.
fn home(data: &Path, folder: &str) -> &'static str {
    ["a", "b", "c"].into_iter().find(|dir| data.join(dir).join(folder).exists()).unwrap()
}

/// What Metadata says of a partition: its error, its leader, its offline replicas.
async fn described(client: &mut Client, topic: &str, index: usize) -> (ErrorCode, i32, Vec<i32>) {
    let wanted = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![wanted]), ..Default::default() };
    let partition = client.call::<Describe>(9, &request).await.topics.remove(0).partitions.remove(index);
    assert_eq!(partition.partition_index as usize, index);
    (partition.error_code, partition.leader_id, partition.offline_replicas)
}

async fn assert_served(client: &mut Client, topic: &str, index: i32, value: &str) {
    assert_eq!(values(&client.fetch(topic, index, 0, 0).await), [(0, value.to_owned())], "{topic}-{index}");
    assert_eq!(described(client, topic, index as usize).await.0, ErrorCode::NONE);
}

async fn assert_offline(client: &mut Client, topic: &str, index: i32) {
    assert_eq!(client.fetch(topic, index, 0, 0).await.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(client.produce(topic, index, &["lost"]).await.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    let (code, leader, offline) = described(client, topic, index as usize).await;
    assert_eq!((code, leader, offline.len()), (ErrorCode::LEADER_NOT_AVAILABLE, -1, 1));
}

/// A broker with a record in each of three partitions, one a folder, and checkpoints that know of them.
async fn filled() -> TestBroker {
    let broker = TestBroker::start(&[THREE]);
    broker.topic("t", 3, &[]).await;
    let mut client = broker.connect();
    for index in 0..3 {
        assert!(client.produce("t", index, &[&format!("in {index}")]).await.error_code.is_ok());
    }
    broker.broker.checkpoint().unwrap();
    broker
}

async fn delete(client: &mut Client, topic: &str) {
    let request = DeleteTopicsRequest { topic_names: vec![topic.into()], ..Default::default() };
    assert!(client.call::<DeleteTopics>(5, &request).await.responses[0].error_code.is_ok());
}

#[tokio::test(start_paused = true)]
async fn new_partitions_go_where_the_fewest_are_and_are_found_again() {
    let broker = TestBroker::start(&[THREE]);
    broker.topic("t", 7, &[]).await;
    let spread = |broker: &TestBroker| {
        let data = broker.path();
        ["a", "b", "c"].map(|dir| partitions(&data, dir))
    };
    let before = spread(&broker);
    assert_eq!(before.each_ref().map(BTreeSet::len), [3, 2, 2]);
    let mut client = broker.connect();
    for index in 0..7 {
        client.produce("t", index, &[&format!("in {index}")]).await;
    }
    let broker = broker.restart();
    assert_eq!(spread(&broker), before);
    let broker = broker.kill();
    assert_eq!(spread(&broker), before);
    let mut client = broker.connect();
    for index in 0..7 {
        assert_served(&mut client, "t", index, &format!("in {index}")).await;
    }
    delete(&mut client, "t").await;
    broker.topic("u", 3, &[]).await;
    assert_eq!(spread(&broker).each_ref().map(BTreeSet::len), [1, 1, 1]);
    let request = DescribeLogDirsRequest { topics: None };
    let told = client.call::<DescribeLogDirs>(4, &request).await.results;
    assert_eq!(told.iter().map(|dir| dir.topics[0].partitions.len()).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn every_folder_has_an_identity_of_its_own_in_one_cluster() {
    let broker = filled().await;
    let text = |dir: &str| fs::read_to_string(broker.path().join(dir).join("meta.properties")).unwrap();
    let line = |dir: &str, name: &str| text(dir).lines().find(|l| l.starts_with(name)).unwrap().to_owned();
    for name in ["cluster.id", "node.id"] {
        assert_eq!(line("a", name), line("b", name));
    }
    assert_ne!(line("a", "directory.id"), line("b", "directory.id"));
    for dir in ["a", "b", "c"] {
        let points = fs::read_to_string(broker.path().join(dir).join("recovery-point-offset-checkpoint"));
        assert_eq!(points.unwrap().lines().count(), 3, "a version, a count and one partition");
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_away_takes_its_partitions_offline_until_it_is_back() {
    let broker = filled().await;
    let in_b: i32 = partitions(&broker.path(), "b").pop_first().unwrap()[2..].parse().unwrap();
    let away = |data: &Path| fs::rename(data.join("b"), data.join("away")).unwrap();
    let broker = broker.kill_and(away).unwrap();
    // As if the disk were not mounted; and nothing is made of that.
    let broker = broker.kill_and(|data| fs::create_dir(data.join("b")).unwrap()).unwrap();
    let mut client = broker.connect();
    assert_offline(&mut client, "t", in_b).await;
    for index in (0..3).filter(|index| *index != in_b) {
        assert_served(&mut client, "t", index, &format!("in {index}")).await;
    }
    assert_eq!(fs::read_dir(broker.path().join("b")).unwrap().count(), 0);
    let sick = broker.broker.health().unwrap_err();
    assert!(sick.contains("data/b failed") && sick.contains("braid-log-dirs"), "{sick}");
    let counts = broker.broker.counts();
    assert_eq!((counts.offline_log_dirs, counts.offline_partitions, counts.leaders), (1, 1, 2));
    let dirs = client.call::<DescribeLogDirs>(4, &DescribeLogDirsRequest { topics: None }).await.results;
    let codes: Vec<_> = dirs.iter().map(|dir| dir.error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::NONE]);
    broker.topic("new", 2, &[]).await;
    assert!(client.produce("new", 1, &["x"]).await.error_code.is_ok());

    let why = broker.broker.close().unwrap_err().to_string();
    assert!(why.contains("data/b is offline"), "{why}");
    assert!(broker.path().join("a/.kafka_cleanshutdown").exists());
    let back = |data: &Path| {
        let _ = fs::remove_dir(data.join("b"));
        fs::rename(data.join("away"), data.join("b")).unwrap();
    };
    let broker = broker.kill_and(back).unwrap();
    assert_eq!(broker.broker.health(), Ok(()));
    let mut client = broker.connect();
    for index in 0..3 {
        assert_served(&mut client, "t", index, &format!("in {index}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_metadata_there_is_no_broker() {
    let error = filled().await.kill_and(|data| fs::rename(data.join("a"), data.join("away")).unwrap()).err();
    assert!(error.unwrap().to_string().contains("data/a, where the metadata should be, is empty"));
    let swap = |data: &Path| {
        fs::rename(data.join("a"), data.join("x")).unwrap();
        fs::rename(data.join("b"), data.join("a")).unwrap();
        fs::rename(data.join("x"), data.join("b")).unwrap();
    };
    let error = filled().await.kill_and(swap).err().unwrap().to_string();
    assert!(error.contains("data/b: name that folder first"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn two_copies_of_a_partition_are_refused() {
    let broker = filled().await;
    let from = home(&broker.path(), "t-1");
    let to = ["a", "b", "c"].into_iter().find(|dir| *dir != from).unwrap();
    let copy = |data: &Path| {
        fs::create_dir(data.join(to).join("t-1")).unwrap();
        for file in files(&data.join(from).join("t-1")) {
            fs::copy(&file, data.join(to).join("t-1").join(file.file_name().unwrap())).unwrap();
        }
    };
    let error = broker.kill_and(copy).err().unwrap().to_string();
    let both = [from, to].iter().all(|dir| error.contains(&format!("data/{dir}/t-1")));
    assert!(both && error.contains("partition t-1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_log_is_offline_and_the_rest_is_served() {
    let broker = filled().await;
    let flip = |data: &Path| {
        let log = data.join(home(data, "t-1")).join("t-1/00000000000000000000.log");
        let mut bytes = fs::read(&log).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&log, bytes).unwrap();
    };
    let mut broker = broker.kill_and(flip).unwrap();
    for _ in 0..2 {
        let mut client = broker.connect();
        assert_offline(&mut client, "t", 1).await;
        assert_served(&mut client, "t", 0, "in 0").await;
        assert_served(&mut client, "t", 2, "in 2").await;
        assert_eq!(broker.broker.counts().offline_partitions, 1);
        // A clean stop must not make it be trusted.
        broker = broker.restart_unclean();
    }
    let mut client = broker.connect();
    delete(&mut client, "t").await;
    let left: Vec<_> =
        files(&broker.path()).into_iter().filter(|f| f.to_string_lossy().contains("/t-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_gone_does_not_begin_anew_unless_told_to() {
    let broker = filled().await;
    let dir = home(&broker.path(), "t-1");
    let lose = |data: &Path| fs::remove_dir_all(data.join(dir).join("t-1")).unwrap();
    let broker = broker.kill_and(lose).unwrap();
    let mut client = broker.connect();
    assert_offline(&mut client, "t", 1).await;
    assert_served(&mut client, "t", 0, "in 0").await;
    assert!(!broker.path().join(dir).join("t-1").exists());
    broker.broker.checkpoint().unwrap();
    let broker = broker.restart_unclean();
    assert_offline(&mut broker.connect(), "t", 1).await;
    let begin = |data: &Path| fs::create_dir(data.join(dir).join("t-1")).unwrap();
    let broker = broker.kill_and(begin).unwrap();
    let mut client = broker.connect();
    assert_eq!(client.produce("t", 1, &["again"]).await.base_offset, 0);
    assert_served(&mut broker.kill().connect(), "t", 1, "again").await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_was_deleted_and_created_again_is_not_taken_for_the_old_one() {
    let broker = filled().await;
    let mut client = broker.connect();
    delete(&mut client, "t").await;
    for dir in ["a", "b", "c"] {
        let points = fs::read_to_string(broker.path().join(dir).join("recovery-point-offset-checkpoint"));
        assert_eq!(points.unwrap(), "0\n0\n", "forgotten at once");
    }
    broker.topic("t", 3, &[]).await;
    // Killed before the folders of the new ones were on the disk.
    let lose = |data: &Path| {
        for folder in ["t-0", "t-1", "t-2"] {
            fs::remove_dir_all(data.join(home(data, folder)).join(folder)).unwrap();
        }
    };
    let broker = broker.kill_and(lose).unwrap();
    let mut client = broker.connect();
    for index in 0..3 {
        assert_eq!(client.produce("t", index, &["new"]).await.base_offset, 0);
        assert_served(&mut client, "t", index, "new").await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_written_without_a_sync_is_synced_by_the_checkpoint() {
    let broker = filled().await;
    let mut client = broker.connect();
    client.produce("t", 0, &["more"]).await;
    let partition = broker.broker.topic("t").unwrap().partition(0).unwrap();
    assert_eq!(partition.look(|log| log.synced_offset()).unwrap(), 1);
    broker.broker.checkpoint().unwrap();
    assert_eq!(partition.look(|log| log.synced_offset()).unwrap(), 2);
    let dir = home(&broker.path(), "t-0");
    let points =
        fs::read_to_string(broker.path().join(dir).join("recovery-point-offset-checkpoint")).unwrap();
    assert!(points.lines().any(|line| line == "t 0 2"), "{points}");
}

/// A disk on which nothing in one folder can be synced any more once it is told so.
struct Breaking {
    disk: SimDisk,
    dir: &'static str,
    broken: Arc<AtomicBool>,
}

struct BreakingFile {
    file: Arc<dyn File>,
    broken: Option<Arc<AtomicBool>>,
}

impl Disk for Breaking {
    fn open(&self, path: &Path, create: bool, capacity: u64) -> io::Result<Arc<dyn File>> {
        let broken = path.starts_with(self.dir).then(|| self.broken.clone());
        Ok(Arc::new(BreakingFile { file: self.disk.open(path, create, capacity)?, broken }))
    }
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        self.disk.make_dir(dir)
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
        self.disk.sync_dir(dir)
    }
}

impl File for BreakingFile {
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
        self.file.read(at, len)
    }
    fn append(&self, at: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.file.append(at, slices)
    }
    fn sync(&self) -> io::Result<()> {
        match &self.broken {
            Some(broken) if broken.load(Ordering::Relaxed) => Err(io::Error::from_raw_os_error(5)),
            _ => self.file.sync(),
        }
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

fn open_on(disk: Arc<dyn Disk>) -> Arc<Broker> {
    let config = BrokerConfig::with([("log.dirs", "/a,/b")]).unwrap();
    let metrics = Arc::new(Metrics::new(prometheus::Registry::new()).unwrap());
    Broker::open(config, metrics, disk, Clock::starting_at(now_ms())).unwrap()
}

/// Appends a record to each of four partitions; which of them were acknowledged.
async fn append_to_all(broker: &Broker) -> [bool; 4] {
    let mut acknowledged = [false; 4];
    for (index, acknowledged) in acknowledged.iter_mut().enumerate() {
        let partition = broker.topic("t").unwrap().partition(index as i32).unwrap();
        let mut batch = BatchBuilder::new();
        batch.push(now_ms(), None, Some(b"x"), &[]);
        *acknowledged = match partition.append(&batch.build().unwrap(), None, now_ms()) {
            Ok(appended) => partition.reached(appended.last_offset).await.is_ok(),
            Err(_) => false,
        };
    }
    acknowledged
}

#[tokio::test]
async fn a_folder_whose_sync_fails_goes_offline_alone() {
    let (sim, broken) = (SimDisk::new(), Arc::new(AtomicBool::new(false)));
    let broker = open_on(Arc::new(Breaking { disk: sim.clone(), dir: "/b", broken: broken.clone() }));
    let new = NewTopic { name: "t".into(), partitions: 4, replication_factor: 1, ..NewTopic::default() };
    broker.create_topic(new, &Requester::Broker).await.unwrap();
    assert_eq!(append_to_all(&broker).await, [true; 4]);
    broken.store(true, Ordering::Relaxed);
    // In turn: one folder, the other.
    assert_eq!(append_to_all(&broker).await, [true, false, true, false]);
    let in_b = broker.topic("t").unwrap().partition(3).unwrap();
    assert!(in_b.is_offline() && in_b.read(0, 100, true).is_err());
    assert!(broker.health().unwrap_err().contains("/b failed"));
    let counts = broker.counts();
    assert_eq!((counts.offline_log_dirs, counts.offline_partitions), (1, 2));
    broker.checkpoint().unwrap();
    let new = NewTopic { name: "u".into(), partitions: 2, replication_factor: 1, ..NewTopic::default() };
    broker.create_topic(new, &Requester::Broker).await.unwrap();
    assert!(broker.topic("u").unwrap().partitions().iter().all(|p| &**p.home() == Path::new("/a")));
    broker.close().unwrap_err();
    let clean = |dir: &str| sim.contents(&Path::new(dir).join(".kafka_cleanshutdown")).is_some();
    assert!(clean("/a") && !clean("/b"));
    drop(broker);
    let broker = open_on(Arc::new(sim.crash(Loss::Everything)));
    assert_eq!(broker.health(), Ok(()));
    let ends: Vec<i64> =
        broker.topic("t").unwrap().partitions().iter().map(|partition| partition.watermark()).collect();
    assert_eq!(ends, [2, 1, 2, 1], "what was not acknowledged is gone, and nothing else");
    assert_eq!(append_to_all(&broker).await, [true; 4]);
}

/// Where a folder of this name is, under another.
fn find(data: &Path, name: &str) -> std::path::PathBuf {
    let below =
        |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut seen = below(data);
    while let Some(path) = seen.pop() {
        if path.ends_with(name) {
            return path;
        }
        if path.is_dir() {
            seen.extend(below(&path));
        }
    }
    panic!("no {name} under {}", data.display());
}

/// Kafka keeps its metadata elsewhere: to Braid, a folder of Kafka's is one without Braid's own metadata.
#[tokio::test(start_paused = true)]
async fn a_folder_that_another_broker_left_is_moved_into() {
    for clean in [true, false] {
        let broker = TestBroker::start(&[]);
        broker.topic("with-dash", 2, &[]).await;
        let id = broker.broker.cluster.image().topic("with-dash").unwrap().id;
        broker.connect().produce("with-dash", 1, &["there before"]).await;
        if clean {
            broker.broker.close().unwrap();
        }
        let forget = |data: &Path| fs::remove_dir_all(find(data, "__braid_metadata-0")).unwrap();
        let broker = broker.kill_and(forget).unwrap();
        let moved = broker.broker.cluster.image().topic("with-dash").cloned().expect("the topic came along");
        assert_eq!((moved.id, moved.partitions), (id, 2));
        assert_served(&mut broker.connect(), "with-dash", 1, "there before").await;
        assert_eq!(broker.connect().produce("with-dash", 1, &["and after"]).await.base_offset, 1);
        let broker = broker.restart();
        assert_eq!(broker.broker.cluster.image().topic("with-dash").map(|t| t.id), Some(id), "it stays");
        assert_eq!(
            values(&broker.connect().fetch("with-dash", 1, 1, 0).await),
            [(1, "and after".to_owned())]
        );
    }
}

// A user pointed log.dirs at what a Kafka with ZooKeeper had left, and was answered that meta.properties is
// malformed.
#[tokio::test(start_paused = true)]
async fn the_folder_of_a_kafka_with_zookeeper_is_taken_over() {
    for (old, taken) in [
        ("#\nversion=0\nbroker.id=1\n", true),
        ("version=0\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nbroker.id=1\n", true),
        ("version=1\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=1\n", true),
        ("version=0\nbroker.id=1001\n", false),
    ] {
        let broker = TestBroker::start(&[("node.id", "1")]);
        broker.topic("t", 1, &[]).await;
        broker.connect().produce("t", 0, &["there before"]).await;
        broker.broker.close().unwrap();
        let meta = broker.path().join("meta.properties");
        let opened = broker.kill_and(|data| {
            fs::remove_dir_all(find(data, "__braid_metadata-0")).unwrap();
            fs::write(data.join("meta.properties"), old).unwrap();
        });
        let broker = match opened {
            Ok(broker) if taken => broker,
            Err(error) if !taken => {
                assert!(error.to_string().contains("node.id=1001"), "{error}");
                continue;
            }
            other => panic!("{old:?}: {:?}", other.err()),
        };
        assert_served(&mut broker.connect(), "t", 0, "there before").await;
        let new = fs::read_to_string(&meta).unwrap();
        assert!(
            ["version=1\n", "node.id=1\n", "directory.id="].iter().all(|line| new.contains(line)),
            "{new}"
        );
        let cluster = broker.broker.cluster.image().cluster_id.clone();
        assert!(new.contains(&format!("cluster.id={cluster}\n")), "{new}");
        assert!(!old.contains("cluster.id") || cluster == "MkU3OEVBNTcwNTJENDM2Qg", "the cluster stays");
        let broker = broker.restart();
        assert_eq!(
            fs::read_to_string(broker.path().join("meta.properties")).unwrap(),
            new,
            "and is not changed"
        );
    }
}
