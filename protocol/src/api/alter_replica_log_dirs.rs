//! AlterReplicaLogDirs (key 34): which folder of `log.dirs` partitions are to lie in (KIP-113).
//!
//! v0 is gone from Kafka 4; v2 flexible.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One result per partition.
    AlterReplicaLogDirs = 34, 1..=2, flexible 2.., AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse
}

message! {
    /// What is to lie where.
    AlterReplicaLogDirsRequest {
        dirs: Vec<AlterReplicaLogDir>,
    }
    /// A folder, and what is to lie in it.
    AlterReplicaLogDir {
        /// Absolute, as DescribeLogDirs tells it.
        path: String,
        topics: Vec<AlterReplicaLogDirTopic>,
    }
    /// Partitions of one topic.
    AlterReplicaLogDirTopic {
        name: String,
        partitions: Vec<i32>,
    }
}

message! {
    /// One result per topic.
    AlterReplicaLogDirsResponse {
        throttle_time_ms: i32,
        results: Vec<AlterReplicaLogDirTopicResult>,
    }
    /// Partitions of one topic.
    AlterReplicaLogDirTopicResult {
        topic_name: String,
        partitions: Vec<AlterReplicaLogDirPartitionResult>,
    }
    /// One partition.
    AlterReplicaLogDirPartitionResult {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
