//! OffsetCommit (key 8): remember how far a group has read.
//!
//! v1 generation, member and a timestamp per partition; v2 retention time for the timestamp; v3 throttle
//! time; v5 no retention time; v6 leader epoch; v7 static members; v8 flexible; v9 member epochs (KIP-848);
//! v10 topic ids for names.
//! v1 is gone from Kafka 4, but old clients still send it.
//! Not done: v0, which kept offsets in ZooKeeper.

use crate::error::ErrorCode;
use crate::message::{api, message};
use crate::uuid::Uuid;

api! {
    /// A consumer without a group membership commits with generation -1 and an empty member id.
    OffsetCommit = 8, 1..=10, flexible 8.., OffsetCommitRequest => OffsetCommitResponse
}

message! {
    /// Offsets to remember.
    OffsetCommitRequest {
        group_id: String,
        generation_id_or_member_epoch: i32 = -1,
        member_id: String,
        group_instance_id: Option<String>  [7..],
        retention_time_ms: i64             [2..=4] = -1,
        topics: Vec<OffsetCommitRequestTopic>,
    }
    /// Offsets of one topic.
    OffsetCommitRequestTopic {
        name: String    [..=9],
        topic_id: Uuid  [10..],
        partitions: Vec<OffsetCommitRequestPartition>,
    }
    /// The offset of one partition: the next record to read.
    OffsetCommitRequestPartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32  [6..] = -1,
        commit_timestamp: i64        [..=1] = -1,
        committed_metadata: Option<String>,
    }
}

message! {
    /// What became of each offset.
    OffsetCommitResponse {
        throttle_time_ms: i32  [3..],
        topics: Vec<OffsetCommitResponseTopic>,
    }
    /// What became of one topic's offsets.
    OffsetCommitResponseTopic {
        name: String    [..=9],
        topic_id: Uuid  [10..],
        partitions: Vec<OffsetCommitResponsePartition>,
    }
    /// What became of one offset.
    OffsetCommitResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
