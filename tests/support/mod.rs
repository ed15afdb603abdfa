//! A broker in this process and a client that speaks raw protocol to it, over a wire in memory.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate and uses its own part")]

pub mod disk;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use braid::api::Service;
use braid::broker::{Broker, OpenError, Peer};
use braid::config::BrokerConfig;
use braid::connection;
use braid::machine::Clock;
use braid::metrics::Metrics;
use braid_protocol::api::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopics, CreateTopicsRequest,
};
use braid_protocol::api::fetch::{Fetch, FetchPartition, FetchRequest, FetchTopic, PartitionData};
use braid_protocol::api::produce::{
    PartitionProduceData, PartitionProduceResponse, Produce, ProduceRequest, TopicProduceData,
};
use braid_protocol::{Api, frame};
use braid_storage::{BatchBuilder, RealDisk};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

/// A broker over a folder that goes away with it.
pub struct TestBroker {
    pub broker: Arc<Broker>,
    service: Arc<Service>,
    pub stop: watch::Sender<bool>,
    dir: Arc<tempfile::TempDir>,
    settings: Vec<(String, String)>,
}

impl TestBroker {
    /// A broker with these settings over the defaults, and nothing in it. Acknowledgements wait for no disk,
    /// so that paused time does not run ahead of it.
    pub fn start(settings: &[(&str, &str)]) -> TestBroker {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let settings = [("braid.durability".to_owned(), "written".to_owned())].into_iter().chain(settings);
        Self::open(Arc::new(tempfile::tempdir().unwrap()), settings.collect())
    }

    fn open(dir: Arc<tempfile::TempDir>, settings: Vec<(String, String)>) -> TestBroker {
        Self::try_open(dir, settings).unwrap()
    }

    /// `log.dirs` among the settings are names of folders beside each other, in the order given.
    fn try_open(
        dir: Arc<tempfile::TempDir>,
        settings: Vec<(String, String)>,
    ) -> Result<TestBroker, OpenError> {
        let named = settings.iter().find(|(name, _)| name == "log.dirs");
        let names = named.map_or("", |(_, names)| names.as_str()).split(',');
        let paths: Vec<_> = names
            .map(|name| data(&dir).join(name).to_str().unwrap().trim_end_matches('/').to_owned())
            .collect();
        let folders = ("log.dirs".to_owned(), paths.join(","));
        let others = settings.iter().filter(|(name, _)| name != "log.dirs").cloned();
        let config = BrokerConfig::with(others.chain([folders])).unwrap();
        let metrics = Arc::new(Metrics::new(prometheus::Registry::new()).unwrap());
        let disk = metrics.timed(Arc::new(RealDisk::default()));
        let broker = Broker::open(config, metrics, disk, Clock::starting_at(now_ms()))?;
        let service = Arc::new(Service::new(broker.clone()));
        Ok(TestBroker { broker, service, stop: watch::channel(false).0, dir, settings })
    }

    /// What it left, opened again after a clean shutdown.
    pub fn restart(self) -> TestBroker {
        self.broker.close().unwrap();
        self.kill()
    }

    /// The same, of a broker of which not everything could be closed.
    pub fn restart_unclean(self) -> TestBroker {
        self.broker.close().unwrap_err();
        self.kill()
    }

    /// What it has written so far, opened again as if the process had been killed: a copy, because in here
    /// the old broker lives on.
    pub fn kill(self) -> TestBroker {
        self.kill_and(|_| ()).unwrap()
    }

