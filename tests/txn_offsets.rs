//! Offsets committed within transactions, through the wire: when they count, who may commit them, and what a
//! restart, a timeout and compaction make of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::time::Duration;

use braid_protocol::ErrorCode;
use braid_protocol::api::add_offsets_to_txn::{AddOffsetsToTxn, AddOffsetsToTxnRequest};
use braid_protocol::api::end_txn::{EndTxn, EndTxnRequest};
use braid_protocol::api::init_producer_id::{InitProducerId, InitProducerIdRequest};
use braid_protocol::api::offset_commit::{
    OffsetCommit, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use braid_protocol::api::offset_fetch::{
    OffsetFetch, OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use braid_protocol::api::txn_offset_commit::{
    TxnOffsetCommit, TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use support::{Client, TestBroker};

/// One partition of `__consumer_offsets`, so that all is in one log.
const ONE: (&str, &str) = ("offsets.topic.num.partitions", "1");
const UNSTABLE: (i64, ErrorCode) = (-1, ErrorCode::UNSTABLE_OFFSET_COMMIT);

/// A producer with a transactional id, as its client sees it.
struct Producer {
    client: Client,
    name: &'static str,
    id: i64,
    epoch: i16,
}

impl Producer {
    async fn begin(broker: &TestBroker, name: &'static str) -> Producer {
        let mut client = broker.connect();
        let request = InitProducerIdRequest {
            transactional_id: Some(name.into()),
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
        };
        let told = client.call::<InitProducerId>(4, &request).await;
        assert_eq!(told.error_code, ErrorCode::NONE);
        Producer { client, name, id: told.producer_id, epoch: told.producer_epoch }
    }

    /// The same producer on a broker that was started again.
    fn on(self, broker: &TestBroker) -> Producer {
        Producer { client: broker.connect(), ..self }
    }

    async fn add_offsets(&mut self) {
        let request = AddOffsetsToTxnRequest {
            transactional_id: self.name.into(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            group_id: "g".into(),
        };
        assert_eq!(self.client.call::<AddOffsetsToTxn>(3, &request).await.error_code, ErrorCode::NONE);
    }

    fn request(&self, offset: i64) -> TxnOffsetCommitRequest {
        let partition = TxnOffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
        let topic = TxnOffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition] };
        TxnOffsetCommitRequest {
            transactional_id: self.name.into(),
            group_id: "g".into(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            topics: vec![topic],
            ..Default::default()
        }
    }

    async fn send(&mut self, version: i16, request: &TxnOffsetCommitRequest) -> ErrorCode {
        let told = self.client.call::<TxnOffsetCommit>(version, request).await;
        told.topics[0].partitions[0].error_code
    }

    /// Commits this offset for t-0; up to v4 the group's offsets must have been added.
    async fn commit(&mut self, version: i16, offset: i64) -> ErrorCode {
        self.send(version, &self.request(offset)).await
    }

    /// Ends the transaction, and goes on with what it is told if it speaks v5.
    async fn end(&mut self, version: i16, committed: bool) {
        let request = EndTxnRequest {
            transactional_id: self.name.into(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            committed,
        };
        let told = self.client.call::<EndTxn>(version, &request).await;
        assert_eq!(told.error_code, ErrorCode::NONE);
        if version >= 5 {
            (self.id, self.epoch) = (told.producer_id, told.producer_epoch);
        }
    }
}

/// What the group has committed for t-0.
async fn fetch(client: &mut Client, require_stable: bool) -> (i64, ErrorCode) {
    let topic =
        OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
    let group =
        OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() };
    let told = client.call::<OffsetFetch>(8, &request).await;
    let partition = &told.groups[0].topics[0].partitions[0];
    (partition.committed_offset, partition.error_code)
}

/// The same, once no transaction can change it: EndTxn is answered before the markers are written.
async fn settled(client: &mut Client) -> i64 {
    for _ in 0..1_000 {
        match fetch(client, true).await {
            UNSTABLE => tokio::time::sleep(Duration::from_millis(10)).await,
            (offset, code) => {
                assert_eq!(code, ErrorCode::NONE);
                return offset;
            }
        }
    }
    panic!("the transaction never ends");
}

async fn commit_plain(client: &mut Client, offset: i64) {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic =
        OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let told = client.call::<OffsetCommit>(8, &request).await;
    assert_eq!(told.topics[0].partitions[0].error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn offsets_count_when_their_transaction_commits() {
    let broker = TestBroker::start(&[ONE]);
    broker.topic("t", 1, &[]).await;
    let mut reader = broker.connect();
    for (version, end) in [(0, 0), (3, 3), (4, 4), (5, 5)] {
        let mut producer = Producer::begin(&broker, "p").await;
        let before = settled(&mut reader).await;
        for (committed, offset) in [(false, 100), (true, 10 + i64::from(version))] {
            if version < 5 {
                producer.add_offsets().await;
            }
            assert_eq!(producer.commit(version, offset).await, ErrorCode::NONE, "v{version}");
            assert_eq!(fetch(&mut reader, true).await, UNSTABLE);
            assert_eq!(fetch(&mut reader, false).await, (before, ErrorCode::NONE), "not yet");
            producer.end(end, committed).await;
            let expected = if committed { offset } else { before };
            assert_eq!(settled(&mut reader).await, expected, "v{version}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_commit_is_told_why() {
    let broker = TestBroker::start(&[ONE]);
    broker.topic("t", 1, &[]).await;
    let mut producer = Producer::begin(&broker, "p").await;
    assert_eq!(producer.commit(3, 1).await, ErrorCode::INVALID_TXN_STATE, "offsets were not added");
    assert_eq!(producer.commit(4, 1).await, ErrorCode::TRANSACTION_ABORTABLE);
    producer.add_offsets().await;
    let good = producer.request(1);

    let mut stranger = good.clone();
    stranger.producer_id += 1;
    assert_eq!(producer.send(3, &stranger).await, ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    let mut member = good.clone();
    (member.generation_id, member.member_id) = (1, "m".into());
    assert_eq!(producer.send(3, &member).await, ErrorCode::ILLEGAL_GENERATION);
    let mut nobody = good.clone();
    nobody.group_id = String::new();
    assert_eq!(producer.send(3, &nobody).await, ErrorCode::INVALID_GROUP_ID);
    let mut missing = good.clone();
    missing.topics[0].name = "missing".into();
    assert_eq!(producer.send(3, &missing).await, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let mut beyond = good.clone();
    let mut other = beyond.topics[0].partitions[0].clone();
    other.partition_index = 1;
    beyond.topics[0].partitions.push(other);
    let told = producer.client.call::<TxnOffsetCommit>(3, &beyond).await;
    let codes: Vec<_> = told.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);

    let mut next = Producer::begin(&broker, "p").await;
    assert_eq!(producer.send(3, &good).await, ErrorCode::INVALID_PRODUCER_EPOCH, "a new one has come");
    assert_eq!(settled(&mut next.client).await, -1, "and what the old one had open is aborted");
    assert_eq!(next.commit(5, 2).await, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_point_changes_nothing() {
    for killed in 0..6 {
        let mut broker = TestBroker::start(&[ONE]);
        broker.topic("t", 1, &[]).await;
        let (mut one, mut two) =
            (Producer::begin(&broker, "one").await, Producer::begin(&broker, "two").await);
        let expected = [UNSTABLE, UNSTABLE, UNSTABLE, UNSTABLE, (20, ErrorCode::NONE), (20, ErrorCode::NONE)];
        for (step, expected) in expected.into_iter().enumerate() {
            match step {
                0 => assert_eq!(one.commit(5, 10).await, ErrorCode::NONE),
                1 => commit_plain(&mut one.client, 15).await,
                2 => assert_eq!(two.commit(5, 20).await, ErrorCode::NONE),
                3 => one.end(5, true).await,
                4 => two.end(5, true).await,
                _ => {
                    assert_eq!(one.commit(5, 30).await, ErrorCode::NONE);
                    one.end(5, false).await;
                }
            }
            if step == killed {
                broker = broker.kill();
                (one, two) = (one.on(&broker), two.on(&broker));
                // The first request has the transactions loaded, and ends that were decided carried out.
                broker.broker.transactions().await.unwrap();
            }
            let mut reader = broker.connect();
            match expected {
                UNSTABLE => {
                    assert_eq!(fetch(&mut reader, true).await, UNSTABLE, "{step}, killed at {killed}")
                }
                (offset, _) => assert_eq!(settled(&mut reader).await, offset, "{step}, killed at {killed}"),
            }
            let plain = if step == 0 { -1 } else { 15 };
            if step < 4 {
                assert_eq!(fetch(&mut reader, false).await.0, plain, "{step}, killed at {killed}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_takes_too_long_takes_its_offsets_along() {
    let broker = TestBroker::start(&[ONE]);
    broker.topic("t", 1, &[]).await;
    let mut producer = Producer::begin(&broker, "p").await;
    assert_eq!(producer.commit(5, 7).await, ErrorCode::NONE);
    let mut reader = broker.connect();
    assert_eq!(fetch(&mut reader, true).await, UNSTABLE);
    tokio::time::sleep(Duration::from_secs(80)).await;
    let mut reader = broker.connect();
    assert_eq!(settled(&mut reader).await, -1);
    let mut zombie = producer.on(&broker);
    assert_eq!(zombie.commit(5, 8).await, ErrorCode::INVALID_PRODUCER_EPOCH);
}

#[tokio::test(start_paused = true)]
async fn the_log_is_kafkas() {
    let broker = TestBroker::start(&[ONE]);
    broker.topic("t", 1, &[]).await;
    let mut producer = Producer::begin(&broker, "p").await;
    producer.add_offsets().await;
    assert_eq!(producer.commit(3, 7).await, ErrorCode::NONE);
    producer.end(3, true).await;
    assert_eq!(settled(&mut producer.client).await, 7);
    let partition = broker.broker.topic("__consumer_offsets").unwrap().partition(0).unwrap();
    let read = partition.read(0, 1 << 20, true).unwrap();
    let seen: Vec<_> = braid_storage::batches(&read.bytes)
        .map(|(header, _)| {
            assert_eq!((header.producer_id, header.producer_epoch), (producer.id, producer.epoch));
            (header.is_transactional(), header.is_control(), header.base_sequence, header.records_count)
        })
        .collect();
    assert_eq!(seen, [(true, false, -1, 1), (true, true, -1, 1)]);
    assert_eq!(partition.last_stable_offset(), 2);
}

#[tokio::test]
async fn compaction_keeps_what_counts_and_what_is_pending() {
    let small = ("offsets.topic.segment.bytes", "1000");
    let mut broker = TestBroker::start(&[ONE, small]);
    broker.topic("t", 1, &[]).await;
    let mut producer = Producer::begin(&broker, "p").await;
    let mut open = Producer::begin(&broker, "open").await;
    let mut reader = broker.connect();
    let mut counts = -1;
    for n in 0..60 {
        assert_eq!(producer.commit(5, n).await, ErrorCode::NONE);
        producer.end(5, n % 3 != 0).await;
        counts = if n % 3 != 0 { n } else { counts };
        assert_eq!(settled(&mut reader).await, counts);
    }
    assert_eq!(open.commit(5, 99).await, ErrorCode::NONE);
    let cleaning = broker.broker.clone();
    tokio::task::spawn_blocking(move || cleaning.clean()).await.unwrap();
    let partition = broker.broker.topic("__consumer_offsets").unwrap().partition(0).unwrap();
    let read = partition.read(0, 1 << 20, true).unwrap();
    let data = braid_storage::batches(&read.bytes).filter(|(header, _)| !header.is_control());
    let left: i32 = data.map(|(header, _)| header.records_count).sum();
    assert!(left < 20, "{left} of 61 commits are left");

    broker = broker.kill();
    let mut reader = broker.connect();
    assert_eq!(fetch(&mut reader, true).await, UNSTABLE);
    assert_eq!(fetch(&mut reader, false).await, (counts, ErrorCode::NONE));
    let mut open = open.on(&broker);
    open.end(5, true).await;
    assert_eq!(settled(&mut reader).await, 99);
}
