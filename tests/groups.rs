//! Consumer groups through the wire: every version of every group API, restarts and kills. The rules of the
//! coordinator itself are tested as a value, in `src/group/tests`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::time::Duration;

use braid::broker::Requester;
use braid::topic::Closed;
use braid_protocol::ErrorCode;
use braid_protocol::api::consumer_group_describe::{ConsumerGroupDescribe, ConsumerGroupDescribeRequest};
use braid_protocol::api::describe_groups::{DescribeGroups, DescribeGroupsRequest};
use braid_protocol::api::find_coordinator::{FindCoordinator, FindCoordinatorRequest};
use braid_protocol::api::heartbeat::{Heartbeat, HeartbeatRequest};
use braid_protocol::api::join_group::{
    JoinGroup, JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use braid_protocol::api::leave_group::{LeaveGroup, LeaveGroupRequest, MemberIdentity};
use braid_protocol::api::list_groups::{ListGroups, ListGroupsRequest};
use braid_protocol::api::offset_commit::{
    OffsetCommit, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use braid_protocol::api::offset_fetch::{
    OffsetFetch, OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
};
use braid_protocol::api::sync_group::{SyncGroup, SyncGroupRequest, SyncGroupRequestAssignment};
use bytes::Bytes;
use support::{Client, TestBroker};

fn join_request(group: &str, member_id: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(b"topics") };
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    }
}

/// Joins as a dynamic member does: from v4 on with an id that the first try brings.
async fn join(client: &mut Client, version: i16, group: &str) -> JoinGroupResponse {
    let first = client.call::<JoinGroup>(version, &join_request(group, "")).await;
    if version < 4 {
        return first;
    }
    assert_eq!(first.error_code, ErrorCode::MEMBER_ID_REQUIRED, "v{version}");
    client.call::<JoinGroup>(version, &join_request(group, &first.member_id)).await
}

async fn sync(client: &mut Client, version: i16, group: &str, joined: &JoinGroupResponse) -> Bytes {
    let assignment = SyncGroupRequestAssignment {
        member_id: joined.member_id.clone(),
        assignment: Bytes::from_static(b"everything"),
    };
    let request = SyncGroupRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![assignment],
        ..Default::default()
    };
    let synced = client.call::<SyncGroup>(version, &request).await;
    assert_eq!(synced.error_code, ErrorCode::NONE, "v{version}");
    synced.assignment
}

fn commit_request(
    group: &str,
    joined: Option<&JoinGroupResponse>,
    topic: &str,
    offset: i64,
) -> OffsetCommitRequest {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_metadata: Some("so far".into()),
        ..Default::default()
    };
    let partitions = vec![partition(0), partition(7)];
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: joined.map_or(-1, |j| j.generation_id),
        member_id: joined.map_or(String::new(), |j| j.member_id.clone()),
        topics: vec![OffsetCommitRequestTopic { name: topic.into(), partitions, ..Default::default() }],
        ..Default::default()
    }
}

/// What a group committed for partition 0 of a topic, and the words with it.
async fn committed(
    client: &mut Client,
    version: i16,
    group: &str,
    topic: (&str, braid_protocol::Uuid),
) -> (i64, String) {
    let old = OffsetFetchRequestTopic { name: topic.0.into(), partition_indexes: vec![0] };
    let new =
        OffsetFetchRequestTopics { name: topic.0.into(), topic_id: topic.1, partition_indexes: vec![0] };
    let many =
        OffsetFetchRequestGroup { group_id: group.into(), topics: Some(vec![new]), ..Default::default() };
    let request = OffsetFetchRequest {
        group_id: group.into(),
        topics: Some(vec![old]),
        groups: vec![many],
        ..Default::default()
    };
    let mut response = client.call::<OffsetFetch>(version, &request).await;
    if version < 8 {
        let partition = response.topics.remove(0).partitions.remove(0);
        return (partition.committed_offset, partition.metadata.unwrap());
    }
    let mut group = response.groups.remove(0);
    assert_eq!(group.error_code, ErrorCode::NONE);
    let partition = group.topics.remove(0).partitions.remove(0);
    (partition.committed_offset, partition.metadata.unwrap())
}

