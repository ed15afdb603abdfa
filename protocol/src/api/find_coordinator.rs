//! FindCoordinator (key 10): which broker looks after a group or a transactional id.
//!
//! v1 kind of key, error message; v3 flexible; v4 many keys at once (KIP-699); v5 TRANSACTION_ABORTABLE; v6
//! share groups.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Up to v3 one key and one answer in the body itself; from v4 arrays of both.
    FindCoordinator = 10, 0..=6, flexible 3.., FindCoordinatorRequest => FindCoordinatorResponse
}

message! {
    /// Whose coordinator is wanted: `key_type` 0 groups, 1 transactional ids, 2 share groups.
    FindCoordinatorRequest {
        key: String                    [..=3],
        key_type: i8                   [1..],
        coordinator_keys: Vec<String>  [4..],
    }
}

message! {
    /// Where the coordinators are reached.
    FindCoordinatorResponse {
        throttle_time_ms: i32           [1..],
        error_code: ErrorCode           [..=3],
        error_message: Option<String>   [1..=3],
        node_id: i32                    [..=3],
        host: String                    [..=3],
        port: i32                       [..=3],
        coordinators: Vec<Coordinator>  [4..],
    }
    /// Where the coordinator of one key is reached.
    Coordinator {
        key: String,
        node_id: i32,
        host: String,
        port: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
    }
}
