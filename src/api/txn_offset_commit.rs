//! TxnOffsetCommit (key 28): a group remembers how far it has read, if the transaction commits. Answered when
//! that is durable.
//!
//! The offsets go into the group's partition of `__consumer_offsets`, which must be part of the transaction:
//! clients up to v4 have added it with AddOffsetsToTxn, from v5 on it is added here (KIP-890). From v3 on a
//! producer may say which member of the group it commits for (KIP-447). The rules are in `group/offsets.rs`.

use braid_protocol::ErrorCode;
use braid_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponseTopic,
};
use braid_protocol::api::txn_offset_commit::{
    TxnOffsetCommit, TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

use super::offset_commit::{existing, merge, refuse};
use super::{Context, Handled, Handler};
use crate::broker::OFFSETS_TOPIC;
use crate::group::{Commit, TxnProducer};
use crate::txn::{Producer, Version};

/// The first version whose clients know what to do while a coordinator loads (KAFKA-7296).
const LOADING_FROM: i16 = 2;
/// The first version that knows TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 4;
/// The first version whose clients do not add the group's offsets to the transaction themselves.
const ADDS_FROM: i16 = 5;

impl Handler for TxnOffsetCommit {
    async fn handle(cx: Context, request: TxnOffsetCommitRequest) -> Handled<TxnOffsetCommitResponse> {
        let producer = (request.producer_id, request.producer_epoch);
        let topics = request.topics.into_iter().map(topic).collect();
        let (asked, refused) = existing(&cx, topics, false);
        let plain = OffsetCommitRequest {
            group_id: request.group_id,
            generation_id_or_member_epoch: request.generation_id,
            member_id: request.member_id,
            group_instance_id: request.group_instance_id,
            topics: asked.clone(),
            ..Default::default()
        };
        let committed = match asked.is_empty() {
            true => Ok(Vec::new()),
            false => commit(&cx, &request.transactional_id, producer, plain).await,
        };
        let mut topics = committed.unwrap_or_else(|code| {
            let code = told(cx.version, code);
            asked.iter().map(|topic| refuse(topic, code)).collect()
        });
        merge(&mut topics, refused);
        let topics = topics.into_iter().map(answered).collect();
        Ok(TxnOffsetCommitResponse { topics, ..Default::default() })
    }
}

async fn commit(
    cx: &Context,
    transactional_id: &str,
    producer: Producer,
    request: OffsetCommitRequest,
) -> Result<Vec<OffsetCommitResponseTopic>, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let groups = cx.broker.groups().await?;
    let index = groups.partition_of(&request.group_id);
    let partition = cx.broker.topic(OFFSETS_TOPIC).and_then(|topic| topic.partition(index));
    let partition = partition.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    let version = if cx.version >= ADDS_FROM { Version::EpochBump } else { Version::Classic };
    let guard = cx.broker.txn_guard(transactional_id, producer, &partition, version).await?;
    let (id, epoch) = producer;
    let txn = Some(TxnProducer { id, epoch, guard });
    Ok(groups.commit(Commit { request, version: cx.version, txn }).await?.topics)
}

/// An error of the whole request, as a client of this version is told: so that it does the right thing, and
/// as in Kafka.
fn told(version: i16, code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::TRANSACTION_ABORTABLE if version < ABORTABLE_FROM => ErrorCode::INVALID_TXN_STATE,
        // the end of the last transaction is under way: what has always meant to try again here
        ErrorCode::CONCURRENT_TRANSACTIONS if version < LOADING_FROM => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::CONCURRENT_TRANSACTIONS if version < ADDS_FROM => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::KAFKA_STORAGE_ERROR | ErrorCode::NOT_LEADER_OR_FOLLOWER => ErrorCode::NOT_COORDINATOR,
        code => code,
    }
}

fn topic(topic: TxnOffsetCommitRequestTopic) -> OffsetCommitRequestTopic {
    let partitions = topic.partitions.into_iter().map(|p| OffsetCommitRequestPartition {
        partition_index: p.partition_index,
        committed_offset: p.committed_offset,
        committed_leader_epoch: p.committed_leader_epoch,
        committed_metadata: p.committed_metadata,
        ..Default::default()
    });
    OffsetCommitRequestTopic { name: topic.name, partitions: partitions.collect(), ..Default::default() }
}

fn answered(topic: OffsetCommitResponseTopic) -> TxnOffsetCommitResponseTopic {
    let partitions = topic.partitions.into_iter().map(|p| TxnOffsetCommitResponsePartition {
        partition_index: p.partition_index,
        error_code: p.error_code,
    });
    TxnOffsetCommitResponseTopic { name: topic.name, partitions: partitions.collect() }
}
