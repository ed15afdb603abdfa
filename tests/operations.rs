//! What an operator does while the broker runs: levels of the log, configs of groups, questions about users.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use braid_protocol::ErrorCode;
use braid_protocol::api::alter_configs::{AlterConfigs, AlterConfigsRequest};
use braid_protocol::api::alter_configs::{AlterConfigsResource as Whole, AlterableConfig as WholeConfig};
use braid_protocol::api::consumer_group_heartbeat::{ConsumerGroupHeartbeat, ConsumerGroupHeartbeatRequest};
use braid_protocol::api::describe_client_quotas::{
    ComponentData, DescribeClientQuotas, DescribeClientQuotasRequest,
};
use braid_protocol::api::describe_configs::{
    DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResult,
};
use braid_protocol::api::describe_user_scram_credentials::{
    DescribeUserScramCredentials, DescribeUserScramCredentialsRequest, UserName,
};
use braid_protocol::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigs, IncrementalAlterConfigsRequest,
};
use braid_protocol::api::list_config_resources::{ListConfigResources, ListConfigResourcesRequest};
use support::{Client, TestBroker};

const LOGGER: i8 = 8;
const GROUP: i8 = 32;
const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";

/// Sets one config, or deletes it; the code and the words.
async fn set(client: &mut Client, of: (i8, &str), name: &str, value: Option<&str>) -> (ErrorCode, String) {
    let config_operation = if value.is_some() { 0 } else { 1 };
    change(client, of, name, config_operation, value, false).await
}

async fn change(
    client: &mut Client,
    (resource_type, resource_name): (i8, &str),
    name: &str,
    config_operation: i8,
    value: Option<&str>,
    validate_only: bool,
) -> (ErrorCode, String) {
    let configs =
        vec![AlterableConfig { name: name.to_owned(), config_operation, value: value.map(str::to_owned) }];
    let resource_name = resource_name.to_owned();
    let resources = vec![AlterConfigsResource { resource_type, resource_name, configs }];
    let request = IncrementalAlterConfigsRequest { resources, validate_only };
    let told = client.call::<IncrementalAlterConfigs>(1, &request).await.responses.remove(0);
    (told.error_code, told.error_message.unwrap_or_default())
}

async fn describe(client: &mut Client, (resource_type, name): (i8, &str)) -> DescribeConfigsResult {
    let resource_name = name.to_owned();
    let resource = DescribeConfigsResource { resource_type, resource_name, configuration_keys: None };
    let include_synonyms = true;
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms, ..Default::default() };
    client.call::<DescribeConfigs>(4, &request).await.results.remove(0)
}

/// The value of one config, where it comes from, and the names of its synonyms.
async fn value(client: &mut Client, of: (i8, &str), name: &str) -> (String, i8, Vec<String>) {
    let config = describe(client, of).await.configs.into_iter().find(|c| c.name == name).unwrap();
    let synonyms = config.synonyms.into_iter().map(|s| s.name).collect();
    (config.value.unwrap(), config.config_source, synonyms)
}

#[tokio::test(start_paused = true)]
async fn levels_of_the_log_are_configs_of_the_brokers_loggers() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let own = (LOGGER, "1");
    assert_eq!(value(&mut client, own, "root").await, ("INFO".to_owned(), 6, vec![]));
    assert_eq!(set(&mut client, own, "braid.group", Some("DEBUG")).await.0, ErrorCode::NONE);
    assert_eq!(set(&mut client, own, "root", Some("FATAL")).await.0, ErrorCode::NONE);
    let validated = change(&mut client, own, "braid.api", 0, Some("TRACE"), true).await;
    assert_eq!(validated.0, ErrorCode::NONE);
    for (logger, level) in [("root", "ERROR"), ("braid.group", "DEBUG"), ("braid.api", "ERROR")] {
        assert_eq!(value(&mut client, own, logger).await.0, level, "{logger}");
    }
    assert_eq!(set(&mut client, own, "braid.group", None).await.0, ErrorCode::NONE);
    assert_eq!(value(&mut client, own, "braid.group").await.0, "ERROR");

    let (config, request) = (ErrorCode::INVALID_CONFIG, ErrorCode::INVALID_REQUEST);
    let (code, why) = set(&mut client, own, "kafka.server", Some("DEBUG")).await;
    assert!(code == config && why.contains("kafka.server"), "{why}");
    let (code, why) = set(&mut client, own, "braid.api", Some("LOUD")).await;
    assert!(code == config && why.contains("braid.api to LOUD"), "{why}");
    assert_eq!(set(&mut client, own, "root", None).await.0, request);
    assert_eq!(set(&mut client, (LOGGER, "2"), "root", Some("INFO")).await.0, request);
    let (code, why) = change(&mut client, own, "root", 2, Some("INFO"), false).await;
    assert!(code == request && why.contains("APPEND"), "{why}");
    assert_eq!(describe(&mut client, (LOGGER, "")).await.error_code, request);
    assert_eq!(value(&mut client, own, "root").await.0, "ERROR", "nothing of it was done");

    let resource_name = "1".to_owned();
    let configs = vec![WholeConfig { name: "root".to_owned(), value: Some("INFO".to_owned()) }];
    let resources = vec![Whole { resource_type: LOGGER, resource_name, configs }];
    let whole = AlterConfigsRequest { resources, validate_only: false };
    let told = client.call::<AlterConfigs>(2, &whole).await.responses.remove(0);
    assert_eq!(told.error_code, request, "only single levels can be altered");
}

