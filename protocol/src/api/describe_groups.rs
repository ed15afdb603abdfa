//! DescribeGroups (key 15): state, members and assignments of classic groups.
//!
//! v1 throttle time; v3 authorized operations; v4 static members; v5 flexible; v6 GROUP_ID_NOT_FOUND with a
//! message where older versions say that the group is dead (KIP-1043).

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One answer per group, in the order they were asked for.
    DescribeGroups = 15, 0..=6, flexible 5.., DescribeGroupsRequest => DescribeGroupsResponse
}

message! {
    /// Which groups to describe.
    DescribeGroupsRequest {
        groups: Vec<String>,
        include_authorized_operations: bool  [3..],
    }
}

message! {
    /// The groups described.
    DescribeGroupsResponse {
        throttle_time_ms: i32  [1..],
        groups: Vec<DescribedGroup>,
    }
    /// One group, or why it cannot be told about.
    DescribedGroup {
        error_code: ErrorCode,
        error_message: Option<String>  [6..],
        group_id: String,
        group_state: String,
        protocol_type: String,
        protocol_data: String,
        members: Vec<DescribedGroupMember>,
        /// A bit per operation; the default means that nobody asked.
        authorized_operations: i32     [3..] = i32::MIN,
    }
    /// One member and its part of the work.
    DescribedGroupMember {
        member_id: String,
        group_instance_id: Option<String>  [4..],
        client_id: String,
        client_host: String,
        member_metadata: Bytes,
        member_assignment: Bytes,
    }
}
