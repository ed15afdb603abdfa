//! InitProducerId (key 22): hand out a producer id, or fence the old owner of a transactional id.
//!
//! v2 flexible; v3 lets a producer name its last id and epoch (KIP-360); v4 PRODUCER_FENCED; v5
//! TRANSACTION_ABORTABLE.
//! Not done: v6, two-phase commit (KIP-939), unstable in Kafka.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Asked once by every idempotent producer, and before any of its records.
    InitProducerId = 22, 0..=5, flexible 2.., InitProducerIdRequest => InitProducerIdResponse
}

message! {
    /// Who wants a producer id; null is a producer without transactions.
    InitProducerIdRequest {
        transactional_id: Option<String>,
        transaction_timeout_ms: i32,
        producer_id: i64     [3..] = -1,
        producer_epoch: i16  [3..] = -1,
    }
}

message! {
    /// The producer id and epoch to write with.
    InitProducerIdResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        producer_id: i64 = -1,
        producer_epoch: i16,
    }
}
