//! Produce (key 0): append one batch to each of some partitions.
//!
//! Appends happen in arrival order, before the next request of the connection is looked at; waiting for the
//! disk overlaps with later requests. v13 names topics by id. A bad batch is refused alone: its neighbours in
//! the same request are stored. With `acks=0` there is no response, and an error closes the connection.
//! v0 to v2 are advertised but not served, as in Kafka 4: librdkafka up to 2.11.0 looks for v0 before it
//! compresses (KAFKA-18659).
//! A batch that unpacks to a lot is checked on other threads; requests behind it wait for their turn.
//! The first write of a transaction to a partition is verified by its coordinator (KIP-890); from v12 on
//! it thereby adds the partition.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use braid_protocol::api::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, Produce, ProduceRequest,
    ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use braid_protocol::{Api, ErrorCode};
use braid_storage::{TxnGuard, batches};
use bytes::Bytes;
use tokio::time::Instant;

use super::{Context, Handled, Handler, NoAnswer, code_of, find_topic};
use crate::broker::{Pending, Unappended, Verification, Writer};
use crate::topic::{Fault, NO_EPOCH, Topic};
use crate::txn::Version;

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
        let (acks, by_id) = (request.acks, cx.version >= IDS_FROM);
        let deadline = Instant::now() + Duration::from_millis(request.timeout_ms.max(0) as u64);
        let (mut responses, waits) = match request.transactional_id.clone() {
            None => {
                let _turn = match cx.peer.order.try_turn() {
                    Some(turn) => turn,
                    None => Box::pin(cx.peer.order.turn()).await,
                };
                append_all(&cx, request, None).await
            }
            // In a box, because the future of every other request would have to be as large.
            Some(id) => Box::pin(append_in_transaction(&cx, &id, request)).await,
        };
        match acks {
            0 => return silence(&responses),
            // Also with `acks=1`: what is acknowledged can be read, as on one node of Kafka.
            _ => wait_all(&mut responses, waits, deadline, by_id).await,
        }
        Ok(ProduceResponse { responses, ..Default::default() })
    }
}

/// An append to wait for, and where its result stands in the response.
struct Wait {
    topic: usize,
    index: usize,
    pending: Pending,
}

/// What the coordinator has verified of partitions that their transaction has not written to yet: by the
/// indices of topic and partition in the request.
type Verified = BTreeMap<(usize, usize), Result<TxnGuard, ErrorCode>>;

async fn append_in_transaction(
    cx: &Context,
    id: &str,
    request: ProduceRequest,
) -> (Vec<TopicProduceResponse>, Vec<Wait>) {
    let _turn = cx.peer.order.turn().await;
    let verified = verify(cx, id, &request).await;
    append_all(cx, request, Some(&verified)).await
}

/// Asks the transaction's coordinator about the partitions where the transaction is not open.
async fn verify(cx: &Context, id: &str, request: &ProduceRequest) -> Verified {
    let version = if cx.version >= ADDS_FROM { Version::EpochBump } else { Version::Classic };
    let mut verified = Verified::new();
    for (at, data) in request.topic_data.iter().enumerate() {
        // Whatever is wrong with the topic, partition or batch is found out again, and answered, by append.
        let Ok(topic) = find_topic(cx, &data.name, data.topic_id, IDS_FROM) else { continue };
        for (index, data) in data.partition_data.iter().enumerate() {
            let batch = data.records.as_ref().and_then(|records| batches(records).next());
            let Some((header, _)) = batch.filter(|(header, _)| header.is_transactional()) else { continue };
            let Ok(partition) = topic.lead(data.index, NO_EPOCH) else { continue };
            let producer = (header.producer_id, header.producer_epoch);
            let asked = cx.broker.txn_guard(id, producer, &partition, version).await;
            verified
                .extend(asked.transpose().map(|found| ((at, index), found.map_err(|why| denied(cx, why)))));
        }
    }
    verified
}

