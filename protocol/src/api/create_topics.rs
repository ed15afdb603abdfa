//! CreateTopics (key 19): create topics.
//!
//! v1 may only validate, error message; v2 throttle time; v4 -1 for the broker's default of partitions and
//! replicas; v5 flexible, the response says what was created (KIP-525); v6 THROTTLING_QUOTA_EXCEEDED; v7
//! topic ids.
//! v0 and v1 are gone from Kafka 4, but old clients still send them.

use crate::error::ErrorCode;
use crate::message::{api, message};
use crate::uuid::Uuid;

api! {
    /// One result per topic, each with its own error.
    CreateTopics = 19, 0..=7, flexible 5.., CreateTopicsRequest => CreateTopicsResponse
}

message! {
    /// Which topics to create.
    CreateTopicsRequest {
        topics: Vec<CreatableTopic>,
        timeout_ms: i32 = 60_000,
        validate_only: bool  [1..],
    }
    /// A topic to create; -1 partitions or replicas take the broker's default.
    CreatableTopic {
        name: String,
        num_partitions: i32,
        replication_factor: i16,
        assignments: Vec<CreatableReplicaAssignment>,
        configs: Vec<CreatableTopicConfig>,
    }
    /// The brokers that shall hold one partition.
    CreatableReplicaAssignment {
        partition_index: i32,
        broker_ids: Vec<i32>,
    }
    /// A setting of the new topic.
    CreatableTopicConfig {
        name: String,
        value: Option<String>,
    }
}

message! {
    /// What became of each topic.
    CreateTopicsResponse {
        throttle_time_ms: i32  [2..],
        topics: Vec<CreatableTopicResult>,
    }
    /// One topic as it was created, or why it was not.
    CreatableTopicResult {
        name: String,
        topic_id: Uuid                               [7..],
        error_code: ErrorCode,
        error_message: Option<String>                [1..],
        topic_config_error_code: ErrorCode           [tag 0, 5..],
        num_partitions: i32                          [5..] = -1,
        replication_factor: i16                      [5..] = -1,
        configs: Option<Vec<CreatableTopicConfigs>>  [5..],
    }
    /// A setting of the topic that was created.
    CreatableTopicConfigs {
        name: String,
        value: Option<String>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
    }
}
