//! DescribeTransactions (key 65): what the coordinator knows of some transactions (KIP-664).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Flexible from its first version.
    DescribeTransactions = 65, 0..=0, flexible 0..,
        DescribeTransactionsRequest => DescribeTransactionsResponse
}

message! {
    /// Which transactions to tell about.
    DescribeTransactionsRequest {
        transactional_ids: Vec<String>,
    }
}

message! {
    /// One state for each id.
    DescribeTransactionsResponse {
        throttle_time_ms: i32,
        transaction_states: Vec<TransactionState>,
    }
    /// One transaction; times in milliseconds.
    TransactionState {
        error_code: ErrorCode,
        transactional_id: String,
        transaction_state: String,
        transaction_timeout_ms: i32,
        transaction_start_time_ms: i64,
        producer_id: i64,
        producer_epoch: i16,
        /// Partitions that it has written to and that have not got its marker yet.
        topics: Vec<TopicData>,
    }
    /// Partitions of one topic.
    TopicData {
        topic: String,
        partitions: Vec<i32>,
    }
}
