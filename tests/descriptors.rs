//! The broker as a process with few file descriptors, and one whose data is removed under it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use braid_protocol::ErrorCode;
use braid_protocol::api::create_topics::{
    CreatableTopic, CreatableTopicResult, CreateTopics, CreateTopicsRequest,
};
use braid_protocol::api::find_coordinator::{FindCoordinator, FindCoordinatorRequest};
use braid_protocol::api::metadata::{Metadata, MetadataRequest};
use support::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

/// The broker with a limit of open files.
struct Process {
    child: Child,
    address: SocketAddr,
    pages: SocketAddr,
    log: PathBuf,
}

impl Process {
    async fn start(dir: &Path, files: usize, settings: &[&str]) -> Process {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let (address, pages, log) = (free(), free(), dir.join("log"));
        let mut command = Command::new("sh");
        let run = format!("ulimit -n {files} && exec \"$@\"");
        command.args(["-c", &run, "sh", env!("CARGO_BIN_EXE_braid")]);
        let own = [
            format!("listeners=PLAINTEXT://{address}"),
            format!("http.listeners=HTTP://{pages}"),
            format!("log.dirs={}", dir.join("data").display()),
        ];
        own.iter().map(String::as_str).chain(settings.iter().copied()).for_each(|setting| {
            command.args(["--override", setting]);
        });
        let child = command.stdin(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        let process = Process { child, address, pages, log };
        let deadline = Instant::now() + PATIENCE;
        while !process.text().contains("is ready on") {
            assert!(Instant::now() < deadline, "the broker does not come up: {}", process.text());
            sleep(Duration::from_millis(20)).await;
        }
        process
    }

    async fn client(&self) -> Client {
        Client::dial(self.address).await.unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Its open descriptors.
    fn open(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// What the operator sees.
    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.pages).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    async fn stop(mut self) -> (ExitStatus, String) {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(kill.success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.text());
            }
            assert!(Instant::now() < deadline, "it does not end");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn create(client: &mut Client, name: &str, partitions: i32) -> CreatableTopicResult {
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    client.call::<CreateTopics>(7, &request).await.topics.remove(0)
}

/// The partitions that have a leader, by topic.
async fn online(client: &mut Client) -> Vec<(String, usize)> {
    let all = client.call::<Metadata>(12, &MetadataRequest { topics: None, ..Default::default() }).await;
    let led = |topic: &braid_protocol::api::metadata::MetadataResponseTopic| {
        topic.partitions.iter().filter(|partition| partition.leader_id >= 0).count()
    };
    all.topics.iter().map(|topic| (topic.name.clone().unwrap(), led(topic))).collect()
}

// With 3,000 descriptors a topic of 3,500 partitions was answered with an error and was there all the same;
// from then on every new topic failed half made, and after a restart older topics were offline and
// connections refused.
#[tokio::test]
async fn partitions_beyond_the_limit_are_refused_and_the_broker_is_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path(), 400, &[]).await;
    let mut client = broker.client().await;
    let refused = create(&mut client, "huge", 390).await;
    assert_eq!(refused.error_code, ErrorCode::POLICY_VIOLATION);
    let why = refused.error_message.unwrap();
    assert!(why.contains("400 open files") && why.contains("247 partitions"), "{why}");
    assert!(why.contains("there are 0") && why.contains("390 more") && why.contains("LimitNOFILE"), "{why}");
    let before = broker.open();
    assert_eq!(create(&mut client, "fits", 100).await.error_code, ErrorCode::NONE);
    assert_eq!(broker.open() - before, 100, "an open partition holds one descriptor");
    assert_eq!(create(&mut client, "one too many", 1).await.error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert_eq!(create(&mut client, "rest", 147).await.error_code, ErrorCode::NONE);
    assert_eq!(create(&mut client, "more", 1).await.error_code, ErrorCode::POLICY_VIOLATION);
    for partition in 0..100 {
        assert_eq!(client.produce("fits", partition, &["v"]).await.error_code, ErrorCode::NONE);
    }
    assert_eq!(online(&mut client).await, [("fits".to_owned(), 100), ("rest".to_owned(), 147)]);
    drop(client);

    // Closing opened the indexes of all logs while all logs were open, and failed at that.
    let (status, log) = broker.stop().await;
    assert!(status.success() && !log.contains("ERROR") && log.contains("shut down cleanly"), "{log}");
    assert!(dir.path().join("data/.kafka_cleanshutdown").exists());

    // The oldest topics are those that are served under a limit that is lower than before.
    let broker = Process::start(dir.path(), 280, &[]).await;
    let mut client = broker.client().await;
    assert_eq!(online(&mut client).await, [("fits".to_owned(), 100), ("rest".to_owned(), 35)]);
    assert_eq!(client.produce("fits", 99, &["v"]).await.base_offset, 1);
    let errors: Vec<String> =
        broker.text().lines().filter(|l| l.contains("ERROR")).map(str::to_owned).collect();
    assert!(
        matches!(&errors[..], [one] if one.contains("112 of 247 partitions") && one.contains("280")),
        "{errors:?}"
    );
    let (status, log) = broker.stop().await;
    assert!(!status.success() && log.contains("the shutdown was not clean"), "{log}");
    assert!(log.contains("112 of 247 logs"), "{log}");

    let broker = Process::start(dir.path(), 400, &[]).await;
    let mut client = broker.client().await;
    assert_eq!(online(&mut client).await, [("fits".to_owned(), 100), ("rest".to_owned(), 147)]);
    assert_eq!(client.produce("fits", 99, &["v"]).await.base_offset, 2);
    assert!(!broker.text().contains("ERROR"), "{}", broker.text());
}

// Clients that held all descriptors stopped log rolls: producers got errors until they left.
#[tokio::test]
async fn clients_leave_the_descriptors_that_logs_and_the_operator_need() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["log.segment.bytes=1000", "num.partitions=20"];
    let broker = Process::start(dir.path(), 400, &settings).await;
    let mut client = broker.client().await;
    assert_eq!(create(&mut client, "t", 20).await.error_code, ErrorCode::NONE);
    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(TcpStream::connect(broker.address).await.unwrap());
    }
    let deadline = Instant::now() + PATIENCE;
    while !broker.text().contains("the limit of open files is reached") {
        assert!(Instant::now() < deadline, "{}", broker.text());
        sleep(Duration::from_millis(20)).await;
    }
    for round in 0..40 {
        for partition in 0..20 {
            let written = client.produce("t", partition, &["x".repeat(200).as_str()]).await;
            assert_eq!(written.error_code, ErrorCode::NONE, "round {round}: {written:?}");
        }
    }
    for partition in 0..20 {
        let mut next = 0;
        while next < 40 {
            let data = client.fetch("t", partition, next, 0).await;
            assert_eq!(data.error_code, ErrorCode::NONE);
            next = support::values(&data).last().unwrap().0 + 1;
        }
    }
    let group = FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() };
    let found = client.call::<FindCoordinator>(3, &group).await;
    assert_eq!(found.error_code, ErrorCode::NONE, "there is room for the topic of the groups");
    assert!(broker.get("/healthz").await.ends_with("ok\n"));
    let page = broker.get("/metrics").await;
    assert!(page.contains("limit=\"the limit of open files\""), "{page}");
    assert!(broker.open() < 400 - 40, "{} are open", broker.open());
    // 50 are the limit of one place in the code; one more says that others are left out.
    let warnings = broker.text().matches("connection refused").count();
    assert!((1..=51).contains(&warnings), "{warnings} lines for 150 connections");
    assert!(!broker.text().contains("ERROR"), "{}", broker.text());
    drop(crowd);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(broker.address).await.is_err() || broker.open() > 350 {
        assert!(Instant::now() < deadline, "no client can connect any more");
        sleep(Duration::from_millis(20)).await;
    }
}

