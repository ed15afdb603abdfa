//! JoinGroup (key 11): become a member of a classic group, and wait until everyone has.
//!
//! v1 rebalance timeout; v2 throttle time; v4 MEMBER_ID_REQUIRED (KIP-394); v5 static members (KIP-345); v6
//! flexible; v7 protocol type and nullable protocol name in the response; v8 reason; v9 may skip the
//! assignment (KIP-814).

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// The leader's response lists all members, the others' none.
    JoinGroup = 11, 0..=9, flexible 6.., JoinGroupRequest => JoinGroupResponse
}

message! {
    /// A member and what it can do.
    JoinGroupRequest {
        group_id: String,
        session_timeout_ms: i32,
        rebalance_timeout_ms: i32          [1..] = -1,
        member_id: String,
        group_instance_id: Option<String>  [5..],
        protocol_type: String,
        protocols: Vec<JoinGroupRequestProtocol>,
        reason: Option<String>             [8..],
    }
    /// A way of assigning that the member knows, and what it says under it.
    JoinGroupRequestProtocol {
        name: String,
        metadata: Bytes,
    }
}

message! {
    /// The generation that the member is now part of.
    JoinGroupResponse {
        throttle_time_ms: i32          [2..],
        error_code: ErrorCode,
        generation_id: i32 = -1,
        protocol_type: Option<String>  [7..],
        protocol_name: Option<String>  [null 7..],
        leader: String,
        skip_assignment: bool          [9..],
        member_id: String,
        members: Vec<JoinGroupResponseMember>,
    }
    /// A member, as told to the leader.
    JoinGroupResponseMember {
        member_id: String,
        group_instance_id: Option<String>  [5..],
        metadata: Bytes,
    }
}
