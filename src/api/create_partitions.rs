//! CreatePartitions (key 37): give topics more partitions. A topic never shrinks. A request for too many is
//! refused as a whole.

use std::collections::HashSet;

use braid_protocol::ErrorCode;
use braid_protocol::api::create_partitions::{
    CreatePartitions, CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};

use super::alter_configs::repeated;
use super::create_topics::excessive;
use super::{Context, Handled, Handler};
use crate::broker::{PARTITIONS_PER_REQUEST_MAX, Refused};

impl Handler for CreatePartitions {
    async fn handle(cx: Context, request: CreatePartitionsRequest) -> Handled<CreatePartitionsResponse> {
        let twice = repeated(request.topics.iter().map(|topic| topic.name.clone()));
        let more = |wanted: &CreatePartitionsTopic| {
            let now = cx.image.topic(&wanted.name).map_or(0, |topic| topic.partitions);
            wanted.count.saturating_sub(now).max(1) as usize
        };
        let too_many = request.topics.iter().map(more).sum::<usize>() > PARTITIONS_PER_REQUEST_MAX;
        let mut told = HashSet::new();
        let mut results = Vec::with_capacity(request.topics.len());
        for wanted in request.topics {
            let name = wanted.name.clone();
            if !told.insert(name.clone()) {
                continue;
            }
            // which of two was meant nobody can say, and partitions cannot be taken back
            let grown = match twice.contains(&name) {
                _ if too_many => Err(excessive()),
                false => grow(&cx, wanted, request.validate_only).await,
                true => Err((ErrorCode::INVALID_REQUEST, "Duplicate topic name.".to_owned())),
            };
            let (error_code, error_message) = match grown {
                Ok(()) => (ErrorCode::NONE, None),
                Err((code, why)) => (code, Some(why)),
            };
            results.push(CreatePartitionsTopicResult { name, error_code, error_message });
        }
        Ok(CreatePartitionsResponse { results, ..Default::default() })
    }
}

async fn grow(cx: &Context, wanted: CreatePartitionsTopic, validate_only: bool) -> Result<(), Refused> {
    let topic = cx.broker.check_growth(&cx.image, &wanted.name, wanted.count)?;
    if let Some(assignments) = &wanted.assignments {
        let (more, node) = ((wanted.count - topic.partitions) as usize, cx.broker.config.node_id);
        if assignments.len() != more || assignments.iter().any(|a| a.broker_ids != [node]) {
            let why =
                format!("Each of the {more} new partitions must be assigned to broker {node}, the only one.");
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
        }
    }
    match validate_only {
        true => Ok(()),
        false => cx.broker.grow_topic(wanted.name, wanted.count, &cx.requester()).await,
    }
}
