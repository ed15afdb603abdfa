//! AlterPartitionReassignments (key 45): move partitions to other brokers (KIP-455).
//!
//! v1 may forbid a change of the number of copies (KIP-860).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Flexible from its first version.
    AlterPartitionReassignments = 45, 0..=1, flexible 0..,
    AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse
}

message! {
    /// What to move where.
    AlterPartitionReassignmentsRequest {
        timeout_ms: i32 = 60_000,
        allow_replication_factor_change: bool  [1..] = true,
        topics: Vec<ReassignableTopic>,
    }
    /// Partitions of one topic.
    ReassignableTopic {
        name: String,
        partitions: Vec<ReassignablePartition>,
    }
    /// One partition; null replicas cancel the move that is under way.
    ReassignablePartition {
        partition_index: i32,
        replicas: Option<Vec<i32>>,
    }
}

message! {
    /// What became of each move.
    AlterPartitionReassignmentsResponse {
        throttle_time_ms: i32,
        allow_replication_factor_change: bool  [1..] = true,
        error_code: ErrorCode,
        error_message: Option<String>,
        responses: Vec<ReassignableTopicResponse>,
    }
    /// Partitions of one topic.
    ReassignableTopicResponse {
        name: String,
        partitions: Vec<ReassignablePartitionResponse>,
    }
    /// One partition.
    ReassignablePartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
    }
}
