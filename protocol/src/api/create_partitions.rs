//! CreatePartitions (key 37): give topics more partitions.
//!
//! v2 flexible; v3 THROTTLING_QUOTA_EXCEEDED.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One result per topic, each with its own error.
    CreatePartitions = 37, 0..=3, flexible 2.., CreatePartitionsRequest => CreatePartitionsResponse
}

message! {
    /// Which topics to give more partitions.
    CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic>,
        timeout_ms: i32,
        validate_only: bool,
    }
    /// A topic and how many partitions it shall have in all.
    CreatePartitionsTopic {
        name: String,
        count: i32,
        assignments: Option<Vec<CreatePartitionsAssignment>>,
    }
    /// The brokers that shall hold one new partition.
    CreatePartitionsAssignment {
        broker_ids: Vec<i32>,
    }
}

message! {
    /// What became of each topic.
    CreatePartitionsResponse {
        throttle_time_ms: i32,
        results: Vec<CreatePartitionsTopicResult>,
    }
    /// Whether one topic has its partitions.
    CreatePartitionsTopicResult {
        name: String,
        error_code: ErrorCode,
        error_message: Option<String>,
    }
}
