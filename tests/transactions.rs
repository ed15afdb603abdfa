//! Transactions, as a client speaks them: both protocols, fencing, timeouts, restarts in every state.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::time::Duration;

use braid_protocol::ErrorCode;
use braid_protocol::api::add_partitions_to_txn::{
    AddPartitionsToTxn, AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use braid_protocol::api::api_versions::{ApiVersions, ApiVersionsRequest};
use braid_protocol::api::describe_transactions::{DescribeTransactions, DescribeTransactionsRequest};
use braid_protocol::api::end_txn::{EndTxn, EndTxnRequest, EndTxnResponse};
use braid_protocol::api::fetch::{Fetch, FetchRequest, PartitionData};
use braid_protocol::api::find_coordinator::{FindCoordinator, FindCoordinatorRequest};
use braid_protocol::api::init_producer_id::{InitProducerId, InitProducerIdRequest};
use braid_protocol::api::list_transactions::{ListTransactions, ListTransactionsRequest};
use braid_protocol::api::produce::{Produce, ProduceRequest};
use braid_protocol::api::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkers, WriteTxnMarkersRequest,
};
use braid_storage::BatchBuilder;
use bytes::Bytes;
use support::{Client, TestBroker, fetch_request, now_ms, produce_request, values};

const TIMEOUT_MS: i32 = 60_000;

/// A producer of one transactional id; it speaks KIP-890 if `new`.
struct Producer {
    client: Client,
    id: String,
    producer: (i64, i16),
    sequence: i32,
    new: bool,
}

impl Producer {
    async fn start(broker: &TestBroker, id: &str, new: bool) -> Producer {
        let mut producer =
            Producer { client: broker.connect(), id: id.to_owned(), producer: (-1, -1), sequence: 0, new };
        assert_eq!(producer.init().await, ErrorCode::NONE);
        producer
    }

    async fn init(&mut self) -> ErrorCode {
        let request = InitProducerIdRequest {
            transactional_id: Some(self.id.clone()),
            transaction_timeout_ms: TIMEOUT_MS,
            ..Default::default()
        };
        let response = self.client.call::<InitProducerId>(5, &request).await;
        self.producer = (response.producer_id, response.producer_epoch);
        self.sequence = 0;
        response.error_code
    }

    async fn add(&mut self, partitions: &[i32]) -> Vec<ErrorCode> {
        let topic = AddPartitionsToTxnTopic { name: "t".into(), partitions: partitions.to_vec() };
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.id.clone(),
            v3_and_below_producer_id: self.producer.0,
            v3_and_below_producer_epoch: self.producer.1,
            v3_and_below_topics: vec![topic],
            ..Default::default()
        };
        let mut response = self.client.call::<AddPartitionsToTxn>(3, &request).await;
        let results = response.results_by_topic_v3_and_below.remove(0).results_by_partition;
        results.iter().map(|result| result.partition_error_code).collect()
    }

    fn batch(&self, sequence: i32, value: &str) -> Bytes {
        let mut batch = BatchBuilder::new().producer(self.producer.0, self.producer.1, sequence);
        batch.push(now_ms(), None, Some(value.as_bytes()), &[]);
        batch.transactional().build().unwrap().to_bytes()
    }

    fn request(&self, partition: i32, sequence: i32, value: &str) -> ProduceRequest {
        let records = self.batch(sequence, value);
        ProduceRequest {
            transactional_id: Some(self.id.clone()),
            ..produce_request("t", vec![(partition, records)])
        }
    }

    fn version(&self) -> i16 {
        if self.new { 12 } else { 11 }
    }

    /// Writes one record to partition 0, as its protocol has it.
    async fn write(&mut self, value: &str) -> ErrorCode {
        if !self.new {
            self.add(&[0]).await;
        }
        let request = self.request(0, self.sequence, value);
        self.sequence += 1;
        let response = self.client.call::<Produce>(self.version(), &request).await;
        response.responses[0].partition_responses[0].error_code
    }

    async fn end(&mut self, committed: bool) -> ErrorCode {
        let EndTxnResponse { error_code, producer_id, producer_epoch, .. } = self.ended(committed).await;
        if self.new && error_code == ErrorCode::NONE {
            assert_eq!((producer_id, producer_epoch), (self.producer.0, self.producer.1 + 1));
            self.producer = (producer_id, producer_epoch);
            self.sequence = 0;
        }
        error_code
    }

    async fn ended(&mut self, committed: bool) -> EndTxnResponse {
        let request = EndTxnRequest {
            transactional_id: self.id.clone(),
            producer_id: self.producer.0,
            producer_epoch: self.producer.1,
            committed,
        };
        self.client.call::<EndTxn>(if self.new { 5 } else { 4 }, &request).await
    }

    /// Aborts what is open in these partitions of `t`, as the coordinator of that epoch.
    async fn abort_as(&mut self, coordinator_epoch: i32, partitions: &[i32]) -> Vec<ErrorCode> {
        let topic = WritableTxnMarkerTopic { name: "t".into(), partition_indexes: partitions.to_vec() };
        let marker = WritableTxnMarker {
            producer_id: self.producer.0,
            producer_epoch: self.producer.1,
            transaction_result: false,
            topics: vec![topic],
            coordinator_epoch,
            ..Default::default()
        };
        let request = WriteTxnMarkersRequest { markers: vec![marker] };
        let mut response = self.client.call::<WriteTxnMarkers>(1, &request).await;
        let partitions = response.markers.remove(0).topics.remove(0).partitions;
        partitions.iter().map(|partition| partition.error_code).collect()
    }

    async fn state(&mut self) -> String {
        let request = DescribeTransactionsRequest { transactional_ids: vec![self.id.clone()] };
        let mut response = self.client.call::<DescribeTransactions>(0, &request).await;
        response.transaction_states.remove(0).transaction_state
    }
}