#[tokio::test(start_paused = true)]
async fn every_version_joins_syncs_beats_and_leaves() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    for version in 0..=9 {
        let group = format!("g{version}");
        let joined = join(&mut client, version, &group).await;
        assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::NONE, 1), "v{version}");
        assert_eq!((&joined.leader, joined.members.len()), (&joined.member_id, 1), "v{version}");
        assert_eq!(sync(&mut client, version.min(5), &group, &joined).await, "everything");
        let beat = |generation_id| HeartbeatRequest {
            group_id: group.clone(),
            generation_id,
            member_id: joined.member_id.clone(),
            ..Default::default()
        };
        let alive = client.call::<Heartbeat>(version.min(4), &beat(1)).await;
        assert_eq!(alive.error_code, ErrorCode::NONE);
        let stale = client.call::<Heartbeat>(version.min(4), &beat(2)).await;
        assert_eq!(stale.error_code, ErrorCode::ILLEGAL_GENERATION);

        let described =
            DescribeGroupsRequest { groups: vec![group.clone(), "no".into()], ..Default::default() };
        let described = client.call::<DescribeGroups>(version.min(6), &described).await.groups;
        assert_eq!((described[0].group_state.as_str(), described[0].members.len()), ("Stable", 1));
        let unknown = if version < 6 { ErrorCode::NONE } else { ErrorCode::GROUP_ID_NOT_FOUND };
        assert_eq!(described[1].error_code, unknown, "v{version}");

        let member = MemberIdentity { member_id: joined.member_id.clone(), ..Default::default() };
        let leave = |member_id: &str| LeaveGroupRequest {
            group_id: group.clone(),
            member_id: member_id.into(),
            members: vec![MemberIdentity { member_id: member_id.into(), ..member.clone() }],
        };
        let left = client.call::<LeaveGroup>(version.min(5), &leave(&joined.member_id)).await;
        assert_eq!(left.error_code, ErrorCode::NONE, "v{version}");
        let again = client.call::<LeaveGroup>(version.min(5), &leave("somebody else")).await;
        // Up to v2 there is one member, and its error is the response's.
        let told = if version < 3 { again.error_code } else { again.members[0].error_code };
        assert_eq!(told, ErrorCode::UNKNOWN_MEMBER_ID, "v{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_version_commits_and_fetches() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let topic = ("t", broker.broker.cluster.image().topic("t").unwrap().id);
    let mut client = broker.connect();
    for version in 1..=10 {
        let offset = i64::from(version) * 10;
        let mut request = commit_request("g", None, "t", offset);
        request.topics[0].topic_id = topic.1;
        let response = client.call::<OffsetCommit>(version, &request).await;
        let codes: Vec<_> = response.topics[0].partitions.iter().map(|p| p.error_code).collect();
        assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION], "v{version}");
        for reading in 1..=10 {
            assert_eq!(
                committed(&mut client, reading, "g", topic).await,
                (offset, "so far".into()),
                "v{reading}"
            );
            assert_eq!(
                committed(&mut client, reading, "nobody", topic).await,
                (-1, String::new()),
                "v{reading}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn commits_survive_a_restart_and_a_kill_and_members_go_on() {
    let mut broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let topic = ("t", broker.broker.cluster.image().topic("t").unwrap().id);
    let joined = join(&mut broker.connect(), 5, "g").await;
    sync(&mut broker.connect(), 3, "g", &joined).await;
    for round in 1..=4 {
        let commit = commit_request("g", Some(&joined), "t", round);
        let response = broker.connect().call::<OffsetCommit>(7, &commit).await;
        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::NONE);
        broker = if round % 2 == 0 { broker.restart() } else { broker.kill() };
        assert_eq!(committed(&mut broker.connect(), 7, "g", topic).await.0, round);
        let beat = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            ..Default::default()
        };
        assert_eq!(broker.connect().call::<Heartbeat>(3, &beat).await.error_code, ErrorCode::NONE);
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
    let listed = broker.connect().call::<ListGroups>(5, &ListGroupsRequest::default()).await.groups;
    assert_eq!(
        (listed[0].group_id.as_str(), listed[0].group_state.as_str()),
        ("g", "Empty"),
        "its session ended"
    );
}

