//! ListOffsets (key 2): the offset that belongs to a time, or to the start or end of a partition.
//!
//! -1 the latest offset, -2 the earliest, -3 that of the largest timestamp (v7), -4 the earliest on this
//! broker (v8), -5 the latest in tiered storage (v9), -6 the earliest not yet there (v11). A real time finds
//! the first record at or after it. What a `read_committed` consumer may not see yet is not found for it, and
//! its latest offset is the last stable one. Without tiered storage, -4 and -6 are -2, and -5 finds nothing.

use std::sync::Arc;

use braid_protocol::api::list_offsets::{
    ListOffsets, ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse,
};
use braid_protocol::{ErrorCode, Uuid};

use super::{Context, Handled, Handler, named_before};
use crate::topic::{Fault, Isolation, Partition, Topic};

/// Asks for the offset of the largest timestamp (KIP-734).
const MAX_TIMESTAMP: i64 = -3;

impl Handler for ListOffsets {
    async fn handle(cx: Context, request: ListOffsetsRequest) -> Handled<ListOffsetsResponse> {
        let isolation = Isolation::of(request.isolation_level);
        let indexes = |topic: &ListOffsetsTopic| topic.partitions.iter().map(|p| p.partition_index).collect();
        let twice = named_before(&request.topics, |topic| (&topic.name, Uuid::ZERO), indexes);
        let mut topics = Vec::with_capacity(request.topics.len());
        for (at, topic) in request.topics.into_iter().enumerate() {
            let open = cx.broker.topics.find(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for (n, wanted) in topic.partitions.into_iter().enumerate() {
                let index = wanted.partition_index;
                let found = match lead(cx.version, open.as_deref().map_err(|code| *code), &wanted) {
                    _ if twice.contains(&(at, n)) => Err(ErrorCode::INVALID_REQUEST),
                    Err(code) => Err(code),
                    Ok(partition) if wanted.timestamp >= 0 || wanted.timestamp == MAX_TIMESTAMP => {
                        // A batch of some hundred bytes may unpack to a hundred megabytes.
                        let work = async move { look_up(&wanted, &partition, isolation) };
                        Box::pin(cx.broker.workers.compute(work)).await
                    }
                    Ok(partition) => look_up(&wanted, &partition, isolation),
                };
                partitions.push(match found {
                    Ok(found) => ListOffsetsPartitionResponse { partition_index: index, ..found },
                    Err(error_code) => ListOffsetsPartitionResponse {
                        partition_index: index,
                        error_code,
                        ..Default::default()
                    },
                });
            }
            topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
        }
        Ok(ListOffsetsResponse { topics, ..Default::default() })
    }
}

/// The first version that may ask for this sentinel; 1 for real times.
fn since(timestamp: i64) -> Option<i16> {
    match timestamp {
        -6 => Some(11),
        -5 => Some(9),
        -4 => Some(8),
        MAX_TIMESTAMP => Some(7),
        -2.. => Some(1),
        _ => None,
    }
}

/// The partition, if a request of this version may ask for the timestamp.
fn lead(
    version: i16,
    topic: Result<&Topic, ErrorCode>,
    wanted: &ListOffsetsPartition,
) -> Result<Arc<Partition>, ErrorCode> {
    if since(wanted.timestamp).is_none_or(|since| version < since) {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    topic?.lead(wanted.partition_index, wanted.current_leader_epoch)
}

fn look_up(
    wanted: &ListOffsetsPartition,
    partition: &Partition,
    isolation: Isolation,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    let found = find(wanted.timestamp, partition, isolation).map_err(|fault| fault.code())?;
    let Some((timestamp, offset)) = found else { return Ok(ListOffsetsPartitionResponse::default()) };
    let leader_epoch = partition.epoch_at(offset).map_err(|fault| fault.code())?;
    Ok(ListOffsetsPartitionResponse { timestamp, offset, leader_epoch, ..Default::default() })
}

/// The time and the offset that a timestamp asks for; the time is -1 where only the offset is.
fn find(timestamp: i64, partition: &Partition, isolation: Isolation) -> Result<Option<(i64, i64)>, Fault> {
    match timestamp {
        -1 => Ok(Some((-1, partition.end_for(isolation)))),
        -2 | -4 | -6 => partition.start_offset().map(|offset| Some((-1, offset))),
        MAX_TIMESTAMP => partition.max_timestamp(isolation),
        -5 => Ok(None),
        time => partition.offset_for_timestamp(time, isolation),
    }
}
