//! DeleteRecords (key 21): move the start of partitions forward.
//!
//! v1 is as v0; v2 flexible.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Offset -1 stands for the high watermark.
    DeleteRecords = 21, 0..=2, flexible 2.., DeleteRecordsRequest => DeleteRecordsResponse
}

message! {
    /// Up to where to delete.
    DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic>,
        timeout_ms: i32,
    }
    /// One topic.
    DeleteRecordsTopic {
        name: String,
        partitions: Vec<DeleteRecordsPartition>,
    }
    /// One partition: the offset is the first that stays.
    DeleteRecordsPartition {
        partition_index: i32,
        offset: i64,
    }
}

message! {
    /// Where the partitions start now.
    DeleteRecordsResponse {
        throttle_time_ms: i32,
        topics: Vec<DeleteRecordsTopicResult>,
    }
    /// One topic.
    DeleteRecordsTopicResult {
        name: String,
        partitions: Vec<DeleteRecordsPartitionResult>,
    }
    /// One partition: its first offset, or -1 with an error.
    DeleteRecordsPartitionResult {
        partition_index: i32,
        low_watermark: i64,
        error_code: ErrorCode,
    }
}
