//! ConsumerGroupDescribe (key 69): KIP-848 groups, their members and what they own and shall own.
//!
//! v1 says which protocol a member speaks (KIP-1099). All versions flexible.

use crate::error::ErrorCode;
use crate::message::{api, message};
use crate::uuid::Uuid;

api! {
    /// A classic group is GROUP_ID_NOT_FOUND here.
    ConsumerGroupDescribe = 69, 0..=1, flexible 0..,
        ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse
}

message! {
    /// Which groups to describe.
    ConsumerGroupDescribeRequest {
        group_ids: Vec<String>,
        include_authorized_operations: bool,
    }
}

message! {
    /// The groups described.
    ConsumerGroupDescribeResponse {
        throttle_time_ms: i32,
        groups: Vec<DescribedGroup>,
    }
    /// One group.
    DescribedGroup {
        error_code: ErrorCode,
        error_message: Option<String>,
        group_id: String,
        group_state: String,
        group_epoch: i32,
        assignment_epoch: i32,
        assignor_name: String,
        members: Vec<Member>,
        authorized_operations: i32 = i32::MIN,
    }
    /// One member.
    Member {
        member_id: String,
        instance_id: Option<String>,
        rack_id: Option<String>,
        member_epoch: i32,
        client_id: String,
        client_host: String,
        subscribed_topic_names: Vec<String>,
        subscribed_topic_regex: Option<String>,
        assignment: Assignment,
        target_assignment: Assignment,
        /// 0 for the classic protocol, 1 for the new one.
        member_type: i8  [1..] = -1,
    }
    /// Partitions of many topics.
    Assignment {
        topic_partitions: Vec<TopicPartitions>,
    }
    /// Partitions of one topic.
    TopicPartitions {
        topic_id: Uuid,
        topic_name: String,
        partitions: Vec<i32>,
    }
}
