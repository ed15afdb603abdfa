//! Metadata (key 3): which brokers, topics and partitions there are, and who leads them.
//!
//! A topic that does not exist is created if both the client and `auto.create.topics.enable` allow it, and
//! the answer names it at once, where Kafka says UNKNOWN_TOPIC_OR_PARTITION first and lets the client ask
//! again. v0: an empty array means all topics. v12: topics by id.

use std::collections::HashSet;
use std::sync::Arc;

use braid_protocol::api::metadata::{
    Metadata, MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use braid_protocol::{ErrorCode, Uuid};

use super::{CLUSTER_OPERATIONS, Context, Handled, Handler, Leader, TOPIC_OPERATIONS, distinct, is_internal};
use crate::broker::NewTopic;
use crate::cluster::TopicImage;

/// The first version in which a topic may be named by its id.
const IDS_FROM: i16 = 12;

/// What the answer takes for one partition, and for one topic, in bytes.
const PARTITION_BYTES: usize = 160;
const TOPIC_BYTES: usize = 200;
/// Up to this many names are looked up to estimate the answer.
const LOOKED_UP: usize = 100;

impl Handler for Metadata {
    fn answer_bytes(cx: &Context, request: &MetadataRequest) -> usize {
        let all = cx.image.partition_count() * PARTITION_BYTES + cx.image.topic_count() * TOPIC_BYTES;
        match request.topics.as_deref() {
            Some(topics) if topics.len() <= LOOKED_UP && (cx.version > 0 || !topics.is_empty()) => {
                let known = |topic: &MetadataRequestTopic| match &topic.name {
                    Some(name) => cx.image.topic(name),
                    None => cx.image.topic_by_id(topic.topic_id),
                };
                let partitions = topics.iter().map(|t| known(t).map_or(1, |known| known.partitions.max(0)));
                let bytes = partitions.map(|count| count as usize * PARTITION_BYTES + TOPIC_BYTES).sum();
                all.min(bytes)
            }
            _ => all,
        }
    }

    async fn handle(cx: Context, request: MetadataRequest) -> Handled<MetadataResponse> {
        let asked = match request.topics {
            Some(topics) if cx.version > 0 || !topics.is_empty() => Some(topics),
            _ => None,
        };
        let node = cx.broker.config.node_id;
        let mut topics = match asked {
            None => cx.image.topics().map(|topic| describe(&cx, topic)).collect(),
            Some(wanted) => {
                let wanted = once(wanted);
                let mut topics = Vec::with_capacity(wanted.len());
                for topic in wanted {
                    topics.push(find(&cx, topic, request.allow_auto_topic_creation).await);
                }
                topics
            }
        };
        if request.include_topic_authorized_operations {
            topics.iter_mut().for_each(|topic| topic.topic_authorized_operations = TOPIC_OPERATIONS);
        }
        let (host, port) = cx.broker.endpoint(&cx.peer);
        let rack = cx.broker.config.broker_rack.clone();
        let cluster = request.include_cluster_authorized_operations;
        Ok(MetadataResponse {
            brokers: vec![MetadataResponseBroker { node_id: node, host, port, rack }],
            cluster_id: Some(cx.image.cluster_id.clone()),
            controller_id: node,
            topics,
            cluster_authorized_operations: if cluster { CLUSTER_OPERATIONS } else { i32::MIN },
            ..Default::default()
        })
    }
}

/// Each topic once, as in Kafka: the answer for one may be large.
fn once(wanted: Vec<MetadataRequestTopic>) -> Vec<MetadataRequestTopic> {
    if wanted.len() < 2 {
        return wanted;
    }
    let mut ids = HashSet::new();
    let (by_id, by_name): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|topic| topic.name.is_none());
    let mut topics = distinct(by_name, |topic| (topic.name.as_deref().unwrap_or_default(), 0));
    topics.extend(by_id.into_iter().filter(|topic| ids.insert(topic.topic_id)));
    topics
}

async fn find(cx: &Context, wanted: MetadataRequestTopic, may_create: bool) -> MetadataResponseTopic {
    let MetadataRequestTopic { topic_id, name } = wanted;
    let by_id = topic_id != Uuid::ZERO;
    let refuse =
        |error_code, name| MetadataResponseTopic { error_code, topic_id, name, ..Default::default() };
    if cx.version < IDS_FROM && (by_id || name.is_none()) {
        return refuse(ErrorCode::INVALID_REQUEST, Some(name.unwrap_or_default()));
    }
    let name = match (by_id, name) {
        (false, Some(name)) => name,
        _ => match cx.image.topic_by_id(topic_id) {
            Some(topic) => return describe(cx, topic),
            None => return refuse(ErrorCode::UNKNOWN_TOPIC_ID, None),
        },
    };
    let topic = match cx.image.topic(&name) {
        Some(topic) => Ok(topic.clone()),
        None if may_create && cx.broker.config.auto_create_topics_enable => create(cx, &name).await,
        None => match crate::broker::check_topic_name(&name) {
            Ok(()) => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            Err(_) => Err(ErrorCode::INVALID_TOPIC_EXCEPTION),
        },
    };
    match topic {
        Ok(topic) => describe(cx, &topic),
        Err(code) => refuse(code, Some(name)),
    }
}

async fn create(cx: &Context, name: &str) -> Result<Arc<TopicImage>, ErrorCode> {
    let new =
        NewTopic { name: name.to_owned(), partitions: -1, replication_factor: -1, ..Default::default() };
    match cx.broker.create_topic(new, &cx.requester()).await {
        Ok(topic) => Ok(topic),
        // Somebody else was faster.
        Err((ErrorCode::TOPIC_ALREADY_EXISTS, _)) => {
            cx.broker.cluster.image().topic(name).cloned().ok_or(ErrorCode::LEADER_NOT_AVAILABLE)
        }
        Err((code, _)) => Err(code),
    }
}

fn describe(cx: &Context, topic: &TopicImage) -> MetadataResponseTopic {
    let node = cx.broker.config.node_id;
    let open = cx.broker.topics.get_by_id(topic.id);
    let partitions = (0..topic.partitions).map(|partition_index| {
        let Leader { error_code, leader_id, leader_epoch, offline_replicas } =
            Leader::of(open.as_deref(), partition_index, node);
        MetadataResponsePartition {
            error_code,
            partition_index,
            leader_id,
            leader_epoch,
            replica_nodes: vec![node],
            isr_nodes: vec![node],
            offline_replicas,
        }
    });
    MetadataResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: is_internal(&topic.name),
        partitions: partitions.collect(),
        ..Default::default()
    }
}
