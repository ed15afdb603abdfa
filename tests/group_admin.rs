//! Groups and what they committed are deleted through the wire, but not under those who use them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use braid_protocol::ErrorCode;
use braid_protocol::api::delete_groups::{DeleteGroups, DeleteGroupsRequest};
use braid_protocol::api::join_group::{
    JoinGroup, JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use braid_protocol::api::leave_group::{LeaveGroup, LeaveGroupRequest};
use braid_protocol::api::list_groups::{ListGroups, ListGroupsRequest};
use braid_protocol::api::offset_commit::{
    OffsetCommit, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use braid_protocol::api::offset_delete::{
    OffsetDelete, OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use braid_protocol::api::offset_fetch::{OffsetFetch, OffsetFetchRequest};
use braid_protocol::api::sync_group::{SyncGroup, SyncGroupRequest};
use braid_protocol::data::Data;
use braid_protocol::data::consumer::ConsumerProtocolSubscription;
use bytes::Bytes;
use support::{Client, TestBroker};

/// Commits offset 5 for partitions 0 and 1 of topics `a` and `b`.
async fn commit(client: &mut Client, group: &str, member: Option<&JoinGroupResponse>) {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 5,
        ..Default::default()
    };
    let topic = |name: &str| OffsetCommitRequestTopic {
        name: name.into(),
        partitions: vec![partition(0), partition(1)],
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: member.map_or(-1, |m| m.generation_id),
        member_id: member.map_or(String::new(), |m| m.member_id.clone()),
        topics: vec![topic("a"), topic("b")],
        ..Default::default()
    };
    let response = client.call::<OffsetCommit>(7, &request).await;
    assert!(response.topics.iter().flat_map(|t| &t.partitions).all(|p| p.error_code.is_ok()));
}

/// What a group has committed: topic and partition.
async fn committed(client: &mut Client, group: &str) -> Vec<(String, i32)> {
    let request = OffsetFetchRequest { group_id: group.into(), topics: None, ..Default::default() };
    let topics = client.call::<OffsetFetch>(7, &request).await.topics;
    let of = |t: &braid_protocol::api::offset_fetch::OffsetFetchResponseTopic| {
        let name = t.name.clone();
        t.partitions.iter().map(|p| (name.clone(), p.partition_index)).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = topics.iter().flat_map(of).collect();
    all.sort();
    all
}

/// Joins as the only member, with this protocol type and metadata.
async fn join(client: &mut Client, group: &str, kind: &str, metadata: Bytes) -> JoinGroupResponse {
    let request = JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: kind.into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata }],
        ..Default::default()
    };
    let joined = client.call::<JoinGroup>(3, &request).await;
    let request = SyncGroupRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..Default::default()
    };
    assert!(client.call::<SyncGroup>(2, &request).await.error_code.is_ok());
    joined
}

async fn leave(client: &mut Client, group: &str, joined: &JoinGroupResponse) {
    let member_id = joined.member_id.clone();
    let request = LeaveGroupRequest { group_id: group.into(), member_id, ..Default::default() };
    assert!(client.call::<LeaveGroup>(2, &request).await.error_code.is_ok());
}

/// Deletes what a group committed for these partitions; the error of the whole, and of each partition.
async fn delete_offsets(
    client: &mut Client,
    group: &str,
    wanted: &[(&str, &[i32])],
) -> (ErrorCode, Vec<ErrorCode>) {
    let partition = |index: &i32| OffsetDeleteRequestPartition { partition_index: *index };
    let topic = |(name, partitions): &(&str, &[i32])| OffsetDeleteRequestTopic {
        name: (*name).to_owned(),
        partitions: partitions.iter().map(partition).collect(),
    };
    let topics = wanted.iter().map(topic).collect();
    let told = client.call::<OffsetDelete>(0, &OffsetDeleteRequest { group_id: group.into(), topics }).await;
    (told.error_code, told.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect())
}

