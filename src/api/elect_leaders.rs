//! ElectLeaders (key 43): every partition is led by the only broker there is, so no election is needed.
//!
//! Of all partitions (null), those that need none are left out, as in Kafka.

use braid_protocol::ErrorCode;
use braid_protocol::api::elect_leaders::{
    ElectLeaders, ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};

use super::{Context, Handled, Handler};

impl Handler for ElectLeaders {
    async fn handle(cx: Context, request: ElectLeadersRequest) -> Handled<ElectLeadersResponse> {
        // 0 the preferred replica, 1 any.
        if !matches!(request.election_type, 0 | 1) {
            let error_code = ErrorCode::INVALID_REQUEST;
            return Ok(ElectLeadersResponse { error_code, ..Default::default() });
        }
        let results = request.topic_partitions.unwrap_or_default().into_iter().map(|topic| {
            let elect = |partition| elect(&cx, &topic.topic, partition);
            let partition_result = topic.partitions.iter().copied().map(elect).collect();
            ReplicaElectionResult { topic: topic.topic, partition_result }
        });
        Ok(ElectLeadersResponse { replica_election_results: results.collect(), ..Default::default() })
    }
}

fn elect(cx: &Context, topic: &str, partition_id: i32) -> PartitionResult {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let (error_code, why) = match cx.image.topic(topic) {
        None => (unknown, format!("No such topic as {topic}")),
        Some(known) if !(0..known.partitions).contains(&partition_id) => {
            (unknown, format!("No such partition as {topic}-{partition_id}"))
        }
        Some(_) => (ErrorCode::ELECTION_NOT_NEEDED, ErrorCode::ELECTION_NOT_NEEDED.message().to_owned()),
    };
    PartitionResult { partition_id, error_code, error_message: Some(why) }
}
