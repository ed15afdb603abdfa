//! UpdateFeatures (key 57): move the cluster's features to other levels (KIP-584).
//!
//! v1 safe and unsafe downgrades, validate only; v2 answers for all features together.

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Flexible from its first version.
    UpdateFeatures = 57, 0..=2, flexible 0.., UpdateFeaturesRequest => UpdateFeaturesResponse
}

message! {
    /// Which features to move.
    UpdateFeaturesRequest {
        timeout_ms: i32 = 60_000,
        feature_updates: Vec<FeatureUpdateKey>,
        validate_only: bool  [1..],
    }
    /// One feature.
    FeatureUpdateKey {
        feature: String,
        /// Below 1 the feature is switched off.
        max_version_level: i16,
        allow_downgrade: bool  [..=0],
        /// 1 upgrade, 2 safe downgrade, 3 unsafe downgrade.
        upgrade_type: i8       [1..] = 1,
    }
}

message! {
    /// What became of it.
    UpdateFeaturesResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
        results: Vec<UpdatableFeatureResult>  [..=1],
    }
    /// One feature.
    UpdatableFeatureResult {
        feature: String,
        error_code: ErrorCode,
        error_message: Option<String>,
    }
}
