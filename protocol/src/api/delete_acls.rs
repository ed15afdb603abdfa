//! DeleteAcls (key 31): take back what was allowed or denied (KIP-140).
//!
//! v1 patterns (KIP-290); v2 flexible; v3 user resources.
//! v0 is gone from Kafka 4, but old clients still send it.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One result per filter, in the order of the request.
    DeleteAcls = 31, 0..=3, flexible 2.., DeleteAclsRequest => DeleteAclsResponse
}

message! {
    /// What to delete.
    DeleteAclsRequest {
        filters: Vec<DeleteAclsFilter>,
    }
    /// Which entries; null matches any.
    DeleteAclsFilter {
        resource_type_filter: i8,
        resource_name_filter: Option<String>,
        /// 1 any, 2 match, 3 literal, 4 prefixed.
        pattern_type_filter: i8  [1..] = 3,
        principal_filter: Option<String>,
        host_filter: Option<String>,
        operation: i8,
        permission_type: i8,
    }
}

message! {
    /// What was deleted.
    DeleteAclsResponse {
        throttle_time_ms: i32,
        filter_results: Vec<DeleteAclsFilterResult>,
    }
    /// The entries that one filter matched.
    DeleteAclsFilterResult {
        error_code: ErrorCode,
        error_message: Option<String>,
        matching_acls: Vec<DeleteAclsMatchingAcl>,
    }
    /// One entry.
    DeleteAclsMatchingAcl {
        error_code: ErrorCode,
        error_message: Option<String>,
        resource_type: i8,
        resource_name: String,
        pattern_type: i8  [1..] = 3,
        principal: String,
        host: String,
        operation: i8,
        permission_type: i8,
    }
}
