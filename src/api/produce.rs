//! Produce (key 0): append one batch to each of some partitions.
//!
//! Appends happen in arrival order, before the next request of the connection is looked at; waiting for the
//! disk overlaps with later requests. v13 names topics by id. A bad batch is refused alone: its neighbours in
//! the same request are stored. With `acks=0` there is no response, and an error closes the connection.
//! v0 to v2 are advertised but not served, as in Kafka 4: librdkafka up to 2.11.0 looks for v0 before it
//! compresses (KAFKA-18659).
//! The first write of a transaction to a partition asks the transaction's coordinator for leave (KIP-890);
//! from v12 on it thereby adds the partition.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use braid_protocol::api::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, Produce, ProduceRequest,
    ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use braid_protocol::{Api, ErrorCode};
use braid_storage::{TxnGuard, batches};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{Context, Handled, Handler, NoAnswer, find_topic};
use crate::broker::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use crate::metrics::TopicMetrics;
use crate::topic::{Fault, Partition, Topic};
use crate::txn::Version;

/// Kafka's admin client under this name may write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";
/// The first version that may carry zstd (KIP-110).
const ZSTD_FROM: i16 = 7;
/// The first version that names topics by id.
const IDS_FROM: i16 = 13;
/// The first version that knows TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 11;
/// The first version whose clients add no partitions to transactions themselves.
const ADDS_FROM: i16 = 12;

impl Handler for Produce {
    const ADVERTISES: RangeInclusive<i16> = 0..=*<Produce as Api>::VERSIONS.end();

    async fn handle(cx: Context, request: ProduceRequest) -> Handled<ProduceResponse> {
        let acks = request.acks;
        let deadline = Instant::now() + Duration::from_millis(request.timeout_ms.max(0) as u64);
        let (mut responses, waits) = match request.transactional_id.clone() {
            None => append_all(&cx, request, None),
            // In a box, because the future of every other request would have to be as large.
            Some(id) => Box::pin(append_in_transaction(&cx, &id, request)).await,
        };
        match acks {
            0 => return silence(&responses),
            -1 => wait_all(&mut responses, waits, deadline).await,
            _ => {}
        }
        Ok(ProduceResponse { responses, ..Default::default() })
    }
}

/// An append to wait for, and where its result stands in the response.
struct Wait {
    topic: usize,
    index: usize,
    partition: Arc<Partition>,
    last_offset: i64,
}

/// What the coordinator said of partitions that their transaction has not written to yet: by the indices of
/// topic and partition in the request.
type Leave = BTreeMap<(usize, usize), Result<TxnGuard, ErrorCode>>;

async fn append_in_transaction(
    cx: &Context,
    id: &str,
    request: ProduceRequest,
) -> (Vec<TopicProduceResponse>, Vec<Wait>) {
    let _turn = cx.peer.order.turn().await;
    let leave = ask_leave(cx, id, &request).await;
    append_all(cx, request, Some(&leave))
}

async fn ask_leave(cx: &Context, id: &str, request: &ProduceRequest) -> Leave {
    let version = if cx.version >= ADDS_FROM { Version::EpochBump } else { Version::Classic };
    let mut leave = Leave::new();
    for (at, data) in request.topic_data.iter().enumerate() {
        // Whatever is wrong with the topic, partition or batch is found out again, and answered, by append.
        let Ok(topic) = find_topic(cx, &data.name, data.topic_id, IDS_FROM) else { continue };
        for (index, data) in data.partition_data.iter().enumerate() {
            let batch = data.records.as_ref().and_then(|records| batches(records).next());
            let Some((header, _)) = batch.filter(|(header, _)| header.is_transactional()) else { continue };
            let Some(partition) = topic.partition(data.index) else { continue };
            let producer = (header.producer_id, header.producer_epoch);
            let asked = cx.broker.txn_guard(id, producer, &partition, version).await;
            leave.extend(asked.transpose().map(|said| ((at, index), said.map_err(|why| denied(cx, why)))));
        }
    }
    leave
}

/// What a producer is told when the coordinator gives no leave: what makes a client of its age do the right
/// thing, as in Kafka.
fn denied(cx: &Context, code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::TRANSACTION_ABORTABLE if cx.version < ABORTABLE_FROM => ErrorCode::INVALID_TXN_STATE,
        ErrorCode::CONCURRENT_TRANSACTIONS if cx.version >= ADDS_FROM => code,
        // Try again, and do not look for another leader.
        ErrorCode::CONCURRENT_TRANSACTIONS
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::NOT_COORDINATOR => ErrorCode::NOT_ENOUGH_REPLICAS,
        code => code,
    }
}

/// Appends what can be appended; `leave` is none for a request without a transactional id.
fn append_all(
    cx: &Context,
    request: ProduceRequest,
    leave: Option<&Leave>,
) -> (Vec<TopicProduceResponse>, Vec<Wait>) {
    let acks_known = matches!(request.acks, -1..=1);
    let mut waits = Vec::new();
    let responses = request.topic_data.into_iter().enumerate().map(|(at, data)| {
        let TopicProduceData { name, topic_id, partition_data } = data;
        let topic = match acks_known {
            true => writable(cx, &name, topic_id),
            false => Err(ErrorCode::INVALID_REQUIRED_ACKS),
        };
        let partition_responses = partition_data.into_iter().enumerate().map(|(index, data)| {
            let said = leave.map(|leave| leave.get(&(at, index)).copied());
            let topic = topic.as_ref().map_err(|code| refused(*code));
            let appended = topic.and_then(|topic| append(cx, topic, &data, said));
            match appended {
                Ok((response, partition, last_offset)) => {
                    waits.push(Wait { topic: at, index, partition, last_offset });
                    response
                }
                Err(refusal) => PartitionProduceResponse { index: data.index, ..refusal },
            }
        });
        TopicProduceResponse { partition_responses: partition_responses.collect(), name, topic_id }
    });
    (responses.collect(), waits)
}

