//! AddOffsetsToTxn (key 25): say that a transaction is going to commit offsets of a group.
//!
//! v1 the same; v2 PRODUCER_FENCED; v3 flexible; v4 TRANSACTION_ABORTABLE.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Adds the group's partition of `__consumer_offsets` to the transaction.
    AddOffsetsToTxn = 25, 0..=4, flexible 3.., AddOffsetsToTxnRequest => AddOffsetsToTxnResponse
}

message! {
    /// Which transaction, and whose offsets.
    AddOffsetsToTxnRequest {
        transactional_id: String,
        producer_id: i64,
        producer_epoch: i16,
        group_id: String,
    }
}

message! {
    /// Whether they may be committed within it.
    AddOffsetsToTxnResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
    }
}
