//! OffsetFetch (key 9): how far a group has read.
//!
//! v2 null for all topics, an error of the whole response; v3 throttle time; v5 leader epoch; v6 flexible; v7
//! may insist on stable offsets (KIP-447); v8 many groups at once (KIP-709); v9 member epochs (KIP-848); v10
//! topic ids for names.
//! Not done: v0, which kept offsets in ZooKeeper.

use crate::error::ErrorCode;
use crate::message::{api, message};
use crate::uuid::Uuid;

api! {
    /// Up to v7 one group in the body itself; from v8 an array.
    OffsetFetch = 9, 1..=10, flexible 6.., OffsetFetchRequest => OffsetFetchResponse
}

message! {
    /// Which offsets to tell; null topics are all topics.
    OffsetFetchRequest {
        group_id: String                              [..=7],
        topics: Option<Vec<OffsetFetchRequestTopic>>  [..=7, null 2..],
        groups: Vec<OffsetFetchRequestGroup>          [8..],
        require_stable: bool                          [7..],
    }
    /// Which offsets of one topic to tell, up to v7.
    OffsetFetchRequestTopic {
        name: String,
        partition_indexes: Vec<i32>,
    }
    /// Which offsets of one group to tell; null topics are all topics.
    OffsetFetchRequestGroup {
        group_id: String,
        member_id: Option<String>  [9..],
        member_epoch: i32          [9..] = -1,
        topics: Option<Vec<OffsetFetchRequestTopics>>,
    }
    /// Which offsets of one topic to tell, from v8 on.
    OffsetFetchRequestTopics {
        name: String    [..=9],
        topic_id: Uuid  [10..],
        partition_indexes: Vec<i32>,
    }
}

message! {
    /// The offsets remembered.
    OffsetFetchResponse {
        throttle_time_ms: i32                  [3..],
        topics: Vec<OffsetFetchResponseTopic>  [..=7],
        error_code: ErrorCode                  [2..=7],
        groups: Vec<OffsetFetchResponseGroup>  [8..],
    }
    /// The offsets of one topic, up to v7.
    OffsetFetchResponseTopic {
        name: String,
        partitions: Vec<OffsetFetchResponsePartition>,
    }
    /// The offset of one partition, up to v7; -1 when none was committed.
    OffsetFetchResponsePartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32  [5..] = -1,
        /// Empty, and not null, where nothing was committed.
        metadata: Option<String> = Some(String::new()),
        error_code: ErrorCode,
    }
    /// The offsets of one group.
    OffsetFetchResponseGroup {
        group_id: String,
        topics: Vec<OffsetFetchResponseTopics>,
        error_code: ErrorCode,
    }
    /// The offsets of one topic, from v8 on.
    OffsetFetchResponseTopics {
        name: String    [..=9],
        topic_id: Uuid  [10..],
        partitions: Vec<OffsetFetchResponsePartitions>,
    }
    /// The offset of one partition, from v8 on; -1 when none was committed.
    OffsetFetchResponsePartitions {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 = -1,
        /// Empty, and not null, where nothing was committed.
        metadata: Option<String> = Some(String::new()),
        error_code: ErrorCode,
    }
}
