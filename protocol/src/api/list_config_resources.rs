//! ListConfigResources (key 74): which resources have settings.
//!
//! v0 knew client metrics only (KIP-714); v1 every type (KIP-1142).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Flexible from its first version.
    ListConfigResources = 74, 0..=1, flexible 0.., ListConfigResourcesRequest => ListConfigResourcesResponse
}

message! {
    /// Of which types; none for all.
    ListConfigResourcesRequest {
        /// 2 topic, 4 broker, 8 logger, 16 client metrics, 32 group.
        resource_types: Vec<i8>  [1..],
    }
}

message! {
    /// The resources.
    ListConfigResourcesResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        config_resources: Vec<ConfigResource>,
    }
    /// One resource.
    ConfigResource {
        resource_name: String,
        resource_type: i8  [1..] = 16,
    }
}
