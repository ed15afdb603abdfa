//! SyncGroup (key 14): the leader hands in everybody's assignment, each member gets its own.
//!
//! v1 throttle time; v3 static members; v4 flexible; v5 protocol type and name both ways (KIP-559).

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Held back until the leader's has arrived.
    SyncGroup = 14, 0..=5, flexible 4.., SyncGroupRequest => SyncGroupResponse
}

message! {
    /// A member that waits for its assignment; the leader brings everybody's.
    SyncGroupRequest {
        group_id: String,
        generation_id: i32,
        member_id: String,
        group_instance_id: Option<String>  [3..],
        protocol_type: Option<String>      [5..],
        protocol_name: Option<String>      [5..],
        assignments: Vec<SyncGroupRequestAssignment>,
    }
    /// The assignment of one member, opaque to the broker.
    SyncGroupRequestAssignment {
        member_id: String,
        assignment: Bytes,
    }
}

message! {
    /// The assignment of the member that asked.
    SyncGroupResponse {
        throttle_time_ms: i32          [1..],
        error_code: ErrorCode,
        protocol_type: Option<String>  [5..],
        protocol_name: Option<String>  [5..],
        assignment: Bytes,
    }
}