    /// The same, after something has happened to the data.
    pub fn kill_and(self, meanwhile: impl FnOnce(&Path)) -> Result<TestBroker, OpenError> {
        let data = self.path();
        let old =
            self.dir.path().join(format!("old-{}", std::fs::read_dir(self.dir.path()).unwrap().count()));
        std::fs::rename(&data, &old).unwrap();
        for file in files(&old) {
            let to = data.join(file.strip_prefix(&old).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(&file, &to).unwrap();
        }
        meanwhile(&data);
        Self::try_open(self.dir.clone(), self.settings.clone())
    }

    /// Where the broker keeps its data.
    pub fn path(&self) -> PathBuf {
        data(&self.dir)
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let local = SocketAddr::from(([127, 0, 0, 1], 9092));
        let address = SocketAddr::from(([127, 0, 0, 1], 50_000));
        let counted = self.broker.metrics.listener("PLAINTEXT").opened();
        let peer = Peer::new(address, local, "PLAINTEXT".to_owned(), counted);
        let end = tokio::spawn(connection::serve(self.service.clone(), theirs, peer, self.stop.subscribe()));
        Client { stream: Box::new(ours), next: 0, end: Some(end) }
    }

    /// A topic with this many partitions, and configs.
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

fn data(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("data")
}

/// A client of one connection.
pub struct Client {
    stream: Box<dyn Socket>,
    next: i32,
    end: Option<tokio::task::JoinHandle<connection::End>>,
}

/// A connection, in memory or real.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

impl Client {
    /// A connection to a broker in another process.
    pub async fn dial(address: SocketAddr) -> io::Result<Client> {
        let stream = Box::new(tokio::net::TcpStream::connect(address).await?);
        Ok(Client { stream, next: 0, end: None })
    }

    /// Sends a request and waits for its response.
    pub async fn call<A: Api>(&mut self, version: i16, request: &A::Request) -> A::Response {
        self.send::<A>(version, request).await;
        self.receive::<A>(version).await
    }

    /// Sends a request; its response is for `receive`.
    pub async fn send<A: Api>(&mut self, version: i16, request: &A::Request) {
        self.try_send::<A>(version, request).await.unwrap();
    }

    /// Sends a request to a broker that may be gone.
    pub async fn try_send<A: Api>(&mut self, version: i16, request: &A::Request) -> io::Result<()> {
        self.next += 1;
        let chunks = frame::request_frame::<A>(version, self.next, Some("test"), request).unwrap();
        self.stream.write_all(&chunks.concat()).await
    }

    /// Sends requests by one write, so that they arrive together.
    pub async fn send_all<A: Api>(&mut self, version: i16, requests: &[A::Request]) {
        let mut bytes = Vec::new();
        for request in requests {
            self.next += 1;
            let chunks = frame::request_frame::<A>(version, self.next, Some("test"), request).unwrap();
            bytes.extend(chunks.concat());
        }
        self.send_raw(&bytes).await;
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next response.
    pub async fn receive<A: Api>(&mut self, version: i16) -> A::Response {
        self.try_receive::<A>(version).await.expect("the broker closed the connection")
    }

    /// The next response of a broker that may be gone.
    pub async fn try_receive<A: Api>(&mut self, version: i16) -> io::Result<A::Response> {
        let frame = self.try_receive_raw().await?;
        Ok(frame::read_response::<A>(&frame, version).unwrap().1)
    }

    /// The next frame, without its size.
    pub async fn receive_raw(&mut self) -> Bytes {
        self.try_receive_raw().await.expect("the broker closed the connection")
    }

    async fn try_receive_raw(&mut self) -> io::Result<Bytes> {
        let size = self.stream.read_i32().await?;
        let mut frame = vec![0; size as usize];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame.into())
    }

    /// Why the broker ended the connection; waits for it.
    pub async fn ended(self) -> connection::End {
        self.end.expect("a connection in memory").await.unwrap()
    }

    /// Produces records of these values with `acks=all` to one partition.
    pub async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        values: &[&str],
    ) -> PartitionProduceResponse {
        self.produce_batch(topic, partition, batch(values)).await
    }

    /// Produces these bytes with `acks=all` to one partition.
    pub async fn produce_batch(
        &mut self,
        topic: &str,
        partition: i32,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce_request(topic, vec![(partition, records)]);
        let mut response = self.call::<Produce>(9, &request).await;
        response.responses.remove(0).partition_responses.remove(0)
    }

    /// Fetches one partition from an offset, waiting up to `max_wait_ms` for a byte.
    pub async fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        max_wait_ms: i32,
    ) -> PartitionData {
        let request =
            FetchRequest { max_wait_ms, min_bytes: 1, ..fetch_request(topic, &[(partition, offset)]) };
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
    batch.build().unwrap().to_bytes()
}

/// The same, from an idempotent producer.
pub fn batch_of(producer: i64, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    let mut batch = BatchBuilder::new().producer(producer, epoch, sequence);
    for value in values {
        batch.push(now_ms(), None, Some(value.as_bytes()), &[]);
    }
    batch.build().unwrap().to_bytes()
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    Clock::system().now()
}

/// A Produce request with `acks=all`.
pub fn produce_request(topic: &str, records: Vec<(i32, Bytes)>) -> ProduceRequest {
    let partition_data =
        records.into_iter().map(|(index, records)| PartitionProduceData { index, records: Some(records) });
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
    let topic =
        FetchTopic { topic: topic.to_owned(), partitions: partitions.collect(), ..Default::default() };
    FetchRequest { max_bytes: 1 << 24, topics: vec![topic], ..Default::default() }
}

/// The values in fetched records, with their offsets.
pub fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.clone().unwrap();
    let batches = braid_storage::batches(&bytes).map(|(_, batch)| batch);
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
