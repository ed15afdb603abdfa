//! ListOffsets (key 2): the offset that belongs to a time, or to the start or end of a partition.
//!
//! -1 the latest offset, -2 the earliest, -3 that of the largest timestamp (v7), -4 the earliest on this
//! broker (v8), -5 the latest in tiered storage (v9), -6 the earliest not yet there (v11). A real time finds
//! the first record at or after it. What a `read_committed` consumer may not see yet is not found for it, and
//! its latest offset is the last stable one. Without tiered storage, -4 and -6 are -2, and -5 finds nothing.

use std::collections::BTreeSet;

use braid_protocol::ErrorCode;
use braid_protocol::api::list_offsets::{
    ListOffsets, ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::{Context, Handled, Handler, check_epoch};
use crate::topic::{Fault, Isolation, LEADER_EPOCH, Partition};

impl Handler for ListOffsets {
    async fn handle(cx: Context, request: ListOffsetsRequest) -> Handled<ListOffsetsResponse> {
        let isolation = Isolation::of(request.isolation_level);
        let mut seen = BTreeSet::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let open = cx.broker.topic(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in topic.partitions {
                let index = wanted.partition_index;
                let partition = open.as_ref().and_then(|t| t.partition(index));
                let found = match partition {
                    _ if !seen.insert((topic.name.clone(), index)) => Err(ErrorCode::INVALID_REQUEST),
                    None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                    Some(partition) => look_up(&cx, &wanted, &partition, isolation),
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
        -3 => Some(7),
        -2.. => Some(1),
        _ => None,
    }
}

fn look_up(
    cx: &Context,
    wanted: &ListOffsetsPartition,
    partition: &Partition,
    isolation: Isolation,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    if since(wanted.timestamp).is_none_or(|version| cx.version < version) {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    check_epoch(wanted.current_leader_epoch)?;
    let at = |timestamp, offset| ListOffsetsPartitionResponse {
        timestamp,
        offset,
        leader_epoch: LEADER_EPOCH,
        ..Default::default()
    };
    let none = ListOffsetsPartitionResponse::default;
    let found = match wanted.timestamp {
        -1 => Ok(at(-1, partition.end_for(isolation))),
        -2 | -4 | -6 => partition.start_offset().map(|offset| at(-1, offset)),
        -3 => {
            let found = partition.max_timestamp(isolation);
            found.map(|found| found.map_or_else(none, |(time, offset)| at(time, offset)))
        }
        -5 => Ok(none()),
        time => {
            let found = partition.offset_for_timestamp(time, isolation);
            found.map(|found| found.map_or_else(none, |(time, offset)| at(time, offset)))
        }
    };
    found.map_err(|fault: Fault| fault.code())
}
