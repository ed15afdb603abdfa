//! DescribeConfigs (key 32): the settings of topics, groups and this broker, where each comes from and what
//! it means; and the levels of this broker's log (KIP-412).
//!
//! v1 adds synonyms, v3 types and documentation. Resource types: 2 topic, 4 broker, 8 logger, 32 group.
//! Not done: client metrics; they are answered with INVALID_REQUEST.

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_configs::{
    DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::{Context, Handled, Handler, distinct};
use crate::broker::Refused;
use crate::config::{
    ConfigEntry, ConfigSource, describe_all_brokers, describe_broker, describe_group, describe_topic,
};

/// Resource type: a topic.
pub(super) const TOPIC: i8 = 2;
/// Resource type: a broker, or with an empty name all of them.
pub(super) const BROKER: i8 = 4;
/// Resource type: the levels of a broker's log.
pub(super) const LOGGER: i8 = 8;
/// Resource type: a group.
pub(super) const GROUP: i8 = 32;
/// The source of a logger's level.
const LOGGER_SOURCE: i8 = 6;

/// What one setting takes in an answer, and its synonyms and its documentation if they are asked for; bytes.
const SETTING_BYTES: (usize, usize, usize) = (160, 250, 160);

impl Handler for DescribeConfigs {
    fn answer_bytes(_: &Context, request: &DescribeConfigsRequest) -> usize {
        let (alone, synonyms, words) = SETTING_BYTES;
        let each = alone
            + if request.include_synonyms { synonyms } else { 0 }
            + if request.include_documentation { words } else { 0 };
        let settings = |resource: &DescribeConfigsResource| {
            // Somewhat more than there are.
            let all = match resource.resource_type {
                TOPIC => 40,
                BROKER => 200,
                LOGGER => 50,
                GROUP => 20,
                _ => 1,
            };
            keys(resource).map_or(all, |keys| keys.len().min(all))
        };
        request.resources.iter().map(settings).sum::<usize>() * each
    }

    async fn handle(cx: Context, request: DescribeConfigsRequest) -> Handled<DescribeConfigsResponse> {
        let (synonyms, words) = (request.include_synonyms, request.include_documentation);
        let results = distinct(request.resources, |one| (&one.resource_name, one.resource_type.into()));
        let results = results.into_iter().map(|resource| {
            let entries = match resource.resource_type {
                LOGGER => loggers(&cx, &resource),
                _ => entries(&cx, &resource)
                    .map(|all| all.into_iter().map(|e| report(e, synonyms, words)).collect()),
            };
            let DescribeConfigsResource { resource_type, resource_name, .. } = resource;
            match entries {
                Ok(configs) => {
                    DescribeConfigsResult { resource_type, resource_name, configs, ..Default::default() }
                }
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
    let keys = keys(resource);
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
        GROUP if name.is_empty() => {
            Err((ErrorCode::INVALID_REQUEST, "Group name must not be empty".to_owned()))
        }
        GROUP => {
            let overrides = cx.image.group_configs(name).cloned().unwrap_or_default();
            Ok(describe_group(config, &overrides, keys))
        }
        other => Err((ErrorCode::INVALID_REQUEST, format!("Unsupported resource type: {other}"))),
    }
}

/// The settings asked for; all of them if none is named, be it null or an empty list, as in Kafka.
fn keys(resource: &DescribeConfigsResource) -> Option<&[String]> {
    resource.configuration_keys.as_deref().filter(|keys| !keys.is_empty())
}

/// Whether the loggers of the broker of this name are this broker's.
pub(super) fn check_logger_of(cx: &Context, name: &str) -> Result<(), Refused> {
    let own = cx.broker.config.node_id.to_string();
    if name == own {
        return Ok(());
    }
    Err((ErrorCode::INVALID_REQUEST, format!("Unexpected broker id, expected {own} but received {name}")))
}

/// The levels of this broker's log.
fn loggers(
    cx: &Context,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    check_logger_of(cx, &resource.resource_name)?;
    let keys = keys(resource);
    let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key == name));
    let levels = cx.broker.loggers.levels().into_iter().filter(|(name, _)| wanted(name));
    let report = |(name, level): (&str, &str)| DescribeConfigsResourceResult {
        name: name.to_owned(),
        value: Some(level.to_owned()),
        config_source: LOGGER_SOURCE,
        ..Default::default()
    };
    Ok(levels.map(report).collect())
}

fn report(entry: ConfigEntry, synonyms: bool, words: bool) -> DescribeConfigsResourceResult {
    let all = entry
        .synonyms
        .into_iter()
        .filter(|_| synonyms)
        .map(|(name, value, source)| DescribeConfigsSynonym { name, value, source: source as i8 });
    DescribeConfigsResourceResult {
        name: entry.name,
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
