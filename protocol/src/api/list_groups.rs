//! ListGroups (key 16): all groups that this broker looks after.
//!
//! v1 throttle time; v3 flexible; v4 filter by state (KIP-518); v5 filter by type (KIP-848).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// An empty filter lets everything through.
    ListGroups = 16, 0..=5, flexible 3.., ListGroupsRequest => ListGroupsResponse
}

message! {
    /// Which groups to list.
    ListGroupsRequest {
        states_filter: Vec<String>  [4..],
        types_filter: Vec<String>   [5..],
    }
}

message! {
    /// The groups listed.
    ListGroupsResponse {
        throttle_time_ms: i32  [1..],
        error_code: ErrorCode,
        groups: Vec<ListedGroup>,
    }
    /// One group.
    ListedGroup {
        group_id: String,
        protocol_type: String,
        group_state: String  [4..],
        group_type: String   [5..],
    }
}
