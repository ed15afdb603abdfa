//! Bytes written by hand from the protocol's description: the hot messages, and what the independent codec
//! lacks because Kafka 4 dropped it.

use std::fmt::Debug;

use bytes::Bytes;

use crate::api::{
    api_versions::*, create_topics::*, delete_topics::*, describe_configs::*, fetch, heartbeat::*,
    join_group::*, list_offsets::*, metadata::*, offset_commit::*, offset_fetch::*, produce, sync_group::*,
};
use crate::error::ErrorCode;
use crate::message::Api;
use crate::uuid::Uuid;
use crate::wire::{Version, Wire};

/// Words of hex digits, and text in quotes.
fn parse(golden: &str) -> Bytes {
    let mut bytes = Vec::new();
    for word in golden.split_whitespace() {
        match word.strip_prefix('\'') {
            Some(text) => bytes.extend(text.trim_end_matches('\'').bytes()),
            None => bytes.extend(
                (0..word.len()).step_by(2).map(|i| u8::from_str_radix(&word[i..i + 2], 16).expect("hex")),
            ),
        }
    }
    bytes.into()
}

/// `value` is written as `golden`, and `golden` is read as `value`.
#[track_caller]
pub(super) fn same<T: Wire + Debug + PartialEq>(v: Version, value: &T, golden: &str) {
    let golden = parse(golden);
    assert_eq!(value.to_bytes(v), golden, "written");
    assert_eq!(T::from_bytes(&golden, v).as_ref(), Ok(value), "read");
}

const ID: Uuid = Uuid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const ID_HEX: &str = "000102030405060708090a0b0c0d0e0f";

#[test]
fn produce_requests() {
    use produce::*;
    let request = |name: &str, topic_id| ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1500,
        topic_data: vec![TopicProduceData {
            name: name.into(),
            topic_id,
            partition_data: vec![PartitionProduceData {
                index: 2,
                records: Some(Bytes::from_static(b"batch")),
            }],
        }],
    };
    let classic = "ffff ffff 000005dc 00000001 0001 't' 00000001 00000002 00000005 'batch'";
    same(Produce::version(3), &request("t", Uuid::ZERO), classic);
    let flexible = "00 ffff 000005dc 02 02 't' 02 00000002 06 'batch' 00 00 00";
    same(Produce::version(9), &request("t", Uuid::ZERO), flexible);
    let by_id = format!("00 ffff 000005dc 02 {ID_HEX} 02 00000002 06 'batch' 00 00 00");
    same(Produce::version(13), &request("", ID), &by_id);
}

#[test]
fn produce_responses() {
    use produce::*;
    let partition = PartitionProduceResponse {
        index: 2,
        error_code: ErrorCode::NOT_LEADER_OR_FOLLOWER,
        base_offset: -1,
        ..Default::default()
    };
    let response = |partition: &PartitionProduceResponse, node_endpoints| ProduceResponse {
        responses: vec![TopicProduceResponse {
            name: "t".into(),
            partition_responses: vec![partition.clone()],
            ..Default::default()
        }],
        throttle_time_ms: 7,
        node_endpoints,
    };
    let none = "ffffffffffffffff";
    let classic = format!("00000001 0001 't' 00000001 00000002 0006 {none} {none} 00000007");
    same(Produce::version(3), &response(&partition, vec![]), &classic);

    let partition = PartitionProduceResponse {
        current_leader: LeaderIdAndEpoch { leader_id: 3, leader_epoch: 9 },
        ..partition
    };
    let endpoint = NodeEndpoint { node_id: 3, host: "h".into(), port: 9092, rack: None };
    let tagged = format!(
        "02 02 't' 02 00000002 0006 {none} {none} {none} 01 00 01 00 09 00000003 00000009 00 00 00000007 \
         01 00 0d 02 00000003 02 'h' 00002384 00 00"
    );
    same(Produce::version(10), &response(&partition, vec![endpoint]), &tagged);
}

