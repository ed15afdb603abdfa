//! CreateAcls (key 30): allow or deny somebody something (KIP-140).
//!
//! v1 patterns (KIP-290); v2 flexible; v3 user resources.
//! v0 is gone from Kafka 4, but old clients still send it.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One result per entry, in the order of the request.
    CreateAcls = 30, 0..=3, flexible 2.., CreateAclsRequest => CreateAclsResponse
}

message! {
    /// The entries to create.
    CreateAclsRequest {
        creations: Vec<AclCreation>,
    }
    /// One entry.
    AclCreation {
        resource_type: i8,
        resource_name: String,
        /// 3 literal, 4 prefixed.
        resource_pattern_type: i8  [1..] = 3,
        principal: String,
        host: String,
        operation: i8,
        permission_type: i8,
    }
}

message! {
    /// What became of each entry.
    CreateAclsResponse {
        throttle_time_ms: i32,
        results: Vec<AclCreationResult>,
    }
    /// One entry.
    AclCreationResult {
        error_code: ErrorCode,
        error_message: Option<String>,
    }
}
