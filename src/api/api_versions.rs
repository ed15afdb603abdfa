//! ApiVersions (key 18): what this broker speaks, read from the table.
//!
//! A version it does not know is answered in v0 with UNSUPPORTED_VERSION and the versions it does (KIP-511).
//! v3: the client says what software it is.

use braid_protocol::api::api_versions::{ApiVersion, ApiVersions, ApiVersionsRequest, ApiVersionsResponse};
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
        Ok(ApiVersionsResponse {
            api_keys: api_keys.collect(),
            finalized_features_epoch: 0,
            ..Default::default()
        })
    }
}

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
