//! The consumer protocol: what members of a classic group tell their leader, and what it tells them.
//!
//! Opaque to the broker, but tools that describe groups read it. Subscription v1 adds the partitions a member
//! owns (cooperative rebalancing, KIP-429), v2 the generation it got them in (KIP-792), v3 its rack
//! (KIP-881); Assignment has the same versions and no additions.

use bytes::Bytes;

use crate::data::data;
use crate::message::message;

data! {
    ConsumerProtocolSubscription = 0..=3, flexible i16::MAX;
    ConsumerProtocolAssignment = 0..=3, flexible i16::MAX;
}

message! {
    /// What a member wants to read: the `metadata` of JoinGroup.
    ConsumerProtocolSubscription {
        topics: Vec<String>,
        user_data: Option<Bytes>,
        owned_partitions: Vec<TopicPartition>  [1..],
        generation_id: i32                     [2..] = -1,
        rack_id: Option<String>                [3..],
    }
    /// What a member shall read: the `assignment` of SyncGroup.
    ConsumerProtocolAssignment {
        assigned_partitions: Vec<TopicPartition>,
        user_data: Option<Bytes>,
    }
    /// Partitions of one topic.
    TopicPartition {
        topic: String,
        partitions: Vec<i32>,
    }
}
