//! Retention and DeleteRecords through the wire: what goes, what stays, and what readers see meanwhile.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use braid::upkeep;
use braid_protocol::ErrorCode;
use braid_protocol::api::delete_records::{
    DeleteRecords, DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use braid_protocol::api::delete_topics::{DeleteTopics, DeleteTopicsRequest};
use braid_protocol::api::list_offsets::{
    ListOffsets, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use support::{Client, TestBroker, batch_of, files, values};

/// Segments of a few batches each.
const SMALL: (&str, &str) = ("segment.bytes", "500");

/// The offset of a sentinel: -2 is the earliest, -1 the latest.
async fn offset(client: &mut Client, topic: &str, sentinel: i64) -> i64 {
    let partition = ListOffsetsPartition { timestamp: sentinel, ..Default::default() };
    let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
    client.call::<ListOffsets>(7, &request).await.topics.remove(0).partitions.remove(0).offset
}

/// Appends one record a batch; the value is the offset.
async fn fill(client: &mut Client, topic: &str, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        let produced = client.produce(topic, 0, &[&format!("{offset:050}")]).await;
        assert_eq!((produced.error_code, produced.base_offset), (ErrorCode::NONE, offset));
    }
}

async fn delete(client: &mut Client, version: i16, topic: &str, index: i32, offset: i64) -> (ErrorCode, i64) {
    let partitions = vec![DeleteRecordsPartition { partition_index: index, offset }];
    let topics = vec![DeleteRecordsTopic { name: topic.into(), partitions }];
    let request = DeleteRecordsRequest { topics, timeout_ms: 1000 };
    let mut response = client.call::<DeleteRecords>(version, &request).await;
    let result = response.topics.remove(0).partitions.remove(0);
    (result.error_code, result.low_watermark)
}

/// Files of the topic that end like this.
fn count(broker: &TestBroker, topic: &str, end: &str) -> usize {
    let names = files(&broker.path().join(format!("{topic}-0")));
    names.iter().filter(|path| path.to_str().unwrap().ends_with(end)).count()
}

#[tokio::test(start_paused = true)]
async fn records_go_when_they_are_too_old_and_their_files_a_minute_later() {
    let broker = TestBroker::start(&[]);
    let hour = ("retention.ms", "3600000");
    broker.topic("t", 1, &[SMALL, hour]).await;
    let mut client = broker.connect();
    fill(&mut client, "t", 0..20).await;
    let upkeep = tokio::spawn(upkeep::run(broker.broker.clone(), broker.stop.subscribe()));
    let logs = count(&broker, "t", ".log");
    assert!(logs > 3, "{logs}");

    tokio::time::sleep(Duration::from_secs(50 * 60)).await;
    let mut client = broker.connect();
    assert_eq!(offset(&mut client, "t", -2).await, 0, "not yet");
    fill(&mut client, "t", 20..21).await;
    tokio::time::sleep(Duration::from_secs(15 * 60)).await;
    let mut client = broker.connect();
    assert_eq!((offset(&mut client, "t", -2).await, offset(&mut client, "t", -1).await), (21, 21));
    assert_eq!(client.fetch("t", 0, 20, 0).await.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    tokio::time::sleep(Duration::from_secs(2 * 60)).await;
    assert_eq!((count(&broker, "t", ".log"), count(&broker, "t", ".deleted")), (1, 0));

    let mut client = broker.connect();
    fill(&mut client, "t", 21..22).await;
    broker.stop.send_replace(true);
    upkeep.await.unwrap();
    let broker = broker.kill();
    let mut client = broker.connect();
    assert_eq!((offset(&mut client, "t", -2).await, offset(&mut client, "t", -1).await), (21, 22));
}

#[tokio::test(start_paused = true)]
async fn a_topic_keeps_to_its_size_and_deleted_files_wait() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[SMALL, ("retention.bytes", "1000"), ("file.delete.delay.ms", "5000")]).await;
    broker.topic("kept", 1, &[SMALL]).await;
    let mut client = broker.connect();
    fill(&mut client, "t", 0..20).await;
    fill(&mut client, "kept", 0..20).await;
    broker.broker.retain();
    assert_eq!(offset(&mut client, "kept", -2).await, 0);
    let start = offset(&mut client, "t", -2).await;
    assert!((5..15).contains(&start), "{start}");
    let first = client.fetch("t", 0, start, 0).await;
    assert_eq!((first.log_start_offset, values(&first)[0].0), (start, start));
    let deleted = count(&broker, "t", ".log.deleted");
    assert!(deleted > 0);
    let due = broker.broker.unlink().unwrap();
    assert_eq!((count(&broker, "t", ".log.deleted"), due), (deleted, broker.broker.clock.now() + 5000));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(broker.broker.unlink(), None);
    assert_eq!(count(&broker, "t", ".deleted"), 0);
}

