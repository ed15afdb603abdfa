//! Administration through the wire: configs altered while the broker runs, elections, moves,
//! features and ACLs. Every version of every API; what is refused says which value and why.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use braid_protocol::ErrorCode;
use braid_protocol::api::alter_configs::{self, AlterConfigs, AlterConfigsRequest};
use braid_protocol::api::alter_partition_reassignments::{
    AlterPartitionReassignments, AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use braid_protocol::api::create_acls::{AclCreation, CreateAcls, CreateAclsRequest};
use braid_protocol::api::delete_acls::{DeleteAcls, DeleteAclsFilter, DeleteAclsRequest};
use braid_protocol::api::describe_acls::{DescribeAcls, DescribeAclsRequest};
use braid_protocol::api::describe_configs::{
    DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResource,
};
use braid_protocol::api::describe_producers::{DescribeProducers, DescribeProducersRequest, TopicRequest};
use braid_protocol::api::describe_quorum::{self, DescribeQuorum, DescribeQuorumRequest, PartitionRequest};
use braid_protocol::api::elect_leaders::{ElectLeaders, ElectLeadersRequest, TopicPartitions};
use braid_protocol::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigs, IncrementalAlterConfigsRequest,
};
use braid_protocol::api::list_config_resources::{ListConfigResources, ListConfigResourcesRequest};
use braid_protocol::api::list_partition_reassignments::{
    ListPartitionReassignments, ListPartitionReassignmentsRequest,
};
use braid_protocol::api::update_features::{FeatureUpdateKey, UpdateFeatures, UpdateFeaturesRequest};
use support::{Client, TestBroker, batch_of};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;

/// A change of one setting: its name, the operation, the value.
type Step<'a> = (&'a str, i8, Option<&'a str>);
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn resource(resource_type: i8, name: &str, steps: &[Step<'_>]) -> AlterConfigsResource {
    let one = |(name, config_operation, value): &Step<'_>| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: *config_operation,
        value: value.map(str::to_owned),
    };
    let configs = steps.iter().map(one).collect();
    AlterConfigsResource { resource_type, resource_name: name.to_owned(), configs }
}

/// Changes settings of one resource; the code and the words.
async fn change(client: &mut Client, resource: AlterConfigsResource) -> (ErrorCode, String) {
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let told = client.call::<IncrementalAlterConfigs>(1, &request).await.responses.remove(0);
    (told.error_code, told.error_message.unwrap_or_default())
}

/// The value of a setting and where it comes from.
async fn config(client: &mut Client, resource_type: i8, name: &str, key: &str) -> (Option<String>, i8) {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: Some(vec![key.to_owned()]),
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let mut told = client.call::<DescribeConfigs>(4, &request).await.results.remove(0);
    assert!(told.error_code.is_ok(), "{told:?}");
    match told.configs.pop() {
        Some(config) => (config.value, config.config_source),
        None => (None, 0),
    }
}

fn text(value: &str, source: i8) -> (Option<String>, i8) {
    (Some(value.to_owned()), source)
}

