//! UpdateFeatures (key 57): the levels of this broker's features are those of its version, and do not move.
//!
//! v0 and v1 answer for each feature, v2 for all together.

use braid_protocol::ErrorCode;
use braid_protocol::api::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeatures, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

use super::{Context, Handled, Handler};

/// The first version without an answer for each feature.
const TOGETHER_FROM: i16 = 2;

impl Handler for UpdateFeatures {
    async fn handle(cx: Context, request: UpdateFeaturesRequest) -> Handled<UpdateFeaturesResponse> {
        let refused = |update: &FeatureUpdateKey| {
            format!(
                "Invalid update version {} for feature {}: broker {} does not support changing it.",
                update.max_version_level, update.feature, cx.broker.config.node_id
            )
        };
        let error_code = ErrorCode::INVALID_UPDATE_VERSION;
        if cx.version >= TOGETHER_FROM {
            let Some(first) = request.feature_updates.first() else {
                return Ok(UpdateFeaturesResponse::default());
            };
            let error_message = Some(refused(first));
            return Ok(UpdateFeaturesResponse { error_code, error_message, ..Default::default() });
        }
        let results = request.feature_updates.iter().map(|update| {
            let error_message = Some(refused(update));
            UpdatableFeatureResult { feature: update.feature.clone(), error_code, error_message }
        });
        Ok(UpdateFeaturesResponse { results: results.collect(), ..Default::default() })
    }
}
