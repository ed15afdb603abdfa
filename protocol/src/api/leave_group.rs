//! LeaveGroup (key 13): members leave a classic group.
//!
//! v1 throttle time; v3 many members at once (KIP-345); v4 flexible; v5 reason (KIP-800).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Up to v2 one member in the body itself; from v3 an array.
    LeaveGroup = 13, 0..=5, flexible 4.., LeaveGroupRequest => LeaveGroupResponse
}

message! {
    /// Who leaves.
    LeaveGroupRequest {
        group_id: String,
        member_id: String             [..=2],
        members: Vec<MemberIdentity>  [3..],
    }
    /// A member that leaves, by its own id or its instance id.
    MemberIdentity {
        member_id: String,
        group_instance_id: Option<String>,
        reason: Option<String>  [5..],
    }
}

message! {
    /// Who left.
    LeaveGroupResponse {
        throttle_time_ms: i32         [1..],
        error_code: ErrorCode,
        members: Vec<MemberResponse>  [3..],
    }
    /// Whether one member left.
    MemberResponse {
        member_id: String,
        group_instance_id: Option<String>,
        error_code: ErrorCode,
    }
}
