//! ElectLeaders (key 43): elect leaders again (KIP-183).
//!
//! v1 unclean elections and an error for the whole (KIP-460); v2 flexible.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One result per partition, each with its own error.
    ElectLeaders = 43, 0..=2, flexible 2.., ElectLeadersRequest => ElectLeadersResponse
}

message! {
    /// Which partitions; null for all.
    ElectLeadersRequest {
        /// 0 the preferred replica, 1 any replica, even one that lacks records.
        election_type: i8  [1..],
        topic_partitions: Option<Vec<TopicPartitions>>,
        timeout_ms: i32 = 60_000,
    }
    /// Partitions of one topic.
    TopicPartitions {
        topic: String,
        partitions: Vec<i32>,
    }
}

message! {
    /// What became of each election.
    ElectLeadersResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode  [1..],
        replica_election_results: Vec<ReplicaElectionResult>,
    }
    /// Partitions of one topic.
    ReplicaElectionResult {
        topic: String,
        partition_result: Vec<PartitionResult>,
    }
    /// One partition.
    PartitionResult {
        partition_id: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
    }
}
