//! The records of `__consumer_offsets`, as Kafka writes them: committed offsets and classic groups.
//!
//! The version of the key says what the record is: 0 and 1 an offset, 2 a group. A record without a value
//! takes the entry away. Flexible from value v4 on.
//! The records of KIP-848 groups (keys 3 to 8 and 16) are in [`crate::data::consumer_group`].
//! Not done: the records of share groups and streams groups.

use bytes::Bytes;

use crate::data::consumer_group::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupMemberMetadataKey, ConsumerGroupMetadataKey,
    ConsumerGroupRegularExpressionKey, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMetadataKey,
};
use crate::data::{Data, data, split};
use crate::message::message;
use crate::uuid::Uuid;
use crate::wire::Malformed;

data! {
    OffsetCommitKey = 0..=1, flexible i16::MAX;
    OffsetCommitValue = 0..=4, flexible 4;
    GroupMetadataKey = 2..=2, flexible i16::MAX;
    GroupMetadataValue = 0..=4, flexible 4;
}

/// The key of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// How far a group has read one partition.
    Offset(OffsetCommitKey),
    /// A classic group.
    Group(GroupMetadataKey),
    /// A KIP-848 group: its epoch.
    Consumers(ConsumerGroupMetadataKey),
    /// What one of its members wants.
    ConsumerMember(ConsumerGroupMemberMetadataKey),
    /// The epoch of its target assignment.
    ConsumerTarget(ConsumerGroupTargetAssignmentMetadataKey),
    /// What one of its members shall own.
    ConsumerTargetMember(ConsumerGroupTargetAssignmentMemberKey),
    /// What one of its members owns.
    ConsumerCurrent(ConsumerGroupCurrentMemberAssignmentKey),
    /// What one of its regular expressions stands for.
    ConsumerRegex(ConsumerGroupRegularExpressionKey),
    /// Something else, to be left alone.
    Other(
        /// The version of the key.
        i16,
    ),
}

impl Key {
    /// Read whatever key this is.
    pub fn read(bytes: &Bytes) -> Result<Key, Malformed> {
        let (number, rest) = split(bytes)?;
        match number {
            0..=1 => OffsetCommitKey::read_body(number, &rest).map(Key::Offset),
            2 => GroupMetadataKey::read_body(number, &rest).map(Key::Group),
            3 => ConsumerGroupMetadataKey::read_body(number, &rest).map(Key::Consumers),
            5 => ConsumerGroupMemberMetadataKey::read_body(number, &rest).map(Key::ConsumerMember),
            6 => ConsumerGroupTargetAssignmentMetadataKey::read_body(number, &rest).map(Key::ConsumerTarget),
            7 => ConsumerGroupTargetAssignmentMemberKey::read_body(number, &rest)
                .map(Key::ConsumerTargetMember),
            8 => ConsumerGroupCurrentMemberAssignmentKey::read_body(number, &rest).map(Key::ConsumerCurrent),
            16 => ConsumerGroupRegularExpressionKey::read_body(number, &rest).map(Key::ConsumerRegex),
            _ => Ok(Key::Other(number)),
        }
    }
}

