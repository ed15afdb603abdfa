//! Topics through the wire: created, described, grown, deleted, and what is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::time::Duration;

use braid_protocol::api::create_partitions::{
    CreatePartitions, CreatePartitionsRequest, CreatePartitionsTopic,
};
use braid_protocol::api::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopics, CreateTopicsRequest,
};
use braid_protocol::api::delete_topics::{DeleteTopicState, DeleteTopics, DeleteTopicsRequest};
use braid_protocol::api::describe_cluster::{DescribeCluster, DescribeClusterRequest};
use braid_protocol::api::describe_configs::{
    DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResource,
};
use braid_protocol::api::describe_topic_partitions::{
    DescribeTopicPartitions, DescribeTopicPartitionsRequest, TopicRequest,
};
use braid_protocol::api::fetch::{Fetch, FetchRequest};
use braid_protocol::api::init_producer_id::{InitProducerId, InitProducerIdRequest};
use braid_protocol::api::list_offsets::{
    ListOffsets, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use braid_protocol::api::metadata::{Metadata, MetadataRequest, MetadataRequestTopic};
use braid_protocol::api::offset_for_leader_epoch::{
    OffsetForLeaderEpoch, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use braid_protocol::{ErrorCode, Uuid};
use support::{Client, TestBroker, fetch_request};
use tokio::time::Instant;

fn wanted(name: &str) -> CreatableTopic {
    CreatableTopic { name: name.into(), num_partitions: -1, replication_factor: -1, ..Default::default() }
}

async fn create(client: &mut Client, topic: CreatableTopic) -> ErrorCode {
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    client.call::<CreateTopics>(7, &request).await.topics.remove(0).error_code
}

async fn names(client: &mut Client) -> Vec<String> {
    let all =
        client.call::<Metadata>(12, &MetadataRequest { topics: None, ..Default::default() }).await.topics;
    all.into_iter().map(|topic| topic.name.unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn every_version_creates_grows_and_deletes() {
    let broker = TestBroker::start(&[("num.partitions", "2")]);
    let mut client = broker.connect();
    for version in 0..=7 {
        // kafkajs sends -1 in v3, which Kafka only knows from v4 on.
        let name = format!("v{version}");
        let request = CreateTopicsRequest { topics: vec![wanted(&name)], ..Default::default() };
        let created = client.call::<CreateTopics>(version, &request).await.topics.remove(0);
        assert_eq!(created.error_code, ErrorCode::NONE, "{name}");
        let grow = CreatePartitionsTopic { name: name.clone(), count: 5, assignments: None };
        let grow = CreatePartitionsRequest { topics: vec![grow], ..Default::default() };
        let grown = client.call::<CreatePartitions>(version.min(3), &grow).await.results.remove(0);
        assert_eq!(grown.error_code, ErrorCode::NONE, "{name}");
        assert_eq!(client.produce(&name, 4, &["v"]).await.error_code, ErrorCode::NONE);
        let by_name = DeleteTopicState { name: Some(name.clone()), topic_id: Uuid::ZERO };
        let delete =
            DeleteTopicsRequest { topics: vec![by_name], topic_names: vec![name.clone()], timeout_ms: 1000 };
        let deleted = client.call::<DeleteTopics>(version.min(6), &delete).await.responses.remove(0);
        assert_eq!(deleted.error_code, ErrorCode::NONE, "{name}");
        assert_eq!(client.produce(&name, 4, &["v"]).await.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    assert_eq!(names(&mut client).await, Vec::<String>::new());
    let left: Vec<_> = std::fs::read_dir(broker.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_str().unwrap().starts_with('v')), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_created_says_why_and_the_rest_is() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let config =
        |name: &str, value: &str| CreatableTopicConfig { name: name.into(), value: Some(value.into()) };
    let assigned =
        |brokers: &[i32]| CreatableReplicaAssignment { partition_index: 0, broker_ids: brokers.into() };
    let cases = [
        (wanted("good"), ErrorCode::NONE),
        (wanted("good"), ErrorCode::TOPIC_ALREADY_EXISTS),
        (wanted(""), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (wanted(".."), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (wanted("a b"), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (wanted(&"x".repeat(250)), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (wanted("with.dot"), ErrorCode::NONE),
        (wanted("with_dot"), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (wanted("__cluster_metadata"), ErrorCode::INVALID_REQUEST),
        (wanted("__braid_metadata"), ErrorCode::INVALID_REQUEST),
        (CreatableTopic { num_partitions: 0, ..wanted("a") }, ErrorCode::INVALID_PARTITIONS),
        (CreatableTopic { num_partitions: i32::MAX, ..wanted("a") }, ErrorCode::POLICY_VIOLATION),
        (CreatableTopic { replication_factor: 3, ..wanted("a") }, ErrorCode::INVALID_REPLICATION_FACTOR),
        (CreatableTopic { configs: vec![config("no.such", "1")], ..wanted("a") }, ErrorCode::INVALID_CONFIG),
        (
            CreatableTopic { configs: vec![config("segment.bytes", "x")], ..wanted("a") },
            ErrorCode::INVALID_CONFIG,
        ),
        (CreatableTopic { assignments: vec![assigned(&[1])], ..wanted("assigned") }, ErrorCode::NONE),
        (
            CreatableTopic { assignments: vec![assigned(&[1, 2])], ..wanted("a") },
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        ),
    ];
    for (topic, expected) in cases {
        let words = format!("{topic:?}");
        assert_eq!(create(&mut client, topic).await, expected, "{words}");
    }
    let twice =
        CreateTopicsRequest { topics: vec![wanted("a"), wanted("b"), wanted("a")], ..Default::default() };
    let codes = client.call::<CreateTopics>(7, &twice).await.topics;
    let codes: Vec<_> = codes.into_iter().map(|t| t.error_code).collect();
    assert_eq!(codes, [ErrorCode::INVALID_REQUEST, ErrorCode::NONE], "told once, as in Kafka");
    let only = CreateTopicsRequest { topics: vec![wanted("c")], validate_only: true, ..Default::default() };
    assert_eq!(client.call::<CreateTopics>(7, &only).await.topics[0].error_code, ErrorCode::NONE);
    assert_eq!(names(&mut client).await, ["assigned", "b", "good", "with.dot"]);
}

// The metadata log's folder is named like a partition's. A request for a topic of that name, be it by a
// Metadata request with auto-creation, was given the log itself to write to: the next start failed, or the
// topic's deletion took all metadata with it.
#[tokio::test(start_paused = true)]
async fn the_metadata_log_is_no_topic_that_a_client_can_have() {
    let mut broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    for name in ["__braid_metadata", "__cluster_metadata"] {
        let mut client = broker.connect();
        let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        let told = client.call::<Metadata>(9, &request).await.topics.remove(0);
        assert_eq!(told.error_code, ErrorCode::INVALID_REQUEST, "{name}");
        let refused = client.produce(name, 0, &["hello"]).await.error_code;
        assert_eq!(refused, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "{name}");
    }
    broker = broker.restart();
    assert_eq!(names(&mut broker.connect()).await, ["t"]);
}

// Of two entries for one topic the first was carried out: a topic was deleted, or grew for good, though
// nobody could say which of the two was meant.
#[tokio::test(start_paused = true)]
async fn a_topic_that_a_request_names_twice_stays_as_it_is() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    broker.topic("u", 1, &[]).await;
    let mut client = broker.connect();
    let grow = |name: &str, count| CreatePartitionsTopic { name: name.into(), count, assignments: None };
    let topics = vec![grow("t", 2), grow("u", 3), grow("t", 400)];
    let grown = CreatePartitionsRequest { topics, ..Default::default() };
    let told = client.call::<CreatePartitions>(3, &grown).await.results;
    let told: Vec<_> = told.iter().map(|r| (r.name.as_str(), r.error_code)).collect();
    assert_eq!(told, [("t", ErrorCode::INVALID_REQUEST), ("u", ErrorCode::NONE)]);
    let image = broker.broker.cluster.image();
    assert_eq!(["t", "u"].map(|name| image.topic(name).unwrap().partitions), [1, 3]);

    let id = image.topic("t").unwrap().id;
    let by_name = |name: &str| DeleteTopicState { name: Some(name.into()), topic_id: Uuid::ZERO };
    let by_id = DeleteTopicState { name: None, topic_id: id };
    for (topics, expected) in [
        (vec![by_name("t"), by_name("t")], vec![ErrorCode::INVALID_REQUEST]),
        (vec![by_id.clone(), by_name("t")], vec![ErrorCode::INVALID_REQUEST]),
        (vec![by_id.clone(), by_name("u"), by_id], vec![ErrorCode::INVALID_REQUEST, ErrorCode::NONE]),
    ] {
        let request = DeleteTopicsRequest { topics, ..Default::default() };
        let told = client.call::<DeleteTopics>(6, &request).await.responses;
        assert_eq!(told.iter().map(|r| r.error_code).collect::<Vec<_>>(), expected);
    }
    assert_eq!(names(&mut client).await, ["t"]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_deleted_by_id_and_made_again_is_another() {
    let mut broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let id = |broker: &TestBroker| broker.broker.cluster.image().topic("t").unwrap().id;
    let first = id(&broker);
    broker.connect().produce("t", 0, &["old"]).await;
    let state = DeleteTopicState { name: None, topic_id: first };
    let request = DeleteTopicsRequest { topics: vec![state], ..Default::default() };
    let deleted = broker.connect().call::<DeleteTopics>(6, &request).await.responses.remove(0);
    assert_eq!((deleted.error_code, deleted.name.as_deref()), (ErrorCode::NONE, Some("t")));
    let again = broker.connect().call::<DeleteTopics>(6, &request).await.responses.remove(0);
    assert_eq!(again.error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    broker.topic("t", 1, &[]).await;
    assert_ne!(id(&broker), first);
    assert_eq!(broker.connect().fetch("t", 0, 0, 0).await.high_watermark, 0);
    let second = id(&broker);
    broker = broker.kill();
    assert_eq!(id(&broker), second, "ids survive");
    assert_eq!(names(&mut broker.connect()).await, ["t"]);
}

// A Fetch waited for records of a topic that was then deleted, and was answered KAFKA_STORAGE_ERROR, which
// was counted as a disk error. Kafka 4.3.1 answers UNKNOWN_TOPIC_OR_PARTITION.
#[tokio::test(start_paused = true)]
async fn requests_that_wait_at_a_topic_that_is_deleted_are_answered_at_once() {
    for (version, code) in
        [(4, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), (12, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)]
            .into_iter()
            .chain([(13, ErrorCode::UNKNOWN_TOPIC_ID), (17, ErrorCode::UNKNOWN_TOPIC_ID)])
    {
        let broker = TestBroker::start(&[]);
        broker.topic("t", 1, &[]).await;
        let mut request = FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..fetch_request("t", &[(0, 0)]) };
        request.topics[0].topic_id = broker.broker.cluster.image().topic("t").unwrap().id;
        let mut reader = broker.connect();
        reader.send::<Fetch>(version, &request).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let partition = broker.broker.topic("t").unwrap().partition(0).unwrap();
        let by_name = DeleteTopicState { name: Some("t".into()), topic_id: Uuid::ZERO };
        let delete = DeleteTopicsRequest { topics: vec![by_name], ..Default::default() };
        let begin = Instant::now();
        broker.connect().call::<DeleteTopics>(6, &delete).await;
        let answer = reader.receive::<Fetch>(version).await;
        assert_eq!(answer.responses[0].partitions[0].error_code, code, "v{version}");
        assert!(begin.elapsed() < Duration::from_secs(1), "v{version}");
        // A Produce that still waited to be synced.
        let waits = partition.reached(0).await.unwrap_err();
        assert_eq!(waits.code(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
}

#[tokio::test(start_paused = true)]
async fn topics_are_described_page_by_page() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    for (name, partitions) in [("a", 2), ("b", 3), ("c", 1)] {
        broker.topic(name, partitions, &[]).await;
    }
    let mut request = DescribeTopicPartitionsRequest { response_partition_limit: 2, ..Default::default() };
    let mut pages = Vec::new();
    loop {
        let page = client.call::<DescribeTopicPartitions>(0, &request).await;
        pages.push(
            page.topics.iter().map(|t| (t.name.clone().unwrap(), t.partitions.len())).collect::<Vec<_>>(),
        );
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    let page =
        |topics: &[(&str, usize)]| topics.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect::<Vec<_>>();
    assert_eq!(pages, [page(&[("a", 2)]), page(&[("b", 2)]), page(&[("b", 1), ("c", 1)])]);
    let named = DescribeTopicPartitionsRequest {
        topics: vec![TopicRequest { name: "z".into() }],
        ..Default::default()
    };
    let unknown = client.call::<DescribeTopicPartitions>(0, &named).await.topics.remove(0);
    assert_eq!(unknown.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test(start_paused = true)]
async fn configs_tell_their_value_and_where_it_comes_from() {
    let broker = TestBroker::start(&[("log.segment.bytes", "1000000")]);
    broker.topic("t", 1, &[("max.message.bytes", "5000")]).await;
    let mut client = broker.connect();
    let resource = |resource_type, name: &str, keys: &[&str]| DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: (!keys.is_empty()).then(|| keys.iter().map(|k| (*k).to_owned()).collect()),
    };
    for version in 0..=4 {
        let keys = ["max.message.bytes", "segment.bytes", "index.interval.bytes"];
        let request = DescribeConfigsRequest {
            resources: vec![
                resource(2, "t", &keys),
                resource(4, "1", &[]),
                resource(2, "no", &[]),
                resource(9, "", &[]),
            ],
            ..Default::default()
        };
        let results = client.call::<DescribeConfigs>(version, &request).await.results;
        let codes: Vec<_> = results.iter().map(|r| r.error_code).collect();
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        assert_eq!(codes, [ErrorCode::NONE, ErrorCode::NONE, unknown, ErrorCode::INVALID_REQUEST]);
        let mut told: Vec<_> =
            results[0].configs.iter().map(|c| (c.name.as_str(), c.value.as_deref().unwrap())).collect();
        told.sort_unstable();
        let expected =
            [("index.interval.bytes", "4096"), ("max.message.bytes", "5000"), ("segment.bytes", "1000000")];
        assert_eq!(told, expected);
        if version > 0 {
            let source =
                |name: &str| results[0].configs.iter().find(|c| c.name == name).unwrap().config_source;
            assert_eq!(keys.map(source), [1, 4, 5], "topic, broker's file, default");
        }
        assert!(results[1].configs.len() > 50);
        // No names are all names, be it null or an empty list: clients send either.
        let none = DescribeConfigsResource { configuration_keys: Some(Vec::new()), ..resource(2, "t", &[]) };
        let request = DescribeConfigsRequest { resources: vec![none], ..Default::default() };
        let all = client.call::<DescribeConfigs>(version, &request).await.results.remove(0);
        assert!(all.configs.len() > 20);
    }
}

#[tokio::test(start_paused = true)]
async fn the_cluster_and_its_epochs_are_told() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    broker.topic("new", 1, &[]).await;
    client.produce("t", 0, &["a", "b"]).await;
    for version in 0..=2 {
        let cluster = client.call::<DescribeCluster>(version, &DescribeClusterRequest::default()).await;
        assert_eq!(cluster.cluster_id, broker.broker.cluster.image().cluster_id);
        assert_eq!((cluster.brokers[0].host.as_str(), cluster.brokers[0].port), ("127.0.0.1", 9092));
    }
    // A consumer was answered that a partition which nothing was written to has no epoch at all.
    for (topic, current, asked, expected) in [
        ("t", -1, 0, (ErrorCode::NONE, 0, 2)),
        ("t", 0, 5, (ErrorCode::NONE, -1, -1)),
        ("t", -1, -1, (ErrorCode::NONE, -1, -1)),
        ("t", 1, 0, (ErrorCode::UNKNOWN_LEADER_EPOCH, -1, -1)),
        ("new", 0, 0, (ErrorCode::NONE, 0, 0)),
        ("new", -1, 1, (ErrorCode::NONE, -1, -1)),
    ] {
        let partition =
            OffsetForLeaderPartition { partition: 0, current_leader_epoch: current, leader_epoch: asked };
        let topic = OffsetForLeaderTopic { topic: topic.into(), partitions: vec![partition] };
        let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
        let end =
            client.call::<OffsetForLeaderEpoch>(4, &request).await.topics.remove(0).partitions.remove(0);
        assert_eq!((end.error_code, end.leader_epoch, end.end_offset), expected);
    }
}

// A consumer that had read records which a kill took back went on behind them, as every epoch was 0.
#[tokio::test(start_paused = true)]
async fn a_stop_that_was_not_clean_bumps_every_leader_epoch() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    broker.connect().produce("t", 0, &["a", "b"]).await;
    let broker = broker.kill();
    broker.connect().produce("t", 0, &["c"]).await;
    // Not after a clean one.
    let broker = broker.restart();
    let mut client = broker.connect();
    let described =
        client.call::<Metadata>(12, &MetadataRequest { topics: None, ..Default::default() }).await;
    assert_eq!(described.topics[0].partitions[0].leader_epoch, 1);
    for (believed, code) in [
        (-1, ErrorCode::NONE),
        (0, ErrorCode::FENCED_LEADER_EPOCH),
        (1, ErrorCode::NONE),
        (2, ErrorCode::UNKNOWN_LEADER_EPOCH),
    ] {
        let mut request = fetch_request("t", &[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = believed;
        let fetched = client.call::<Fetch>(12, &request).await.responses.remove(0).partitions.remove(0);
        assert_eq!(fetched.error_code, code, "{believed}");
        for (asked, end) in [(0, (0, 2)), (1, (1, 3)), (2, (-1, -1))] {
            let partition = OffsetForLeaderPartition {
                partition: 0,
                current_leader_epoch: believed,
                leader_epoch: asked,
            };
            let topic = OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition] };
            let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
            let answer = client.call::<OffsetForLeaderEpoch>(4, &request).await;
            let found = &answer.topics[0].partitions[0];
            assert_eq!(found.error_code, code);
            assert!(code != ErrorCode::NONE || (found.leader_epoch, found.end_offset) == end, "{found:?}");
        }
    }
    // The offset of the start, of the end, and of the newest record: each with the epoch it belongs to.
    let (ok, none) = (ErrorCode::NONE, (-1, -1));
    for (timestamp, believed, code, found) in [
        (-2, -1, ok, (0, 0)),
        (-1, -1, ok, (3, 1)),
        (-3, 1, ok, (2, 1)),
        (-1, 0, ErrorCode::FENCED_LEADER_EPOCH, none),
        (-3, 2, ErrorCode::UNKNOWN_LEADER_EPOCH, none),
        (-7, 0, ErrorCode::UNSUPPORTED_VERSION, none),
    ] {
        let wanted = ListOffsetsPartition { timestamp, current_leader_epoch: believed, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![wanted] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let listed = client.call::<ListOffsets>(7, &request).await.topics.remove(0).partitions.remove(0);
        assert_eq!((listed.error_code, (listed.offset, listed.leader_epoch)), (code, found), "{timestamp}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_producer_id_is_never_given_twice() {
    let mut broker = TestBroker::start(&[]);
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..4 {
        let mut client = broker.connect();
        for version in 0..=5 {
            let given = client.call::<InitProducerId>(version, &InitProducerIdRequest::default()).await;
            assert_eq!((given.error_code, given.producer_epoch), (ErrorCode::NONE, 0));
            assert!(seen.insert(given.producer_id), "{} again", given.producer_id);
        }
        broker = if round % 2 == 0 { broker.restart() } else { broker.kill() };
    }
}

// One CreateTopics asked for so much that every other change of the cluster waited for it. Kafka 4 refuses a
// request for more than 10,000 partitions as a whole, whatever else is wrong with it.
#[tokio::test(start_paused = true)]
async fn a_request_for_too_many_partitions_is_refused_as_a_whole() {
    let broker = TestBroker::start(&[("num.partitions", "300")]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    let of = |name: &str, num_partitions| CreatableTopic { num_partitions, ..wanted(name) };
    let assignments = (0..2).map(|n| CreatableReplicaAssignment { partition_index: n, broker_ids: vec![1] });
    let assigned = CreatableTopic { assignments: assignments.collect(), ..wanted("assigned") };
    let cases = [
        vec![of("a", 1), of("b", 10_000)],
        vec![of("a", 9_700), of("b", -1), of("t", 1)],
        vec![of("a", 9_999), assigned],
        (0..10_001).map(|n| of(&format!("no name {n}"), 0)).collect(),
    ];
    for topics in cases {
        for validate_only in [true, false] {
            let request = CreateTopicsRequest { topics: topics.clone(), validate_only, ..Default::default() };
            let told = client.call::<CreateTopics>(7, &request).await.topics;
            assert_eq!(told.len(), topics.len());
            assert!(told.iter().all(|topic| topic.error_code == ErrorCode::POLICY_VIOLATION), "{told:?}");
        }
    }
    let grow = |name: &str, count| CreatePartitionsTopic { name: name.into(), count, assignments: None };
    for topics in [vec![grow("t", 10_002)], vec![grow("t", 6_000), grow("u", 6_000)]] {
        let request = CreatePartitionsRequest { topics, ..Default::default() };
        let told = client.call::<CreatePartitions>(3, &request).await.results;
        assert!(told.iter().all(|topic| topic.error_code == ErrorCode::POLICY_VIOLATION), "{told:?}");
    }
    assert_eq!(names(&mut client).await, ["t"]);
}

// A client deleted a topic with a name of 249 characters and created it again: its directory could not be
// renamed, so that it could not be created, nor any other topic before the next start.
#[tokio::test]
async fn a_topic_with_the_longest_name_is_deleted_and_created_again() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let name = "a".repeat(249);
    for _ in 0..3 {
        assert_eq!(create(&mut client, wanted(&name)).await, ErrorCode::NONE);
        assert_eq!(client.produce(&name, 0, &["a"]).await.error_code, ErrorCode::NONE);
        let topic_names = vec![name.clone()];
        let request = DeleteTopicsRequest { topic_names, timeout_ms: 1000, ..Default::default() };
        let deleted = client.call::<DeleteTopics>(5, &request).await.responses.remove(0);
        assert_eq!(deleted.error_code, ErrorCode::NONE);
        let mut left = std::fs::read_dir(broker.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.all(|file| !file.to_string_lossy().starts_with("aaa")));
    }
    assert_eq!(create(&mut client, wanted("other")).await, ErrorCode::NONE);
}
