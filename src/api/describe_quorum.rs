//! DescribeQuorum (key 55): who keeps the metadata. This broker alone does, so that it is the leader, the one
//! voter, and always caught up. The metadata log has the name of Kafka's.

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_quorum::{
    DescribeQuorum, DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionResponse,
    ReplicaState, TopicResponse,
};

use super::{Context, Handled, Handler};
use crate::topic::LogDir;

/// The name of the metadata log, for clients.
const METADATA: &str = "__cluster_metadata";

impl Handler for DescribeQuorum {
    async fn handle(cx: Context, request: DescribeQuorumRequest) -> Handled<DescribeQuorumResponse> {
        let topics = request.topics.into_iter().map(|topic| {
            let asked = |index| describe(&cx, &topic.topic_name, index);
            let partitions = topic.partitions.iter().map(|p| asked(p.partition_index)).collect();
            TopicResponse { topic_name: topic.topic_name, partitions }
        });
        let topics = topics.collect();
        let (host, port) = cx.broker.endpoint(&cx.peer);
        let listener =
            Listener { name: cx.peer.listener.clone(), host, port: u16::try_from(port).unwrap_or_default() };
        let nodes = vec![Node { node_id: cx.broker.config.node_id, listeners: vec![listener] }];
        Ok(DescribeQuorumResponse { topics, nodes, ..Default::default() })
    }
}

fn describe(cx: &Context, topic: &str, partition_index: i32) -> PartitionResponse {
    if topic != METADATA || partition_index != 0 {
        return PartitionResponse {
            partition_index,
            error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            error_message: Some(format!("The quorum keeps {METADATA}-0 and nothing else.")),
            ..Default::default()
        };
    }
    let (leader_id, end) = (cx.broker.config.node_id, cx.broker.cluster.end_offset());
    let voter = ReplicaState {
        replica_id: leader_id,
        replica_directory_id: cx.broker.dirs().first().and_then(LogDir::directory_id).unwrap_or_default(),
        log_end_offset: end,
        last_fetch_timestamp: cx.now_ms,
        last_caught_up_timestamp: cx.now_ms,
    };
    PartitionResponse {
        partition_index,
        leader_id,
        leader_epoch: cx.broker.cluster.leader_epoch(),
        high_watermark: end,
        current_voters: vec![voter],
        ..Default::default()
    }
}