message! {
    /// Whose offset it is. Both versions look the same.
    OffsetCommitKey {
        group: String,
        topic: String,
        partition: i32,
    }
    /// A committed offset; timestamps in milliseconds.
    OffsetCommitValue {
        offset: i64,
        leader_epoch: i32      [3..] = -1,
        metadata: String,
        commit_timestamp: i64,
        /// -1 unless the client asked for a retention time of its own.
        expire_timestamp: i64  [1..=1] = -1,
        topic_id: Uuid         [tag 0, 4..],
    }
    /// Which group it is.
    GroupMetadataKey {
        group: String,
    }
    /// A classic group as it was when it last became stable or empty.
    GroupMetadataValue {
        protocol_type: String,
        generation: i32,
        protocol: Option<String>,
        leader: Option<String>,
        /// When it got into its state, in milliseconds.
        current_state_timestamp: i64  [2..] = -1,
        members: Vec<MemberMetadata>,
    }
    /// A member; timeouts in milliseconds.
    MemberMetadata {
        member_id: String,
        group_instance_id: Option<String>  [3..],
        client_id: String,
        client_host: String,
        rebalance_timeout: i32             [1..] = -1,
        session_timeout: i32,
        subscription: Bytes,
        assignment: Bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Bytes {
        let digits: Vec<u8> = text.bytes().filter(|c| *c != b' ').collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    #[track_caller]
    fn same<D: Data + PartialEq + std::fmt::Debug>(number: i16, value: &D, golden: &str) {
        let golden = hex(golden);
        assert_eq!(value.write(number), golden);
        assert_eq!(D::read(&golden).as_ref(), Ok(&(number, D::read(&golden).unwrap().1)));
        assert_eq!(&D::read(&golden).unwrap().1, value);
    }

    #[test]
    fn offsets_are_kept_as_kafka_keeps_them() {
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 4 };
        same(1, &key, "0001 0001 67 0001 74 00000004");
        assert_eq!(Key::read(&key.write(1)), Ok(Key::Offset(key)));

        let value = OffsetCommitValue {
            offset: 9,
            leader_epoch: 2,
            metadata: "m".into(),
            commit_timestamp: 5,
            ..Default::default()
        };
        same(3, &value, "0003 0000000000000009 00000002 0001 6d 0000000000000005");
        let id = "000102030405060708090a0b0c0d0e0f";
        let value = OffsetCommitValue { topic_id: Uuid(std::array::from_fn(|i| i as u8)), ..value };
        let v4 = format!("0004 0000000000000009 00000002 02 6d 0000000000000005 01 00 10 {id}");
        same(4, &value, &v4);
        let old = OffsetCommitValue { leader_epoch: -1, expire_timestamp: 6, topic_id: Uuid::ZERO, ..value };
        same(1, &old, "0001 0000000000000009 0001 6d 0000000000000005 0000000000000006");
    }

    #[test]
    fn groups_are_kept_as_kafka_keeps_them() {
        let key = GroupMetadataKey { group: "g".into() };
        same(2, &key, "0002 0001 67");
        assert_eq!(Key::read(&key.write(2)), Ok(Key::Group(key)));

        let member = MemberMetadata {
            member_id: "m".into(),
            group_instance_id: None,
            client_id: "c".into(),
            client_host: "h".into(),
            rebalance_timeout: 3,
            session_timeout: 4,
            subscription: Bytes::from_static(b"s"),
            assignment: Bytes::new(),
        };
        let value = GroupMetadataValue {
            protocol_type: "p".into(),
            generation: 1,
            protocol: None,
            leader: Some("m".into()),
            current_state_timestamp: 2,
            members: vec![member],
        };
        let v3 = "0003 0001 70 00000001 ffff 0001 6d 0000000000000002 00000001 0001 6d ffff 0001 63 0001 68 \
                  00000003 00000004 00000001 73 00000000";
        same(3, &value, v3);
        let v4 = "0004 02 70 00000001 00 02 6d 0000000000000002 02 02 6d 00 02 63 02 68 00000003 00000004 \
                  02 73 01 00 00";
        same(4, &value, v4);
    }

    #[test]
    fn what_is_newer_or_nothing_is_told_apart() {
        assert_eq!(Key::read(&hex("0004 0001 67")), Ok(Key::Other(4)));
        assert_eq!(Key::read(&hex("ffff")), Ok(Key::Other(-1)));
        assert!(Key::read(&hex("00")).is_err());
        assert!(Key::read(&hex("0001 0001 67")).is_err());
        assert!(GroupMetadataKey::read(&hex("0001 0001 67")).is_err());
        // A later version may only append.
        let newer =
            OffsetCommitValue::read(&hex("0009 0000000000000009 00000002 01 0000000000000005 00 ffff"));
        let value =
            OffsetCommitValue { offset: 9, leader_epoch: 2, commit_timestamp: 5, ..Default::default() };
        assert_eq!(newer, Ok((9, value)));
    }
}
