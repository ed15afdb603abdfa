//! AlterConfigs (key 33): replace all configs of topics and of the broker. What is not named goes back to its
//! default; old clients only know this way.
//!
//! Resource types: 2 topic, 4 broker (with an empty name: all brokers), 32 group. Each resource stands for
//! itself. Levels of loggers can only be altered one by one, by IncrementalAlterConfigs, as in Kafka.
//! Not done: client metrics; they are answered with INVALID_REQUEST.

use std::collections::HashSet;
use std::hash::Hash;

use braid_protocol::ErrorCode;
use braid_protocol::api::alter_configs::{
    AlterConfigs, AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse, AlterableConfig,
};

use super::describe_configs::{BROKER, GROUP, LOGGER, TOPIC, check_logger_of};
use super::{Context, Handled, Handler};
use crate::broker::{Alter, Refused};
use crate::config::{Alteration, Configs};
use crate::logging::{self, Loggers};

impl Handler for AlterConfigs {
    async fn handle(cx: Context, request: AlterConfigsRequest) -> Handled<AlterConfigsResponse> {
        let twice = repeated(request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())));
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in request.resources {
            let (resource_type, resource_name) = (resource.resource_type, resource.resource_name);
            let id = (resource_type, resource_name.clone());
            let done = match wanted(resource.configs) {
                _ if twice.contains(&id) => Err(once()),
                Ok(all) => alter(&cx, id, Alter::All(all), request.validate_only).await,
                Err(why) => Err((ErrorCode::INVALID_REQUEST, why)),
            };
            let (error_code, error_message) = told(done);
            responses.push(AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type,
                resource_name,
            });
        }
        Ok(AlterConfigsResponse { responses, ..Default::default() })
    }
}

fn wanted(configs: Vec<AlterableConfig>) -> Result<Configs, String> {
    let mut wanted = Configs::new();
    for AlterableConfig { name, value } in configs {
        let value = value.ok_or_else(|| format!("Null value not supported for: {name}"))?;
        if wanted.insert(name.clone(), value).is_some() {
            return Err(format!("The request names {name} twice."));
        }
    }
    Ok(wanted)
}

/// Alters one resource, or only looks whether it could be.
pub(super) async fn alter(
    cx: &Context,
    (resource_type, name): (i8, String),
    alter: Alter,
    validate_only: bool,
) -> Result<(), Refused> {
    match (resource_type, validate_only) {
        (TOPIC, true) => cx.broker.altered_topic(&cx.image, &name, alter).map(drop),
        (TOPIC, false) => cx.broker.alter_topic_configs(name, alter, &cx.requester()).await,
        (BROKER, true) => cx.broker.altered_broker(&cx.image, &name, alter).map(drop),
        (BROKER, false) => cx.broker.alter_broker_configs(name, alter, &cx.requester()).await,
        (GROUP, true) => cx.broker.altered_group(&cx.image, &name, alter).map(drop),
        (GROUP, false) => cx.broker.alter_group_configs(name, alter, &cx.requester()).await,
        (LOGGER, only_check) if let Alter::Some(some) = alter => {
            check_logger_of(cx, &name)?;
            alter_loggers(&cx.broker.loggers, some, only_check)
        }
        (other, _) => Err((ErrorCode::INVALID_REQUEST, format!("Unsupported resource type: {other}"))),
    }
}

/// Changes levels of the broker's log (KIP-412).
fn alter_loggers(
    loggers: &Loggers,
    wanted: Vec<(String, Alteration)>,
    only_check: bool,
) -> Result<(), Refused> {
    let one = |(name, alteration)| match alteration {
        Alteration::Set(level) => Ok((name, Some(level))),
        Alteration::Delete => Ok((name, None)),
        Alteration::Append(_) => Err("APPEND"),
        Alteration::Subtract(_) => Err("SUBTRACT"),
    };
    let wanted: Result<Vec<_>, _> = wanted.into_iter().map(one).collect();
    let wanted = wanted.map_err(|verb| {
        let why = format!("{verb} operation is not allowed for the BROKER_LOGGER resource");
        (ErrorCode::INVALID_REQUEST, why)
    })?;
    loggers.alter(&wanted, only_check).map_err(|refused| {
        let code = match refused {
            logging::Refused::Unknown(_) | logging::Refused::Level(..) => ErrorCode::INVALID_CONFIG,
            logging::Refused::Root => ErrorCode::INVALID_REQUEST,
            logging::Refused::Log(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
        };
        (code, refused.to_string())
    })
}

/// What a request names more than once.
pub(super) fn repeated<T: Eq + Hash + Clone>(all: impl Iterator<Item = T>) -> HashSet<T> {
    let mut seen = HashSet::new();
    all.filter(|one| !seen.insert(one.clone())).collect()
}

/// The refusal of a resource that a request names more than once.
pub(super) fn once() -> Refused {
    (ErrorCode::INVALID_REQUEST, "Each resource must appear at most once.".to_owned())
}

/// The longest words of a refusal: they may repeat what the client sent.
const WORDS_MAX: usize = 1000;

/// The code and the words of a result.
pub(super) fn told(done: Result<(), Refused>) -> (ErrorCode, Option<String>) {
    match done {
        Ok(()) => (ErrorCode::NONE, None),
        Err((code, why)) => (code, Some(why.chars().take(WORDS_MAX).collect())),
    }
}
