//! UpdateFeatures (key 57): every feature is at the highest level that this version of the broker has, and
//! does not move. To ask for just that level is no error.
//!
//! v0 and v1 answer for each feature, v2 for all together: none is updated if one cannot be.

use braid_protocol::ErrorCode;
use braid_protocol::api::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeatures, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

use super::alter_configs::told;
use super::{Context, Handled, Handler, api_versions};
use crate::broker::Refused;

/// The first version without an answer for each feature.
const TOGETHER_FROM: i16 = 2;

impl Handler for UpdateFeatures {
    async fn handle(cx: Context, request: UpdateFeaturesRequest) -> Handled<UpdateFeaturesResponse> {
        if cx.version >= TOGETHER_FROM {
            let (error_code, error_message) = told(request.feature_updates.iter().try_for_each(update));
            return Ok(UpdateFeaturesResponse { error_code, error_message, ..Default::default() });
        }
        let results = request.feature_updates.iter().map(|wanted| {
            let (error_code, error_message) = told(update(wanted));
            UpdatableFeatureResult { feature: wanted.feature.clone(), error_code, error_message }
        });
        Ok(UpdateFeaturesResponse { results: results.collect(), ..Default::default() })
    }
}

fn update(wanted: &FeatureUpdateKey) -> Result<(), Refused> {
    let (feature, level) = (&wanted.feature, wanted.max_version_level);
    let why = match api_versions::level(feature) {
        Some(fixed) if fixed == level => return Ok(()),
        Some(fixed) => format!("it is at level {fixed} and cannot be moved"),
        None => "this broker does not know it".to_owned(),
    };
    let why = format!("Invalid update version {level} for feature {feature}: {why}.");
    Err((ErrorCode::INVALID_UPDATE_VERSION, why))
}
