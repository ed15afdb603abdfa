//! DescribeTopicPartitions (key 75): topics and their partitions, a page at a time (KIP-966).
//!
//! There is only v0.

use crate::error::ErrorCode;
use crate::message::{api, message};
use crate::uuid::Uuid;

api! {
    /// A cursor in the response asks to be sent back for the next page.
    DescribeTopicPartitions = 75, 0..=0, flexible 0..,
        DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse
}

message! {
    /// Which topics to tell about, and where to go on.
    DescribeTopicPartitionsRequest {
        topics: Vec<TopicRequest>,
        response_partition_limit: i32 = 2000,
        cursor: Option<Cursor>,
    }
    /// A topic by name.
    TopicRequest {
        name: String,
    }
    /// The first partition that was not told about.
    Cursor {
        topic_name: String,
        partition_index: i32,
    }
}

message! {
    /// A page of topics.
    DescribeTopicPartitionsResponse {
        throttle_time_ms: i32,
        topics: Vec<DescribeTopicPartitionsResponseTopic>,
        next_cursor: Option<Cursor>,
    }
    /// One topic, or why it cannot be told about.
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode,
        name: Option<String>,
        topic_id: Uuid,
        is_internal: bool,
        partitions: Vec<DescribeTopicPartitionsResponsePartition>,
        /// A bit per operation; the default means that nobody asked.
        topic_authorized_operations: i32 = i32::MIN,
    }
    /// One partition and its replicas.
    DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        eligible_leader_replicas: Option<Vec<i32>>,
        last_known_elr: Option<Vec<i32>>,
        offline_replicas: Vec<i32>,
    }
}