/// The code for a producer when the coordinator denies verification: what makes a client of its age do the
/// right thing, as in Kafka.
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

/// Appends what can be appended; `verified` is none for a request without a transactional id. Waits only for
/// the check of batches that take long.
async fn append_all(
    cx: &Context,
    request: ProduceRequest,
    verified: Option<&Verified>,
) -> (Vec<TopicProduceResponse>, Vec<Wait>) {
    let acks_known = matches!(request.acks, -1..=1);
    let mut writer = Writer::new(&cx.client_id, &cx.peer.syncs, cx.version >= ZSTD_FROM, cx.now_ms);
    let mut waits = Vec::new();
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for (at, data) in request.topic_data.into_iter().enumerate() {
        let TopicProduceData { name, topic_id, partition_data } = data;
        let topic = match acks_known {
            true => find_topic(cx, &name, topic_id, IDS_FROM)
                .and_then(|topic| writer.may_write(&topic).map(|()| topic)),
            false => Err(ErrorCode::INVALID_REQUIRED_ACKS),
        };
        let mut partition_responses = Vec::with_capacity(partition_data.len());
        for (index, data) in partition_data.into_iter().enumerate() {
            let verification = match verified.map(|verified| verified.get(&(at, index)).copied()) {
                None => Ok(Verification::None),
                Some(None) => Ok(Verification::Open),
                Some(Some(found)) => found.map(Verification::Verified),
            };
            let appended = match (&topic, verification) {
                (Ok(topic), Ok(verification)) => append(cx, &mut writer, topic, &data, verification).await,
                (Err(code), _) => Err(refused(*code)),
                (_, Err(code)) => Err(refused(code)),
            };
            partition_responses.push(match appended {
                Ok((response, pending)) => {
                    waits.push(Wait { topic: at, index, pending });
                    response
                }
                Err(refusal) => PartitionProduceResponse { index: data.index, ..refusal },
            });
        }
        responses.push(TopicProduceResponse { partition_responses, name, topic_id });
    }
    (responses, waits)
}

async fn append(
    cx: &Context,
    writer: &mut Writer<'_>,
    topic: &Topic,
    data: &PartitionProduceData,
    verification: Verification,
) -> Result<(PartitionProduceResponse, Pending), PartitionProduceResponse> {
    let none = Bytes::new();
    let records = data.records.as_ref().unwrap_or(&none);
    let pending = match writer.append(&cx.broker, topic, data.index, records, verification).await {
        Ok(pending) => pending,
        Err(Unappended::Code(code)) => return Err(refused(code)),
        Err(Unappended::Fault(fault)) => return Err(refusal(&fault, cx.version >= IDS_FROM)),
    };
    let response = PartitionProduceResponse {
        index: data.index,
        base_offset: pending.appended.base_offset,
        log_append_time_ms: pending.appended.log_append_time_ms,
        log_start_offset: pending.appended.log_start_offset,
        ..Default::default()
    };
    Ok((response, pending))
}

fn refused(error_code: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse { error_code, base_offset: -1, ..Default::default() }
}

fn refusal(fault: &Fault, by_id: bool) -> PartitionProduceResponse {
    let mut response = refused(code_of(fault, by_id));
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
async fn wait_all(responses: &mut [TopicProduceResponse], waits: Vec<Wait>, deadline: Instant, by_id: bool) {
    for wait in waits {
        let code = match wait.pending.acknowledged(deadline).await {
            Some(Ok(())) => continue,
            Some(Err(fault)) => code_of(&fault, by_id),
            None => ErrorCode::REQUEST_TIMED_OUT,
        };
        let topic = responses.get_mut(wait.topic);
        if let Some(response) = topic.and_then(|t| t.partition_responses.get_mut(wait.index)) {
            *response = PartitionProduceResponse { index: response.index, ..refused(code) };
        }
    }
}
