//! ConsumerGroupHeartbeat (key 68): everything that a member of a KIP-848 group ever says to its coordinator.
//!
//! v1 the member makes its own id (KIP-1082), and may subscribe by regular expression. All versions flexible.

use crate::error::ErrorCode;
use crate::message::{api, message};
use crate::uuid::Uuid;

api! {
    /// Joining, leaving, subscribing, giving partitions up and getting new ones.
    ConsumerGroupHeartbeat = 68, 0..=1, flexible 0..,
        ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse
}

message! {
    /// What has changed since the last heartbeat; null and -1 say: nothing.
    ConsumerGroupHeartbeatRequest {
        group_id: String,
        member_id: String,
        /// 0 to join, -1 to leave, -2 for a static member that will be back.
        member_epoch: i32,
        instance_id: Option<String>,
        rack_id: Option<String>,
        rebalance_timeout_ms: i32 = -1,
        subscribed_topic_names: Option<Vec<String>>,
        subscribed_topic_regex: Option<String>  [1..],
        server_assignor: Option<String>,
        /// What the member owns.
        topic_partitions: Option<Vec<TopicPartitions>>,
    }
    /// Partitions of one topic.
    TopicPartitions {
        topic_id: Uuid,
        partitions: Vec<i32>,
    }
}

message! {
    /// What the member shall do.
    ConsumerGroupHeartbeatResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
        member_id: Option<String>,
        member_epoch: i32,
        heartbeat_interval_ms: i32,
        assignment: Option<Assignment>,
    }
    /// All that the member may own from now on.
    Assignment {
        topic_partitions: Vec<TopicPartitions>,
    }
}
