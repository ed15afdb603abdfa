//! AddPartitionsToTxn (key 24): say which partitions a transaction is going to write to, before it does.
//!
//! v1 the same; v2 PRODUCER_FENCED; v3 flexible; v4 many transactions in one request, which brokers send to
//! each other to verify or to add (KIP-890); v5 TRANSACTION_ABORTABLE. Clients stay at v3.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Up to v3 one transaction in the fields that begin with `v3_and_below`; from v4 on `transactions`.
    AddPartitionsToTxn = 24, 0..=5, flexible 3.., AddPartitionsToTxnRequest => AddPartitionsToTxnResponse
}

message! {
    /// Transactions and the partitions to add to them.
    AddPartitionsToTxnRequest {
        transactions: Vec<AddPartitionsToTxnTransaction>        [4..],
        v3_and_below_transactional_id: String                   [..=3],
        v3_and_below_producer_id: i64                           [..=3],
        v3_and_below_producer_epoch: i16                        [..=3],
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic>       [..=3],
    }
    /// One transaction.
    AddPartitionsToTxnTransaction {
        transactional_id: String,
        producer_id: i64,
        producer_epoch: i16,
        /// Only ask whether the partitions are in the transaction.
        verify_only: bool,
        topics: Vec<AddPartitionsToTxnTopic>,
    }
    /// Partitions of one topic.
    AddPartitionsToTxnTopic {
        name: String,
        partitions: Vec<i32>,
    }
}

message! {
    /// What became of each partition.
    AddPartitionsToTxnResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode                                            [4..],
        results_by_transaction: Vec<AddPartitionsToTxnResult>            [4..],
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult>  [..=3],
    }
    /// One transaction.
    AddPartitionsToTxnResult {
        transactional_id: String,
        topic_results: Vec<AddPartitionsToTxnTopicResult>,
    }
    /// Partitions of one topic.
    AddPartitionsToTxnTopicResult {
        name: String,
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult>,
    }
    /// One partition.
    AddPartitionsToTxnPartitionResult {
        partition_index: i32,
        partition_error_code: ErrorCode,
    }
}
