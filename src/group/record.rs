//! A group coordinator's records, and how they look in `__consumer_offsets`: byte for byte as Kafka writes
//! them. Pure.

use braid_protocol::Malformed;
use braid_protocol::data::Data;
use braid_protocol::data::offsets::{
    GroupMetadataKey, GroupMetadataValue, Key, OffsetCommitKey, OffsetCommitValue,
};
use bytes::Bytes;

use super::consumer::Change;
use super::{TxnMarker, TxnProducer};

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
/// The last classic version: every tool that reads this topic knows it.
const VALUE: i16 = 3;
/// The only version that holds when an offset expires.
const VALUE_THAT_EXPIRES: i16 = 1;

/// One change of durable state.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// How far a group has read a partition; `None` forgets it.
    Offset {
        /// The group's id.
        group: String,
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// What was committed.
        value: Option<OffsetCommitValue>,
    },
    /// How far a group has read a partition, if the producer's transaction commits.
    TxnOffset {
        /// Whose transaction.
        producer: TxnProducer,
        /// The group's id.
        group: String,
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// What was committed.
        value: OffsetCommitValue,
    },
    /// The transaction of a producer has ended.
    Marker(TxnMarker),
    /// A classic group that became stable or empty; `None` forgets it.
    Group {
        /// Its id.
        group: String,
        /// Its members and what they were assigned.
        value: Option<GroupMetadataValue>,
    },
    /// A step of a KIP-848 group.
    Consumer {
        /// Its id.
        group: String,
        /// What has changed.
        change: Change,
    },
}

impl Record {
    /// Key and value for the log; no value is a tombstone. `None` for a marker, which is a control batch.
    pub fn write(&self) -> Option<(Bytes, Option<Bytes>)> {
        Some(match self {
            Record::Offset { group, topic, partition, value } => {
                write_offset(group, topic, *partition, value.as_ref())
            }
            Record::TxnOffset { group, topic, partition, value, .. } => {
                write_offset(group, topic, *partition, Some(value))
            }
            Record::Marker(_) => return None,
            Record::Group { group, value } => {
                let key = GroupMetadataKey { group: group.clone() };
                (key.write(GROUP_KEY), value.as_ref().map(|v| v.write(VALUE)))
            }
            Record::Consumer { group, change } => change.write(group),
        })
    }

    /// The producer within whose transaction it is.
    pub fn producer(&self) -> Option<TxnProducer> {
        match self {
            Record::TxnOffset { producer, .. } => Some(*producer),
            _ => None,
        }
    }

    /// The record as it is meant in a batch of this producer's transaction. Only offsets that are committed
    /// wait for its end; a tombstone counts at once, as in Kafka.
    pub(super) fn within(self, producer: TxnProducer) -> Record {
        match self {
            Record::Offset { group, topic, partition, value: Some(value) } => {
                Record::TxnOffset { producer, group, topic, partition, value }
            }
            other => other,
        }
    }

    /// Reads what [`Record::write`] or Kafka wrote. `Ok(None)` is a record of another kind (share groups),
    /// to be left alone.
    pub fn read(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Record>, Malformed> {
        let record = match Key::read(key)? {
            Key::Offset(OffsetCommitKey { group, topic, partition }) => {
                let value = value.map(OffsetCommitValue::read).transpose()?.map(|(_, v)| v);
                Record::Offset { group, topic, partition, value }
            }
            Key::Group(GroupMetadataKey { group }) => {
                let value = value.map(GroupMetadataValue::read).transpose()?.map(|(_, v)| v);
                Record::Group { group, value }
            }
            other => match Change::read(other, value)? {
                Some((group, change)) => Record::Consumer { group, change },
                None => return Ok(None),
            },
        };
        Ok(Some(record))
    }
}

fn write_offset(
    group: &str,
    topic: &str,
    partition: i32,
    value: Option<&OffsetCommitValue>,
) -> (Bytes, Option<Bytes>) {
    let key = OffsetCommitKey { group: group.to_owned(), topic: topic.to_owned(), partition };
    let version = |v: &OffsetCommitValue| match v.expire_timestamp {
        -1 => VALUE,
        _ => VALUE_THAT_EXPIRES,
    };
    (key.write(OFFSET_KEY), value.map(|v| v.write(version(v))))
}

#[cfg(test)]
mod tests {
    use braid_protocol::data::offsets::MemberMetadata;

    use super::*;

    fn there_and_back(record: &Record) -> Record {
        let (key, value) = record.write().unwrap();
        Record::read(&key, value.as_ref()).unwrap().unwrap()
    }

    fn group(members: Vec<MemberMetadata>) -> Record {
        let value = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 3,
            protocol: Some("range".into()),
            leader: Some("a-1".into()),
            current_state_timestamp: 99,
            members,
        };
        Record::Group { group: "g".into(), value: Some(value) }
    }

    fn offset(value: Option<OffsetCommitValue>) -> Record {
        Record::Offset { group: "g".into(), topic: "t".into(), partition: 7, value }
    }

    #[test]
    fn every_record_comes_back_as_it_was() {
        let member = MemberMetadata {
            member_id: "a-1".into(),
            group_instance_id: Some("a".into()),
            rebalance_timeout: 5,
            session_timeout: 6,
            subscription: Bytes::from_static(b"wants"),
            assignment: Bytes::from_static(b"has"),
            ..Default::default()
        };
        let committed =
            OffsetCommitValue { offset: 5, leader_epoch: 2, commit_timestamp: 8, ..Default::default() };
        let expires = OffsetCommitValue { expire_timestamp: 1_000, leader_epoch: -1, ..committed.clone() };
        let dead = Record::Group { group: "g".into(), value: None };
        for record in
            [group(vec![member]), dead, offset(Some(committed)), offset(Some(expires)), offset(None)]
        {
            assert_eq!(there_and_back(&record), record);
        }
    }

    #[test]
    fn an_offset_looks_as_kafka_writes_it() {
        let value = OffsetCommitValue {
            offset: 5,
            leader_epoch: 2,
            metadata: "m".into(),
            commit_timestamp: 8,
            ..Default::default()
        };
        let (key, value) = offset(Some(value)).write().unwrap();
        assert_eq!(key.as_ref(), [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 7]);
        let expected = [0, 3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 8];
        assert_eq!(value.unwrap().as_ref(), expected);
    }

    #[test]
    fn records_of_other_kinds_are_left_alone_and_broken_ones_refused() {
        assert_eq!(Record::read(&Bytes::from_static(&[0, 4, 0, 1, b'g']), None), Ok(None));
        assert_eq!(Record::read(&Bytes::from_static(&[0, 17, 9]), Some(&Bytes::new())), Ok(None));
        assert!(Record::read(&Bytes::from_static(&[0]), None).is_err());
        let (key, value) = group(Vec::new()).write().unwrap();
        let value = value.unwrap();
        for end in 0..value.len() {
            assert!(Record::read(&key, Some(&value.slice(..end))).is_err(), "cut at {end}");
        }
    }
}
