//! DescribeLogDirs (key 35): which partitions lie in which folder, and how large they are (KIP-113).
//!
//! v1 is the same; v2 flexible; v3 an error for the whole; v4 the size of the volume (KIP-827); v5 cordoned
//! folders.
//! v0 is gone from Kafka 4, but old clients still send it.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One result per folder.
    DescribeLogDirs = 35, 0..=5, flexible 2.., DescribeLogDirsRequest => DescribeLogDirsResponse
}

message! {
    /// Which partitions to tell about; null for all.
    DescribeLogDirsRequest {
        topics: Option<Vec<DescribableLogDirTopic>>,
    }
    /// Partitions of one topic.
    DescribableLogDirTopic {
        topic: String,
        partitions: Vec<i32>,
    }
}

message! {
    /// What is in each folder.
    DescribeLogDirsResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode  [3..],
        results: Vec<DescribeLogDirsResult>,
    }
    /// One folder.
    DescribeLogDirsResult {
        error_code: ErrorCode,
        log_dir: String,
        topics: Vec<DescribeLogDirsTopic>,
        /// Bytes of the volume that the folder is on.
        total_bytes: i64   [4..] = -1,
        usable_bytes: i64  [4..] = -1,
        is_cordoned: bool  [5..],
    }
    /// Partitions of one topic.
    DescribeLogDirsTopic {
        name: String,
        partitions: Vec<DescribeLogDirsPartition>,
    }
    /// One partition.
    DescribeLogDirsPartition {
        partition_index: i32,
        /// Bytes of its segments.
        partition_size: i64,
        /// Records that it lacks of the leader's, or of the copy that it will replace.
        offset_lag: i64,
        is_future_key: bool,
    }
}
