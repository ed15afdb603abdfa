//! DescribeConfigs (key 32): the settings of topics, brokers, groups and loggers.
//!
//! v1 sources and synonyms for "is it a default" (KIP-226); v3 types and documentation (KIP-569); v4
//! flexible.
//! v0 is gone from Kafka 4, but old clients still send it.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// One result per resource, each with its own error.
    DescribeConfigs = 32, 0..=4, flexible 4.., DescribeConfigsRequest => DescribeConfigsResponse
}

message! {
    /// Whose settings to tell.
    DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource>,
        include_synonyms: bool       [1..],
        include_documentation: bool  [3..],
    }
    /// One resource; null keys are all its settings.
    DescribeConfigsResource {
        /// 2 topic, 4 broker, 8 logger, 16 client metrics, 32 group.
        resource_type: i8,
        resource_name: String,
        configuration_keys: Option<Vec<String>>,
    }
}

message! {
    /// The settings of each resource.
    DescribeConfigsResponse {
        throttle_time_ms: i32,
        results: Vec<DescribeConfigsResult>,
    }
    /// The settings of one resource, or why they cannot be told.
    DescribeConfigsResult {
        error_code: ErrorCode,
        error_message: Option<String>,
        resource_type: i8,
        resource_name: String,
        configs: Vec<DescribeConfigsResourceResult>,
    }
    /// One setting.
    DescribeConfigsResourceResult {
        name: String,
        value: Option<String>,
        read_only: bool,
        /// 1 topic, 2 this broker, 3 all brokers, 4 file, 5 default, 6 logger, 7 client metrics, 8 group.
        config_source: i8                      [1..] = -1,
        is_default: bool                       [..=0],
        is_sensitive: bool,
        synonyms: Vec<DescribeConfigsSynonym>  [1..],
        config_type: i8                        [3..],
        documentation: Option<String>          [3..],
    }
    /// Another place where the setting is made, the strongest first.
    DescribeConfigsSynonym {
        name: String,
        value: Option<String>,
        source: i8,
    }
}