#[tokio::test(start_paused = true)]
async fn the_second_member_starts_a_rebalance_and_is_waited_for() {
    let broker = TestBroker::start(&[]);
    let (mut a, mut b) = (broker.connect(), broker.connect());
    let first = join(&mut a, 5, "g").await;
    sync(&mut a, 3, "g", &first).await;
    let id = b.call::<JoinGroup>(5, &join_request("g", "")).await.member_id;
    b.send::<JoinGroup>(5, &join_request("g", &id)).await;
    let beat = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: first.member_id.clone(),
        ..Default::default()
    };
    loop {
        match a.call::<Heartbeat>(3, &beat).await.error_code {
            ErrorCode::NONE => tokio::time::sleep(Duration::from_millis(10)).await,
            code => break assert_eq!(code, ErrorCode::REBALANCE_IN_PROGRESS),
        }
    }
    let again = a.call::<JoinGroup>(5, &join_request("g", &first.member_id)).await;
    let second = b.receive::<JoinGroup>(5).await;
    assert_eq!((again.generation_id, second.generation_id), (2, 2));
    assert_eq!((again.members.len(), second.members.len()), (2, 0), "the leader learns of both");
}

#[tokio::test(start_paused = true)]
async fn the_coordinator_is_found_in_every_version_at_the_first_try() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    for version in 0..=6 {
        let request = FindCoordinatorRequest {
            key: "g".into(),
            coordinator_keys: vec!["g".into()],
            ..Default::default()
        };
        let found = client.call::<FindCoordinator>(version, &request).await;
        let (code, host, port) = match version {
            0..=3 => (found.error_code, &found.host, found.port),
            _ => (found.coordinators[0].error_code, &found.coordinators[0].host, found.coordinators[0].port),
        };
        assert_eq!((code, host.as_str(), port), (ErrorCode::NONE, "127.0.0.1", 9092), "v{version}");
    }
    // A consumer without group.id may still fetch offsets in the name of the empty group, as in Kafka. It was
    // told INVALID_GROUP_ID before it could ask.
    for (version, key_type) in [(0, 0), (3, 0), (3, 1)] {
        let nameless = FindCoordinatorRequest { key_type, ..Default::default() };
        let found = client.call::<FindCoordinator>(version, &nameless).await;
        assert_eq!((found.error_code, found.port), (ErrorCode::NONE, 9092), "v{version} of type {key_type}");
    }
    let of_share_group = FindCoordinatorRequest { key: "g:t:0".into(), key_type: 2, ..Default::default() };
    let found = client.call::<FindCoordinator>(3, &of_share_group).await;
    assert_eq!(found.error_code, ErrorCode::INVALID_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_takes_what_was_committed_for_it_along() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    let topic = ("t", broker.broker.cluster.image().topic("t").unwrap().id);
    client.call::<OffsetCommit>(7, &commit_request("g", None, "t", 5)).await;
    broker.broker.delete_topic(topic.1, &Requester::Broker).await.unwrap();
    broker.topic("t", 1, &[]).await;
    assert_eq!(committed(&mut client, 7, "g", topic).await.0, -1);
}

#[tokio::test(start_paused = true)]
async fn a_commit_too_large_for_the_log_is_refused_and_hurts_nobody() {
    // A request names its group once, but each record of it does too: from a request of 60 kB with a long
    // name came a batch of 100 MB, and from one of 2 MB a batch whose length no header can hold. The log took
    // that too, and its partition could never be read again.
    let broker = TestBroker::start(&[("offsets.topic.num.partitions", "1")]);
    broker.topic("t", 8, &[]).await;
    let mut client = broker.connect();
    let other = commit_request("other", None, "t", 5);
    client.call::<OffsetCommit>(7, &other).await;
    let topic = ("t", braid_protocol::Uuid::default());
    for times in [40, 3_000] {
        let mut large = commit_request(&"g".repeat(32_767), None, "t", 6);
        let partition = large.topics[0].partitions[0].clone();
        large.topics[0].partitions = vec![partition; times];
        let refused = client.call::<OffsetCommit>(7, &large).await;
        let answers = &refused.topics[0].partitions;
        assert_eq!(answers.len(), times);
        assert!(answers.iter().all(|p| p.error_code == ErrorCode::UNKNOWN_SERVER_ERROR), "{times} times");
        large.topics[0].partitions.truncate(20);
        large.topics[0].partitions.iter_mut().for_each(|p| p.committed_offset = 7);
        let taken = client.call::<OffsetCommit>(7, &large).await;
        assert!(taken.topics[0].partitions.iter().all(|p| p.error_code.is_ok()), "it fits into a batch");
        assert_eq!(committed(&mut client, 7, &large.group_id, topic).await.0, 7);
    }
    let broker = broker.restart();
    let mut client = broker.connect();
    assert_eq!(committed(&mut client, 7, "other", topic).await.0, 5);
    assert_eq!(committed(&mut client, 7, &"g".repeat(32_767), topic).await.0, 7);
}