#[tokio::test(start_paused = true)]
async fn a_topics_configs_change_at_once_and_survive() {
    let mut broker = TestBroker::start(&[]);
    broker.topic("t", 2, &[("retention.ms", "5000")]).await;
    let mut client = broker.connect();
    let long = "x".repeat(2000);
    assert_eq!(client.produce("t", 0, &[&long]).await.error_code, ErrorCode::NONE);
    let steps: &[Step<'_>] =
        &[("max.message.bytes", SET, Some("1000")), ("segment.bytes", SET, Some("100000"))];
    assert_eq!(change(&mut client, resource(TOPIC, "t", steps)).await.0, ErrorCode::NONE);
    assert_eq!(client.produce("t", 0, &[&long]).await.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(client.produce("t", 1, &["v"]).await.error_code, ErrorCode::NONE);
    let segment_bytes = |broker: &TestBroker| {
        let partition = broker.broker.topic("t").unwrap().partition(1).unwrap();
        partition.look(|log| log.config().segment_bytes).unwrap()
    };
    assert_eq!(segment_bytes(&broker), 100_000);
    for crash in [false, true] {
        broker = if crash { broker.kill() } else { broker.restart() };
        client = broker.connect();
        assert_eq!(config(&mut client, TOPIC, "t", "max.message.bytes").await, text("1000", 1));
        assert_eq!(config(&mut client, TOPIC, "t", "retention.ms").await, text("5000", 1));
        assert_eq!(segment_bytes(&broker), 100_000);
        assert_eq!(client.produce("t", 0, &[&long]).await.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    }
    let back = resource(TOPIC, "t", &[("max.message.bytes", DELETE, None)]);
    assert_eq!(change(&mut client, back).await.0, ErrorCode::NONE);
    assert_eq!(config(&mut client, TOPIC, "t", "max.message.bytes").await, text("1048588", 5));
    assert_eq!(client.produce("t", 0, &[&long]).await.error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn lists_grow_and_shrink() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    for (operation, value, expected) in [
        (APPEND, "compact", text("delete,compact", 1)),
        (SUBTRACT, "delete", text("compact", 1)),
        (DELETE, "", text("delete", 5)),
    ] {
        let step = resource(TOPIC, "t", &[("cleanup.policy", operation, Some(value))]);
        assert_eq!(change(&mut client, step).await.0, ErrorCode::NONE);
        assert_eq!(config(&mut client, TOPIC, "t", "cleanup.policy").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_brokers_configs_change_for_one_or_for_all() {
    let mut broker = TestBroker::start(&[("message.max.bytes", "3000")]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    let key = "message.max.bytes";
    let long = "x".repeat(2000);
    assert_eq!(config(&mut client, BROKER, "1", key).await, text("3000", 4));
    assert_eq!(config(&mut client, BROKER, "", key).await, (None, 0));
    let set = |name: &str, value| change_of(name, (key, SET, Some(value)));
    assert_eq!(change(&mut client, set("", "1000")).await.0, ErrorCode::NONE);
    assert_eq!(config(&mut client, BROKER, "", key).await, text("1000", 3));
    assert_eq!(config(&mut client, BROKER, "1", key).await, text("1000", 3));
    assert_eq!(config(&mut client, TOPIC, "t", "max.message.bytes").await, text("1000", 3));
    assert_eq!(client.produce("t", 0, &[&long]).await.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(change(&mut client, set("1", "2500")).await.0, ErrorCode::NONE);
    assert_eq!(config(&mut client, BROKER, "1", key).await, text("2500", 2));
    assert_eq!(client.produce("t", 0, &[&long]).await.error_code, ErrorCode::NONE);
    broker = broker.kill();
    client = broker.connect();
    assert_eq!(config(&mut client, TOPIC, "t", "max.message.bytes").await, text("2500", 2));
    // A topic that comes later uses it too.
    broker.topic("later", 1, &[]).await;
    assert_eq!(
        client.produce("later", 0, &["x".repeat(2600).as_str()]).await.error_code,
        ErrorCode::MESSAGE_TOO_LARGE
    );
    for name in ["1", ""] {
        assert_eq!(change(&mut client, change_of(name, (key, DELETE, None))).await.0, ErrorCode::NONE);
    }
    assert_eq!(config(&mut client, BROKER, "1", key).await, text("3000", 4));
}

fn change_of(broker: &str, step: Step<'_>) -> AlterConfigsResource {
    resource(BROKER, broker, &[step])
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_altered_says_why_and_the_rest_is() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    broker.topic("u", 1, &[]).await;
    let mut client = broker.connect();
    let (unknown, config_, request_) =
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::INVALID_CONFIG, ErrorCode::INVALID_REQUEST);
    let long = "x".repeat(30_000);
    let cases: &[(i8, &str, Step<'_>, ErrorCode, &str)] = &[
        (TOPIC, "no", ("retention.ms", SET, Some("1")), unknown, "'no'"),
        (TOPIC, "t", ("retention.ms", SET, Some("soon")), config_, "soon"),
        (TOPIC, "t", ("no.such", SET, Some("1")), config_, "no.such"),
        (TOPIC, "t", ("retention.ms", SET, None), request_, "retention.ms"),
        (TOPIC, "t", ("retention.ms", APPEND, Some("1")), config_, "not a list"),
        (TOPIC, "t", ("retention.ms", 9, Some("1")), request_, "operation 9"),
        (BROKER, "2", ("log.retention.ms", SET, Some("1")), request_, "received 2"),
        (BROKER, "1", ("node.id", SET, Some("2")), request_, "node.id"),
        (BROKER, "1", ("log.retention.ms", SET, Some("x")), request_, "log.retention.ms"),
        (BROKER, "", ("log.retention.ms", SET, Some(" ")), request_, "log.retention.ms"),
        (BROKER, "", ("log.dirs", SET, Some("x")), request_, "configs dynamically: [log.dirs]"),
        (16, "metrics", ("interval.ms", SET, Some("1")), request_, "16"),
        (TOPIC, "t", ("retention.ms", SET, Some(long.as_str())), config_, "xxx"),
    ];
    for (kind, name, step, code, word) in cases {
        let (told, why) = change(&mut client, resource(*kind, name, &[*step])).await;
        assert_eq!(told, *code, "{step:?}: {why}");
        assert!(why.contains(word), "{step:?}: {why}");
    }
    // Nothing is changed by half, and nobody suffers for another.
    let step = |value| ("retention.ms", SET, Some(value));
    let resources = vec![
        resource(TOPIC, "t", &[step("7"), ("segment.ms", SET, Some("x"))]),
        resource(TOPIC, "u", &[step("7")]),
        resource(BROKER, "", &[]),
        resource(BROKER, "", &[]),
        resource(TOPIC, "t", &[step("7")]),
    ];
    let codes = |responses: Vec<
        braid_protocol::api::incremental_alter_configs::AlterConfigsResourceResponse,
    >| { responses.into_iter().map(|r| r.error_code).collect::<Vec<_>>() };
    for (version, validate_only) in [(0, true), (1, false)] {
        let request = IncrementalAlterConfigsRequest { resources: resources.clone(), validate_only };
        let told = client.call::<IncrementalAlterConfigs>(version, &request).await;
        assert_eq!(codes(told.responses), [request_, ErrorCode::NONE, request_, request_, request_]);
        let expected = if validate_only { text("604800000", 5) } else { text("7", 1) };
        assert_eq!(config(&mut client, TOPIC, "u", "retention.ms").await, expected);
        assert_eq!(config(&mut client, TOPIC, "t", "retention.ms").await, text("604800000", 5));
    }
}

// A tool sets a plugin's keys beside the broker's own: one of them had the whole refused. Kafka stores them.
#[tokio::test(start_paused = true)]
async fn keys_that_this_broker_does_not_obey_are_stored_beside_others() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let steps: &[Step<'_>] = &[
        ("log.retention.ms", SET, Some("5000")),
        ("my.plugin.secret", SET, Some("pssst")),
        ("metric.reporters", APPEND, Some("a.B")),
    ];
    assert_eq!(change(&mut client, resource(BROKER, "1", steps)).await, (ErrorCode::NONE, String::new()));
    broker = broker.restart();
    client = broker.connect();
    assert_eq!(config(&mut client, BROKER, "1", "log.retention.ms").await, text("5000", 2));
    assert_eq!(config(&mut client, BROKER, "1", "metric.reporters").await, text("a.B", 2));
    assert_eq!(config(&mut client, BROKER, "1", "my.plugin.secret").await, (None, 2), "a secret to all");
    let delete: &[Step<'_>] = &[("my.plugin.secret", DELETE, None)];
    assert_eq!(change(&mut client, resource(BROKER, "1", delete)).await.0, ErrorCode::NONE);
    assert_eq!(config(&mut client, BROKER, "1", "my.plugin.secret").await, (None, 0));
}

#[tokio::test(start_paused = true)]
async fn the_old_way_replaces_all_configs() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    for version in 0..=2 {
        let topic = format!("v{version}");
        broker.topic(&topic, 1, &[("segment.ms", "1000"), ("retention.ms", "1")]).await;
        let one = |name: &str, value: Option<&str>| alter_configs::AlterableConfig {
            name: name.into(),
            value: value.map(str::to_owned),
        };
        let all = |resource_type, name: &str, configs| alter_configs::AlterConfigsResource {
            resource_type,
            resource_name: name.into(),
            configs,
        };
        let mut request = AlterConfigsRequest {
            resources: vec![
                all(TOPIC, &topic, vec![one("retention.ms", Some("2"))]),
                all(TOPIC, "no", vec![]),
                all(BROKER, "1", vec![one("log.retention.ms", None)]),
                all(BROKER, "", vec![one("log.retention.bytes", Some("5"))]),
            ],
            validate_only: true,
        };
        for validate_only in [true, false] {
            request.validate_only = validate_only;
            let told = client.call::<AlterConfigs>(version, &request).await.responses;
            let codes: Vec<_> = told.iter().map(|r| r.error_code).collect();
            let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            assert_eq!(codes, [ErrorCode::NONE, unknown, ErrorCode::INVALID_REQUEST, ErrorCode::NONE]);
            let segment = config(&mut client, TOPIC, &topic, "segment.ms").await;
            assert_eq!(segment, if validate_only { text("1000", 1) } else { text("604800000", 5) });
        }
        assert_eq!(config(&mut client, TOPIC, &topic, "retention.ms").await, text("2", 1));
        assert_eq!(config(&mut client, TOPIC, &topic, "retention.bytes").await, text("5", 3));
    }
}

// One client set the cluster's log.retention.ms to a blank. It counted as absent when it was checked and not
// when topics went by it: the broker panicked, and at every start from then on.
#[tokio::test(start_paused = true)]
async fn no_altered_value_is_one_that_topics_cannot_go_by() {
    let mut broker = TestBroker::start(&[]);
    let settings = braid::config::BROKER.iter().filter(|setting| setting.is_live());
    for setting in settings {
        for value in ["", " ", "-2", "-1", "0", "1", " 7 ", "9223372036854775807", "true", "none", "compact"]
        {
            let step = change_of("", (setting.name, SET, Some(value)));
            let (code, why) = change(&mut broker.connect(), step).await;
            let answers = [ErrorCode::NONE, ErrorCode::INVALID_REQUEST];
            assert!(answers.contains(&code), "{}={value:?}: {code} {why}", setting.name);
        }
        let name = setting.name.replace('.', "-");
        broker.topic(&name, 1, &[]).await;
        assert_eq!(
            change(&mut broker.connect(), change_of("", (setting.name, DELETE, None))).await.0,
            ErrorCode::NONE
        );
    }
    broker = broker.restart();
    broker.topic("after", 1, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn one_broker_needs_no_election_and_no_move() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    for version in 0..=2 {
        let asked = |topic: &str| TopicPartitions { topic: topic.into(), partitions: vec![0, 1] };
        let topic_partitions = Some(vec![asked("t"), asked("no")]);
        let request = ElectLeadersRequest { topic_partitions, ..Default::default() };
        let results = client.call::<ElectLeaders>(version, &request).await.replica_election_results;
        let codes: Vec<_> = results.iter().flat_map(|r| &r.partition_result).map(|p| p.error_code).collect();
        assert_eq!(codes, [ErrorCode::ELECTION_NOT_NEEDED, unknown, unknown, unknown]);
        let all = client.call::<ElectLeaders>(version, &ElectLeadersRequest::default()).await;
        assert_eq!((all.error_code, all.replica_election_results.len()), (ErrorCode::NONE, 0));
    }
    for version in 0..=1 {
        let to = |partition_index, replicas: Option<&[i32]>| ReassignablePartition {
            partition_index,
            replicas: replicas.map(<[i32]>::to_vec),
        };
        let moves = [to(0, Some(&[1])), to(0, Some(&[2])), to(0, Some(&[])), to(0, None), to(1, Some(&[1]))];
        let topic = ReassignableTopic { name: "t".into(), partitions: moves.into() };
        let request = AlterPartitionReassignmentsRequest { topics: vec![topic], ..Default::default() };
        let told = client.call::<AlterPartitionReassignments>(version, &request).await.responses.remove(0);
        let codes: Vec<_> = told.partitions.iter().map(|p| p.error_code).collect();
        let wrong = ErrorCode::INVALID_REPLICA_ASSIGNMENT;
        let none = ErrorCode::NO_REASSIGNMENT_IN_PROGRESS;
        assert_eq!(codes, [ErrorCode::NONE, wrong, wrong, none, unknown]);
    }
    let moving = ListPartitionReassignmentsRequest::default();
    let moving = client.call::<ListPartitionReassignments>(0, &moving).await;
    assert_eq!((moving.error_code, moving.topics.len()), (ErrorCode::NONE, 0));
}

#[tokio::test(start_paused = true)]
async fn the_quorum_is_this_broker_alone() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let topic = |name: &str| describe_quorum::TopicRequest {
        topic_name: name.into(),
        partitions: vec![PartitionRequest { partition_index: 0 }],
    };
    let request = DescribeQuorumRequest { topics: vec![topic("__cluster_metadata"), topic("t")] };
    for version in 0..=2 {
        let before = client.call::<DescribeQuorum>(version, &request).await;
        let partition = &before.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id), (ErrorCode::NONE, 1));
        let voter = &partition.current_voters[..];
        assert_eq!(
            voter.iter().map(|v| (v.replica_id, v.log_end_offset)).collect::<Vec<_>>(),
            [(1, partition.high_watermark)]
        );
        assert_eq!(before.topics[1].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        broker.topic(&format!("v{version}"), 1, &[]).await;
        let after = client.call::<DescribeQuorum>(version, &request).await;
        assert!(after.topics[0].partitions[0].high_watermark > partition.high_watermark);
        if version == 2 {
            assert_eq!((after.nodes[0].node_id, after.nodes[0].listeners[0].port), (1, 9092));
            assert_ne!(voter[0].replica_directory_id, braid_protocol::Uuid::ZERO);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_tells_its_producers() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 2, &[]).await;
    let mut client = broker.connect();
    client.produce_batch("t", 1, batch_of(7, 3, 0, &["a", "b"])).await;
    let topic = |name: &str| TopicRequest { name: name.into(), partition_indexes: vec![0, 1, 2] };
    let request = DescribeProducersRequest { topics: vec![topic("t"), topic("no")] };
    let told = client.call::<DescribeProducers>(0, &request).await.topics;
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let codes: Vec<_> = told.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::NONE, unknown, unknown, unknown, unknown]);
    assert_eq!(told[0].partitions[0].active_producers, []);
    let producer = &told[0].partitions[1].active_producers[0];
    assert_eq!((producer.producer_id, producer.producer_epoch, producer.last_sequence), (7, 3, 1));
    assert_eq!((producer.current_txn_start_offset, producer.coordinator_epoch), (-1, -1));
}

#[tokio::test(start_paused = true)]
async fn topics_and_the_broker_have_configs() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    for (version, types, expected) in [
        (0, vec![], vec![]),
        (1, vec![], vec![("t".to_owned(), TOPIC), ("1".to_owned(), BROKER), ("1".to_owned(), LOGGER)]),
        (1, vec![BROKER], vec![("1".to_owned(), BROKER)]),
        (1, vec![16, 32], vec![]),
    ] {
        let request = ListConfigResourcesRequest { resource_types: types };
        let told = client.call::<ListConfigResources>(version, &request).await;
        assert_eq!(told.error_code, ErrorCode::NONE);
        let told = told.config_resources.into_iter().map(|r| (r.resource_name, r.resource_type));
        assert_eq!(told.collect::<Vec<_>>(), expected, "v{version}");
    }
    let strange = ListConfigResourcesRequest { resource_types: vec![99] };
    let strange = client.call::<ListConfigResources>(1, &strange).await;
    assert_eq!(strange.error_code, ErrorCode::UNSUPPORTED_VERSION);
}

#[tokio::test(start_paused = true)]
async fn features_do_not_move_and_acls_are_off() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let update = FeatureUpdateKey { feature: "no.such".into(), max_version_level: 5, ..Default::default() };
    for version in 0..=2 {
        let request = UpdateFeaturesRequest { feature_updates: vec![update.clone()], ..Default::default() };
        let told = client.call::<UpdateFeatures>(version, &request).await;
        let (code, why) = match told.results.first() {
            Some(one) => (one.error_code, one.error_message.clone()),
            None => (told.error_code, told.error_message),
        };
        assert_eq!(code, ErrorCode::INVALID_UPDATE_VERSION, "v{version}");
        assert!(why.unwrap().contains("no.such"));
        let update = |level| FeatureUpdateKey {
            feature: "group.version".into(),
            max_version_level: level,
            ..Default::default()
        };
        for (level, expected) in [(1, ErrorCode::NONE), (0, ErrorCode::INVALID_UPDATE_VERSION)] {
            let request =
                UpdateFeaturesRequest { feature_updates: vec![update(level)], ..Default::default() };
            let told = client.call::<UpdateFeatures>(version, &request).await;
            let code = told.results.first().map_or(told.error_code, |one| one.error_code);
            assert_eq!(code, expected, "v{version}, level {level}");
        }
    }
    for version in 0..=3 {
        let told = client.call::<DescribeAcls>(version, &DescribeAclsRequest::default()).await;
        assert_eq!(told.error_code, ErrorCode::SECURITY_DISABLED);
        let creations = vec![AclCreation::default(); 2];
        let told = client.call::<CreateAcls>(version, &CreateAclsRequest { creations }).await.results;
        let codes: Vec<_> = told.iter().map(|r| r.error_code).collect();
        assert_eq!(codes, [ErrorCode::SECURITY_DISABLED; 2]);
        let filters = vec![DeleteAclsFilter::default(); 2];
        let told = client.call::<DeleteAcls>(version, &DeleteAclsRequest { filters }).await.filter_results;
        let codes: Vec<_> = told.iter().map(|r| r.error_code).collect();
        assert_eq!(codes, [ErrorCode::SECURITY_DISABLED; 2]);
    }
}

#[tokio::test]
async fn records_are_synced_after_so_many_and_after_so_long() {
    let broker = TestBroker::start(&[("braid.durability", "written")]);
    broker.topic("many", 1, &[("flush.messages", "3")]).await;
    broker.topic("long", 1, &[]).await;
    let mut client = broker.connect();
    let synced = |topic: &str| {
        let partition = broker.broker.topic(topic).unwrap().partition(0).unwrap();
        partition.look(|log| log.synced_offset()).unwrap()
    };
    client.produce("many", 0, &["a", "b"]).await;
    client.produce("long", 0, &["a"]).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!((synced("many"), synced("long")), (0, 0));
    let flush = resource(TOPIC, "long", &[("flush.ms", SET, Some("20"))]);
    assert_eq!(change(&mut client, flush).await.0, ErrorCode::NONE);
    client.produce("many", 0, &["c"]).await;
    client.produce("long", 0, &["b"]).await;
    while (synced("many"), synced("long")) != (3, 2) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
