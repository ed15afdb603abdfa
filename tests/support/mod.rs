//! A broker in this process and a client that speaks raw protocol to it, over a wire in memory.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use braid::broker::{Broker, Peer};
use braid::config::BrokerConfig;
use braid::machine::Clock;
use braid::metrics::Metrics;
use braid::{api, connection};
use braid_protocol::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopics, CreateTopicsRequest};
use braid_protocol::api::fetch::{Fetch, FetchPartition, FetchRequest, FetchTopic, PartitionData};
use braid_protocol::api::produce::{
    PartitionProduceData, PartitionProduceResponse, Produce, ProduceRequest, TopicProduceData,
};
use braid_protocol::{Api, frame};
use braid_storage::{BatchBuilder, RealDisk};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

/// A broker over a folder that goes away with it.
pub struct TestBroker {
    pub broker: Arc<Broker>,
    pub stop: watch::Sender<bool>,
    dir: Arc<tempfile::TempDir>,
    settings: Vec<(String, String)>,
}

impl TestBroker {
    /// A broker with these settings over the defaults, and nothing in it. Acknowledgements wait for no disk, so that
    /// paused time does not run ahead of it.
    pub fn start(settings: &[(&str, &str)]) -> TestBroker {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let settings = [("braid.durability".to_owned(), "written".to_owned())].into_iter().chain(settings);
        Self::open(Arc::new(tempfile::tempdir().unwrap()), settings.collect())
    }

    fn open(dir: Arc<tempfile::TempDir>, settings: Vec<(String, String)>) -> TestBroker {
        let folder = ("log.dirs".to_owned(), dir.path().to_str().unwrap().to_owned());
        let all: Vec<_> = settings.iter().cloned().chain([folder]).collect();
        let config = BrokerConfig::with(all).unwrap();
        let metrics = Arc::new(Metrics::new(prometheus::Registry::new(), api::labels()).unwrap());
        let broker = Broker::open(config, metrics, Arc::new(RealDisk), Clock::system()).unwrap();
        TestBroker { broker, stop: watch::channel(false).0, dir, settings }
    }

    /// The same folder, opened again after a clean shutdown.
    pub fn restart(self) -> TestBroker {
        self.broker.close().unwrap();
        self.reopen()
    }

    /// The same folder, opened again as if the process had been killed.
    pub fn kill(self) -> TestBroker {
        self.broker.abandon();
        self.reopen()
    }

    fn reopen(self) -> TestBroker {
        let (dir, settings) = (self.dir.clone(), self.settings.clone());
        drop(self);
        Self::open(dir, settings)
    }

    /// Where the broker keeps its data.
    pub fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let local = SocketAddr::from(([127, 0, 0, 1], 9092));
        let peer = Peer { address: SocketAddr::from(([127, 0, 0, 1], 50_000)), local, listener: "PLAINTEXT".into() };
        let (broker, stop) = (self.broker.clone(), self.stop.subscribe());
        let end = tokio::spawn(connection::serve(broker, theirs, peer, stop));
        Client { stream: ours, next: 0, end }
    }

    /// A topic with so many partitions, and configs.
    pub async fn topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
        });
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let response = self.connect().call::<CreateTopics>(7, &request).await;
        assert!(response.topics[0].error_code.is_ok(), "{response:?}");
    }
}

/// A client of one connection.
pub struct Client {
    pub stream: DuplexStream,
    next: i32,
    end: tokio::task::JoinHandle<connection::End>,
}

impl Client {
    /// Sends a request and waits for its response.
    pub async fn call<A: Api>(&mut self, version: i16, request: &A::Request) -> A::Response {
        self.send::<A>(version, request).await;
        self.receive::<A>(version).await
    }

    /// Sends a request; its response is for `receive`.
    pub async fn send<A: Api>(&mut self, version: i16, request: &A::Request) {
        self.next += 1;
        let chunks = frame::request_frame::<A>(version, self.next, Some("test"), request).unwrap();
        self.stream.write_all(&chunks.concat()).await.unwrap();
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next response.
    pub async fn receive<A: Api>(&mut self, version: i16) -> A::Response {
        let frame = self.receive_raw().await;
        frame::read_response::<A>(&frame, version).unwrap().1
    }

    /// The next frame, without its size.
    pub async fn receive_raw(&mut self) -> Bytes {
        let size = self.stream.read_i32().await.expect("the broker closed the connection");
        let mut frame = vec![0; size as usize];
        self.stream.read_exact(&mut frame).await.unwrap();
        frame.into()
    }

    /// Why the broker ended the connection; waits for it.
    pub async fn ended(self) -> connection::End {
        self.end.await.unwrap()
    }

    /// Produces records of these values with `acks=all` to one partition.
    pub async fn produce(&mut self, topic: &str, partition: i32, values: &[&str]) -> PartitionProduceResponse {
        self.produce_batch(topic, partition, batch(values)).await
    }

    /// Produces these bytes with `acks=all` to one partition.
    pub async fn produce_batch(&mut self, topic: &str, partition: i32, records: Bytes) -> PartitionProduceResponse {
        let request = produce_request(topic, vec![(partition, records)]);
        let mut response = self.call::<Produce>(9, &request).await;
        response.responses.remove(0).partition_responses.remove(0)
    }

    /// Fetches one partition from an offset, waiting up to `max_wait_ms` for a byte.
    pub async fn fetch(&mut self, topic: &str, partition: i32, offset: i64, max_wait_ms: i32) -> PartitionData {
        let request = FetchRequest { max_wait_ms, min_bytes: 1, ..fetch_request(topic, &[(partition, offset)]) };
        let mut response = self.call::<Fetch>(12, &request).await;
        response.responses.remove(0).partitions.remove(0)
    }
}

/// A batch of records of these values, as a producer sends it.
pub fn batch(values: &[&str]) -> Bytes {
    let mut batch = BatchBuilder::new();
    for value in values {
        batch.push(now_ms(), None, Some(value.as_bytes()), &[]);
    }
    batch.build().to_bytes()
}

/// The same, from an idempotent producer.
pub fn batch_of(producer: i64, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    let mut batch = BatchBuilder::new().producer(producer, epoch, sequence);
    for value in values {
        batch.push(now_ms(), None, Some(value.as_bytes()), &[]);
    }
    batch.build().to_bytes()
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    Clock::system().now()
}

/// A Produce request with `acks=all`.
pub fn produce_request(topic: &str, records: Vec<(i32, Bytes)>) -> ProduceRequest {
    let partition_data = records.into_iter().map(|(index, records)| PartitionProduceData { index, records: Some(records) });
    let topic = TopicProduceData {
        name: topic.to_owned(),
        partition_data: partition_data.collect(),
        ..Default::default()
    };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

/// A Fetch request without patience.
pub fn fetch_request(topic: &str, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions.iter().map(|(partition, fetch_offset)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    let topic = FetchTopic { topic: topic.to_owned(), partitions: partitions.collect(), ..Default::default() };
    FetchRequest { max_bytes: 1 << 24, topics: vec![topic], ..Default::default() }
}

/// The values in fetched records, with their offsets.
pub fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.clone().unwrap();
    let batches = braid_storage::batches(&bytes).map(|b| b.unwrap().1);
    let records = batches.flat_map(|batch| braid_storage::records(&batch).unwrap().collect::<Vec<_>>());
    let text = |value: Option<Bytes>| String::from_utf8(value.unwrap_or_default().to_vec()).unwrap();
    records.map(|record| record.unwrap()).map(|record| (record.offset, text(record.value))).collect()
}

/// All files under a folder, for tests that break them.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
