//! TxnOffsetCommit (key 28): remember how far a group has read, if the transaction commits.
//!
//! v1 the same; v2 leader epoch; v3 flexible, generation, member and instance (KIP-447); v4
//! TRANSACTION_ABORTABLE; v5 adds the group's offsets to the transaction by itself (KIP-890).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Asked of the group's coordinator.
    TxnOffsetCommit = 28, 0..=5, flexible 3.., TxnOffsetCommitRequest => TxnOffsetCommitResponse
}

message! {
    /// Offsets to remember.
    TxnOffsetCommitRequest {
        transactional_id: String,
        group_id: String,
        producer_id: i64,
        producer_epoch: i16,
        generation_id: i32                 [3..] = -1,
        member_id: String                  [3..],
        group_instance_id: Option<String>  [3..],
        topics: Vec<TxnOffsetCommitRequestTopic>,
    }
    /// Offsets of one topic.
    TxnOffsetCommitRequestTopic {
        name: String,
        partitions: Vec<TxnOffsetCommitRequestPartition>,
    }
    /// The offset of one partition: the next record to read.
    TxnOffsetCommitRequestPartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32  [2..] = -1,
        committed_metadata: Option<String>,
    }
}

message! {
    /// What became of each offset.
    TxnOffsetCommitResponse {
        throttle_time_ms: i32,
        topics: Vec<TxnOffsetCommitResponseTopic>,
    }
    /// What became of one topic's offsets.
    TxnOffsetCommitResponseTopic {
        name: String,
        partitions: Vec<TxnOffsetCommitResponsePartition>,
    }
    /// What became of one offset.
    TxnOffsetCommitResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
