//! DescribeProducers (key 61): the producers that a partition remembers (KIP-664).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Flexible from its first version.
    DescribeProducers = 61, 0..=0, flexible 0.., DescribeProducersRequest => DescribeProducersResponse
}

message! {
    /// Which partitions to tell about.
    DescribeProducersRequest {
        topics: Vec<TopicRequest>,
    }
    /// Partitions of one topic.
    TopicRequest {
        name: String,
        partition_indexes: Vec<i32>,
    }
}

message! {
    /// The producers of each partition.
    DescribeProducersResponse {
        throttle_time_ms: i32,
        topics: Vec<TopicResponse>,
    }
    /// Partitions of one topic.
    TopicResponse {
        name: String,
        partitions: Vec<PartitionResponse>,
    }
    /// One partition.
    PartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
        active_producers: Vec<ProducerState>,
    }
    /// One producer.
    ProducerState {
        producer_id: i64,
        producer_epoch: i32,
        last_sequence: i32 = -1,
        last_timestamp: i64 = -1,
        coordinator_epoch: i32,
        /// Where its open transaction began; -1 if none is open.
        current_txn_start_offset: i64 = -1,
    }
}
