//! `/metrics` of a whole broker: what it says is what happened.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use braid::metrics::Scrape;
use braid_protocol::api::consumer_group_heartbeat::{ConsumerGroupHeartbeat, ConsumerGroupHeartbeatRequest};
use braid_protocol::api::fetch::{Fetch, FetchRequest};
use braid_protocol::api::list_offsets::{
    ListOffsets, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use braid_protocol::api::offset_commit::{
    OffsetCommit, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use braid_protocol::api::produce::Produce;
use support::{Client, TestBroker, batch, fetch_request, produce_request};

/// Lets the metrics see the broker, as the program does.
fn observe(broker: &TestBroker) {
    let scrape: Arc<dyn Scrape> = broker.broker.clone();
    broker.broker.metrics.observe(Arc::downgrade(&scrape)).unwrap();
}

/// A scrape: series and values.
async fn scrape(broker: &TestBroker) -> BTreeMap<String, f64> {
    let metrics = broker.broker.metrics.clone();
    let text = tokio::task::spawn_blocking(move || metrics.render().unwrap()).await.unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    };
    samples.map(sample).collect()
}

async fn commit(client: &mut Client, group: &str, offsets: &[(&str, i32, i64)]) {
    let topic = |(name, partition_index, committed_offset): &(&str, i32, i64)| OffsetCommitRequestTopic {
        name: (*name).to_owned(),
        partitions: vec![OffsetCommitRequestPartition {
            partition_index: *partition_index,
            committed_offset: *committed_offset,
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: -1,
        topics: offsets.iter().map(topic).collect(),
        ..Default::default()
    };
    let response = client.call::<OffsetCommit>(8, &request).await;
    assert!(response.topics.iter().flat_map(|t| &t.partitions).all(|p| p.error_code.is_ok()), "{response:?}");
}

#[tokio::test]
async fn lag_of_both_kinds_of_groups_needs_no_exporter() {
    let broker = TestBroker::start(&[("offsets.topic.num.partitions", "3")]);
    observe(&broker);
    broker.topic("orders", 2, &[]).await;
    let mut client = broker.connect();
    for partition in [0, 0, 1] {
        assert!(client.produce("orders", partition, &["a", "b"]).await.error_code.is_ok());
    }
    commit(&mut client, "classic", &[("orders", 0, 1), ("orders", 1, 2)]).await;
    let join = ConsumerGroupHeartbeatRequest {
        group_id: "new".to_owned(),
        member_id: "m".to_owned(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["orders".to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    assert!(client.call::<ConsumerGroupHeartbeat>(1, &join).await.error_code.is_ok());
    let seen = scrape(&broker).await;
    let of = |name: &str, group: &str, rest: &str| {
        seen.get(&format!("kafka_consumergroup_{name}{{consumergroup=\"{group}\"{rest}}}")).copied()
    };
    assert_eq!(of("lag", "classic", ",topic=\"orders\",partition=\"0\""), Some(3.0));
    assert_eq!(of("lag", "classic", ",topic=\"orders\",partition=\"1\""), Some(0.0));
    assert_eq!(of("lag_sum", "classic", ",topic=\"orders\""), Some(3.0));
    assert_eq!(of("current_offset_sum", "classic", ",topic=\"orders\""), Some(3.0));
    assert_eq!((of("members", "classic", ""), of("members", "new", "")), (Some(0.0), Some(1.0)));
    assert_eq!(of("lag_sum", "new", ",topic=\"orders\""), None, "it has committed nothing");
    assert_eq!(seen["kafka_topic_partition_current_offset{partition=\"0\",topic=\"orders\"}"], 4.0);
    assert_eq!(seen["kafka_topic_partitions{topic=\"orders\"}"], 2.0);
    assert_eq!(seen["kafka_coordinator_group_groupmetadatamanager_numgroups"], 2.0);
    assert_eq!(seen["kafka_coordinator_group_groupmetadatamanager_numoffsets"], 2.0);
    assert_eq!(seen["kafka_server_brokertopicmetrics_messagesin_total{topic=\"orders\"}"], 6.0);
}

#[tokio::test]
async fn fetch_sessions_are_counted_while_they_are_remembered() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    let mut session_id = 0;
    for (session_epoch, count) in [(-1, 0.0), (0, 1.0), (1, 1.0), (-1, 0.0)] {
        let request = FetchRequest { session_id, session_epoch, ..fetch_request("t", &[(0, 0)]) };
        session_id = client.call::<Fetch>(12, &request).await.session_id;
        let seen = scrape(&broker).await;
        assert_eq!(seen["kafka_server_fetchsessioncache_numincrementalfetchsessions"], count);
    }
}

#[tokio::test]
async fn where_the_time_of_requests_goes_is_told_by_phase() {
    let broker = TestBroker::start(&[]);
    observe(&broker);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: "t".to_owned(), partitions: vec![partition] }];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    for _ in 0..10 {
        assert!(client.call::<ListOffsets>(5, &request).await.topics[0].partitions[0].error_code.is_ok());
    }
    // A fetch of nothing waits for its whole patience: that is remote time.
    assert!(client.fetch("t", 0, 0, 50).await.records.is_none_or(|r| r.is_empty()));
    // The answer is here before it is counted as sent; the next one is written after that.
    client.call::<ListOffsets>(5, &request).await;
    let seen = scrape(&broker).await;
    let name = |phase: &str, rest: &str| format!("kafka_network_requestmetrics_{phase}{rest}");
    for phase in ["totaltimems", "requestqueuetimems", "localtimems", "remotetimems"] {
        assert_eq!(seen[&name(phase, "_count{request=\"Fetch\"}")], 1.0, "{phase}");
        assert_eq!(seen[&name(phase, "_count{request=\"FetchConsumer\"}")], 1.0, "{phase}");
        assert!(seen[&name(phase, "_count{request=\"ListOffsets\"}")] >= 10.0, "{phase}");
    }
    let fetch = |phase: &str| seen[&name(phase, "{request=\"Fetch\",quantile=\"0.50\"}")];
    assert!(fetch("remotetimems") >= 40.0, "{}", fetch("remotetimems"));
    assert!(fetch("totaltimems") >= fetch("remotetimems"));
    assert_eq!(seen[&name("requests_total", "{request=\"ListOffsets\",version=\"5\"}")], 11.0);
    assert_eq!(seen[&name("totaltime_seconds_bucket", "{request=\"Fetch\",le=\"0.025\"}")], 0.0);
    assert_eq!(seen["kafka_network_requestchannel_responsequeuesize"], 0.0);
}

#[tokio::test]
async fn a_parked_fetch_is_counted_until_its_client_hangs_up() {
    let broker = TestBroker::start(&[]);
    observe(&broker);
    broker.topic("t", 1, &[]).await;
    let size = "kafka_server_delayedoperationpurgatory_purgatorysize{delayedoperation=\"Fetch\"}";
    let mut client = broker.connect();
    let patient = FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..fetch_request("t", &[(0, 0)]) };
    client.send::<Fetch>(12, &patient).await;
    for (client, expected) in [(Some(client), 1.0), (None, 0.0)] {
        // The broker's task sees what was sent, or that nobody is there any more, a moment later.
        let mut seen = -1.0;
        for _ in 0..500 {
            seen = scrape(&broker).await[size];
            if seen == expected {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(seen, expected);
        drop(client);
    }
}

#[tokio::test]
async fn many_topics_and_groups_are_all_there() {
    let broker = TestBroker::start(&[("offsets.topic.num.partitions", "5")]);
    observe(&broker);
    let topics: Vec<String> = (0..50).map(|n| format!("topic-{n}")).collect();
    let mut client = broker.connect();
    for topic in &topics {
        broker.topic(topic, 2, &[]).await;
        assert!(client.produce(topic, 1, &["a", "b", "c"]).await.error_code.is_ok());
    }
    for group in 0..40 {
        let offsets: Vec<_> = topics.iter().take(group % 5).map(|t| (t.as_str(), 1, 1)).collect();
        commit(&mut client, &format!("group-{group}"), &offsets).await;
    }
    let seen = scrape(&broker).await;
    let count = |name: &str| seen.keys().filter(|series| series.starts_with(&format!("{name}{{"))).count();
    let partitions = 50 * 2 + 5;
    for name in ["kafka_log_log_size", "kafka_topic_partition_leader", "kafka_cluster_partition_atminisr"] {
        assert_eq!(count(name), partitions, "{name}");
    }
    assert_eq!(count("kafka_topic_partitions"), 51);
    assert_eq!(seen["kafka_server_replicamanager_leadercount"], partitions as f64);
    // 0 + 1 + 2 + 3 + 4 offsets, eight times.
    assert_eq!((count("kafka_consumergroup_lag"), count("kafka_consumergroup_lag_sum")), (80, 80));
    let lag: f64 =
        seen.iter().filter(|(s, _)| s.starts_with("kafka_consumergroup_lag{")).map(|(_, v)| v).sum();
    assert_eq!(lag, 160.0);
}

/// Clients name groups: with 41,100 of them the page had 15.8 MB and took 4.3 s.
#[tokio::test]
async fn groups_that_clients_make_do_not_make_the_page_grow() {
    let settings = [("offsets.topic.num.partitions", "10"), ("braid.durability", "written")];
    let broker = TestBroker::start(&settings);
    observe(&broker);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    commit(&mut client, "first", &[("t", 0, 0)]).await;
    let request = |n: usize| OffsetCommitRequest {
        group_id: format!("group-with-a-longer-name-{n}"),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![OffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let (groups, at_once) = (50_000, 250);
    for n in (0..groups).step_by(at_once) {
        client.send_all::<OffsetCommit>(8, &(n..n + at_once).map(request).collect::<Vec<_>>()).await;
        for _ in 0..at_once {
            let response = client.receive::<OffsetCommit>(8).await;
            assert!(response.topics[0].partitions[0].error_code.is_ok());
        }
    }
    let join = ConsumerGroupHeartbeatRequest {
        group_id: "zz".to_owned(),
        member_id: "m".to_owned(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    assert!(client.call::<ConsumerGroupHeartbeat>(1, &join).await.error_code.is_ok());

    let metrics = broker.broker.metrics.clone();
    let page = tokio::task::spawn_blocking(move || metrics.render().unwrap()).await.unwrap();
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    let seen = scrape(&broker).await;
    let count = |name: &str| seen.keys().filter(|series| series.starts_with(&format!("{name}{{"))).count();
    assert_eq!(count("kafka_consumergroup_members"), 1_000);
    assert_eq!(seen["kafka_consumergroup_members{consumergroup=\"zz\"}"], 1.0, "those with members first");
    assert_eq!(count("kafka_consumergroup_lag"), 999);
    assert_eq!(seen["kafka_coordinator_group_groupmetadatamanager_numgroups"], 50_002.0);
    assert_eq!(seen["braid_metrics_groups_omitted"], 49_002.0);
    assert_eq!(seen["braid_metrics_offsets_omitted"], 49_002.0);
}

#[tokio::test]
async fn partitions_beyond_the_limit_are_counted_and_not_shown() {
    let broker = TestBroker::start(&[("braid.metrics.partitions.max", "4")]);
    observe(&broker);
    let mut client = broker.connect();
    for topic in ["c", "b", "a"] {
        broker.topic(topic, 3, &[]).await;
        assert!(client.produce(topic, 0, &["x"]).await.error_code.is_ok());
    }
    let seen = scrape(&broker).await;
    let size = |topic, partition| {
        seen.contains_key(&format!("kafka_log_log_size{{partition=\"{partition}\",topic=\"{topic}\"}}"))
    };
    assert!(size("c", 0) && size("c", 2) && size("b", 0), "those known longest");
    assert!(!size("b", 1) && !size("a", 0));
    assert_eq!(seen["braid_metrics_partitions_omitted"], 5.0);
    assert_eq!(seen["kafka_server_replicamanager_leadercount"], 9.0);
}

#[tokio::test]
async fn a_partition_that_cannot_be_opened_is_offline_and_named() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 2, &[]).await;
    assert!(broker.broker.health().is_ok());
    let damage = |data: &std::path::Path| {
        let folder = data.join("t-1");
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(folder, "not a folder").unwrap();
    };
    let broker = broker.kill_and(damage).unwrap();
    observe(&broker);
    let why = broker.broker.health().unwrap_err();
    assert_eq!(why, "the partition t-1 is offline");
    let seen = scrape(&broker).await;
    assert_eq!(seen["kafka_controller_kafkacontroller_offlinepartitionscount"], 1.0);
    assert_eq!(seen["kafka_server_replicamanager_offlinereplicacount"], 1.0);
    assert_eq!(seen["kafka_topic_partition_leader{partition=\"1\",topic=\"t\"}"], -1.0);
    assert_eq!(seen["kafka_topic_partition_leader{partition=\"0\",topic=\"t\"}"], 1.0);
}

/// A sync that began with the first of them left the others to a second one.
#[tokio::test]
async fn requests_that_arrive_together_share_one_sync() {
    fives_share_syncs().await;
}

/// With more threads than one the connection may sync on its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_arrive_together_share_one_sync_wherever_that_is_done() {
    fives_share_syncs().await;
}

async fn fives_share_syncs() {
    let broker = TestBroker::start(&[("braid.durability", "synced")]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    assert!(client.produce("t", 0, &["the first"]).await.error_code.is_ok());
    for round in 0..50 {
        let before = scrape(&broker).await["kafka_log_logflushstats_logflushrateandtimems_count"];
        let request = produce_request("t", vec![(0, batch(&["one of five"]))]);
        client.send_all::<Produce>(9, &vec![request; 5]).await;
        for _ in 0..5 {
            let response = client.receive::<Produce>(9).await;
            assert!(response.responses[0].partition_responses[0].error_code.is_ok());
        }
        let syncs = scrape(&broker).await["kafka_log_logflushstats_logflushrateandtimems_count"] - before;
        assert_eq!(syncs, 1.0, "round {round}");
    }
}
