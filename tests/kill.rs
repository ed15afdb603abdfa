//! The broker as a process, killed at random moments under load: what it acknowledged is there, once, in
//! order.
//!
//! A kill keeps the page cache, so this finds wrong recovery and not a missing sync; for that see
//! `storage/tests/crash.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use braid_protocol::api::metadata::{Metadata, MetadataRequest, MetadataRequestTopic};
use braid_protocol::api::produce::Produce;
use support::{Client, batch_of, produce_request, values};
use tokio::time::{sleep, timeout};

const ROUNDS: usize = 50;
const PARTITIONS: usize = 4;
const IN_FLIGHT: usize = 5;

/// The broker as its users run it.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    async fn start(data: &Path, address: SocketAddr) -> Process {
        let settings = [
            format!("listeners=PLAINTEXT://{address}"),
            format!("log.dirs={}", data.display()),
            "http.listeners=".to_owned(),
            format!("num.partitions={PARTITIONS}"),
            "log.segment.bytes=20000".to_owned(),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_braid"));
        settings.iter().for_each(|setting| {
            command.args(["--override", setting]);
        });
        let child = command.env("RUST_LOG", "error").stdin(Stdio::null()).spawn().unwrap();
        let process = Process { child, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Client::dial(address).await.is_err() {
            assert!(Instant::now() < deadline, "the broker does not come up");
            sleep(Duration::from_millis(5)).await;
        }
        process
    }

    /// Sends SIGKILL and waits until it is gone.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A producer that never gives up: after a loss it sends what was not acknowledged again, under the same
/// sequences.
async fn produce(address: SocketAddr, partition: i32, acked: Arc<AtomicI64>, stop: Arc<AtomicBool>) {
    let producer = 1000 + i64::from(partition);
    let mut unacked: VecDeque<i32> = VecDeque::new();
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::dial(address).await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let mut sent = 0;
        loop {
            while sent < IN_FLIGHT {
                if sent == unacked.len() {
                    unacked.push_back(next);
                    next += 1;
                }
                let value = format!("{partition}-{}", unacked[sent]);
                let records = batch_of(producer, 0, unacked[sent], &[&value]);
                if client
                    .try_send::<Produce>(9, &produce_request("t", vec![(partition, records)]))
                    .await
                    .is_err()
                {
                    break;
                }
                sent += 1;
            }
            let Ok(response) = client.try_receive::<Produce>(9).await else { break };
            let response = &response.responses[0].partition_responses[0];
            assert!(response.error_code.is_ok(), "partition {partition}: {response:?}");
            let sequence = unacked.pop_front().unwrap();
            assert_eq!(response.base_offset, i64::from(sequence), "one record, one offset");
            acked.store(i64::from(sequence) + 1, Ordering::Release);
            sent -= 1;
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Reads a partition from `from` to its end; returns the end.
async fn check(client: &mut Client, partition: usize, from: i64) -> i64 {
    let mut next = from;
    loop {
        let data = client.fetch("t", partition as i32, next, 0).await;
        assert!(data.error_code.is_ok(), "{data:?}");
        let found = values(&data);
        if found.is_empty() {
            return next;
        }
        let first = next;
        for (offset, value) in found.into_iter().skip_while(|(offset, _)| *offset < first) {
            assert_eq!(
                (offset, value),
                (next, format!("{partition}-{next}")),
                "gapless, in order, each once"
            );
            next += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_fifty_kills() {
    let data = tempfile::tempdir().unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut broker = Process::start(data.path(), address).await;
    let topic = MetadataRequestTopic { name: Some("t".into()), ..Default::default() };
    let create = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    Client::dial(address).await.unwrap().call::<Metadata>(12, &create).await;

    let stop = Arc::new(AtomicBool::new(false));
    let acked: Vec<Arc<AtomicI64>> = (0..PARTITIONS).map(|_| Arc::default()).collect();
    let start = |(n, acked): (usize, &Arc<AtomicI64>)| {
        tokio::spawn(produce(address, n as i32, acked.clone(), stop.clone()))
    };
    let producers: Vec<_> = acked.iter().enumerate().map(start).collect();

    let mut checked = [0; PARTITIONS];
    for round in 0..ROUNDS {
        sleep(Duration::from_millis((round as u64 * 7919) % 197 + 20)).await;
        broker.kill();
        let promised: Vec<i64> = acked.iter().map(|a| a.load(Ordering::Acquire)).collect();
        broker = Process::start(data.path(), address).await;
        let mut client = Client::dial(broker.address).await.unwrap();
        for (partition, promised) in promised.into_iter().enumerate() {
            checked[partition] = check(&mut client, partition, checked[partition]).await;
            assert!(
                checked[partition] >= promised,
                "round {round}: {promised} acked, {} there",
                checked[partition]
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    for producer in producers {
        timeout(Duration::from_secs(20), producer).await.expect("a producer hangs").unwrap();
    }
    let total: i64 = checked.iter().sum();
    assert!(total > 10 * ROUNDS as i64, "the load was no load: {total} records");
    broker.kill();
}
