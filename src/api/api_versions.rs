//! ApiVersions (key 18): what this broker speaks, read from the table.
//!
//! A version it does not know is answered in v0 with UNSUPPORTED_VERSION and the versions it does (KIP-511).
//! v3: the client says what software it is; the broker, what features it has.

use std::ops::RangeInclusive;

use braid_protocol::api::api_versions::{
    ApiVersion, ApiVersions, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey,
    SupportedFeatureKey,
};
use braid_protocol::{Api, ErrorCode};

use super::{Context, Handled, Handler, Outgoing, TABLE, outgoing};

impl Handler for ApiVersions {
    async fn handle(cx: Context, request: ApiVersionsRequest) -> Handled<ApiVersionsResponse> {
        let software = [&request.client_software_name, &request.client_software_version];
        if cx.version >= 3 && !software.iter().all(|text| is_plain(text)) {
            let error_code = ErrorCode::INVALID_REQUEST;
            return Ok(ApiVersionsResponse { error_code, ..Default::default() });
        }
        if let [name, version] = software
            && cx.version >= 3
        {
            cx.peer.counted.lock().software(name, version);
        }
        let api_keys = TABLE.iter().map(|row| ApiVersion {
            api_key: row.key,
            min_version: *row.advertises.start(),
            max_version: *row.advertises.end(),
        });
        let from_zero = cx.version >= LEVEL_ZERO_FROM;
        let features = FEATURES.iter().filter(|f| from_zero || *f.levels.start() > 0);
        let supported = features.map(|feature| SupportedFeatureKey {
            name: feature.name.to_owned(),
            min_version: *feature.levels.start(),
            max_version: *feature.levels.end(),
        });
        let finalized = FEATURES.iter().map(|feature| FinalizedFeatureKey {
            name: feature.name.to_owned(),
            max_version_level: *feature.levels.end(),
            min_version_level: *feature.levels.end(),
        });
        Ok(ApiVersionsResponse {
            api_keys: api_keys.collect(),
            supported_features: supported.collect(),
            finalized_features_epoch: 0,
            finalized_features: finalized.collect(),
            ..Default::default()
        })
    }
}

/// Something that a cluster can do more or less of; here always as much as it can.
struct Feature {
    name: &'static str,
    levels: RangeInclusive<i16>,
}

/// Clients look here before they use a protocol: level 1 of the first are KIP-848 groups, level 2 of the
/// second transactions that bump the epoch at every end (KIP-890).
const FEATURES: &[Feature] = &[
    Feature { name: "group.version", levels: 0..=1 },
    Feature { name: "transaction.version", levels: 0..=2 },
];

/// The level that a feature is at, if it is known.
pub(super) fn level(feature: &str) -> Option<i16> {
    FEATURES.iter().find(|known| known.name == feature).map(|known| *known.levels.end())
}

/// Up to v3 a client may stumble over a feature that starts at level 0 (KIP-1022).
const LEVEL_ZERO_FROM: i16 = 4;

/// The answer to a version from the future.
pub(super) fn unsupported(correlation_id: i32) -> Handled<Outgoing> {
    let own = ApiVersion {
        api_key: ApiVersions::KEY,
        min_version: *ApiVersions::VERSIONS.start(),
        max_version: *ApiVersions::VERSIONS.end(),
    };
    let error_code = ErrorCode::UNSUPPORTED_VERSION;
    let response = ApiVersionsResponse { error_code, api_keys: vec![own], ..Default::default() };
    outgoing::<ApiVersions>(0, correlation_id, &response)
}

/// Letters and digits, with dots and dashes inside.
fn is_plain(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.chars().all(inside) && edge(text.chars().next()) && edge(text.chars().next_back())
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn software_names_are_letters_digits_dots_and_dashes() {
        for good in ["librdkafka", "2.0.2", "a", "apache-kafka-java"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "a_b", "é"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