async fn broker(settings: &[(&str, &str)]) -> TestBroker {
    let broker = TestBroker::start(settings);
    broker.topic("t", 2, &[]).await;
    broker
}

async fn read(broker: &TestBroker) -> PartitionData {
    let request = FetchRequest { isolation_level: 1, ..fetch_request("t", &[(0, 0)]) };
    broker.connect().call::<Fetch>(12, &request).await.responses.remove(0).partitions.remove(0)
}

/// What `read_committed` shows: data up to the stable offset, without what the answer says was aborted. Each
/// value begins with its producer's number.
async fn committed(broker: &TestBroker) -> Vec<String> {
    let data = read(broker).await;
    let mut aborted = data.aborted_transactions.clone().unwrap();
    let mut open = Vec::new();
    let mut seen = Vec::new();
    let bytes = data.records.clone().unwrap();
    for (header, batch) in braid_storage::batches(&bytes) {
        aborted.retain(|txn| {
            let begins = txn.first_offset <= header.last_offset();
            if begins {
                open.push(txn.producer_id);
            }
            !begins
        });
        if header.is_control() {
            open.retain(|id| *id != header.producer_id);
        } else if !open.contains(&header.producer_id) {
            let records = braid_storage::records(&batch).unwrap();
            let text = |value: Option<Bytes>| String::from_utf8(value.unwrap().to_vec()).unwrap();
            seen.extend(records.map(|record| text(record.unwrap().value)));
        }
    }
    seen
}

