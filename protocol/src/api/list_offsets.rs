//! ListOffsets (key 2): the first and last offset of a partition, or the first one at a timestamp.
//!
//! v1 one offset per partition; v2 isolation level, throttle time; v4 leader epoch; v6 flexible; v7 offset of
//! the largest timestamp; v8, v9 and v11 offsets of tiered storage; v10 timeout.
//! Not done: v0, several offsets per partition.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Timestamps below zero are questions of their own: -1 the latest offset, -2 the earliest.
    ListOffsets = 2, 1..=11, flexible 6.., ListOffsetsRequest => ListOffsetsResponse
}

message! {
    /// Which offsets to look up.
    ListOffsetsRequest {
        replica_id: i32,
        /// 0 all records, 1 only committed ones.
        isolation_level: i8  [2..],
        topics: Vec<ListOffsetsTopic>,
        timeout_ms: i32      [10..],
    }
    /// Which offsets of one topic to look up.
    ListOffsetsTopic {
        name: String,
        partitions: Vec<ListOffsetsPartition>,
    }
    /// Which offset of one partition to look up.
    ListOffsetsPartition {
        partition_index: i32,
        current_leader_epoch: i32  [4..] = -1,
        timestamp: i64,
    }
}

message! {
    /// The offsets found.
    ListOffsetsResponse {
        throttle_time_ms: i32  [2..],
        topics: Vec<ListOffsetsTopicResponse>,
    }
    /// The offsets found in one topic.
    ListOffsetsTopicResponse {
        name: String,
        partitions: Vec<ListOffsetsPartitionResponse>,
    }
    /// The offset found in one partition; -1 when there is none.
    ListOffsetsPartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        timestamp: i64 = -1,
        offset: i64 = -1,
        leader_epoch: i32  [4..] = -1,
    }
}
