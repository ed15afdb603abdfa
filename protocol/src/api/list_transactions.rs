//! ListTransactions (key 66): the transactions of this coordinator (KIP-664).
//!
//! v1 only those that run longer than some time (KIP-994); v2 only those whose id matches a pattern.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Flexible from its first version.
    ListTransactions = 66, 0..=2, flexible 0.., ListTransactionsRequest => ListTransactionsResponse
}

message! {
    /// Which transactions to list; an empty filter lets all pass.
    ListTransactionsRequest {
        state_filters: Vec<String>,
        producer_id_filters: Vec<i64>,
        /// In milliseconds; below 0 for all.
        duration_filter: i64                      [1..] = -1,
        transactional_id_pattern: Option<String>  [2..],
    }
}

message! {
    /// The transactions.
    ListTransactionsResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        unknown_state_filters: Vec<String>,
        transaction_states: Vec<TransactionState>,
    }
    /// One transaction.
    TransactionState {
        transactional_id: String,
        producer_id: i64,
        transaction_state: String,
    }
}
