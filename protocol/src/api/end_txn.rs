//! EndTxn (key 26): commit or abort a transaction.
//!
//! v1 the same; v2 PRODUCER_FENCED; v3 flexible; v4 TRANSACTION_ABORTABLE; v5 answers the producer id and
//! epoch of the next transaction, because every end bumps the epoch (KIP-890).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Asked of the transaction's coordinator.
    EndTxn = 26, 0..=5, flexible 3.., EndTxnRequest => EndTxnResponse
}

message! {
    /// Which transaction, and how it ends.
    EndTxnRequest {
        transactional_id: String,
        producer_id: i64,
        producer_epoch: i16,
        /// To commit; else to abort.
        committed: bool,
    }
}

message! {
    /// What the producer goes on with.
    EndTxnResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        producer_id: i64     [5..] = -1,
        producer_epoch: i16  [5..] = -1,
    }
}
