//! DeleteTopics (key 20): delete topics by name or id.
//!
//! v1 throttle time; v4 flexible; v5 error message, THROTTLING_QUOTA_EXCEEDED; v6 by topic id too (KIP-516).
//! v0 is gone from Kafka 4, but old clients still send it.

use crate::error::ErrorCode;
use crate::message::{api, message};
use crate::uuid::Uuid;

api! {
    /// Up to v5 by `topic_names`; from v6 by `topics`.
    DeleteTopics = 20, 0..=6, flexible 4.., DeleteTopicsRequest => DeleteTopicsResponse
}

message! {
    /// Which topics to delete.
    DeleteTopicsRequest {
        topics: Vec<DeleteTopicState>  [6..],
        topic_names: Vec<String>       [..=5],
        timeout_ms: i32,
    }
    /// A topic to delete: by name, or by id with a null name.
    DeleteTopicState {
        name: Option<String>,
        topic_id: Uuid,
    }
}

message! {
    /// What became of each topic.
    DeleteTopicsResponse {
        throttle_time_ms: i32  [1..],
        responses: Vec<DeletableTopicResult>,
    }
    /// Whether one topic was deleted.
    DeletableTopicResult {
        name: Option<String>           [null 6..],
        topic_id: Uuid                 [6..],
        error_code: ErrorCode,
        error_message: Option<String>  [5..],
    }
}