// An operator removed the data of a running broker: it went unnoticed, and acknowledgements went on.
#[tokio::test]
async fn a_data_directory_that_is_removed_is_noticed() {
    for all in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let broker = Process::start(dir.path(), 400, &[]).await;
        let mut client = broker.client().await;
        assert_eq!(create(&mut client, "t", 1).await.error_code, ErrorCode::NONE);
        assert_eq!(client.produce("t", 0, &["v"]).await.error_code, ErrorCode::NONE);
        match all {
            true => fs::remove_dir_all(&data).unwrap(),
            // As `rm -rf data/*` does.
            false => fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).for_each(|path| {
                match path.is_dir() {
                    true => fs::remove_dir_all(path).unwrap(),
                    false if path.ends_with(".lock") => {}
                    false => fs::remove_file(path).unwrap(),
                }
            }),
        }
        sleep(Duration::from_millis(2500)).await;
        let written = client.produce("t", 0, &["v"]).await.error_code;
        assert_eq!(written, ErrorCode::KAFKA_STORAGE_ERROR);
        assert_eq!(create(&mut client, "u", 1).await.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
        assert!(broker.get("/healthz").await.contains("503"));
        let errors: Vec<_> =
            broker.text().lines().filter(|l| l.contains("ERROR")).map(str::to_owned).collect();
        assert!(errors.iter().any(|line| line.contains("removed")), "{errors:?}");
        let (status, log) = broker.stop().await;
        assert!(!status.success() && log.contains("the shutdown was not clean"), "{log}");
    }
}
