//! How the changes of a KIP-848 group look in `__consumer_offsets`: byte for byte as Kafka writes them. Pure.
//!
//! Not done: the hash of the topics is our own, so a group that Kafka wrote gets one new epoch when it moves
//! here, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use braid_protocol::Malformed;
use braid_protocol::data::Data;
use braid_protocol::data::consumer_group::*;
use braid_protocol::data::offsets::Key;
use bytes::Bytes;

use super::plan::{Change, Classic, Current, Epoch, Member, Partition, Resolved, State, grouped};

const EPOCH: i16 = 3;
const MEMBER: i16 = 5;
const TARGET_EPOCH: i16 = 6;
const TARGET: i16 = 7;
const CURRENT: i16 = 8;
const REGEX: i16 = 16;
/// The only version of values there is.
const VALUE: i16 = 0;

impl Change {
    /// Key and value for the log; no value is a tombstone.
    pub(in crate::group) fn write(&self, group: &str) -> (Bytes, Option<Bytes>) {
        let group_id = group.to_owned();
        match self {
            Change::Epoch(value) => {
                let key = ConsumerGroupMetadataKey { group_id };
                let value =
                    value.map(|v| ConsumerGroupMetadataValue { epoch: v.epoch, metadata_hash: v.hash });
                (key.write(EPOCH), value.map(|v| v.write(VALUE)))
            }
            Change::Member(id, value) => {
                let key = ConsumerGroupMemberMetadataKey { group_id, member_id: id.clone() };
                (key.write(MEMBER), value.as_deref().map(|m| written_member(m).write(VALUE)))
            }
            Change::TargetEpoch(value) => {
                let key = ConsumerGroupTargetAssignmentMetadataKey { group_id };
                let value = value.map(|assignment_epoch| ConsumerGroupTargetAssignmentMetadataValue {
                    assignment_epoch,
                    ..Default::default()
                });
                (key.write(TARGET_EPOCH), value.map(|v| v.write(VALUE)))
            }
            Change::Target(id, value) => {
                let key = ConsumerGroupTargetAssignmentMemberKey { group_id, member_id: id.clone() };
                let value = value.as_ref().map(|target| {
                    let one = |(topic_id, partitions)| TargetTopicPartitions { topic_id, partitions };
                    let topics = grouped(target.iter().copied()).into_iter().map(one);
                    ConsumerGroupTargetAssignmentMemberValue { topic_partitions: topics.collect() }
                });
                (key.write(TARGET), value.map(|v| v.write(VALUE)))
            }
            Change::Current(id, value) => {
                let key = ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id: id.clone() };
                let value = value.as_ref().map(|current| ConsumerGroupCurrentMemberAssignmentValue {
                    member_epoch: current.epoch,
                    previous_member_epoch: current.previous,
                    state: current.state as i8,
                    assigned_partitions: written_owned(&current.assigned),
                    partitions_pending_revocation: written_owned(&current.revoking),
                });
                (key.write(CURRENT), value.map(|v| v.write(VALUE)))
            }
            Change::Regex(regex, value) => {
                let key = ConsumerGroupRegularExpressionKey { group_id, regular_expression: regex.clone() };
                let value = value.as_ref().map(|found| ConsumerGroupRegularExpressionValue {
                    topics: found.topics.clone(),
                    version: 0, // of Kafka's metadata image
                    timestamp: found.at,
                });
                (key.write(REGEX), value.map(|v| v.write(VALUE)))
            }
        }
    }

    /// Reads what [`Change::write`] or Kafka wrote: the group, and the change; nothing for other keys.
    pub(in crate::group) fn read(
        key: Key,
        value: Option<&Bytes>,
    ) -> Result<Option<(String, Change)>, Malformed> {
        let read = match key {
            Key::Consumers(key) => {
                let value = parsed::<ConsumerGroupMetadataValue>(value)?;
                let value = value.map(|v| Epoch { epoch: v.epoch, hash: v.metadata_hash });
                (key.group_id, Change::Epoch(value))
            }
            Key::ConsumerMember(key) => {
                let value = parsed(value)?.map(|v| Arc::new(read_member(v)));
                (key.group_id, Change::Member(key.member_id, value))
            }
            Key::ConsumerTarget(key) => {
                let value = parsed::<ConsumerGroupTargetAssignmentMetadataValue>(value)?;
                (key.group_id, Change::TargetEpoch(value.map(|v| v.assignment_epoch)))
            }
            Key::ConsumerTargetMember(key) => {
                let value = parsed::<ConsumerGroupTargetAssignmentMemberValue>(value)?.map(|v| {
                    let topics = v.topic_partitions.into_iter();
                    let all = topics.flat_map(|t| t.partitions.into_iter().map(move |p| (t.topic_id, p)));
                    Arc::new(all.collect())
                });
                (key.group_id, Change::Target(key.member_id, value))
            }
            Key::ConsumerCurrent(key) => {
                let value = parsed::<ConsumerGroupCurrentMemberAssignmentValue>(value)?.map(|v| {
                    Arc::new(Current {
                        epoch: v.member_epoch,
                        previous: v.previous_member_epoch,
                        state: match v.state {
                            2 => State::Unrevoked,
                            3 => State::Unreleased,
                            _ => State::Stable,
                        },
                        assigned: read_owned(v.assigned_partitions, v.member_epoch),
                        revoking: read_owned(v.partitions_pending_revocation, v.member_epoch),
                    })
                });
                (key.group_id, Change::Current(key.member_id, value))
            }
            Key::ConsumerRegex(key) => {
                let value = parsed::<ConsumerGroupRegularExpressionValue>(value)?;
                let value = value.map(|v| Arc::new(Resolved { topics: v.topics, at: v.timestamp }));
                (key.group_id, Change::Regex(key.regular_expression, value))
            }
            Key::Offset(_) | Key::Group(_) | Key::Other(_) => return Ok(None),
        };
        Ok(Some(read))
    }
}

