//! Tests of the metrics as a scraper sees them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;

use super::*;

struct World;

impl Scrape for World {
    fn node_id(&self) -> i32 {
        4
    }

    fn address(&self) -> String {
        "b:9092".to_owned()
    }

    fn limits(&self) -> SeriesLimits {
        SeriesLimits { groups: 1000, partitions: 4000 }
    }

    fn watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        let all = self.partitions(usize::MAX);
        let found = all.iter().find(|p| &*p.topic == topic && p.partition == partition);
        found.and_then(|p| Some(p.log?.watermark))
    }

    fn partitions(&self, _max: usize) -> Vec<PartitionStat> {
        let topic: Arc<str> = "with \"quotes\"".into();
        let log = LogStat { size: 1024, start: 5, end: 11, watermark: 10, segments: 2, quarantined: 1 };
        let offline = PartitionStat { topic: topic.clone(), partition: 2, log: None };
        vec![offline, PartitionStat { topic, partition: 3, log: Some(log) }]
    }

    fn groups(&self, _room: GroupRoom) -> Vec<GroupStat> {
        let committed = |topic: &str, partition, offset| (topic.to_owned(), partition, offset);
        let quoted = "with \"quotes\"";
        let offsets = vec![committed("gone", 0, 9), committed(quoted, 2, 1), committed(quoted, 3, 7)];
        let idle = GroupStat { group: "idle".to_owned(), members: 2, offsets: Vec::new() };
        vec![GroupStat { group: "g".to_owned(), members: 1, offsets }, idle]
    }

    fn counts(&self) -> Counts {
        Counts { topics: 7, groups_stable: 2, ..Counts::default() }
    }
}

fn metrics() -> Metrics {
    Metrics::new(Registry::new()).unwrap()
}

/// Reads the text format strictly: each family has HELP, then TYPE, then its samples, and appears once.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut families = Vec::new();
    let mut samples = BTreeMap::new();
    let mut lines = text.lines();
    let mut line = lines.next();
    while let Some(help) = line {
        let name = help.strip_prefix("# HELP ").unwrap_or_else(|| panic!("HELP expected: {help}"));
        let (name, words) = name.split_once(' ').expect("a name and words");
        assert!(!words.is_empty() && !families.contains(&name.to_owned()), "{name} appears twice");
        families.push(name.to_owned());
        let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).expect("a type");
        assert!(["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind));
        line = lines.next();
        while let Some(sample) = line.filter(|l| !l.starts_with('#')) {
            let (series, value) = sample.rsplit_once(' ').unwrap();
            let end = series.find('{').unwrap_or(series.len());
            let suffix = series[..end].strip_prefix(name).expect("a sample of this family");
            let suffixes: &[&str] = match kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{sample}");
            assert!(
                samples.insert(series.to_owned(), value.parse().unwrap()).is_none(),
                "{series} appears twice"
            );
            line = lines.next();
        }
    }
    samples
}

#[test]
fn topic_counters_are_one_handle_and_go_with_the_topic() {
    let metrics = metrics();
    let orders = metrics.topic("orders");
    orders.messages_in.inc_by(3);
    metrics.topic("orders").messages_in.inc();
    assert!(Arc::ptr_eq(&orders, &metrics.topic("orders")));
    metrics.topic("other").bytes_in.inc_by(9);
    let series = |name: &str, topic: &str| {
        format!("kafka_server_brokertopicmetrics_{name}_total{{topic=\"{topic}\"}}")
    };
    let before = samples(&metrics.render().unwrap());
    assert_eq!(before[&series("messagesin", "orders")], 4.0);
    assert_eq!(before[&series("bytesin", "other")], 9.0);
    metrics.forget("orders");
    let after = samples(&metrics.render().unwrap());
    assert!(!after.keys().any(|s| s.contains("orders")));
    assert!(after.contains_key(&series("bytesin", "other")));
    assert_eq!(metrics.topic("orders").messages_in.get(), 0, "a topic of the same name begins again");
}

#[test]
fn requests_are_counted_by_version_and_by_error_and_timed() {
    let metrics = metrics();
    let fetch = metrics.request("Fetch", 17);
    let local = |local| Phases { local, ..Phases::default() };
    fetch.answered(None);
    fetch.sent(&local(Duration::from_micros(200)));
    fetch.answered(Some("NOT_LEADER_OR_FOLLOWER"));
    fetch.sent(&local(Duration::from_secs(40)));
    metrics.request("Fetch", 4).answered(None);
    metrics.request("Fetch", 4).sent(&local(Duration::ZERO));
    metrics.request("Produce", 4).answered(None);
    let seen = samples(&metrics.render().unwrap());
    let name = |rest: &str| format!("kafka_network_requestmetrics_{rest}");
    assert_eq!(seen[&name("requests_total{request=\"Fetch\",version=\"17\"}")], 2.0);
    assert_eq!(seen[&name("errors_total{error=\"NONE\",request=\"Fetch\"}")], 2.0);
    assert_eq!(seen[&name("errors_total{error=\"NOT_LEADER_OR_FOLLOWER\",request=\"Fetch\"}")], 1.0);
    assert_eq!(seen[&name("totaltime_seconds_bucket{request=\"Fetch\",le=\"0.0001\"}")], 1.0);
    assert_eq!(seen[&name("totaltime_seconds_bucket{request=\"Fetch\",le=\"0.00025\"}")], 2.0);
    assert_eq!(seen[&name("totaltime_seconds_count{request=\"Fetch\"}")], 3.0);
    assert_eq!(seen[&name("requests_total{request=\"FetchConsumer\",version=\"17\"}")], 2.0);
    assert_eq!(seen[&name("errors_total{error=\"NONE\",request=\"FetchConsumer\"}")], 2.0);
    assert_eq!(seen[&name("totaltime_seconds_count{request=\"FetchConsumer\"}")], 3.0);
    assert!(!seen.contains_key(&name("totaltimems_count{request=\"Produce\"}")), "not answered yet");
}