/// Waits until the markers are written.
async fn settled(producer: &mut Producer) -> String {
    loop {
        let state = producer.state().await;
        if !state.starts_with("Prepare") {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_is_seen_and_what_is_aborted_is_not() {
    for new in [false, true] {
        let broker = broker(&[]).await;
        let mut producer = Producer::start(&broker, "x", new).await;
        assert_eq!(producer.write("a").await, ErrorCode::NONE);
        assert_eq!(producer.write("b").await, ErrorCode::NONE);
        assert!(committed(&broker).await.is_empty(), "it is not committed yet");
        assert_eq!(read(&broker).await.last_stable_offset, 0);
        assert_eq!(producer.end(true).await, ErrorCode::NONE);
        // the next transaction waits for the markers of this one
        assert_eq!(producer.write("c").await, ErrorCode::NONE);
        assert_eq!(committed(&broker).await, ["a", "b"]);
        assert_eq!(producer.end(false).await, ErrorCode::NONE);
        assert_eq!(producer.write("d").await, ErrorCode::NONE);
        assert_eq!(producer.end(true).await, ErrorCode::NONE);
        assert_eq!(settled(&mut producer).await, "CompleteCommit");
        assert_eq!(committed(&broker).await, ["a", "b", "d"]);
        let all: Vec<String> = values(&read(&broker).await).into_iter().map(|(_, value)| value).collect();
        assert!(all.contains(&"c".to_owned()), "the log has it, and says that it was aborted");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_has_an_old_epoch_is_fenced() {
    for new in [false, true] {
        let broker = broker(&[]).await;
        let mut zombie = Producer::start(&broker, "x", new).await;
        assert_eq!(zombie.write("zombie").await, ErrorCode::NONE);
        let mut producer = Producer::start(&broker, "x", new).await;
        assert_eq!(zombie.write("late").await, ErrorCode::INVALID_PRODUCER_EPOCH);
        assert_eq!(zombie.end(true).await, ErrorCode::PRODUCER_FENCED);
        assert_eq!(producer.write("a").await, ErrorCode::NONE);
        assert_eq!(zombie.end(true).await, ErrorCode::PRODUCER_FENCED);
        assert_eq!(producer.end(true).await, ErrorCode::NONE);
        settled(&mut producer).await;
        assert_eq!(committed(&broker).await, ["a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_outside_of_its_transaction_is_refused() {
    let broker = broker(&[]).await;
    let mut old = Producer::start(&broker, "x", false).await;
    let cases = [(10, ErrorCode::INVALID_TXN_STATE), (11, ErrorCode::TRANSACTION_ABORTABLE)];
    for (version, code) in cases {
        // partition 0 was not added
        old.add(&[1]).await;
        let response = old.client.call::<Produce>(version, &old.request(0, 0, "stray")).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, code, "v{version}");
    }
    // no transactional id, but a transactional batch
    let anonymous = produce_request("t", vec![(1, old.batch(0, "anonymous"))]);
    let response = old.client.call::<Produce>(9, &anonymous).await;
    let code = response.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    assert_eq!(old.end(true).await, ErrorCode::NONE);
    settled(&mut old).await;
    // a write that comes when its transaction has ended would hold back readers forever (KIP-890)
    let response = old.client.call::<Produce>(11, &old.request(1, 0, "late")).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::TRANSACTION_ABORTABLE);
    assert!(committed(&broker).await.is_empty());
    assert_eq!(read(&broker).await.high_watermark, 0);
}

#[tokio::test(start_paused = true)]
async fn partitions_are_added_all_or_none() {
    let broker = broker(&[]).await;
    let mut producer = Producer::start(&broker, "x", false).await;
    let codes = [ErrorCode::OPERATION_NOT_ATTEMPTED, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION];
    assert_eq!(producer.add(&[0, 2]).await, codes);
    assert_eq!(producer.state().await, "Empty");
    assert_eq!(producer.add(&[0, 1]).await, [ErrorCode::NONE; 2]);
    assert_eq!(producer.state().await, "Ongoing");
}

// The client sends the next request before it has the answer to the first, which has to ask the coordinator.
#[tokio::test]
async fn requests_in_flight_stay_in_order() {
    let broker = broker(&[("braid.durability", "synced")]).await;
    let mut producer = Producer::start(&broker, "x", true).await;
    for round in 0..5 {
        for sequence in 0..20 {
            let request = producer.request(0, sequence, &format!("{round}.{sequence}"));
            producer.client.send::<Produce>(12, &request).await;
        }
        for sequence in 0..20 {
            let response = producer.client.receive::<Produce>(12).await;
            let code = response.responses[0].partition_responses[0].error_code;
            assert_eq!(code, ErrorCode::NONE, "{round}.{sequence}");
        }
        assert_eq!(producer.end(true).await, ErrorCode::NONE);
    }
    settled(&mut producer).await;
    let all: Vec<String> = (0..5).flat_map(|r| (0..20).map(move |s| format!("{r}.{s}"))).collect();
    assert_eq!(committed(&broker).await, all);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_takes_too_long_is_aborted() {
    for new in [false, true] {
        let broker = broker(&[]).await;
        let mut producer = Producer::start(&broker, "x", new).await;
        producer.write("slow").await;
        tokio::time::sleep(Duration::from_millis(TIMEOUT_MS as u64 + 100)).await;
        assert_eq!(settled(&mut producer).await, "CompleteAbort");
        let data = read(&broker).await;
        assert_eq!(data.last_stable_offset, data.high_watermark, "nobody is held back");
        assert_ne!(producer.end(true).await, ErrorCode::NONE);
        assert!(committed(&broker).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_finds_every_transaction_as_it_was() {
    for clean in [true, false] {
        let mut broker = broker(&[]).await;
        let mut done = Producer::start(&broker, "done", true).await;
        done.write("a").await;
        done.end(true).await;
        settled(&mut done).await;
        let mut open = Producer::start(&broker, "open", false).await;
        open.write("b").await;
        broker = if clean { broker.restart() } else { broker.kill() };
        open.client = broker.connect();
        assert_eq!(open.state().await, "Ongoing");
        assert_eq!(committed(&broker).await, ["a"]);
        assert_eq!(open.write("c").await, ErrorCode::NONE);
        assert_eq!(open.end(true).await, ErrorCode::NONE);
        assert_eq!(settled(&mut open).await, "CompleteCommit");
        assert_eq!(committed(&broker).await, ["a", "b", "c"]);
        // an answer that was lost with the old broker is given again
        assert_eq!(open.end(true).await, ErrorCode::NONE);
        assert_eq!(open.end(false).await, ErrorCode::INVALID_TXN_STATE);
    }
}

#[tokio::test(start_paused = true)]
async fn kafka_transactions_lists_and_aborts() {
    let broker = broker(&[]).await;
    let mut producer = Producer::start(&broker, "x", false).await;
    producer.write("hangs").await;
    let request = ListTransactionsRequest {
        state_filters: vec!["Ongoing".into(), "Nonsense".into()],
        duration_filter: -1,
        ..Default::default()
    };
    let response = producer.client.call::<ListTransactions>(2, &request).await;
    assert_eq!(response.transaction_states[0].transactional_id, "x");
    assert_eq!(response.unknown_state_filters, ["Nonsense"]);
    let bad = ListTransactionsRequest { transactional_id_pattern: Some("(".into()), ..request };
    let response = producer.client.call::<ListTransactions>(2, &bad).await;
    assert_eq!(response.error_code, ErrorCode::INVALID_REGULAR_EXPRESSION);

    let codes = producer.abort_as(0, &[0, 7]).await;
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
    assert_eq!(read(&broker).await.last_stable_offset, 2);
}

/// A folder from a cluster of Kafka's, where the coordinator had moved five times: its markers have epoch 5,
/// and ours, of epoch 0, were refused as an old coordinator's forever. The transaction never ended.
#[tokio::test(start_paused = true)]
async fn a_coordinator_goes_on_from_the_epoch_of_the_one_before() {
    let broker = broker(&[]).await;
    let mut producer = Producer::start(&broker, "x", false).await;
    producer.write("1 aborted").await;
    assert_eq!(producer.abort_as(5, &[0]).await, [ErrorCode::NONE]);
    assert_eq!(producer.end(false).await, ErrorCode::NONE);
    assert_eq!(settled(&mut producer).await, "CompleteAbort");
    producer.write("1 committed").await;
    assert_eq!(producer.end(true).await, ErrorCode::NONE);
    assert_eq!(settled(&mut producer).await, "CompleteCommit");
    assert_eq!(committed(&broker).await, ["1 committed"]);
    assert_eq!(producer.abort_as(4, &[0]).await, [ErrorCode::TRANSACTION_COORDINATOR_FENCED]);
}

#[tokio::test(start_paused = true)]
async fn clients_learn_that_there_are_transactions() {
    let broker = broker(&[]).await;
    let mut client = broker.connect();
    let software =
        ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1".into() };
    let response = client.call::<ApiVersions>(4, &software).await;
    let level = response.finalized_features.iter().find(|f| f.name == "transaction.version").unwrap();
    assert_eq!(level.max_version_level, 2);
    let request =
        FindCoordinatorRequest { key_type: 1, coordinator_keys: vec!["x".into()], ..Default::default() };
    let response = client.call::<FindCoordinator>(6, &request).await;
    assert_eq!(response.coordinators[0].error_code, ErrorCode::NONE);
    assert_eq!(response.coordinators[0].node_id, 1);
}
