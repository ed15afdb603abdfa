//! What clients can make the broker hold, and that others are served meanwhile. Each test is an attack that
//! once exhausted the memory of the broker, or stopped everybody else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::time::Duration;

use braid::connection::End;
use braid_protocol::api::add_partitions_to_txn::{
    AddPartitionsToTxn, AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use braid_protocol::api::api_versions::{ApiVersions, ApiVersionsRequest};
use braid_protocol::api::fetch::{Fetch, FetchRequest};
use braid_protocol::api::list_offsets::{
    ListOffsets, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use braid_protocol::api::metadata::{Metadata, MetadataRequest, MetadataRequestTopic};
use braid_protocol::api::produce::Produce;
use braid_protocol::{Api, ErrorCode, frame};
use support::{Client, TestBroker, batch, fetch_request, produce_request, values};
use tokio::time::{Instant, timeout};

/// A broker with a pool of 5 MiB, and a reserve of a quarter of that.
fn small() -> TestBroker {
    TestBroker::start(&[("queued.max.request.bytes", "1048576"), ("socket.request.max.bytes", "4194304")])
}

/// A frame with this many bytes behind the message.
fn padded<A: Api>(version: i16, request: &A::Request, padding: usize) -> Vec<u8> {
    let mut frame = frame::request_frame::<A>(version, 1, Some("test"), request).unwrap().concat();
    frame.resize(frame.len() + padding, 0);
    let size = frame.len() as i32 - 4;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

fn parked(max_wait_ms: i32) -> FetchRequest {
    FetchRequest { max_wait_ms, min_bytes: 1, ..fetch_request("t", &[(0, 0)]) }
}

/// An ordinary client's request and its answer, which must not have to wait for others.
async fn is_served(broker: &TestBroker) {
    let mut client = broker.connect();
    let request = ApiVersionsRequest::default();
    let answer = timeout(Duration::from_millis(100), client.call::<ApiVersions>(0, &request)).await;
    assert!(answer.expect("an answer without a wait").error_code.is_ok());
}

async fn refused(client: Client) -> String {
    match client.ended().await {
        End::Refused(why) => why,
        other => panic!("{other}"),
    }
}

/// Four Fetches of 70 MB that waited forever took the whole budget with bytes behind the message.
#[tokio::test(start_paused = true)]
async fn a_parked_request_does_not_keep_its_frame() {
    let broker = small();
    broker.topic("t", 1, &[]).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = broker.connect();
        client.send_raw(&padded::<Fetch>(12, &parked(i32::MAX), 3 << 20)).await;
        clients.push(client);
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let used = broker.broker.memory.used();
    assert!(used < 1 << 20, "{used} bytes of six frames of 3 MiB");
    is_served(&broker).await;
    broker.connect().produce("t", 0, &["v"]).await;
    for client in &mut clients {
        let fetched = client.receive::<Fetch>(12).await;
        assert_eq!(values(&fetched.responses[0].partitions[0]), [(0, "v".to_owned())]);
    }
}

/// 27 connections with 99 MB of a 100 MB frame each: dead in 7 s. A client beside them is served, and one
/// that needs the memory gets it when a connection without progress has been closed.
#[tokio::test(start_paused = true)]
async fn half_frames_count_and_make_way() {
    let broker = small();
    broker.topic("t", 1, &[("max.message.bytes", "4000000")]).await;
    let mut halves = Vec::new();
    for _ in 0..5 {
        let mut client = broker.connect();
        let frame = padded::<Fetch>(12, &parked(1000), 4_000_000);
        // The broker may not read all of it.
        let _ = timeout(Duration::from_millis(1), client.send_raw(&frame[..3 << 20])).await;
        halves.push(client);
    }
    let used = broker.broker.memory.used();
    assert!(used > 4 << 20 && used <= broker.broker.memory.limit(), "{used} bytes of five half frames");
    is_served(&broker).await;
    let began = Instant::now();
    let large = "x".repeat(3_000_000);
    let produced = broker.connect().produce("t", 0, &[&large]).await;
    assert!(produced.error_code.is_ok());
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
    assert!(broker.broker.memory.closed() > 0);
    is_served(&broker).await;
}

/// 510 KB of requests behind a parked Fetch made 1.2 GB of answers.
#[tokio::test(start_paused = true)]
async fn answers_do_not_pile_up_behind_a_parked_request() {
    let broker = small();
    broker.topic("t", 1, &[]).await;
    broker.topic("large", 2000, &[]).await;
    let mut client = broker.connect();
    client.send::<Fetch>(12, &parked(60_000)).await;
    let all = MetadataRequest { topics: None, ..Default::default() };
    let requests = 300;
    client.send_all::<Metadata>(9, &vec![all; requests]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = broker.broker.memory.used();
    assert!(used < 3 << 20, "{used} bytes");
    is_served(&broker).await;
    client.receive::<Fetch>(12).await;
    for _ in 0..requests {
        let answer = client.receive::<Metadata>(9).await;
        assert_eq!(answer.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>(), 2001);
    }
}

/// A megabyte that named one topic 50,000 times was answered with 66 MB.
#[tokio::test(start_paused = true)]
async fn what_is_named_often_is_answered_once() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 3, &[]).await;
    let topic = MetadataRequestTopic { name: Some("t".to_owned()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic; 5_000]), ..Default::default() };
    let answer = broker.connect().call::<Metadata>(9, &request).await;
    assert_eq!((answer.topics.len(), answer.topics[0].partitions.len()), (1, 3));
    let mut fetch = fetch_request("t", &[(1, 0); 1_000]);
    fetch.topics.push(fetch.topics[0].clone());
    let fetched = broker.connect().call::<Fetch>(12, &fetch).await;
    assert_eq!(fetched.responses.iter().map(|topic| topic.partitions.len()).sum::<usize>(), 1);
}

/// 632 KB: one name of 32,000 bytes with 150,000 partitions. The name was copied for each of them, 4.8 GB,
/// before it was looked up.
#[tokio::test]
async fn a_long_name_is_not_copied_for_each_of_its_partitions() {
    let broker = TestBroker::start(&[]);
    let short = add_and_list_partitions_of(&broker, 30).await;
    let long = add_and_list_partitions_of(&broker, 32_000).await;
    // A copy for each partition makes it 500 times, if the memory suffices.
    assert!(long < 20 * short, "{long:?} with a long name, {short:?} with a short one");
}

/// How long requests take that name many partitions of a topic whose name is this long.
async fn add_and_list_partitions_of(broker: &TestBroker, name_bytes: usize) -> Duration {
    let name = "n".repeat(name_bytes);
    let began = std::time::Instant::now();
    let topic = AddPartitionsToTxnTopic { name: name.clone(), partitions: (0..150_000).collect() };
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "x".to_owned(),
        v3_and_below_topics: vec![topic],
        ..Default::default()
    };
    let answer = broker.connect().call::<AddPartitionsToTxn>(0, &request).await;
    let results = &answer.results_by_topic_v3_and_below[0].results_by_partition;
    assert_eq!(results.len(), 150_000);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert!(results.iter().all(|result| result.partition_error_code == unknown));

    let partitions = (0..60_000).map(|n| ListOffsetsPartition { partition_index: n, ..Default::default() });
    let topic = ListOffsetsTopic { name, partitions: partitions.collect() };
    let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
    let answer = broker.connect().call::<ListOffsets>(1, &request).await;
    assert!(answer.topics[0].partitions.iter().all(|p| p.error_code == unknown));
    began.elapsed()
}