#[test]
fn the_phases_of_a_request_add_up() {
    let metrics = metrics();
    let ms = Duration::from_millis;
    let phases = Phases {
        request_queue: ms(1),
        local: ms(2),
        remote: ms(30),
        response_queue: ms(4),
        response_send: ms(5),
    };
    metrics.request("Fetch", 17).sent(&phases);
    let seen = samples(&metrics.render().unwrap());
    let name = |phase: &str, rest: &str| format!("kafka_network_requestmetrics_{phase}{rest}");
    for (phase, expected) in [
        ("totaltimems", 42.0),
        ("requestqueuetimems", 1.0),
        ("localtimems", 2.0),
        ("remotetimems", 30.0),
        ("responsequeuetimems", 4.0),
        ("responsesendtimems", 5.0),
    ] {
        for request in ["Fetch", "FetchConsumer"] {
            for quantile in ["0.50", "0.75", "0.95", "0.98", "0.99", "0.999"] {
                let labels = format!("{{request=\"{request}\",quantile=\"{quantile}\"}}");
                let value = seen[&name(phase, &labels)];
                assert!((value / expected - 1.0).abs() < 0.07, "{phase} {quantile}: {value}");
            }
            assert_eq!(seen[&name(phase, &format!("_count{{request=\"{request}\"}}"))], 1.0);
        }
    }
}

#[test]
fn what_waits_is_counted_until_it_goes() {
    let metrics = metrics();
    let produce = metrics.request("Produce", 9);
    let inside = [produce.parked(), metrics.request("JoinGroup", 5).parked()];
    let another = metrics.request("SyncGroup", 3).parked();
    metrics.leaving().add(2);
    let queued = metrics.queued().enter();
    let level = |name: &str| samples(&metrics.render().unwrap())[name];
    let parked = |operation: &str| {
        level(&format!(
            "kafka_server_delayedoperationpurgatory_purgatorysize{{delayedoperation=\"{operation}\"}}"
        ))
    };
    assert_eq!((parked("Produce"), parked("Rebalance"), parked("Fetch")), (1.0, 2.0, 0.0));
    assert_eq!(level("kafka_network_requestchannel_requestqueuesize"), 1.0);
    assert_eq!(level("kafka_network_requestchannel_responsequeuesize"), 2.0);
    drop((inside, another, queued));
    assert_eq!((parked("Produce"), parked("Rebalance")), (0.0, 0.0));
    assert_eq!(level("kafka_network_requestchannel_requestqueuesize"), 0.0);
}

#[test]
fn a_connection_counts_until_it_is_dropped() {
    let metrics = metrics();
    let listener = metrics.listener("PLAINTEXT");
    let mut connection = listener.opened();
    connection.software("wrong", "1");
    connection.software("apache-kafka-java", "4.0.0");
    let second = listener.opened();
    listener.refused("max.connections");
    let name = |rest: &str| format!("kafka_server_socket_server_metrics_{rest}");
    let count = name("connection_count{listener=\"PLAINTEXT\",networkprocessor=\"0\"}");
    let software = name(
        "connections_software{listener=\"PLAINTEXT\",clientsoftwarename=\"apache-kafka-java\",\
         clientsoftwareversion=\"4.0.0\"}",
    );
    let seen = samples(&metrics.render().unwrap());
    assert_eq!((seen[&count], seen[&software]), (2.0, 1.0));
    assert_eq!(
        seen[&name("connection_refused_total{limit=\"max.connections\",listener=\"PLAINTEXT\"}")],
        1.0
    );
    assert!(!seen.keys().any(|s| s.contains("\"wrong\"")));
    drop((connection, second));
    let seen = samples(&metrics.render().unwrap());
    assert_eq!(seen[&count], 0.0);
    assert_eq!(seen[&name("connection_close_total{listener=\"PLAINTEXT\",networkprocessor=\"0\"}")], 2.0);
    assert!(!seen.contains_key(&software), "a kind of software goes with its last connection");
}