async fn delete(client: &mut Client, version: i16, groups: &[&str]) -> Vec<ErrorCode> {
    let groups_names = groups.iter().map(|g| (*g).to_owned()).collect();
    let told = client.call::<DeleteGroups>(version, &DeleteGroupsRequest { groups_names }).await.results;
    assert_eq!(told.iter().map(|r| r.group_id.as_str()).collect::<Vec<_>>(), groups);
    told.into_iter().map(|r| r.error_code).collect()
}

async fn listed(client: &mut Client) -> Vec<String> {
    let groups = client.call::<ListGroups>(5, &ListGroupsRequest::default()).await.groups;
    groups.into_iter().map(|g| g.group_id).collect()
}

#[tokio::test(start_paused = true)]
async fn groups_without_members_are_deleted_with_their_offsets() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    assert_eq!(delete(&mut client, 2, &["g"]).await, [ErrorCode::GROUP_ID_NOT_FOUND]);
    assert!(broker.broker.topic("__consumer_offsets").is_none(), "asking makes nothing");
    broker.topic("a", 2, &[]).await;
    broker.topic("b", 2, &[]).await;
    let joined = join(&mut client, "busy", "consumer", Bytes::new()).await;
    for version in 0..=2 {
        commit(&mut client, "g", None).await;
        let codes = delete(&mut client, version, &["g", "busy", "no"]).await;
        let expected = [ErrorCode::NONE, ErrorCode::NON_EMPTY_GROUP, ErrorCode::GROUP_ID_NOT_FOUND];
        assert_eq!(codes, expected, "v{version}");
        assert_eq!(listed(&mut client).await, ["busy"]);
        assert_eq!(committed(&mut client, "g").await, []);
    }
    leave(&mut client, "busy", &joined).await;
    assert_eq!(delete(&mut client, 2, &["busy"]).await, [ErrorCode::NONE]);
    broker = broker.kill();
    assert_eq!(listed(&mut broker.connect()).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn offsets_are_deleted_unless_a_member_reads_the_topic() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let (missing, unknown) = (ErrorCode::GROUP_ID_NOT_FOUND, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(delete_offsets(&mut client, "g", &[("a", &[0])]).await, (missing, vec![]));
    broker.topic("a", 2, &[]).await;
    broker.topic("b", 2, &[]).await;
    let subscription = ConsumerProtocolSubscription { topics: vec!["a".into()], ..Default::default() };
    let joined = join(&mut client, "g", "consumer", subscription.write(1)).await;
    commit(&mut client, "g", Some(&joined)).await;
    let reads = ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC;
    let told = delete_offsets(&mut client, "g", &[("a", &[0]), ("b", &[1, 9]), ("no", &[0])]).await;
    assert_eq!(told, (ErrorCode::NONE, vec![reads, ErrorCode::NONE, unknown, unknown]));
    let left = |all: &[(&str, i32)]| all.iter().map(|(t, p)| ((*t).to_owned(), *p)).collect::<Vec<_>>();
    assert_eq!(committed(&mut client, "g").await, left(&[("a", 0), ("a", 1), ("b", 0)]));
    leave(&mut client, "g", &joined).await;
    let told = delete_offsets(&mut client, "g", &[("a", &[0, 1])]).await;
    assert_eq!(told, (ErrorCode::NONE, vec![ErrorCode::NONE; 2]));
    broker = broker.kill();
    client = broker.connect();
    assert_eq!(committed(&mut client, "g").await, left(&[("b", 0)]));
    assert_eq!(
        delete_offsets(&mut client, "g", &[("b", &[0])]).await,
        (ErrorCode::NONE, vec![ErrorCode::NONE])
    );
    assert_eq!(listed(&mut client).await, ["g"], "a group may have nothing committed");
    let told = delete_offsets(&mut client, "no", &[("a", &[0])]).await;
    assert_eq!(told, (missing, vec![]));
    // What members of other kinds read, only they know.
    join(&mut client, "connect", "connect", Bytes::from_static(b"?")).await;
    let told = delete_offsets(&mut client, "connect", &[("a", &[0])]).await;
    assert_eq!(told, (ErrorCode::NON_EMPTY_GROUP, vec![]));
}
