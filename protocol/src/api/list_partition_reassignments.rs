//! ListPartitionReassignments (key 46): which partitions are being moved (KIP-455).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Flexible from its first version.
    ListPartitionReassignments = 46, 0..=0, flexible 0..,
    ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse
}

message! {
    /// Which partitions to look at; null for all.
    ListPartitionReassignmentsRequest {
        timeout_ms: i32 = 60_000,
        topics: Option<Vec<ListPartitionReassignmentsTopics>>,
    }
    /// Partitions of one topic.
    ListPartitionReassignmentsTopics {
        name: String,
        partition_indexes: Vec<i32>,
    }
}

message! {
    /// What is being moved.
    ListPartitionReassignmentsResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
        topics: Vec<OngoingTopicReassignment>,
    }
    /// Partitions of one topic.
    OngoingTopicReassignment {
        name: String,
        partitions: Vec<OngoingPartitionReassignment>,
    }
    /// One partition.
    OngoingPartitionReassignment {
        partition_index: i32,
        replicas: Vec<i32>,
        adding_replicas: Vec<i32>,
        removing_replicas: Vec<i32>,
    }
}
