//! ApiVersions (key 18): which APIs the broker serves, in which versions.
//!
//! v1 throttle time; v3 flexible, the client's name and version, features (KIP-511, KIP-584); v4 features may
//! start at version 0. The response header has no tags in any version, see [`crate::frame`].

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// The first question of a client; one in an unknown version is answered with UNSUPPORTED_VERSION in v0.
    ApiVersions = 18, 0..=4, flexible 3.., ApiVersionsRequest => ApiVersionsResponse
}

message! {
    /// Who asks.
    ApiVersionsRequest {
        client_software_name: String     [3..],
        client_software_version: String  [3..],
    }
}

message! {
    /// What the broker speaks.
    ApiVersionsResponse {
        error_code: ErrorCode,
        api_keys: Vec<ApiVersion>,
        throttle_time_ms: i32                         [1..],
        supported_features: Vec<SupportedFeatureKey>  [tag 0, 3..],
        finalized_features_epoch: i64                 [tag 1, 3..] = -1,
        finalized_features: Vec<FinalizedFeatureKey>  [tag 2, 3..],
        zk_migration_ready: bool                      [tag 3, 3..],
    }
    /// One API and its versions.
    ApiVersion {
        api_key: i16,
        min_version: i16,
        max_version: i16,
    }
    /// A feature and the levels the broker can do.
    SupportedFeatureKey {
        name: String,
        min_version: i16,
        max_version: i16,
    }
    /// A feature and the levels the cluster has agreed on.
    FinalizedFeatureKey {
        name: String,
        max_version_level: i16,
        min_version_level: i16,
    }
}