#[test]
fn what_clients_call_themselves_cannot_grow_without_bound() {
    let metrics = metrics();
    let listener = metrics.listener("PLAINTEXT");
    let mut open = Vec::new();
    for i in 0..300 {
        let mut connection = listener.opened();
        connection.software(&format!("client-{i}"), "1");
        open.push(connection);
    }
    open[0].software("evil\"\n{", &"9".repeat(1000));
    let seen = samples(&metrics.render().unwrap());
    let kinds: Vec<_> = seen.iter().filter(|(s, _)| s.contains("connections_software")).collect();
    assert!(kinds.len() <= 201, "{} kinds", kinds.len());
    assert_eq!(kinds.iter().map(|(_, n)| **n).sum::<f64>(), 300.0);
    assert!(!seen.keys().any(|s| s.contains("evil") || s.contains("9999")));
}

#[test]
fn states_are_asked_for_at_each_scrape_while_their_owner_lives() {
    let metrics = metrics();
    let world: Arc<dyn Scrape> = Arc::new(World);
    metrics.observe(Arc::downgrade(&world)).unwrap();
    assert!(metrics.observe(Arc::downgrade(&world)).is_err(), "only once");
    let seen = samples(&metrics.render().unwrap());
    let labels = "{partition=\"3\",topic=\"with \\\"quotes\\\"\"}";
    assert_eq!(seen[&format!("kafka_log_log_size{labels}")], 1024.0);
    assert_eq!(seen[&format!("kafka_log_log_logendoffset{labels}")], 11.0);
    assert_eq!(seen[&format!("braid_log_quarantined_total{labels}")], 1.0);
    assert_eq!(seen[&format!("kafka_topic_partition_current_offset{labels}")], 10.0);
    assert_eq!(seen[&format!("kafka_topic_partition_leader{labels}")], 4.0);
    assert_eq!(seen["kafka_topic_partitions{topic=\"with \\\"quotes\\\"\"}"], 2.0);
    assert_eq!(seen["kafka_broker_info{address=\"b:9092\",id=\"4\"}"], 1.0);
    let offline = labels.replace('3', "2");
    assert!(!seen.contains_key(&format!("kafka_log_log_size{offline}")), "nobody can tell");
    assert_eq!(seen[&format!("kafka_topic_partition_leader{offline}")], -1.0);
    assert_eq!(seen[&format!("kafka_cluster_partition_insyncreplicascount{offline}")], 0.0);
    assert_eq!(seen["kafka_controller_kafkacontroller_globaltopiccount"], 7.0);
    assert_eq!(seen["kafka_coordinator_group_groupmetadatamanager_numgroupsstable"], 2.0);
    drop(world);
    let seen = samples(&metrics.render().unwrap());
    assert!(!seen.keys().any(|s| s.starts_with("kafka_log_log_")));
}

#[test]
fn lag_is_told_of_partitions_that_are_there_and_offsets_of_all() {
    let metrics = metrics();
    let world: Arc<dyn Scrape> = Arc::new(World);
    metrics.observe(Arc::downgrade(&world)).unwrap();
    let seen = samples(&metrics.render().unwrap());
    let series = |name: &str, topic: &str, partition: &str| {
        let topic = topic.replace('"', "\\\"");
        let partition =
            if partition.is_empty() { String::new() } else { format!(",partition=\"{partition}\"") };
        format!("kafka_consumergroup_{name}{{consumergroup=\"g\",topic=\"{topic}\"{partition}}}")
    };
    let quoted = "with \"quotes\"";
    assert_eq!(seen[&series("current_offset", quoted, "3")], 7.0);
    assert_eq!(seen[&series("lag", quoted, "3")], 3.0);
    assert_eq!(seen[&series("current_offset_sum", quoted, "")], 8.0);
    assert_eq!(seen[&series("lag_sum", quoted, "")], 3.0);
    assert_eq!(seen[&series("current_offset", "gone", "0")], 9.0);
    assert!(!seen.contains_key(&series("lag", "gone", "0")));
    assert!(!seen.contains_key(&series("lag", quoted, "2")), "an offline partition has no end");
    assert_eq!(seen["kafka_consumergroup_members{consumergroup=\"idle\"}"], 2.0);
    assert_eq!(seen.keys().filter(|s| s.contains("\"idle\"")).count(), 1);
}

#[test]
fn the_process_measures_itself() {
    let text = metrics().render().unwrap();
    let seen = samples(&text);
    assert!(seen["process_resident_memory_bytes"] > 1e5);
    assert!(seen["process_virtual_memory_bytes"] >= seen["process_resident_memory_bytes"]);
    assert!(seen["process_open_fds"] >= 3.0 && seen["process_open_fds"] <= seen["process_max_fds"]);
    assert!(seen["process_start_time_seconds"] > 1.7e9);
    assert!(text.contains("# TYPE process_cpu_seconds_total counter"));
    assert!(text.contains("braid_build_info{version="));
}

#[test]
fn two_sets_of_metrics_do_not_share_a_registry() {
    let registry = Registry::new();
    assert!(Metrics::new(registry.clone()).is_ok());
    assert!(Metrics::new(registry).is_err());
}
