//! What `read_committed` consumers see: Fetch and ListOffsets up to the last stable offset, the aborted
//! transactions named, waits that end when transactions do; and DescribeProducers beside it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use braid::topic::{Marker, Partition};
use braid_protocol::ErrorCode;
use braid_protocol::api::delete_records::{
    DeleteRecords, DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use braid_protocol::api::describe_producers::{
    DescribeProducers, DescribeProducersRequest, ProducerState, TopicRequest,
};
use braid_protocol::api::fetch::{Fetch, FetchRequest, PartitionData};
use braid_protocol::api::list_offsets::{
    ListOffsets, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use braid_storage::{BatchBuilder, TxnStatus};
use support::{Client, TestBroker, fetch_request, values};
use tokio::time::{Instant, timeout};

const TIME: i64 = 1_700_000_000_000;

/// A producer as the coordinator lets it in: asks for leave, appends one record.
fn send(partition: &Arc<Partition>, producer: i64, sequence: i32, value: &str) -> i64 {
    let leave = match partition.transaction(producer, 0).unwrap() {
        TxnStatus::Open => None,
        TxnStatus::Closed(guard) => Some(guard),
    };
    let mut batch = BatchBuilder::new().producer(producer, 0, sequence).transactional();
    batch.push(TIME + i64::from(sequence), None, Some(value.as_bytes()), &[]);
    partition.append(&batch.build().unwrap(), leave, TIME).unwrap().base_offset
}

fn end(partition: &Arc<Partition>, producer_id: i64, commit: bool) -> i64 {
    let marker = Marker { producer_id, producer_epoch: 0, coordinator_epoch: 4, commit };
    partition.append_marker(marker, TIME).unwrap().base_offset
}

/// A broker with a topic of one partition.
async fn started(settings: &[(&str, &str)], configs: &[(&str, &str)]) -> (TestBroker, Arc<Partition>) {
    let broker = TestBroker::start(settings);
    broker.topic("t", 1, configs).await;
    let partition = partition(&broker);
    (broker, partition)
}

fn partition(broker: &TestBroker) -> Arc<Partition> {
    broker.broker.topics.get("t").unwrap().partition(0).unwrap()
}

fn committed(offset: i64) -> FetchRequest {
    FetchRequest { isolation_level: 1, ..fetch_request("t", &[(0, offset)]) }
}

async fn fetch(client: &mut Client, request: &FetchRequest) -> PartitionData {
    client.call::<Fetch>(12, request).await.responses.remove(0).partitions.remove(0)
}

/// The offset that belongs to a time, for `read_committed` and without.
async fn offsets_at(client: &mut Client, timestamp: i64) -> [i64; 2] {
    let mut found = [0; 2];
    for (isolation_level, found) in [1, 0].into_iter().zip(&mut found) {
        let partition = ListOffsetsPartition { timestamp, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], isolation_level, ..Default::default() };
        let answer = client.call::<ListOffsets>(11, &request).await.topics.remove(0).partitions.remove(0);
        assert_eq!(answer.error_code, ErrorCode::NONE);
        *found = answer.offset;
    }
    found
}

fn aborted(data: &PartitionData) -> Vec<(i64, i64)> {
    let all = data.aborted_transactions.as_ref().unwrap();
    all.iter().map(|txn| (txn.producer_id, txn.first_offset)).collect()
}

fn offsets(data: &PartitionData) -> Vec<i64> {
    values(data).into_iter().map(|(offset, _)| offset).collect()
}

// Time is real: a disk takes part.
#[tokio::test]
async fn a_transaction_is_seen_when_it_has_ended_and_one_that_was_aborted_is_named() {
    for durability in ["written", "synced"] {
        let (broker, partition) = started(&[], &[("braid.durability", durability)]).await;
        let mut client = broker.connect();
        send(&partition, 5, 0, "a");
        send(&partition, 6, 0, "b");
        send(&partition, 5, 1, "c");
        partition.reached(2).await.unwrap();
        let data = fetch(&mut client, &committed(0)).await;
        assert_eq!((data.high_watermark, data.last_stable_offset), (3, 0));
        assert!(offsets(&data).is_empty() && aborted(&data).is_empty());
        let data = fetch(&mut client, &fetch_request("t", &[(0, 0)])).await;
        assert_eq!((data.last_stable_offset, offsets(&data)), (0, vec![0, 1, 2]));
        assert_eq!(data.aborted_transactions, None, "only read_committed is told");
        let data = fetch(&mut client, &committed(2)).await;
        assert_eq!((data.error_code, offsets(&data)), (ErrorCode::NONE, vec![]), "above the stable offset");

        end(&partition, 6, false);
        partition.reached(3).await.unwrap();
        assert_eq!(fetch(&mut client, &committed(0)).await.last_stable_offset, 0, "5 is still open");
        let last = end(&partition, 5, false);
        partition.reached(last).await.unwrap();
        let data = fetch(&mut client, &committed(0)).await;
        assert_eq!((data.last_stable_offset, offsets(&data)), (5, vec![0, 1, 2, 3, 4]));
        assert_eq!(aborted(&data), [(6, 1), (5, 0)], "in the order of the markers");
        let data = fetch(&mut client, &committed(4)).await;
        assert_eq!(aborted(&data), [(5, 0)], "those that overlap what is answered");

        let base = send(&partition, 6, 1, "d");
        partition.reached(end(&partition, 6, true)).await.unwrap();
        let data = fetch(&mut client, &committed(base)).await;
        assert_eq!((offsets(&data), aborted(&data)), (vec![5, 6], vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn aborted_transactions_are_named_across_segments_and_after_restarts() {
    let (mut broker, partition) = started(&[], &[("segment.bytes", "200")]).await;
    send(&partition, 9, 0, "open from the first segment to the last");
    let mut model = Vec::new();
    for n in 0..12 {
        let first = send(&partition, 5, n, "some value that fills a segment");
        let marker = end(&partition, 5, n % 3 == 0);
        if n % 3 > 0 {
            model.push((first, marker));
        }
    }
    let last = end(&partition, 9, false);
    assert!(partition.look(|log| log.segment_count()).unwrap() > 5);
    for round in 0..4 {
        let mut client = broker.connect();
        for offset in 0..=last {
            let data = fetch(&mut client, &committed(offset)).await;
            let upper = *offsets(&data).last().unwrap() + 1;
            let all = model.iter().filter(|(first, marker)| *marker >= offset && *first < upper);
            let wanted: Vec<_> = all.map(|(first, _)| (5, *first)).chain([(9, 0)]).collect();
            assert_eq!(aborted(&data), wanted, "from {offset} in round {round}");
        }
        broker = match round {
            0 => broker.restart(),
            1 => broker.kill(),
            // The index is damaged, or says less than it did; the broker did not end cleanly.
            _ => broker
                .kill_and(|data| {
                    for file in support::files(&data.join("t-0")) {
                        if file.extension().is_some_and(|kind| kind == "txnindex") {
                            std::fs::write(file, [7; 20]).unwrap();
                        }
                    }
                })
                .unwrap(),
        };
    }
}

#[tokio::test(start_paused = true)]
async fn the_latest_offset_and_times_end_at_the_stable_offset() {
    let (broker, partition) = started(&[], &[]).await;
    let mut client = broker.connect();
    client.produce("t", 0, &["before"]).await;
    send(&partition, 5, 3, "x");
    assert_eq!(offsets_at(&mut client, -1).await, [1, 2]);
    assert_eq!(offsets_at(&mut client, -2).await, [0, 0]);
    end(&partition, 5, true);
    assert_eq!(offsets_at(&mut client, -1).await, [3, 3]);

    let (broker, partition) = started(&[], &[]).await;
    let mut client = broker.connect();
    send(&partition, 5, 1, "x");
    send(&partition, 6, 9, "y");
    assert_eq!(offsets_at(&mut client, TIME).await, [-1, 0]);
    assert_eq!(offsets_at(&mut client, -3).await, [-1, 1], "the newest is not committed");
    end(&partition, 5, true);
    assert_eq!(offsets_at(&mut client, TIME).await, [0, 0]);
    assert_eq!(offsets_at(&mut client, TIME + 2).await, [-1, 1]);
    end(&partition, 6, false);
    assert_eq!(offsets_at(&mut client, TIME + 2).await, [1, 1]);
    assert_eq!(offsets_at(&mut client, -3).await, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_committed_records_ends_with_the_transaction_and_not_before() {
    let (broker, partition) = started(&[], &[]).await;
    let mut client = broker.connect();
    send(&partition, 5, 0, "a");
    let patient = FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..committed(0) };
    client.send::<Fetch>(12, &patient).await;
    for n in 0..5 {
        send(&partition, 6, n, "more, but not committed");
        let early = timeout(Duration::from_secs(1), client.receive_raw()).await;
        assert!(early.is_err(), "nothing can be seen yet");
    }
    end(&partition, 6, true);
    assert!(timeout(Duration::from_secs(1), client.receive_raw()).await.is_err(), "5 is open");
    drop(client); // half a frame may have been taken

    let mut client = broker.connect();
    client.send::<Fetch>(12, &patient).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begin = Instant::now();
    end(&partition, 5, true);
    let answer = timeout(Duration::from_secs(1), client.receive::<Fetch>(12)).await.expect("woken");
    assert_eq!(begin.elapsed(), Duration::ZERO, "at once");
    assert_eq!(offsets(&answer.responses[0].partitions[0]).len(), 8);

    // Without transactions both kinds of reader are woken alike.
    let end_offset = partition.last_stable_offset();
    let mut writer = broker.connect();
    client
        .send::<Fetch>(12, &FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..committed(end_offset) })
        .await;
    writer.produce("t", 0, &["plain"]).await;
    let answer = timeout(Duration::from_secs(1), client.receive::<Fetch>(12)).await.expect("woken");
    assert_eq!(values(&answer.responses[0].partitions[0]), [(end_offset, "plain".to_owned())]);
    let began = Instant::now();
    let data =
        fetch(&mut client, &FetchRequest { max_wait_ms: 700, min_bytes: 1, ..committed(end_offset + 1) })
            .await;
    assert_eq!((offsets(&data), began.elapsed().as_millis()), (vec![], 700));
}

#[tokio::test(start_paused = true)]
async fn deleted_records_take_the_stable_offset_with_them() {
    let (broker, partition) = started(&[], &[]).await;
    let mut client = broker.connect();
    send(&partition, 5, 0, "a");
    send(&partition, 5, 1, "b");
    send(&partition, 5, 2, "c");
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 2 }];
    let topics = vec![DeleteRecordsTopic { name: "t".into(), partitions }];
    let request = DeleteRecordsRequest { topics, timeout_ms: 1000 };
    let answer = client.call::<DeleteRecords>(2, &request).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::NONE);
    assert_eq!(partition.last_stable_offset(), 2, "never below the start");
    assert!(offsets(&fetch(&mut client, &committed(2)).await).is_empty());
    end(&partition, 5, false);
    let data = fetch(&mut client, &committed(2)).await;
    assert_eq!((offsets(&data), aborted(&data)), (vec![2, 3], vec![(5, 0)]));
}

#[tokio::test(start_paused = true)]
async fn producers_are_described_with_their_transactions() {
    let (broker, partition) = started(&[], &[]).await;
    let mut client = broker.connect();
    let topic = TopicRequest { name: "t".into(), partition_indexes: vec![0, 9] };
    let request = DescribeProducersRequest { topics: vec![topic] };
    send(&partition, 5, 0, "a");
    end(&partition, 5, true);
    send(&partition, 5, 1, "b");
    send(&partition, 6, 0, "c");
    let described = client.call::<DescribeProducers>(0, &request).await.topics.remove(0).partitions;
    assert_eq!(described[1].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let state = |producer_id, last_sequence, coordinator_epoch, current_txn_start_offset| ProducerState {
        producer_id,
        producer_epoch: 0,
        last_sequence,
        last_timestamp: TIME + i64::from(last_sequence),
        coordinator_epoch,
        current_txn_start_offset,
    };
    assert_eq!(described[0].active_producers, [state(5, 1, 4, 2), state(6, 0, -1, 3)]);
    end(&partition, 6, false);
    let described = client.call::<DescribeProducers>(0, &request).await.topics.remove(0).partitions;
    assert_eq!(
        described[0].active_producers[1],
        ProducerState { last_timestamp: TIME, ..state(6, 0, 4, -1) }
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_batch_does_not_begin_a_transaction_that_nobody_ends() {
    let (_broker, partition) = started(&[], &[]).await;
    send(&partition, 5, 0, "a");
    let TxnStatus::Open = partition.transaction(5, 0).unwrap() else { panic!("it is open") };
    let TxnStatus::Closed(leave) = partition.transaction(6, 0).unwrap() else { panic!("it is not") };
    end(&partition, 5, false);
    end(&partition, 6, false);
    for (producer, leave) in [(5, None), (6, None), (6, Some(leave))] {
        let mut batch = BatchBuilder::new().producer(producer, 0, 1).transactional();
        batch.push(TIME, None, Some(b"late"), &[]);
        let refused = partition.append(&batch.build().unwrap(), leave, TIME).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::INVALID_TXN_STATE);
    }
    assert_eq!(partition.last_stable_offset(), partition.watermark());
}
