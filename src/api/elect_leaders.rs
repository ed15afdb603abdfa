//! ElectLeaders (key 43): every partition is led by the only broker there is, so no election is needed.
//!
//! Of all partitions (null), those that need none are left out, as in Kafka.

use braid_protocol::ErrorCode;
use braid_protocol::api::elect_leaders::{
    ElectLeaders, ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};

use super::{Context, Handled, Handler, shown};

/// The type of an election that only the preferred replica may win; 1 is that of any other.
const PREFERRED: i8 = 0;

impl Handler for ElectLeaders {
    async fn handle(cx: Context, request: ElectLeadersRequest) -> Handled<ElectLeadersResponse> {
        if !matches!(request.election_type, PREFERRED | 1) {
            let error_code = ErrorCode::INVALID_REQUEST;
            return Ok(ElectLeadersResponse { error_code, ..Default::default() });
        }
        let results = request.topic_partitions.unwrap_or_default().into_iter().map(|topic| {
            let elect = |partition| elect(&cx, request.election_type, &topic.topic, partition);
            let partition_result = topic.partitions.iter().copied().map(elect).collect();
            ReplicaElectionResult { topic: topic.topic, partition_result }
        });
        Ok(ElectLeadersResponse { replica_election_results: results.collect(), ..Default::default() })
    }
}

fn elect(cx: &Context, election_type: i8, topic: &str, partition_id: i32) -> PartitionResult {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let offline = |id| cx.broker.topics.get_by_id(id).is_some_and(|open| open.is_offline(partition_id));
    let (error_code, why) = match cx.image.topic(topic) {
        None => (unknown, format!("No such topic as {}", shown(topic))),
        Some(known) if !(0..known.partitions).contains(&partition_id) => {
            (unknown, format!("No such partition as {topic}-{partition_id}"))
        }
        Some(known) if offline(known.id) => {
            let why = format!("{topic}-{partition_id} is offline, and there is no other replica");
            match election_type {
                PREFERRED => (ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE, why),
                _ => (ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE, why),
            }
        }
        Some(_) => (ErrorCode::ELECTION_NOT_NEEDED, ErrorCode::ELECTION_NOT_NEEDED.message().to_owned()),
    };
    PartitionResult { partition_id, error_code, error_message: Some(why) }
}