#[tokio::test]
async fn records_are_deleted_on_demand_and_stay_so() {
    let mut broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[SMALL]).await;
    broker.topic("both", 1, &[("cleanup.policy", "compact,delete")]).await;
    broker.topic("compact", 1, &[("cleanup.policy", "compact")]).await;
    let mut client = broker.connect();
    fill(&mut client, "t", 0..20).await;
    for (version, at, expected) in [
        (0, 2, (ErrorCode::NONE, 2)),
        (1, 7, (ErrorCode::NONE, 7)),
        (2, 3, (ErrorCode::NONE, 7)),
        (2, 21, (ErrorCode::OFFSET_OUT_OF_RANGE, -1)),
        (2, -2, (ErrorCode::OFFSET_OUT_OF_RANGE, -1)),
    ] {
        assert_eq!(delete(&mut client, version, "t", 0, at).await, expected, "v{version} {at}");
    }
    assert_eq!(client.fetch("t", 0, 6, 0).await.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    let unknown = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1);
    assert_eq!(delete(&mut client, 2, "t", 1, 0).await, unknown);
    assert_eq!(delete(&mut client, 2, "no", 0, 0).await, unknown);
    assert_eq!(delete(&mut client, 2, "compact", 0, 0).await, (ErrorCode::POLICY_VIOLATION, -1));
    assert_eq!(delete(&mut client, 2, "both", 0, -1).await, (ErrorCode::NONE, 0));

    // The answer is kept whatever happens, in the middle of a segment too.
    for round in 0..2 {
        broker = if round == 0 { broker.kill() } else { broker.restart() };
        let mut client = broker.connect();
        assert_eq!((offset(&mut client, "t", -2).await, offset(&mut client, "t", -1).await), (7, 20));
        assert_eq!(values(&client.fetch("t", 0, 7, 0).await)[0].0, 7);
    }
    let before = count(&broker, "t", ".log");
    broker.broker.retain();
    assert!(count(&broker, "t", ".log") < before);
    let mut client = broker.connect();
    assert_eq!(delete(&mut client, 2, "t", 0, -1).await, (ErrorCode::NONE, 20));
    fill(&mut client, "t", 20..21).await;
    let broker = broker.kill();
    let mut client = broker.connect();
    assert_eq!((offset(&mut client, "t", -2).await, offset(&mut client, "t", -1).await), (20, 21));
}

#[tokio::test]
async fn a_new_topic_of_an_old_name_does_not_inherit_its_offsets() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[SMALL]).await;
    let mut client = broker.connect();
    fill(&mut client, "t", 0..20).await;
    assert_eq!(delete(&mut client, 2, "t", 0, -1).await, (ErrorCode::NONE, 20));
    broker.broker.checkpoint().unwrap();
    let request = DeleteTopicsRequest { topic_names: vec!["t".into()], ..Default::default() };
    client.call::<DeleteTopics>(1, &request).await;
    broker.topic("t", 1, &[]).await;
    fill(&mut client, "t", 0..1).await;
    let broker = broker.kill();
    let mut client = broker.connect();
    assert_eq!((offset(&mut client, "t", -2).await, offset(&mut client, "t", -1).await), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn idle_producers_are_forgotten() {
    let broker = TestBroker::start(&[("producer.id.expiration.ms", "60000")]);
    broker.topic("t", 1, &[]).await;
    let known = || {
        let partition = broker.broker.topic("t").unwrap().partition(0).unwrap();
        partition.look(|log| log.producers().len()).unwrap()
    };
    let mut client = broker.connect();
    client.produce_batch("t", 0, batch_of(1, 0, 0, &["a"])).await;
    tokio::time::advance(Duration::from_secs(40)).await;
    client.produce_batch("t", 0, batch_of(2, 0, 0, &["b"])).await;
    broker.broker.retain();
    assert_eq!(known(), 2);
    tokio::time::advance(Duration::from_secs(40)).await;
    broker.broker.retain();
    assert_eq!(known(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_get_records_or_are_told_that_they_are_gone() {
    const RECORDS: i64 = 1500;
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[SMALL, ("retention.bytes", "1500"), ("file.delete.delay.ms", "0")]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (cleaning, stopped) = (broker.broker.clone(), stop.clone());
    let cleaner = tokio::task::spawn_blocking(move || {
        while !stopped.load(Ordering::Relaxed) {
            cleaning.retain();
            cleaning.unlink();
        }
    });
    let mut readers = Vec::new();
    for n in 0..3 {
        let (mut client, stopped) = (broker.connect(), stop.clone());
        readers.push(tokio::spawn(async move {
            let (mut at, mut read, mut gone) = (0, 0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let fetched = client.fetch("t", 0, at, 10).await;
                match fetched.error_code {
                    ErrorCode::OFFSET_OUT_OF_RANGE => {
                        gone += 1;
                        at = offset(&mut client, "t", -2).await;
                    }
                    code => {
                        assert_eq!(code, ErrorCode::NONE);
                        for (offset, value) in values(&fetched) {
                            assert_eq!(value, format!("{offset:050}"));
                            assert!(offset >= at, "asked for {at}, got {offset}");
                            (at, read) = (offset + 1, read + 1);
                        }
                        // Some stay behind, where segments vanish.
                        at = (at - n * 20).max(0);
                    }
                }
            }
            (read, gone)
        }));
    }
    fill(&mut broker.connect(), "t", 0..RECORDS).await;
    stop.store(true, Ordering::Relaxed);
    cleaner.await.unwrap();
    let (mut read, mut gone) = (0, 0);
    for reader in readers {
        let (records, refusals) = reader.await.unwrap();
        (read, gone) = (read + records, gone + refusals);
    }
    assert!(read > RECORDS && gone > 10, "{read} {gone}");
    let start = offset(&mut broker.connect(), "t", -2).await;
    assert!(start > RECORDS - 100, "{start}");
    assert_eq!(count(&broker, "t", ".deleted"), 0);
}
