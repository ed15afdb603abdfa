//! DeleteGroups (key 42): delete groups that have no members (KIP-229).
//!
//! v1 is the same; v2 flexible.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One result per group, each with its own error.
    DeleteGroups = 42, 0..=2, flexible 2.., DeleteGroupsRequest => DeleteGroupsResponse
}

message! {
    /// Which groups to delete.
    DeleteGroupsRequest {
        groups_names: Vec<String>,
    }
}

message! {
    /// What became of each group.
    DeleteGroupsResponse {
        throttle_time_ms: i32,
        results: Vec<DeletableGroupResult>,
    }
    /// One group.
    DeletableGroupResult {
        group_id: String,
        error_code: ErrorCode,
    }
}
