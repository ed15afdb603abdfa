//! Heartbeat (key 12): a member of a classic group is alive, and asks whether to rejoin.
//!
//! v1 throttle time; v3 static members; v4 flexible.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Answered REBALANCE_IN_PROGRESS when the group is rebalancing.
    Heartbeat = 12, 0..=4, flexible 4.., HeartbeatRequest => HeartbeatResponse
}

message! {
    /// The member that is alive.
    HeartbeatRequest {
        group_id: String,
        generation_id: i32,
        member_id: String,
        group_instance_id: Option<String>  [3..],
    }
}

message! {
    /// Whether all is well.
    HeartbeatResponse {
        throttle_time_ms: i32  [1..],
        error_code: ErrorCode,
    }
}