fn parsed<D: Data>(value: Option<&Bytes>) -> Result<Option<D>, Malformed> {
    value.map(|v| D::read(v).map(|(_, it)| it)).transpose()
}

fn written_member(member: &Member) -> ConsumerGroupMemberMetadataValue {
    let classic = member.classic.as_ref().map(|classic| ClassicMemberMetadata {
        session_timeout_ms: classic.session_timeout_ms,
        supported_protocols: classic
            .protocols
            .iter()
            .map(|(name, metadata)| ClassicProtocol { name: name.clone(), metadata: metadata.clone() })
            .collect(),
    });
    ConsumerGroupMemberMetadataValue {
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.names.clone(),
        subscribed_topic_regex: member.regex.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: member.assignor.clone(),
        classic_member_metadata: classic,
    }
}

/// Bytes are copied: at start-up they are slices of the log's file.
fn read_member(value: ConsumerGroupMemberMetadataValue) -> Member {
    let classic = value.classic_member_metadata.map(|classic| Classic {
        session_timeout_ms: classic.session_timeout_ms,
        protocols: classic
            .supported_protocols
            .into_iter()
            .map(|p| (p.name, Bytes::copy_from_slice(&p.metadata)))
            .collect(),
    });
    Member {
        instance_id: value.instance_id,
        rack_id: value.rack_id,
        client_id: value.client_id,
        client_host: value.client_host,
        names: value.subscribed_topic_names,
        regex: value.subscribed_topic_regex.filter(|r| !r.is_empty()),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        assignor: value.server_assignor,
        classic,
    }
}

fn written_owned(owned: &BTreeMap<Partition, i32>) -> Vec<CurrentTopicPartitions> {
    let epoch = |topic, partition: &i32| owned.get(&(topic, *partition)).copied().unwrap_or_default();
    let one = |(topic_id, partitions): (_, Vec<i32>)| CurrentTopicPartitions {
        assignment_epochs: Some(partitions.iter().map(|p| epoch(topic_id, p)).collect()),
        topic_id,
        partitions,
    };
    grouped(owned.keys().copied()).into_iter().map(one).collect()
}

/// Before KIP-1251 there were no epochs: then the member's own counts.
fn read_owned(owned: Vec<CurrentTopicPartitions>, epoch: i32) -> BTreeMap<Partition, i32> {
    let topic = |t: CurrentTopicPartitions| {
        let epochs = t.assignment_epochs.unwrap_or_default().into_iter().chain(std::iter::repeat(epoch));
        t.partitions.into_iter().zip(epochs).map(move |(p, epoch)| ((t.topic_id, p), epoch))
    };
    owned.into_iter().flat_map(topic).collect()
}
