//! AlterPartitionReassignments (key 45): with one broker, a partition can only be "moved" to where it is.
//!
//! Null replicas cancel a move; there is none.

use braid_protocol::ErrorCode;
use braid_protocol::api::alter_partition_reassignments::{
    AlterPartitionReassignments, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ReassignablePartition, ReassignablePartitionResponse, ReassignableTopicResponse,
};

use super::alter_configs::told;
use super::{Context, Handled, Handler, shown};
use crate::broker::Refused;

impl Handler for AlterPartitionReassignments {
    async fn handle(
        cx: Context,
        request: AlterPartitionReassignmentsRequest,
    ) -> Handled<AlterPartitionReassignmentsResponse> {
        let responses = request.topics.into_iter().map(|topic| {
            let one = |partition: &ReassignablePartition| {
                let (error_code, error_message) = told(reassign(&cx, &topic.name, partition));
                let partition_index = partition.partition_index;
                ReassignablePartitionResponse { partition_index, error_code, error_message }
            };
            let partitions = topic.partitions.iter().map(one).collect();
            ReassignableTopicResponse { name: topic.name, partitions }
        });
        Ok(AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            responses: responses.collect(),
            ..Default::default()
        })
    }
}

fn reassign(cx: &Context, topic: &str, partition: &ReassignablePartition) -> Result<(), Refused> {
    let (index, node) = (partition.partition_index, cx.broker.config.node_id);
    let known = cx.image.topic(topic).is_some_and(|known| (0..known.partitions).contains(&index));
    if !known {
        let why = format!("There is no partition {}-{index}.", shown(topic));
        return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why));
    }
    match partition.replicas.as_deref() {
        None => Err((
            ErrorCode::NO_REASSIGNMENT_IN_PROGRESS,
            ErrorCode::NO_REASSIGNMENT_IN_PROGRESS.message().to_owned(),
        )),
        Some([only]) if *only == node => Ok(()),
        Some(other) => {
            let why =
                format!("{topic}-{index} can only be on broker {node}, the only one, not on {other:?}.");
            Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why))
        }
    }
}