#[tokio::test(start_paused = true)]
async fn an_old_client_is_told_in_each_partition_why_its_group_cannot_be_asked() {
    // OffsetFetch v1 has no field for an error of the group. Where there was one the answer was empty, and a
    // client takes a partition that is missing for one that was never committed: it began from the start.
    let mut broker = TestBroker::start(&[("offsets.topic.num.partitions", "1")]);
    broker.topic("t", 1, &[]).await;
    broker.connect().call::<OffsetCommit>(7, &commit_request("g", None, "t", 5)).await;
    broker = broker.restart();
    broker.broker.topic("__consumer_offsets").unwrap().partition(0).unwrap().shut(Closed::Failed);
    let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0, 3] };
    let request =
        OffsetFetchRequest { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
    let mut client = broker.connect();
    for version in 1..8 {
        let response = client.call::<OffsetFetch>(version, &request).await;
        let rows = response.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&*t.name, p)));
        let rows: Vec<_> =
            rows.map(|(t, p)| (t, p.partition_index, p.committed_offset, p.error_code)).collect();
        let gone = ErrorCode::COORDINATOR_NOT_AVAILABLE;
        match version {
            1 => assert_eq!(rows, [("t", 0, -1, gone), ("t", 3, -1, gone)]),
            _ => assert_eq!((rows, response.error_code), (vec![], gone), "v{version}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_named_often_is_answered_once() {
    // Each time a group was named it was told in full: a request of a megabyte that names a large group again
    // and again asked for more bytes than there is memory.
    let broker = TestBroker::start(&[]);
    broker.topic("t", 8, &[]).await;
    let mut client = broker.connect();
    for group in ["g", "h"] {
        client.call::<OffsetCommit>(7, &commit_request(group, None, "t", 5)).await;
    }
    let names: Vec<String> = ["h", "g", "h", "h", "g"].map(Into::into).into();
    let all =
        |group_id: &String| OffsetFetchRequestGroup { group_id: group_id.clone(), ..Default::default() };
    let mut request = OffsetFetchRequest { groups: names.iter().map(all).collect(), ..Default::default() };
    let fetched = client.call::<OffsetFetch>(8, &request).await.groups;
    let told: Vec<_> = fetched.iter().map(|g| (&*g.group_id, g.topics[0].partitions.len())).collect();
    assert_eq!(told, [("h", 2), ("g", 2)]);
    let topic = |partitions: &[i32]| OffsetFetchRequestTopics {
        name: "t".into(),
        partition_indexes: partitions.to_vec(),
        ..Default::default()
    };
    request.groups[0].topics = Some(vec![topic(&[7, 0, 7]), topic(&[0, 1])]);
    let fetched = client.call::<OffsetFetch>(8, &request).await.groups;
    let partitions = fetched[0].topics.iter().flat_map(|t| &t.partitions).map(|p| p.partition_index);
    assert_eq!(partitions.collect::<Vec<_>>(), [7, 0, 1]);
    let request = DescribeGroupsRequest { groups: names.clone(), ..Default::default() };
    let described = client.call::<DescribeGroups>(5, &request).await.groups;
    assert_eq!(described.iter().map(|g| &*g.group_id).collect::<Vec<_>>(), ["h", "g"]);
    let request = ConsumerGroupDescribeRequest { group_ids: names, ..Default::default() };
    let described = client.call::<ConsumerGroupDescribe>(1, &request).await.groups;
    assert_eq!(described.iter().map(|g| &*g.group_id).collect::<Vec<_>>(), ["h", "g"]);
}