#[tokio::test(start_paused = true)]
async fn a_groups_configs_are_kept_described_and_listed() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let group = (GROUP, "g");
    let default = value(&mut client, group, SESSION).await;
    assert_eq!(default, ("45000".to_owned(), 5, vec!["group.consumer.session.timeout.ms".to_owned()]));
    assert_eq!(set(&mut client, group, SESSION, Some("50000")).await.0, ErrorCode::NONE);
    let (code, why) = set(&mut client, group, SESSION, Some("1")).await;
    assert!(code == ErrorCode::INVALID_CONFIG && why.contains("group.consumer.min.session.timeout.ms"));
    let (code, why) = set(&mut client, group, "retention.ms", Some("1")).await;
    assert!(code == ErrorCode::INVALID_CONFIG && why.contains("retention.ms"));
    assert_eq!(set(&mut client, (GROUP, ""), SESSION, Some("50000")).await.0, ErrorCode::INVALID_REQUEST);
    assert_eq!(describe(&mut client, (GROUP, "")).await.error_code, ErrorCode::INVALID_REQUEST);
    for crash in [false, true] {
        broker = if crash { broker.kill() } else { broker.restart() };
        client = broker.connect();
        let (now, source, synonyms) = value(&mut client, group, SESSION).await;
        assert_eq!((now.as_str(), source, synonyms.len()), ("50000", 8, 2));
        assert_eq!(value(&mut client, group, HEARTBEAT).await.0, "5000");
        assert_eq!(listed(&mut client, GROUP).await, ["g"]);
    }
    assert_eq!(set(&mut client, group, SESSION, None).await.0, ErrorCode::NONE);
    assert!(listed(&mut client, GROUP).await.is_empty());
    assert_eq!(listed(&mut client, LOGGER).await, ["1"]);
}

async fn listed(client: &mut Client, resource_type: i8) -> Vec<String> {
    let request = ListConfigResourcesRequest { resource_types: vec![resource_type] };
    let listed = client.call::<ListConfigResources>(1, &request).await.config_resources;
    assert!(listed.iter().all(|r| r.resource_type == resource_type));
    listed.into_iter().map(|r| r.resource_name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_groups_members_go_by_its_configs_from_their_next_heartbeat_on() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    let join = ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: "m".to_owned(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let joined = client.call::<ConsumerGroupHeartbeat>(1, &join).await;
    assert_eq!((joined.error_code, joined.heartbeat_interval_ms), (ErrorCode::NONE, 5_000));
    assert_eq!(set(&mut client, (GROUP, "g"), HEARTBEAT, Some("15000")).await.0, ErrorCode::NONE);
    assert_eq!(set(&mut client, (GROUP, "g"), SESSION, Some("60000")).await.0, ErrorCode::NONE);
    let beat = ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: "m".to_owned(),
        member_epoch: joined.member_epoch,
        rebalance_timeout_ms: -1,
        ..Default::default()
    };
    let beaten = client.call::<ConsumerGroupHeartbeat>(1, &beat).await;
    assert_eq!((beaten.error_code, beaten.heartbeat_interval_ms), (ErrorCode::NONE, 15_000));
    for (silence, expected) in [(59, ErrorCode::NONE), (61, ErrorCode::UNKNOWN_MEMBER_ID)] {
        tokio::time::sleep(std::time::Duration::from_secs(silence)).await;
        assert_eq!(client.call::<ConsumerGroupHeartbeat>(1, &beat).await.error_code, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_has_a_quota_or_a_password() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let user = ComponentData { entity_type: "user".to_owned(), match_type: 2, r#match: None };
    for version in 0..=1 {
        let request = DescribeClientQuotasRequest { components: vec![user.clone()], strict: false };
        let told = client.call::<DescribeClientQuotas>(version, &request).await;
        assert_eq!((told.error_code, told.entries), (ErrorCode::NONE, Some(vec![])));
    }
    let all = DescribeUserScramCredentialsRequest { users: None };
    assert!(client.call::<DescribeUserScramCredentials>(0, &all).await.results.is_empty());
    let alice = DescribeUserScramCredentialsRequest { users: Some(vec![UserName { name: "alice".into() }]) };
    let told = client.call::<DescribeUserScramCredentials>(0, &alice).await.results.remove(0);
    assert_eq!((told.user.as_str(), told.error_code), ("alice", ErrorCode::RESOURCE_NOT_FOUND));
    assert!(told.error_message.unwrap().contains("alice"));
}
