//! AlterConfigs (key 33): replace all settings of topics and brokers. Superseded by IncrementalAlterConfigs.
//!
//! v1 is the same; v2 flexible.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One answer per resource, each with its own error.
    AlterConfigs = 33, 0..=2, flexible 2.., AlterConfigsRequest => AlterConfigsResponse
}

message! {
    /// Whose settings to replace.
    AlterConfigsRequest {
        resources: Vec<AlterConfigsResource>,
        validate_only: bool,
    }
    /// A resource and all that shall be set on it: what is not named goes back to its default.
    AlterConfigsResource {
        /// 2 topic, 4 broker, 8 logger, 16 client metrics, 32 group.
        resource_type: i8,
        resource_name: String,
        configs: Vec<AlterableConfig>,
    }
    /// One setting.
    AlterableConfig {
        name: String,
        value: Option<String>,
    }
}

message! {
    /// What became of each resource.
    AlterConfigsResponse {
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
