//! DescribeAcls (key 29): who may do what (KIP-140).
//!
//! v1 patterns (KIP-290); v2 flexible; v3 user resources.
//! v0 is gone from Kafka 4, but old clients still send it.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One filter, any number of entries.
    DescribeAcls = 29, 0..=3, flexible 2.., DescribeAclsRequest => DescribeAclsResponse
}

message! {
    /// Which entries to tell; null matches any.
    DescribeAclsRequest {
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
    /// The entries that match.
    DescribeAclsResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
        resources: Vec<DescribeAclsResource>,
    }
    /// The entries of one resource pattern.
    DescribeAclsResource {
        resource_type: i8,
        resource_name: String,
        pattern_type: i8  [1..] = 3,
        acls: Vec<AclDescription>,
    }
    /// One entry.
    AclDescription {
        principal: String,
        host: String,
        operation: i8,
        permission_type: i8,
    }
}
