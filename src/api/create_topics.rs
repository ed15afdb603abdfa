//! CreateTopics (key 19): create topics, each for itself: one that is refused does not stop the others.
//!
//! -1 partitions or replicas take the broker's default, in every version (kafkajs sends it in v3). v1 may
//! only validate. v5 answers with the configs, v7 with the id. As in Kafka a request for too many partitions
//! is refused as a whole.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_protocol::api::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopics, CreateTopicsRequest,
    CreateTopicsResponse,
};

use super::alter_configs::repeated;
use super::{Context, Handled, Handler};
use crate::broker::{NewTopic, PARTITIONS_PER_REQUEST_MAX, Refused};
use crate::cluster::TopicImage;
use crate::config::describe_topic;

impl Handler for CreateTopics {
    async fn handle(cx: Context, request: CreateTopicsRequest) -> Handled<CreateTopicsResponse> {
        let twice = repeated(request.topics.iter().map(|topic| topic.name.clone()));
        let too_many = partitions(&request, cx.broker.config.num_partitions) > PARTITIONS_PER_REQUEST_MAX;
        let mut seen = HashSet::new();
        let (mut names, mut wanted) = (Vec::new(), Vec::new());
        for topic in request.topics {
            if !seen.insert(topic.name.clone()) {
                continue;
            }
            let name = topic.name.clone();
            wanted.push(match twice.contains(&name) {
                _ if too_many => Err(excessive()),
                false => new_topic(cx.broker.config.node_id, topic),
                true => Err((ErrorCode::INVALID_REQUEST, "Duplicate topic name.".to_owned())),
            });
            names.push(name);
        }
        let created = create(&cx, wanted, request.validate_only).await;
        let topics = names.into_iter().zip(created).map(|(name, created)| match created {
            Ok(topic) => report(&cx, name, &topic),
            Err((error_code, why)) => {
                CreatableTopicResult { name, error_code, error_message: Some(why), ..Default::default() }
            }
        });
        Ok(CreateTopicsResponse { topics: topics.collect(), ..Default::default() })
    }
}

/// How many partitions a request asks for; a topic counts as one at least.
fn partitions(request: &CreateTopicsRequest, default: i32) -> usize {
    let of = |topic: &CreatableTopic| match (topic.num_partitions, topic.assignments.len()) {
        (-1, 0) => default,
        (partitions, 0) => partitions,
        (_, assigned) => i32::try_from(assigned).unwrap_or(i32::MAX),
    };
    request.topics.iter().map(|topic| of(topic).max(1) as usize).fold(0, usize::saturating_add)
}

/// Why a request for more partitions than [`PARTITIONS_PER_REQUEST_MAX`] is refused.
pub(super) fn excessive() -> Refused {
    let why = format!(
        "Excessively large number of partitions per request: at most {PARTITIONS_PER_REQUEST_MAX} may be \
         created at a time."
    );
    (ErrorCode::POLICY_VIOLATION, why)
}

/// Creates what can be; the results are in the same order.
async fn create(
    cx: &Context,
    wanted: Vec<Result<NewTopic, Refused>>,
    validate_only: bool,
) -> Vec<Result<Arc<TopicImage>, Refused>> {
    if validate_only {
        let described = |new: NewTopic| cx.broker.with_defaults(&cx.image, &new).map(Arc::new);
        return wanted.into_iter().map(|wanted| wanted.and_then(described)).collect();
    }
    let mut new = Vec::with_capacity(wanted.len());
    let refused: Vec<Option<Refused>> =
        wanted.into_iter().map(|wanted| wanted.map(|topic| new.push(topic)).err()).collect();
    let mut created = cx.broker.create_topics(new, &cx.requester()).await.into_iter();
    let lost = || Err((ErrorCode::UNKNOWN_SERVER_ERROR, "there is no result".to_owned()));
    refused.into_iter().map(|why| why.map_or_else(|| created.next().unwrap_or_else(lost), Err)).collect()
}

fn new_topic(node: i32, wanted: CreatableTopic) -> Result<NewTopic, Refused> {
    let mut configs = BTreeMap::new();
    for config in wanted.configs {
        let null = || {
            (ErrorCode::INVALID_CONFIG, format!("Null value not supported for topic config: {}", config.name))
        };
        configs.insert(config.name.clone(), config.value.clone().ok_or_else(null)?);
    }
    let (mut partitions, mut replication_factor) = (wanted.num_partitions, wanted.replication_factor);
    if !wanted.assignments.is_empty() {
        if (partitions, replication_factor) != (-1, -1) {
            let why =
                "A manual partition assignment was given, so partitions and replication factor must be -1.";
            return Err((ErrorCode::INVALID_REQUEST, why.to_owned()));
        }
        let mut indexes: Vec<i32> = wanted.assignments.iter().map(|a| a.partition_index).collect();
        indexes.sort_unstable();
        let consecutive = indexes.iter().zip(0..).all(|(index, expected)| *index == expected);
        if !consecutive || wanted.assignments.iter().any(|a| a.broker_ids != [node]) {
            let why = format!(
                "Partitions must be 0 and up, each assigned to broker {node}, the only one there is."
            );
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
        }
        (partitions, replication_factor) = (indexes.len() as i32, 1);
    }
    Ok(NewTopic { name: wanted.name, partitions, replication_factor, configs })
}

fn report(cx: &Context, name: String, topic: &TopicImage) -> CreatableTopicResult {
    let configs = describe_topic(&cx.broker.live(), &topic.configs, None).into_iter().map(|entry| {
        CreatableTopicConfigs {
            name: entry.name.to_owned(),
            value: entry.value,
            read_only: entry.read_only,
            config_source: entry.source as i8,
            is_sensitive: entry.is_sensitive,
        }
    });
    CreatableTopicResult {
        name,
        topic_id: topic.id,
        num_partitions: topic.partitions,
        replication_factor: 1,
        configs: Some(configs.collect()),
        ..Default::default()
    }
}