fn writable(cx: &Context, name: &str, id: braid_protocol::Uuid) -> Result<Arc<Topic>, ErrorCode> {
    let topic = find_topic(cx, name, id, IDS_FROM)?;
    topic.metrics.produce_requests.inc();
    let internal = matches!(&*topic.name, OFFSETS_TOPIC | TRANSACTIONS_TOPIC);
    if internal && &*cx.client_id != ADMIN_CLIENT {
        Err(ErrorCode::INVALID_TOPIC_EXCEPTION)
    } else {
        Ok(topic)
    }
}

type Appended = (PartitionProduceResponse, Arc<Partition>, i64);

/// Appends one batch. `leave`: none without a transactional id; within, none where nothing had to be asked.
fn append(
    cx: &Context,
    topic: &Topic,
    data: &PartitionProduceData,
    leave: Option<Option<Result<TxnGuard, ErrorCode>>>,
) -> Result<Appended, PartitionProduceResponse> {
    let unknown = || refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let partition = topic.partition(data.index).ok_or_else(unknown)?;
    let none = Bytes::new();
    let records = data.records.as_ref().unwrap_or(&none);
    let guard = leave.flatten().transpose().map_err(refused)?;
    let fail = |fault| {
        count_refusal(&topic.metrics, records.len(), &fault);
        refusal(&fault)
    };
    let batch = partition.check(records, cx.version >= ZSTD_FROM, cx.now_ms).map_err(fail)?;
    if leave.is_none() && batch.header().is_transactional() {
        return Err(refused(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
    }
    let appended = partition.append_in(&cx.peer.syncs, &batch, guard, cx.now_ms).map_err(fail)?;
    let count = batch.header().records_count.max(0) as u64;
    topic.metrics.messages_in.inc_by(count);
    topic.metrics.bytes_in.inc_by(records.len() as u64);
    let response = PartitionProduceResponse {
        index: data.index,
        base_offset: appended.base_offset,
        log_append_time_ms: appended.log_append_time_ms,
        log_start_offset: appended.log_start_offset,
        ..Default::default()
    };
    Ok((response, partition, appended.last_offset))
}

fn count_refusal(metrics: &TopicMetrics, bytes: usize, fault: &Fault) {
    metrics.failed_produce_requests.inc();
    match fault.code() {
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => {
            metrics.bytes_rejected.inc_by(bytes as u64)
        }
        ErrorCode::CORRUPT_MESSAGE => metrics.invalid_crc.inc(),
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => metrics.invalid_sequence.inc(),
        // Of records only a missing key is an invalid record; all else is of the batch.
        ErrorCode::INVALID_RECORD if matches!(fault, Fault::Refused(r) if !r.records.is_empty()) => {
            metrics.no_key.inc()
        }
        _ => {}
    }
}

fn refused(error_code: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse { error_code, base_offset: -1, ..Default::default() }
}

fn refusal(fault: &Fault) -> PartitionProduceResponse {
    let mut response = refused(fault.code());
    response.error_message = Some(fault.to_string());
    if let Fault::Refused(refusal) = fault {
        let each = refusal.records.iter().map(|(index, message)| BatchIndexAndErrorMessage {
            batch_index: *index,
            batch_index_error_message: Some(message.clone()),
        });
        response.record_errors = each.collect();
    }
    response
}

/// `acks=0`: the client reads no response, so all it can be told is that the connection is gone.
fn silence(responses: &[TopicProduceResponse]) -> Handled<ProduceResponse> {
    let mut all = responses.iter().flat_map(|t| t.partition_responses.iter().map(move |p| (t, p)));
    match all.find(|(_, p)| !p.error_code.is_ok()) {
        None => Err(NoAnswer::Silent),
        Some((topic, partition)) => {
            let (name, index, code) = (&topic.name, partition.index, partition.error_code);
            Err(NoAnswer::Close(format!("Produce with acks=0 to {name}-{index} failed: {code}")))
        }
    }
}

/// `acks=all`: waits until every append is as durable as promised, or the client's patience ends.
async fn wait_all(responses: &mut [TopicProduceResponse], waits: Vec<Wait>, deadline: Instant) {
    for wait in waits {
        let code = match timeout_at(deadline, wait.partition.reached(wait.last_offset)).await {
            Ok(Ok(())) => continue,
            Ok(Err(fault)) => fault.code(),
            Err(_) => ErrorCode::REQUEST_TIMED_OUT,
        };
        let topic = responses.get_mut(wait.topic);
        if let Some(response) = topic.and_then(|t| t.partition_responses.get_mut(wait.index)) {
            *response = PartitionProduceResponse { index: response.index, ..refused(code) };
        }
    }
}
