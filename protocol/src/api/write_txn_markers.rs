//! WriteTxnMarkers (key 27): end transactions in the partitions they have written to.
//!
//! Sent by a coordinator to the leaders of those partitions, and by `kafka-transactions.sh abort`.
//! v1 flexible; v2 the transaction's version (KIP-1228).
//! Not done: v0, gone from Kafka 4.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Flexible from its first version.
    WriteTxnMarkers = 27, 1..=2, flexible 1.., WriteTxnMarkersRequest => WriteTxnMarkersResponse
}

message! {
    /// Markers to write.
    WriteTxnMarkersRequest {
        markers: Vec<WritableTxnMarker>,
    }
    /// The end of one transaction.
    WritableTxnMarker {
        producer_id: i64,
        producer_epoch: i16,
        /// True to commit, false to abort.
        transaction_result: bool,
        topics: Vec<WritableTxnMarkerTopic>,
        coordinator_epoch: i32,
        /// 2 if every end of a transaction bumps its epoch (KIP-890), below that not.
        transaction_version: i8  [2..],
    }
    /// Partitions of one topic.
    WritableTxnMarkerTopic {
        name: String,
        partition_indexes: Vec<i32>,
    }
}

message! {
    /// What became of each marker.
    WriteTxnMarkersResponse {
        markers: Vec<WritableTxnMarkerResult>,
    }
    /// One marker.
    WritableTxnMarkerResult {
        producer_id: i64,
        topics: Vec<WritableTxnMarkerTopicResult>,
    }
    /// Partitions of one topic.
    WritableTxnMarkerTopicResult {
        name: String,
        partitions: Vec<WritableTxnMarkerPartitionResult>,
    }
    /// One partition.
    WritableTxnMarkerPartitionResult {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
