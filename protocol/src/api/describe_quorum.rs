//! DescribeQuorum (key 55): the voters of the metadata log, and how far each has come (KIP-595).
//!
//! v1 when each replica last fetched (KIP-836); v2 folders, error messages and the voters' addresses
//! (KIP-853).

use crate::error::ErrorCode;
use crate::message::{api, message};
use crate::uuid::Uuid;

api! {
    /// Flexible from its first version.
    DescribeQuorum = 55, 0..=2, flexible 0.., DescribeQuorumRequest => DescribeQuorumResponse
}

message! {
    /// The partition of the metadata log; there is only one.
    DescribeQuorumRequest {
        topics: Vec<TopicRequest>,
    }
    /// A topic of the request.
    TopicRequest {
        topic_name: String,
        partitions: Vec<PartitionRequest>,
    }
    /// A partition of the request.
    PartitionRequest {
        partition_index: i32,
    }
}

message! {
    /// The quorum's state.
    DescribeQuorumResponse {
        error_code: ErrorCode,
        error_message: Option<String>  [2..],
        topics: Vec<TopicResponse>,
        nodes: Vec<Node>               [2..],
    }
    /// A topic of the response.
    TopicResponse {
        topic_name: String,
        partitions: Vec<PartitionResponse>,
    }
    /// A partition of the response.
    PartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        error_message: Option<String>  [2..],
        leader_id: i32,
        leader_epoch: i32,
        high_watermark: i64,
        current_voters: Vec<ReplicaState>,
        observers: Vec<ReplicaState>,
    }
    /// A copy of the metadata log.
    ReplicaState {
        replica_id: i32,
        replica_directory_id: Uuid     [2..],
        log_end_offset: i64,
        /// Milliseconds since the epoch, by the leader's clock; -1 if that is not known.
        last_fetch_timestamp: i64      [1..] = -1,
        last_caught_up_timestamp: i64  [1..] = -1,
    }
    /// Where a voter is reached.
    Node {
        node_id: i32,
        listeners: Vec<Listener>,
    }
    /// One address.
    Listener {
        name: String,
        host: String,
        port: u16,
    }
}
