//! AddPartitionsToTxn (key 24): say which partitions a transaction is going to write to.
//!
//! All partitions are added or none: if one does not exist, the others are answered with
//! OPERATION_NOT_ATTEMPTED, as in Kafka. While the transaction before is still being ended this waits, where
//! Kafka says CONCURRENT_TRANSACTIONS and lets the client ask again. v4 and later, many transactions in one
//! request and to verify only (KIP-890), are for brokers among themselves, and served all the same.

use std::collections::{BTreeMap, BTreeSet};

use braid_protocol::ErrorCode;
use braid_protocol::api::add_partitions_to_txn::{
    AddPartitionsToTxn, AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, AddPartitionsToTxnResult, AddPartitionsToTxnTopic,
    AddPartitionsToTxnTopicResult, AddPartitionsToTxnTransaction,
};

use super::{Context, Handled, Handler, fenced};
use crate::txn::Version;

/// The first version with many transactions.
const MANY_FROM: i16 = 4;

impl Handler for AddPartitionsToTxn {
    async fn handle(cx: Context, request: AddPartitionsToTxnRequest) -> Handled<AddPartitionsToTxnResponse> {
        let mut response = AddPartitionsToTxnResponse::default();
        if cx.version < MANY_FROM {
            let transaction = AddPartitionsToTxnTransaction {
                transactional_id: request.v3_and_below_transactional_id,
                producer_id: request.v3_and_below_producer_id,
                producer_epoch: request.v3_and_below_producer_epoch,
                verify_only: false,
                topics: request.v3_and_below_topics,
            };
            response.results_by_topic_v3_and_below = add(&cx, transaction).await;
            return Ok(response);
        }
        for transaction in request.transactions {
            let transactional_id = transaction.transactional_id.clone();
            let topic_results = add(&cx, transaction).await;
            let result = AddPartitionsToTxnResult { transactional_id, topic_results };
            response.results_by_transaction.push(result);
        }
        Ok(response)
    }
}

async fn add(cx: &Context, transaction: AddPartitionsToTxnTransaction) -> Vec<AddPartitionsToTxnTopicResult> {
    let AddPartitionsToTxnTransaction { transactional_id: id, topics, .. } = &transaction;
    let producer = (transaction.producer_id, transaction.producer_epoch);
    let exists = |topic: &str, index| cx.broker.topic(topic).and_then(|t| t.partition(index)).is_some();
    if !topics.iter().all(|t| t.partitions.iter().all(|index| exists(&t.name, *index))) {
        return answer(topics, |topic, index| match exists(topic, index) {
            true => ErrorCode::OPERATION_NOT_ATTEMPTED,
            false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        });
    }
    // Not before they are known to exist: the name of one that does may be copied for each of its partitions.
    let all = topics.iter().flat_map(|t| t.partitions.iter().map(|index| (t.name.clone(), *index)));
    let all: BTreeSet<(String, i32)> = all.collect();
    let coordinator = match cx.broker.transactions().await {
        Ok(coordinator) if !id.is_empty() => coordinator,
        Ok(_) => return answer(topics, |_, _| ErrorCode::INVALID_REQUEST),
        Err(code) => return answer(topics, |_, _| code),
    };
    if !transaction.verify_only {
        let added = coordinator.add(id, producer, all, Version::Classic).await;
        let code = added.map_or_else(|code| fenced(cx, code, 2), |()| ErrorCode::NONE);
        return answer(topics, |_, _| code);
    }
    let mut refused: BTreeMap<String, BTreeMap<i32, ErrorCode>> = BTreeMap::new();
    for (topic, index) in all {
        if let Err(code) = coordinator.verify(id, producer, (topic.clone(), index)).await {
            refused.entry(topic).or_default().insert(index, code);
        }
    }
    let why = |topic: &str, index| refused.get(topic).and_then(|indexes| indexes.get(&index));
    answer(topics, |topic, index| why(topic, index).copied().unwrap_or(ErrorCode::NONE))
}

/// One answer for every partition.
fn answer(
    topics: &[AddPartitionsToTxnTopic],
    code: impl Fn(&str, i32) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let results = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|index| AddPartitionsToTxnPartitionResult {
            partition_index: *index,
            partition_error_code: code(&topic.name, *index),
        });
        AddPartitionsToTxnTopicResult { name: topic.name.clone(), results_by_partition: partitions.collect() }
    });
    results.collect()
}
