//! Metadata (key 3): brokers, topics and who leads which partition.
//!
//! v1 controller, racks, null for all topics; v2 cluster id; v3 throttle time; v4 whether to create topics;
//! v5 offline replicas; v7 leader epoch; v8 authorized operations; v9 flexible; v10 topic ids; v11 no
//! operations on the cluster; v12 topics asked for by id; v13 an error of the whole response (KIP-1102).

use crate::error::ErrorCode;
use crate::message::{api, message};
use crate::uuid::Uuid;

api! {
    /// The first question of most clients after ApiVersions.
    Metadata = 3, 0..=13, flexible 9.., MetadataRequest => MetadataResponse
}

message! {
    /// Which topics to tell about: null for all, and in v0 an empty array too.
    MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>>    [null 1..],
        allow_auto_topic_creation: bool              [4..] = true,
        include_cluster_authorized_operations: bool  [8..=10],
        include_topic_authorized_operations: bool    [8..],
    }
    /// A topic by name, or from v12 on by id.
    MetadataRequestTopic {
        topic_id: Uuid        [10..],
        name: Option<String>  [null 10..],
    }
}

message! {
    /// The cluster as this broker sees it.
    MetadataResponse {
        throttle_time_ms: i32               [3..],
        brokers: Vec<MetadataResponseBroker>,
        cluster_id: Option<String>          [2..],
        controller_id: i32                  [1..] = -1,
        topics: Vec<MetadataResponseTopic>,
        /// A bit per operation; the default means that nobody asked.
        cluster_authorized_operations: i32  [8..=10] = i32::MIN,
        error_code: ErrorCode               [13..],
    }
    /// Where a broker is reached.
    MetadataResponseBroker {
        node_id: i32,
        host: String,
        port: i32,
        rack: Option<String>  [1..],
    }
    /// One topic, or why it cannot be told about.
    MetadataResponseTopic {
        error_code: ErrorCode,
        name: Option<String>              [null 12..],
        topic_id: Uuid                    [10..],
        is_internal: bool                 [1..],
        partitions: Vec<MetadataResponsePartition>,
        /// A bit per operation; the default means that nobody asked.
        topic_authorized_operations: i32  [8..] = i32::MIN,
    }
    /// One partition and its replicas.
    MetadataResponsePartition {
        error_code: ErrorCode,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32           [7..] = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        offline_replicas: Vec<i32>  [5..],
    }
}
