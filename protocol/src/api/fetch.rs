//! Fetch (key 1): read records from each partition, waiting for more if asked to.
//!
//! v4 batches v2 and transactions; v5 log start offset; v7 sessions (KIP-227); v9 leader epoch; v11 nearest
//! replica; v12 flexible, diverging epochs; v13 topic ids for names (KIP-516); v15 replica state for replica
//! id; v16 names the new leader (KIP-951); v17 directory id; v18 the follower's high watermark (KIP-1166).
//! Not done: v0 to v3, message sets before the record batch.

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::message::{api, message};
use crate::uuid::Uuid;

api! {
    /// A long poll: the broker may hold it back for `max_wait_ms`.
    Fetch = 1, 4..=18, flexible 12.., FetchRequest => FetchResponse
}

message! {
    /// What to read, and how long to wait for it.
    FetchRequest {
        cluster_id: Option<String>                  [tag 0, 12..],
        replica_id: i32                             [..=14] = -1,
        replica_state: ReplicaState                 [tag 1, 15..],
        max_wait_ms: i32,
        min_bytes: i32,
        max_bytes: i32 = i32::MAX,
        /// 0 all records, 1 only committed ones.
        isolation_level: i8,
        session_id: i32                             [7..],
        session_epoch: i32                          [7..] = -1,
        topics: Vec<FetchTopic>,
        forgotten_topics_data: Vec<ForgottenTopic>  [7..],
        rack_id: String                             [11..],
    }
    /// The follower that fetches; -1 is a consumer.
    ReplicaState {
        replica_id: i32 = -1,
        replica_epoch: i64 = -1,
    }
    /// What to read of one topic.
    FetchTopic {
        topic: String   [..=12],
        topic_id: Uuid  [13..],
        partitions: Vec<FetchPartition>,
    }
    /// What to read of one partition.
    FetchPartition {
        partition: i32,
        current_leader_epoch: i32   [9..] = -1,
        fetch_offset: i64,
        last_fetched_epoch: i32     [12..] = -1,
        log_start_offset: i64       [5..] = -1,
        partition_max_bytes: i32,
        replica_directory_id: Uuid  [tag 0, 17..],
        high_watermark: i64         [tag 1, 18..] = i64::MAX,
    }
    /// Partitions to take out of the session.
    ForgottenTopic {
        topic: String   [..=12],
        topic_id: Uuid  [13..],
        partitions: Vec<i32>,
    }
}

message! {
    /// Records, partition by partition.
    FetchResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode              [7..],
        session_id: i32                    [7..],
        responses: Vec<FetchableTopicResponse>,
        node_endpoints: Vec<NodeEndpoint>  [tag 0, 16..],
    }
    /// Records of one topic.
    FetchableTopicResponse {
        topic: String   [..=12],
        topic_id: Uuid  [13..],
        partitions: Vec<PartitionData>,
    }
    /// Records of one partition. The records are never null here: librdkafka gives up the whole response.
    PartitionData {
        partition_index: i32,
        error_code: ErrorCode,
        high_watermark: i64,
        last_stable_offset: i64 = -1,
        log_start_offset: i64             [5..] = -1,
        diverging_epoch: EpochEndOffset   [tag 0, 12..],
        current_leader: LeaderIdAndEpoch  [tag 1, 12..],
        snapshot_id: SnapshotId           [tag 2, 12..],
        /// Null unless the reader asked for committed records only.
        aborted_transactions: Option<Vec<AbortedTransaction>>,
        preferred_read_replica: i32       [11..] = -1,
        /// Record batches, a slice of the segment.
        records: Option<Bytes> = Some(Bytes::new()),
    }
    /// Where the reader's history parts from the leader's; -1 when it does not.
    EpochEndOffset {
        epoch: i32 = -1,
        end_offset: i64 = -1,
    }
    /// Who leads now, told to a client that asked the wrong broker; -1 is unknown.
    LeaderIdAndEpoch {
        leader_id: i32 = -1,
        leader_epoch: i32 = -1,
    }
    /// The snapshot to load instead; -1 when there is none.
    SnapshotId {
        end_offset: i64 = -1,
        epoch: i32 = -1,
    }
    /// A transaction in these records that came to nothing.
    AbortedTransaction {
        producer_id: i64,
        first_offset: i64,
    }
    /// Where a broker named in a response is reached.
    NodeEndpoint {
        node_id: i32,
        host: String,
        port: i32,
        rack: Option<String>,
    }
}
