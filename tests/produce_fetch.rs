//! Produce and Fetch, as a client sees them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::time::Duration;

use braid::connection::End;
use braid_protocol::ErrorCode;
use braid_protocol::api::fetch::{Fetch, FetchPartition, FetchRequest, FetchTopic};
use braid_protocol::api::list_offsets::{
    ListOffsets, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use braid_protocol::api::metadata::{Metadata, MetadataRequest, MetadataRequestTopic};
use braid_protocol::api::produce::{Produce, ProduceRequest};
use bytes::Bytes;
use support::{Client, TestBroker, batch, batch_of, fetch_request, produce_request, values};
use tokio::time::{Instant, timeout};

fn expect(from: i64, texts: &[&str]) -> Vec<(i64, String)> {
    (from..).zip(texts.iter().map(|t| (*t).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_produced_is_fetched_by_name_and_by_id() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 2, &[]).await;
    let mut client = broker.connect();
    assert_eq!(client.produce("t", 1, &["a", "b"]).await.base_offset, 0);
    assert_eq!(client.produce("t", 1, &["c"]).await.base_offset, 2);
    let data = client.fetch("t", 1, 0, 0).await;
    assert_eq!((data.high_watermark, data.log_start_offset), (3, 0));
    assert_eq!(values(&data), expect(0, &["a", "b", "c"]));

    let topic_id = broker.broker.cluster.image().topic("t").unwrap().id;
    let partition =
        FetchPartition { partition: 1, fetch_offset: 2, partition_max_bytes: 1000, ..Default::default() };
    let topic = FetchTopic { topic_id, partitions: vec![partition], ..Default::default() };
    for version in 13..=18 {
        let request = FetchRequest { topics: vec![topic.clone()], ..Default::default() };
        let response = client.call::<Fetch>(version, &request).await;
        assert_eq!(response.responses[0].topic_id, topic_id);
        assert_eq!(values(&response.responses[0].partitions[0]), expect(2, &["c"]));
    }
    let mut request = produce_request("", vec![(1, batch(&["d"]))]);
    request.topic_data[0].topic_id = topic_id;
    let response = client.call::<Produce>(13, &request).await;
    assert_eq!(response.responses[0].partition_responses[0].base_offset, 3);
    request.topic_data[0].topic_id = braid_protocol::Uuid([9; 16]);
    let response = client.call::<Produce>(13, &request).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
}

#[tokio::test(start_paused = true)]
async fn a_bad_batch_is_refused_alone() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 6, &[("max.message.bytes", "1000")]).await;
    let good = batch(&["good"]);
    let mut flipped = good.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let mut old = good.to_vec();
    old[16] = 1;
    let parts: Vec<(i32, Bytes)> = vec![
        (0, good.clone()),
        (1, flipped.into()),
        (2, old.into()),
        (3, Bytes::new()),
        (4, batch(&["x".repeat(1000).as_str()])),
        (5, [&good[..], &good[..]].concat().into()),
        (6, good.clone()),
    ];
    let mut client = broker.connect();
    let mut response = client.call::<Produce>(9, &produce_request("t", parts)).await;
    let codes: Vec<_> =
        response.responses.remove(0).partition_responses.iter().map(|p| p.error_code).collect();
    let expected = [
        ErrorCode::NONE,
        ErrorCode::CORRUPT_MESSAGE,
        ErrorCode::INVALID_RECORD,
        ErrorCode::INVALID_RECORD,
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::INVALID_RECORD,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ];
    assert_eq!(codes, expected);
    assert_eq!(values(&client.fetch("t", 0, 0, 0).await), expect(0, &["good"]));
    for partition in 1..6 {
        assert_eq!(client.fetch("t", partition, 0, 0).await.high_watermark, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn acks_decide_what_is_answered() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    let with = |acks| ProduceRequest { acks, ..produce_request("t", vec![(0, batch(&["v"]))]) };
    client.send::<Produce>(7, &with(0)).await;
    let response = client.call::<Produce>(7, &with(1)).await;
    assert_eq!(
        response.responses[0].partition_responses[0].base_offset, 1,
        "acks=0 stored one, and said nothing"
    );
    let response = client.call::<Produce>(7, &with(2)).await;
    let refused = &response.responses[0].partition_responses[0];
    assert_eq!((refused.error_code, refused.base_offset), (ErrorCode::INVALID_REQUIRED_ACKS, -1));
    let unknown = ProduceRequest { acks: 0, ..produce_request("nowhere", vec![(0, batch(&["v"]))]) };
    client.send::<Produce>(7, &unknown).await;
    assert!(matches!(client.ended().await, End::Refused(why) if why.contains("nowhere-0")));
}

#[tokio::test]
async fn acks_all_waits_for_the_disk_and_readers_wait_with_it() {
    let broker = TestBroker::start(&[("braid.durability", "synced")]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    for n in 0..50 {
        assert_eq!(client.produce("t", 0, &["v"]).await.base_offset, n);
        // What was acknowledged is visible at once.
        assert_eq!(client.fetch("t", 0, n, 0).await.high_watermark, n + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_waits_for_its_bytes_or_its_time() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 2, &[]).await;
    let (mut reader, mut writer) = (broker.connect(), broker.connect());
    let begin = Instant::now();
    assert_eq!(values(&reader.fetch("t", 0, 0, 700).await), []);
    assert_eq!(begin.elapsed().as_millis(), 700);

    let one = batch(&["v"]).len() as i32;
    let patient =
        FetchRequest { max_wait_ms: 60_000, min_bytes: 3 * one, ..fetch_request("t", &[(0, 0), (1, 0)]) };
    reader.send::<Fetch>(12, &patient).await;
    for partition in [0, 1] {
        writer.produce("t", partition, &["v"]).await;
    }
    let early = timeout(Duration::from_secs(1), reader.receive::<Fetch>(12)).await;
    assert!(early.is_err(), "two of three batches are there");
    drop(reader); // its half-read answer is of no use any more

    let mut reader = broker.connect();
    reader.send::<Fetch>(12, &patient).await;
    writer.produce("t", 0, &["w"]).await;
    let response =
        timeout(Duration::from_secs(1), reader.receive::<Fetch>(12)).await.expect("woken by the third");
    assert_eq!(values(&response.responses[0].partitions[0]), expect(0, &["v", "w"]));
    assert_eq!(values(&response.responses[0].partitions[1]), expect(0, &["v"]));
}

#[tokio::test(start_paused = true)]
async fn limits_cut_between_batches_but_the_first_batch_always_comes() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 2, &[]).await;
    let mut client = broker.connect();
    for _ in 0..3 {
        for partition in [0, 1] {
            client.produce("t", partition, &["0123456789"]).await;
        }
    }
    let one = batch(&["0123456789"]).len() as i32;
    let counts = |max_bytes, partition_max_bytes| {
        let mut request = FetchRequest { max_bytes, ..fetch_request("t", &[(0, 0), (1, 0)]) };
        request.topics[0].partitions.iter_mut().for_each(|p| p.partition_max_bytes = partition_max_bytes);
        request
    };
    for (max, each, expected) in
        [(1, 1, [1, 0]), (2 * one, one, [1, 1]), (3 * one + 1, 2 * one, [2, 1]), (i32::MAX, i32::MAX, [3, 3])]
    {
        let response = client.call::<Fetch>(12, &counts(max, each)).await;
        let got: Vec<_> = response.responses[0].partitions.iter().map(|p| values(p).len()).collect();
        assert_eq!(got, expected, "max {max}, each {each}");
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_outside_of_the_log_are_refused_at_once() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    client.produce("t", 0, &["v"]).await;
    for offset in [-1, 2, i64::MAX] {
        let data = client.fetch("t", 0, offset, 60_000).await;
        assert_eq!(data.error_code, ErrorCode::OFFSET_OUT_OF_RANGE, "{offset}");
        assert_eq!(
            data.records,
            Some(Bytes::new()),
            "librdkafka drops the whole response if records are null"
        );
    }
    assert_eq!(client.fetch("nowhere", 0, 0, 60_000).await.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_producer_may_repeat_itself_but_not_skip() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    let mut offsets = Vec::new();
    for sequence in 0..6 {
        offsets.push(client.produce_batch("t", 0, batch_of(7, 0, sequence, &["v"])).await.base_offset);
    }
    for sequence in 1..6 {
        let again = client.produce_batch("t", 0, batch_of(7, 0, sequence, &["v"])).await;
        assert_eq!((again.error_code, again.base_offset), (ErrorCode::NONE, offsets[sequence as usize]));
    }
    let code = |r: braid_protocol::api::produce::PartitionProduceResponse| r.error_code;
    let gap = client.produce_batch("t", 0, batch_of(7, 0, 8, &["v"])).await;
    assert_eq!(code(gap), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(code(client.produce_batch("t", 0, batch_of(7, 1, 0, &["v"])).await), ErrorCode::NONE);
    let old = client.produce_batch("t", 0, batch_of(7, 0, 6, &["v"])).await;
    assert_eq!(code(old), ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(client.fetch("t", 0, 0, 0).await.high_watermark, 7);
}

#[tokio::test(start_paused = true)]
async fn records_and_sequences_survive_a_restart_and_a_kill() {
    let mut broker = TestBroker::start(&[]);
    broker.topic("t", 3, &[]).await;
    for round in 0..4 {
        let mut client = broker.connect();
        let appended = client.produce_batch("t", 2, batch_of(7, 0, round, &["v"])).await;
        assert_eq!(appended.base_offset, i64::from(round));
        broker = if round % 2 == 0 { broker.restart() } else { broker.kill() };
        let again = broker.connect().produce_batch("t", 2, batch_of(7, 0, round, &["v"])).await;
        assert_eq!((again.error_code, again.base_offset), (ErrorCode::NONE, i64::from(round)), "a duplicate");
        let data = broker.connect().fetch("t", 2, 0, 0).await;
        assert_eq!(data.high_watermark, i64::from(round) + 1);
    }
}

async fn offset_at(client: &mut Client, timestamp: i64) -> (ErrorCode, i64) {
    let partition = ListOffsetsPartition { timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let found = client.call::<ListOffsets>(11, &request).await.topics.remove(0).partitions.remove(0);
    (found.error_code, found.offset)
}

#[tokio::test(start_paused = true)]
async fn offsets_are_found_by_time_and_by_name() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    for time in [1000, 3000, 2000] {
        let mut records = braid_storage::BatchBuilder::new();
        records.push(time, None, Some(b"v"), &[]);
        records.push(time + 1, None, Some(b"v"), &[]);
        client.produce_batch("t", 0, records.build().unwrap().to_bytes()).await;
    }
    let none = ErrorCode::NONE;
    for (time, expected) in
        [(-1, 6), (-2, 0), (-3, 3), (-4, 0), (-5, -1), (0, 0), (1001, 1), (1002, 2), (3001, 3), (3002, -1)]
    {
        assert_eq!(offset_at(&mut client, time).await, (none, expected), "time {time}");
    }
    assert_eq!(offset_at(&mut client, -7).await.0, ErrorCode::UNSUPPORTED_VERSION);
}

#[tokio::test(start_paused = true)]
async fn a_topic_comes_into_being_when_it_is_asked_for() {
    let broker = TestBroker::start(&[("num.partitions", "3")]);
    let mut client = broker.connect();
    let ask = |name: &str, create| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(name.into()), ..Default::default() }]),
        allow_auto_topic_creation: create,
        ..Default::default()
    };
    let topic = client.call::<Metadata>(12, &ask("new", false)).await.topics.remove(0);
    assert_eq!(topic.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let topic = client.call::<Metadata>(12, &ask("new", true)).await.topics.remove(0);
    assert_eq!((topic.error_code, topic.partitions.len()), (ErrorCode::NONE, 3));
    assert_eq!(client.produce("new", 2, &["v"]).await.base_offset, 0);
    let topic = client.call::<Metadata>(12, &ask("no such name!", true)).await.topics.remove(0);
    assert_eq!(topic.error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
}

#[tokio::test(start_paused = true)]
async fn a_session_tells_only_what_is_new() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 3, &[]).await;
    let mut client = broker.connect();
    client.produce("t", 1, &["a"]).await;
    let all = fetch_request("t", &[(0, 0), (1, 0), (2, 0)]);
    let begins = FetchRequest { session_epoch: 0, ..all };
    let response = client.call::<Fetch>(12, &begins).await;
    let id = response.session_id;
    assert!(id > 0);
    assert_eq!(response.responses[0].partitions.len(), 3);
    // partition 1 goes on behind what was read; the others are not named
    let goes_on = |session_epoch, offset| FetchRequest {
        session_id: id,
        session_epoch,
        max_wait_ms: 10_000,
        min_bytes: 1,
        ..fetch_request("t", &[(1, offset)])
    };
    let mut other = broker.connect();
    let next = goes_on(1, 1);
    let (response, _) = tokio::join!(client.call::<Fetch>(12, &next), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        other.produce("t", 2, &["b"]).await
    });
    assert_eq!(response.session_id, id);
    assert_eq!(response.responses.len(), 1);
    let [data] = &response.responses[0].partitions[..] else { panic!("{response:?}") };
    assert_eq!((data.partition_index, values(data)), (2, expect(0, &["b"])));
    // the same again is a mistake, and so is a session that is not there
    let response = client.call::<Fetch>(12, &next).await;
    assert_eq!(response.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    let unknown = FetchRequest { session_id: id ^ 1, ..goes_on(2, 1) };
    let response = client.call::<Fetch>(12, &unknown).await;
    assert_eq!(response.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    let response = client.call::<Fetch>(13, &goes_on(2, 1)).await;
    assert_eq!(response.error_code, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
}
