//! DescribeCluster (key 60): the cluster's id, its controller and its brokers. v1: or its controllers.

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_cluster::{
    DescribeCluster, DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::{CLUSTER_OPERATIONS, Context, Handled, Handler};

/// The endpoint type of brokers, the only ones a client can reach here.
const BROKERS: i8 = 1;

impl Handler for DescribeCluster {
    async fn handle(cx: Context, request: DescribeClusterRequest) -> Handled<DescribeClusterResponse> {
        let endpoint_type = request.endpoint_type;
        if endpoint_type != BROKERS {
            return Ok(DescribeClusterResponse {
                error_code: ErrorCode::MISMATCHED_ENDPOINT_TYPE,
                error_message: Some("This listener is for brokers, not for controllers.".to_owned()),
                endpoint_type,
                ..Default::default()
            });
        }
        let (host, port) = cx.broker.endpoint(&cx.peer);
        let (broker_id, rack) = (cx.broker.config.node_id, cx.broker.config.broker_rack.clone());
        let operations = request.include_cluster_authorized_operations;
        Ok(DescribeClusterResponse {
            endpoint_type,
            cluster_id: cx.image.cluster_id.clone(),
            controller_id: broker_id,
            brokers: vec![DescribeClusterBroker { broker_id, host, port, rack, is_fenced: false }],
            cluster_authorized_operations: if operations { CLUSTER_OPERATIONS } else { i32::MIN },
            ..Default::default()
        })
    }
}
