//! DescribeCluster (key 60): brokers, controller and cluster id.
//!
//! v1 may ask a controller (KIP-919); v2 fenced brokers (KIP-1073).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Flexible from its first version.
    DescribeCluster = 60, 0..=2, flexible 0.., DescribeClusterRequest => DescribeClusterResponse
}

message! {
    /// What to tell about the cluster.
    DescribeClusterRequest {
        include_cluster_authorized_operations: bool,
        /// 1 brokers, 2 controllers.
        endpoint_type: i8             [1..] = 1,
        include_fenced_brokers: bool  [2..],
    }
}

message! {
    /// The cluster as this broker sees it.
    DescribeClusterResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
        endpoint_type: i8  [1..] = 1,
        cluster_id: String,
        controller_id: i32 = -1,
        brokers: Vec<DescribeClusterBroker>,
        /// A bit per operation; the default means that nobody asked.
        cluster_authorized_operations: i32 = i32::MIN,
    }
    /// Where a broker is reached.
    DescribeClusterBroker {
        broker_id: i32,
        host: String,
        port: i32,
        rack: Option<String>,
        is_fenced: bool  [2..],
    }
}
