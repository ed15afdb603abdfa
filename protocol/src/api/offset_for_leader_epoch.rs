//! OffsetForLeaderEpoch (key 23): where the records of a leader epoch end (KIP-320).
//!
//! v2 the epoch that the client believes to be current; v3 replica id; v4 flexible.
//! Not done: v0 and v1, which only brokers sent.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// A consumer compares the answer with its position to find out that records were lost.
    OffsetForLeaderEpoch = 23, 2..=4, flexible 4..,
        OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse
}

message! {
    /// Which epochs to look up.
    OffsetForLeaderEpochRequest {
        replica_id: i32  [3..] = -2,
        topics: Vec<OffsetForLeaderTopic>,
    }
    /// Which epochs of one topic to look up.
    OffsetForLeaderTopic {
        topic: String,
        partitions: Vec<OffsetForLeaderPartition>,
    }
    /// Which epoch of one partition to look up.
    OffsetForLeaderPartition {
        partition: i32,
        current_leader_epoch: i32 = -1,
        leader_epoch: i32,
    }
}

message! {
    /// Where the epochs end.
    OffsetForLeaderEpochResponse {
        throttle_time_ms: i32,
        topics: Vec<OffsetForLeaderTopicResult>,
    }
    /// Where the epochs of one topic end.
    OffsetForLeaderTopicResult {
        topic: String,
        partitions: Vec<EpochEndOffset>,
    }
    /// Where the epoch of one partition ends; -1 when it is not known.
    EpochEndOffset {
        error_code: ErrorCode,
        partition: i32,
        leader_epoch: i32 = -1,
        end_offset: i64 = -1,
    }
}
