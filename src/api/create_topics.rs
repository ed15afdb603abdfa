//! CreateTopics (key 19): create topics, each for itself: one that is refused does not stop the others.
//!
//! -1 partitions or replicas take the broker's default, in every version (kafkajs sends it in v3). v1 may
//! only validate. v5 answers with the configs, v7 with the id.

use std::collections::{BTreeMap, HashSet};

use braid_protocol::ErrorCode;
use braid_protocol::api::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopics, CreateTopicsRequest,
    CreateTopicsResponse,
};

use super::alter_configs::repeated;
use super::{Context, Handled, Handler};
use crate::broker::{NewTopic, Refused};
use crate::cluster::TopicImage;
use crate::config::describe_topic;

impl Handler for CreateTopics {
    async fn handle(cx: Context, request: CreateTopicsRequest) -> Handled<CreateTopicsResponse> {
        let twice = repeated(request.topics.iter().map(|topic| topic.name.clone()));
        let mut told = HashSet::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for wanted in request.topics {
            let name = wanted.name.clone();
            if !told.insert(name.clone()) {
                continue;
            }
            let created = match twice.contains(&name) {
                false => create(&cx, wanted, request.validate_only).await,
                true => Err((ErrorCode::INVALID_REQUEST, "Duplicate topic name.".to_owned())),
            };
            topics.push(match created {
                Ok(topic) => report(&cx, name, &topic),
                Err((error_code, why)) => {
                    CreatableTopicResult { name, error_code, error_message: Some(why), ..Default::default() }
                }
            });
        }
        Ok(CreateTopicsResponse { topics, ..Default::default() })
    }
}

async fn create(cx: &Context, wanted: CreatableTopic, validate_only: bool) -> Result<TopicImage, Refused> {
    let new = new_topic(cx.broker.config.node_id, wanted)?;
    if validate_only {
        return cx.broker.settle(&cx.image, &new);
    }
    cx.broker.create_topic(new).await.map(|topic| TopicImage::clone(&topic))
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
