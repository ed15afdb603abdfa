//! Produce (key 0): append record batches to partitions.
//!
//! v3 batches v2 and transactions; v5 log start offset; v8 errors of single records; v9 flexible; v10 names
//! the new leader (KIP-951); v11 TRANSACTION_ABORTABLE; v12 adds the partition to the transaction by itself
//! (KIP-890); v13 topic ids for names (KIP-516).
//! Not done: v0 to v2, message sets before the record batch.

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::message::{api, message};
use crate::uuid::Uuid;

api! {
    /// With `acks` 0 there is no response at all.
    Produce = 0, 3..=13, flexible 9.., ProduceRequest => ProduceResponse
}

message! {
    /// Batches for any number of partitions.
    ProduceRequest {
        transactional_id: Option<String>,
        /// 0 no answer, 1 when the leader has it, -1 when all in-sync replicas have it.
        acks: i16,
        timeout_ms: i32,
        topic_data: Vec<TopicProduceData>,
    }
    /// Batches for one topic.
    TopicProduceData {
        name: String    [..=12],
        topic_id: Uuid  [13..],
        partition_data: Vec<PartitionProduceData>,
    }
    /// Batches for one partition.
    PartitionProduceData {
        index: i32,
        /// Record batches, a slice of the frame.
        records: Option<Bytes>,
    }
}

message! {
    /// What became of each partition's batches.
    ProduceResponse {
        responses: Vec<TopicProduceResponse>,
        throttle_time_ms: i32,
        node_endpoints: Vec<NodeEndpoint>  [tag 0, 10..],
    }
    /// What became of one topic's batches.
    TopicProduceResponse {
        name: String    [..=12],
        topic_id: Uuid  [13..],
        partition_responses: Vec<PartitionProduceResponse>,
    }
    /// What became of one partition's batches.
    PartitionProduceResponse {
        index: i32,
        error_code: ErrorCode,
        base_offset: i64,
        /// -1 unless the topic stamps records with the time of the append.
        log_append_time_ms: i64 = -1,
        log_start_offset: i64                          [5..] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage>  [8..],
        error_message: Option<String>                  [8..],
        current_leader: LeaderIdAndEpoch               [tag 0, 10..],
    }
    /// A record that was refused, and why.
    BatchIndexAndErrorMessage {
        batch_index: i32,
        batch_index_error_message: Option<String>,
    }
    /// Who leads now, told to a client that asked the wrong broker; -1 is unknown.
    LeaderIdAndEpoch {
        leader_id: i32 = -1,
        leader_epoch: i32 = -1,
    }
    /// Where a broker named in a response is reached.
    NodeEndpoint {
        node_id: i32,
        host: String,
        port: i32,
        rack: Option<String>,
    }
}
