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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Data;
    use crate::data::offsets::Key;

    fn hex(text: &str) -> Bytes {
        let digits: Vec<u8> = text.bytes().filter(|c| *c != b' ').collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    #[track_caller]
    fn same<D: Data + PartialEq + std::fmt::Debug>(value: &D, golden: &str) {
        let golden = hex(golden);
        assert_eq!(value.write(0), golden);
        assert_eq!(&D::read(&golden).unwrap().1, value);
    }

    #[test]
    fn members_are_kept_as_kafka_keeps_them() {
        let key = ConsumerGroupMemberMetadataKey { group_id: "g".into(), member_id: "m".into() };
        assert_eq!(key.write(5), hex("0005 0001 67 0001 6d"));
        assert_eq!(Key::read(&key.write(5)), Ok(Key::ConsumerMember(key)));
        let value = ConsumerGroupMemberMetadataValue {
            client_id: "c".into(),
            client_host: "h".into(),
            subscribed_topic_names: vec!["t".into()],
            rebalance_timeout_ms: 5,
            ..Default::default()
        };
        same(&value, "0000 00 00 02 63 02 68 02 02 74 00 00000005 00 00");
        let classic = ClassicMemberMetadata {
            session_timeout_ms: 6,
            supported_protocols: vec![ClassicProtocol {
                name: "r".into(),
                metadata: Bytes::from_static(b"s"),
            }],
        };
        let value = ConsumerGroupMemberMetadataValue { classic_member_metadata: Some(classic), ..value };
        // a struct that may be null has a byte before it, also inside a tag
        let tag = "01 00 0c 01 00000006 02 02 72 02 73 00 00";
        same(&value, &format!("0000 00 00 02 63 02 68 02 02 74 00 00000005 00 {tag}"));
    }

    #[test]
    fn assignments_are_kept_as_kafka_keeps_them() {
        let id = "000102030405060708090a0b0c0d0e0f";
        let topic_id = Uuid(std::array::from_fn(|i| i as u8));
        let assigned =
            CurrentTopicPartitions { topic_id, partitions: vec![3], assignment_epochs: Some(vec![1]) };
        let value = ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: 2,
            previous_member_epoch: 1,
            state: 1,
            assigned_partitions: vec![assigned],
            partitions_pending_revocation: Vec::new(),
        };
        same(&value, &format!("0000 00000002 00000001 01 02 {id} 02 00000003 01 00 05 02 00000001 01 00"));
        let target = TargetTopicPartitions { topic_id, partitions: vec![3] };
        let value = ConsumerGroupTargetAssignmentMemberValue { topic_partitions: vec![target] };
        same(&value, &format!("0000 02 {id} 02 00000003 00 00"));
        same(
            &ConsumerGroupMetadataValue { epoch: 1, metadata_hash: 2 },
            "0000 00000001 01 00 08 0000000000000002",
        );
    }
}
