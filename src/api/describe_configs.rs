//! DescribeConfigs (key 32): the settings of topics and of this broker, where each comes from and what it
//! means.
//!
//! v1 adds synonyms, v3 types and documentation. Resource types: 2 topic, 4 broker.
//! Not done: other resource types; they are answered with INVALID_REQUEST.

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_configs::{
    DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::{Context, Handled, Handler};
use crate::broker::Refused;
use crate::config::{ConfigEntry, ConfigSource, describe_all_brokers, describe_broker, describe_topic};

/// Resource type: a topic.
pub(super) const TOPIC: i8 = 2;
/// Resource type: a broker, or with an empty name all of them.
pub(super) const BROKER: i8 = 4;

impl Handler for DescribeConfigs {
    async fn handle(cx: Context, request: DescribeConfigsRequest) -> Handled<DescribeConfigsResponse> {
        let (synonyms, words) = (request.include_synonyms, request.include_documentation);
        let results = request.resources.into_iter().map(|resource| {
            let entries = entries(&cx, &resource);
            let DescribeConfigsResource { resource_type, resource_name, .. } = resource;
            match entries {
                Ok(entries) => DescribeConfigsResult {
                    resource_type,
                    resource_name,
                    configs: entries.into_iter().map(|e| report(e, synonyms, words)).collect(),
                    ..Default::default()
                },
                Err((error_code, why)) => DescribeConfigsResult {
                    error_code,
                    error_message: Some(why),
                    resource_type,
                    resource_name,
                    configs: Vec::new(),
                },
            }
        });
        Ok(DescribeConfigsResponse { results: results.collect(), ..Default::default() })
    }
}

fn entries(cx: &Context, resource: &DescribeConfigsResource) -> Result<Vec<ConfigEntry>, Refused> {
    let (config, name) = (&*cx.broker.live(), resource.resource_name.as_str());
    let keys = resource.configuration_keys.as_deref();
    match resource.resource_type {
        TOPIC => {
            crate::broker::check_topic_name(name).map_err(|why| (ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
            let unknown = || {
                (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic.".to_owned())
            };
            Ok(describe_topic(config, &cx.image.topic(name).ok_or_else(unknown)?.configs, keys))
        }
        BROKER if name.is_empty() => Ok(describe_all_brokers(config, keys)),
        BROKER if name == config.node_id.to_string() => Ok(describe_broker(config, keys)),
        BROKER => {
            let why = format!(
                "Unexpected broker id, expected {} or empty string, but received {name}",
                config.node_id
            );
            Err((ErrorCode::INVALID_REQUEST, why))
        }
        other => Err((ErrorCode::INVALID_REQUEST, format!("Unsupported resource type: {other}"))),
    }
}

fn report(entry: ConfigEntry, synonyms: bool, words: bool) -> DescribeConfigsResourceResult {
    let all = entry
        .synonyms
        .into_iter()
        .filter(|_| synonyms)
        .map(|(name, value, source)| DescribeConfigsSynonym { name, value, source: source as i8 });
    DescribeConfigsResourceResult {
        name: entry.name.to_owned(),
        value: if entry.is_sensitive { None } else { entry.value },
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_default: entry.source == ConfigSource::Default,
        is_sensitive: entry.is_sensitive,
        synonyms: all.collect(),
        config_type: entry.config_type,
        documentation: words.then(|| entry.documentation.to_owned()),
    }
}
