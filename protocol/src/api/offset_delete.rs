//! OffsetDelete (key 47): forget what a group has committed for some partitions (KIP-496).
//!
//! Its only version is not flexible.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One result per partition, unless the group itself cannot be found.
    OffsetDelete = 47, 0..=0, flexible 1.., OffsetDeleteRequest => OffsetDeleteResponse
}

message! {
    /// What a group shall forget.
    OffsetDeleteRequest {
        group_id: String,
        topics: Vec<OffsetDeleteRequestTopic>,
    }
    /// Partitions of one topic.
    OffsetDeleteRequestTopic {
        name: String,
        partitions: Vec<OffsetDeleteRequestPartition>,
    }
    /// One partition.
    OffsetDeleteRequestPartition {
        partition_index: i32,
    }
}

message! {
    /// What became of each partition.
    OffsetDeleteResponse {
        error_code: ErrorCode,
        throttle_time_ms: i32,
        topics: Vec<OffsetDeleteResponseTopic>,
    }
    /// Partitions of one topic.
    OffsetDeleteResponseTopic {
        name: String,
        partitions: Vec<OffsetDeleteResponsePartition>,
    }
    /// One partition.
    OffsetDeleteResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
