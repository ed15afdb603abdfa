//! DescribeTopicPartitions (key 75): topics and their partitions, a page at a time (KIP-966).
//!
//! Topics come in the order of their names. A page ends after `response_partition_limit` partitions, at most
//! `max.request.partition.size.limit`; its cursor says where the next begins.

use std::collections::BTreeSet;

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_topic_partitions::{
    Cursor, DescribeTopicPartitions, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};

use super::{Context, Handled, Handler, Leader, TOPIC_OPERATIONS, is_internal};

impl Handler for DescribeTopicPartitions {
    async fn handle(
        cx: Context,
        request: DescribeTopicPartitionsRequest,
    ) -> Handled<DescribeTopicPartitionsResponse> {
        let (after, first) =
            request.cursor.map_or((String::new(), 0), |c| (c.topic_name, c.partition_index.max(0)));
        let named = !request.topics.is_empty();
        let names: BTreeSet<String> = match named {
            true => request.topics.into_iter().map(|t| t.name).filter(|name| *name >= after).collect(),
            false => cx.image.topics().map(|t| t.name.to_string()).filter(|name| *name >= after).collect(),
        };
        let limit = cx.broker.config.max_request_partition_size_limit;
        let mut left = request.response_partition_limit.clamp(1, limit);
        let (mut topics, mut next_cursor) = (Vec::new(), None);
        for name in names {
            if left == 0 {
                next_cursor = Some(Cursor { topic_name: name, partition_index: 0 });
                break;
            }
            let begin = if name == after { first } else { 0 };
            let topic = describe(&cx, &name, begin, left);
            let told = topic.partitions.len() as i32;
            let end = begin + told;
            left -= told;
            topics.push(topic);
            if cx.image.topic(&name).is_some_and(|t| end < t.partitions) {
                next_cursor = Some(Cursor { topic_name: name, partition_index: end });
                break;
            }
        }
        Ok(DescribeTopicPartitionsResponse { topics, next_cursor, ..Default::default() })
    }
}

fn describe(cx: &Context, name: &str, begin: i32, limit: i32) -> DescribeTopicPartitionsResponseTopic {
    let Some(topic) = cx.image.topic(name) else {
        let error_code = match crate::broker::check_topic_name(name) {
            Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        };
        return DescribeTopicPartitionsResponseTopic {
            error_code,
            name: Some(name.to_owned()),
            ..Default::default()
        };
    };
    let node = cx.broker.config.node_id;
    let end = topic.partitions.min(begin.saturating_add(limit));
    let open = cx.broker.topics.get_by_id(topic.id);
    let partitions = (begin..end).map(|partition_index| {
        let Leader { error_code, leader_id, leader_epoch, offline_replicas } =
            Leader::of(open.as_deref(), partition_index, node);
        DescribeTopicPartitionsResponsePartition {
            error_code,
            partition_index,
            leader_id,
            leader_epoch,
            replica_nodes: vec![node],
            isr_nodes: vec![node],
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas,
        }
    });
    DescribeTopicPartitionsResponseTopic {
        name: Some(name.to_owned()),
        topic_id: topic.id,
        is_internal: is_internal(name),
        partitions: partitions.collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}
