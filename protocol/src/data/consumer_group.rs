//! The records of `__consumer_offsets` that make up a KIP-848 group, as Kafka 4 writes them.
//!
//! The version of a key says what the record is; the values are all in version 0 so far, and flexible.
//! Not done: key 4, partition metadata, which Kafka 4.1 replaced by a hash (KIP-1101).

use bytes::Bytes;

use crate::data::data;
use crate::message::message;
use crate::uuid::Uuid;

data! {
    ConsumerGroupMetadataKey = 3..=3, flexible i16::MAX;
    ConsumerGroupMetadataValue = 0..=0, flexible 0;
    ConsumerGroupMemberMetadataKey = 5..=5, flexible i16::MAX;
    ConsumerGroupMemberMetadataValue = 0..=0, flexible 0;
    ConsumerGroupTargetAssignmentMetadataKey = 6..=6, flexible i16::MAX;
    ConsumerGroupTargetAssignmentMetadataValue = 0..=0, flexible 0;
    ConsumerGroupTargetAssignmentMemberKey = 7..=7, flexible i16::MAX;
    ConsumerGroupTargetAssignmentMemberValue = 0..=0, flexible 0;
    ConsumerGroupCurrentMemberAssignmentKey = 8..=8, flexible i16::MAX;
    ConsumerGroupCurrentMemberAssignmentValue = 0..=0, flexible 0;
    ConsumerGroupRegularExpressionKey = 16..=16, flexible i16::MAX;
    ConsumerGroupRegularExpressionValue = 0..=0, flexible 0;
}

message! {
    /// Which group it is.
    ConsumerGroupMetadataKey {
        group_id: String,
    }
    /// How often what the group reads has changed.
    ConsumerGroupMetadataValue {
        epoch: i32,
        /// Of all topics that the group reads; who wrote it chooses how.
        metadata_hash: i64  [tag 0, 0..],
    }
    /// Which member it is.
    ConsumerGroupMemberMetadataKey {
        group_id: String,
        member_id: String,
    }
    /// What a member wants.
    ConsumerGroupMemberMetadataValue {
        instance_id: Option<String>,
        rack_id: Option<String>,
        client_id: String,
        client_host: String,
        subscribed_topic_names: Vec<String>,
        subscribed_topic_regex: Option<String>,
        rebalance_timeout_ms: i32 = -1,
        server_assignor: Option<String>,
        classic_member_metadata: Option<ClassicMemberMetadata>  [tag 0, 0..],
    }
    /// What a member that speaks the classic protocol said in JoinGroup.
    ClassicMemberMetadata {
        session_timeout_ms: i32,
        supported_protocols: Vec<ClassicProtocol>,
    }
    /// A way of assigning that the member knows, and what it says under it.
    ClassicProtocol {
        name: String,
        metadata: Bytes,
    }
    /// Which group it is.
    ConsumerGroupTargetAssignmentMetadataKey {
        group_id: String,
    }
    /// The group epoch that the target assignment was made for, and when, in milliseconds.
    ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch: i32,
        assignment_timestamp: i64  [tag 0, 0..],
    }
    /// Which member it is.
    ConsumerGroupTargetAssignmentMemberKey {
        group_id: String,
        member_id: String,
    }
    /// What a member shall own in the end.
    ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: Vec<TargetTopicPartitions>,
    }
    /// Partitions of one topic.
    TargetTopicPartitions {
        topic_id: Uuid,
        partitions: Vec<i32>,
    }
    /// Which member it is.
    ConsumerGroupCurrentMemberAssignmentKey {
        group_id: String,
        member_id: String,
    }
    /// What a member owns, and where it is on its way to its target.
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: i32,
        previous_member_epoch: i32,
        /// 1 stable, 2 must give up partitions, 3 waits for partitions of others.
        state: i8,
        assigned_partitions: Vec<CurrentTopicPartitions>,
        partitions_pending_revocation: Vec<CurrentTopicPartitions>,
    }
    /// Partitions of one topic, and since which epoch the member has each (KIP-1251).
    CurrentTopicPartitions {
        topic_id: Uuid,
        partitions: Vec<i32>,
        assignment_epochs: Option<Vec<i32>>  [tag 0, 0..],
    }
    /// Whose regular expression it is, and the expression.
    ConsumerGroupRegularExpressionKey {
        group_id: String,
        regular_expression: String,
    }
    /// Which topics it stands for.
    ConsumerGroupRegularExpressionValue {
        topics: Vec<String>,
        version: i64,
        timestamp: i64,
    }
}
