//! IncrementalAlterConfigs (key 44): change some settings of topics and brokers (KIP-339).
//!
//! v1 flexible.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One answer per resource, each with its own error.
    IncrementalAlterConfigs = 44, 0..=1, flexible 1..,
    IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse
}

message! {
    /// Whose settings to change.
    IncrementalAlterConfigsRequest {
        resources: Vec<AlterConfigsResource>,
        validate_only: bool,
    }
    /// A resource and what shall change on it.
    AlterConfigsResource {
        /// 2 topic, 4 broker, 8 logger, 16 client metrics, 32 group.
        resource_type: i8,
        resource_name: String,
        configs: Vec<AlterableConfig>,
    }
    /// One change of a setting.
    AlterableConfig {
        name: String,
        /// 0 set, 1 delete, 2 append to a list, 3 subtract from a list.
        config_operation: i8,
        value: Option<String>,
    }
}

message! {
    /// What became of each resource.
    IncrementalAlterConfigsResponse {
        throttle_time_ms: i32,
        responses: Vec<AlterConfigsResourceResponse>,
    }
    /// One resource.
    AlterConfigsResourceResponse {
        error_code: ErrorCode,
        error_message: Option<String>,
        resource_type: i8,
        resource_name: String,
    }
}