/// A byte each 24 s kept a half frame open forever; and a parked Fetch before it did so too.
#[tokio::test(start_paused = true)]
async fn half_a_frame_needs_more_than_a_byte_now_and_then() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    for is_parked in [false, true] {
        let mut client = broker.connect();
        if is_parked {
            client.send::<Fetch>(12, &parked(i32::MAX)).await;
        }
        let began = Instant::now();
        client.send_raw(&[0, 1, 0, 0]).await;
        client.send_raw(&[0]).await;
        tokio::time::sleep(Duration::from_secs(24)).await;
        client.send_raw(&[0]).await;
        assert!(refused(client).await.contains("unfinished"));
        assert_eq!(began.elapsed().as_secs(), 30);
    }
}

/// A batch that takes long to check is checked elsewhere; the order of one connection's batches stays.
#[tokio::test]
async fn a_long_check_does_not_change_the_order_of_batches() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[("max.message.bytes", "50000000")]).await;
    let mut client = broker.connect();
    let large = "x".repeat(20_000_000);
    client.send::<Produce>(9, &produce_request("t", vec![(0, batch(&[&large]))])).await;
    for _ in 0..3 {
        client.send::<Produce>(9, &produce_request("t", vec![(0, batch(&["small"]))])).await;
    }
    for offset in 0..4 {
        let answer = client.receive::<Produce>(9).await;
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, offset);
    }
}

/// `kcat -X client.id=$'caf\xe9'` was disconnected; Kafka replaces what is not UTF-8.
#[tokio::test(start_paused = true)]
async fn a_client_id_in_latin_1_is_no_reason_to_close() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let mut frame = frame::request_frame::<ApiVersions>(0, 1, Some("cafe"), &ApiVersionsRequest::default());
    let mut frame = frame.as_mut().unwrap().concat();
    let at = frame.len() - 1;
    frame[at] = 0xe9;
    client.send_raw(&frame).await;
    client.receive::<ApiVersions>(0).await;
}

/// `acks=1` was answered before the record could be read: ListOffsets said 0 in 87 of 100 tries.
#[tokio::test]
async fn what_acks_1_acknowledges_can_be_read() {
    let broker = TestBroker::start(&[("braid.durability", "synced")]);
    broker.topic("t", 1, &[]).await;
    let (mut producer, mut consumer) = (broker.connect(), broker.connect());
    for offset in 0..20 {
        let mut request = produce_request("t", vec![(0, batch(&["v"]))]);
        request.acks = 1;
        let answer = producer.call::<Produce>(9, &request).await;
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, offset);
        assert_eq!(values(&consumer.fetch("t", 0, offset, 0).await)[0].0, offset);
    }
}