#[test]
fn fetch_requests() {
    use fetch::*;
    let request = |topic: &str, topic_id| FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 0x100000,
        topics: vec![FetchTopic {
            topic: topic.into(),
            topic_id,
            partitions: vec![FetchPartition {
                partition: 1,
                fetch_offset: 66,
                partition_max_bytes: 255,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let start = "000001f4 00000001 00100000 00";
    let classic = format!("ffffffff {start} 00000001 0001 't' 00000001 00000001 0000000000000042 000000ff");
    same(Fetch::version(4), &request("t", Uuid::ZERO), &classic);
    // No replica id any more, and a consumer's replica state is the default, so there is no tag.
    let by_id = format!(
        "{start} 00000000 ffffffff 02 {ID_HEX} 02 00000001 ffffffff 0000000000000042 ffffffff \
         ffffffffffffffff 000000ff 00 00 01 01 00"
    );
    same(Fetch::version(17), &request("", ID), &by_id);
}

#[test]
fn fetch_responses() {
    use fetch::*;
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: "t".into(),
            partitions: vec![PartitionData {
                partition_index: 1,
                high_watermark: 9,
                last_stable_offset: 8,
                records: Some(Bytes::from_static(b"batch")),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let offsets = "0000000000000009 0000000000000008";
    let classic =
        format!("00000000 00000001 0001 't' 00000001 00000001 0000 {offsets} ffffffff 00000005 'batch'");
    same(Fetch::version(4), &response, &classic);
    let flexible = format!(
        "00000000 0000 00000000 02 02 't' 02 00000001 0000 {offsets} ffffffffffffffff 00 ffffffff 06 'batch' \
         00 00 00"
    );
    same(Fetch::version(12), &response, &flexible);
    // Nothing to read is an empty string of records, never null.
    let empty = PartitionData::default().to_bytes(Fetch::version(4));
    assert!(empty.ends_with(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), "{empty:x?}");
}

#[test]
fn metadata() {
    let all = MetadataRequest { topics: None, ..Default::default() };
    same(Metadata::version(1), &all, "ffffffff");
    // v0 knows no null: an empty array stands for all topics.
    assert_eq!(all.to_bytes(Metadata::version(0)), parse("00000000"));
    let v0 = MetadataRequest::from_bytes(&parse("ffffffff"), Metadata::version(0));
    assert_eq!(v0.unwrap_err().field, "MetadataRequest.topics");
    let one = MetadataRequestTopic { topic_id: ID, name: None };
    let by_id = MetadataRequest { topics: Some(vec![one]), ..Default::default() };
    same(Metadata::version(12), &by_id, &format!("02 {ID_HEX} 00 00 01 00 00"));

    let response = MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id: 1, host: "h".into(), port: 9092, rack: None }],
        topics: vec![MetadataResponseTopic {
            name: Some("t".into()),
            partitions: vec![MetadataResponsePartition {
                partition_index: 3,
                leader_id: 1,
                replica_nodes: vec![1],
                isr_nodes: vec![1],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let classic = "00000001 00000001 0001 'h' 00002384 00000001 0000 0001 't' \
                   00000001 0000 00000003 00000001 00000001 00000001 00000001 00000001";
    same(Metadata::version(0), &response, classic);
    let flexible = "00000000 02 00000001 02 'h' 00002384 00 00 00 ffffffff 02 0000 02 't' \
                    00000000000000000000000000000000 00 02 0000 00000003 00000001 ffffffff 02 00000001 \
                    02 00000001 01 00 80000000 00 0000 00";
    same(Metadata::version(13), &response, flexible);
}

#[test]
fn api_versions() {
    let request =
        ApiVersionsRequest { client_software_name: "kc".into(), client_software_version: "1".into() };
    same(ApiVersions::version(3), &request, "03 'kc' 02 '1' 00");
    same(ApiVersions::version(0), &ApiVersionsRequest::default(), "");
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: vec![ApiVersion { api_key: 18, min_version: 0, max_version: 4 }],
        ..Default::default()
    };
    same(ApiVersions::version(0), &response, "0023 00000001 0012 0000 0004");
    same(ApiVersions::version(3), &response, "0023 02 0012 0000 0004 00 00000000 00");
    let feature = FinalizedFeatureKey { name: "f".into(), max_version_level: 2, min_version_level: 1 };
    let response =
        ApiVersionsResponse { finalized_features_epoch: 5, finalized_features: vec![feature], ..response };
    let tagged = "0023 02 0012 0000 0004 00 00000000 02 01 08 0000000000000005 02 08 02 02 'f' 0002 0001 00";
    same(ApiVersions::version(3), &response, tagged);
}

#[test]
fn classic_groups() {
    let request = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10000,
        rebalance_timeout_ms: -1,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"me"),
        }],
        ..Default::default()
    };
    let v0 = "0001 'g' 00002710 0000 0008 'consumer' 00000001 0005 'range' 00000002 'me'";
    same(JoinGroup::version(0), &request, v0);
    let v9 = "02 'g' 00002710 ffffffff 01 00 09 'consumer' 02 06 'range' 03 'me' 00 00 00";
    same(JoinGroup::version(9), &request, v9);

    let member =
        JoinGroupResponseMember { member_id: "m".into(), metadata: Bytes::new(), ..Default::default() };
    let response = JoinGroupResponse {
        generation_id: 1,
        protocol_name: Some("range".into()),
        leader: "m".into(),
        member_id: "m".into(),
        members: vec![member],
        ..Default::default()
    };
    let v0 = "0000 00000001 0005 'range' 0001 'm' 0001 'm' 00000001 0001 'm' 00000000";
    same(JoinGroup::version(0), &response, v0);
    let v7 = "00000000 0000 00000001 00 06 'range' 02 'm' 02 'm' 02 02 'm' 00 01 00 00";
    same(JoinGroup::version(7), &response, v7);
    // Up to v6 the protocol name cannot be null, so an empty one goes out.
    let refused = JoinGroupResponse { protocol_name: None, ..Default::default() };
    assert_eq!(refused.to_bytes(JoinGroup::version(0)), parse("0000 ffffffff 0000 0000 0000 00000000"));

    let response = SyncGroupResponse { assignment: Bytes::from_static(b"part"), ..Default::default() };
    same(SyncGroup::version(0), &response, "0000 00000004 'part'");
    same(SyncGroup::version(5), &response, "00000000 0000 00 00 05 'part' 00");
    let response = HeartbeatResponse { error_code: ErrorCode::REBALANCE_IN_PROGRESS, ..Default::default() };
    same(Heartbeat::version(0), &response, "001b");
    same(Heartbeat::version(4), &response, "00000000 001b 00");
}

#[test]
fn list_offsets() {
    let partition = ListOffsetsPartition { partition_index: 1, timestamp: -2, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    same(ListOffsets::version(1), &request, "ffffffff 00000001 0001 't' 00000001 00000001 fffffffffffffffe");
    let v11 = "ffffffff 00 02 02 't' 02 00000001 ffffffff fffffffffffffffe 00 00 00000000 00";
    same(ListOffsets::version(11), &request, v11);
}

/// The independent codec knows these requests up to v9.
#[test]
fn offsets_by_topic_id() {
    let partition = OffsetCommitRequestPartition {
        partition_index: 1,
        committed_offset: 5,
        committed_leader_epoch: 2,
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic { topic_id: ID, partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() };
    let v10 = format!("02 'g' ffffffff 01 00 02 {ID_HEX} 02 00000001 0000000000000005 00000002 00 00 00 00");
    same(OffsetCommit::version(10), &request, &v10);

    let topic = OffsetFetchRequestTopics { topic_id: ID, partition_indexes: vec![1], ..Default::default() };
    let group =
        OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
    let v10 = format!("02 02 'g' 00 ffffffff 02 {ID_HEX} 02 00000001 00 00 01 00");
    same(OffsetFetch::version(10), &request, &v10);
}

/// sarama up to 1.40 commits with v1, whose partitions carry a timestamp.
#[test]
fn commits_that_kafka_4_refuses() {
    let partition = OffsetCommitRequestPartition {
        partition_index: 1,
        committed_offset: 5,
        commit_timestamp: 7,
        committed_metadata: Some("m".into()),
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: 3,
        member_id: "me".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    let v1 = "0001 'g' 00000003 0002 'me' 00000001 0001 't' 00000001 00000001 0000000000000005 \
              0000000000000007 0001 'm'";
    same(OffsetCommit::version(1), &request, v1);
}

#[test]
fn administration_that_kafka_4_refuses() {
    let config = CreatableTopicConfig { name: "k".into(), value: Some("v".into()) };
    let assignment = CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![1] };
    let topic = CreatableTopic {
        name: "t".into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![assignment],
        configs: vec![config],
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1, ..Default::default() };
    let v0 = "00000001 0001 't' ffffffff ffff 00000001 00000000 00000001 00000001 00000001 0001 'k' 0001 'v' \
              00000001";
    same(CreateTopics::version(0), &request, v0);
    same(CreateTopics::version(1), &request, &format!("{v0} 00"));
    let topic = CreatableTopicResult {
        name: "t".into(),
        error_code: ErrorCode::TOPIC_ALREADY_EXISTS,
        ..Default::default()
    };
    let response = CreateTopicsResponse { topics: vec![topic], ..Default::default() };
    same(CreateTopics::version(0), &response, "00000001 0001 't' 0024");
    same(CreateTopics::version(1), &response, "00000001 0001 't' 0024 ffff");

    let request = DeleteTopicsRequest { topic_names: vec!["t".into()], timeout_ms: 1, ..Default::default() };
    same(DeleteTopics::version(0), &request, "00000001 0001 't' 00000001");
    let gone = DeletableTopicResult { name: Some("t".into()), ..Default::default() };
    let response = DeleteTopicsResponse { responses: vec![gone], ..Default::default() };
    same(DeleteTopics::version(0), &response, "00000001 0001 't' 0000");

    let resource =
        DescribeConfigsResource { resource_type: 2, resource_name: "t".into(), configuration_keys: None };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    same(DescribeConfigs::version(0), &request, "00000001 02 0001 't' ffffffff");
    let config = DescribeConfigsResourceResult {
        name: "k".into(),
        value: Some("v".into()),
        read_only: false,
        is_default: true,
        ..Default::default()
    };
    let result = DescribeConfigsResult {
        resource_type: 2,
        resource_name: "t".into(),
        configs: vec![config],
        ..Default::default()
    };
    let response = DescribeConfigsResponse { results: vec![result], ..Default::default() };
    let v0 = "00000000 00000001 0000 ffff 02 0001 't' 00000001 0001 'k' 0001 'v' 00 01 00";
    same(DescribeConfigs::version(0), &response, v0);
}
