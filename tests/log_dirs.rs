//! The folders of `log.dirs` through the wire: what lies where, and what is asked to lie elsewhere.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::Path;

use braid_protocol::ErrorCode;
use braid_protocol::api::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirs, AlterReplicaLogDirsRequest,
};
use braid_protocol::api::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirs, DescribeLogDirsRequest,
};
use braid_protocol::api::describe_topic_partitions::{
    DescribeTopicPartitions, DescribeTopicPartitionsRequest, TopicRequest,
};
use braid_protocol::api::elect_leaders::{ElectLeaders, ElectLeadersRequest, TopicPartitions};
use braid_protocol::api::metadata::{Metadata, MetadataRequest};
use support::{Client, TestBroker};

/// A folder, a topic, and those of its partitions that are to lie there.
type AlteredDir<'a> = (&'a str, &'a str, &'a [i32]);

/// What is asked of one topic, and what is said of each of its partitions.
type Case<'a> = (&'a [AlteredDir<'a>], &'a [(i32, ErrorCode)]);

/// What is said of each partition, of one topic.
async fn alter_dirs(client: &mut Client, version: i16, dirs: &[AlteredDir<'_>]) -> Vec<(i32, ErrorCode)> {
    let one = |&(path, name, partitions): &AlteredDir<'_>| {
        let topic = AlterReplicaLogDirTopic { name: name.into(), partitions: partitions.into() };
        AlterReplicaLogDir { path: path.into(), topics: vec![topic] }
    };
    let request = AlterReplicaLogDirsRequest { dirs: dirs.iter().map(one).collect() };
    let results = client.call::<AlterReplicaLogDirs>(version, &request).await.results;
    assert!(results.iter().all(|topic| topic.topic_name == dirs[0].1));
    results.into_iter().flat_map(|t| t.partitions).map(|p| (p.partition_index, p.error_code)).collect()
}

#[tokio::test(start_paused = true)]
async fn the_log_folder_tells_what_is_in_it() {
    let broker = TestBroker::start(&[]);
    broker.topic("a", 2, &[]).await;
    broker.topic("b", 1, &[]).await;
    let mut client = broker.connect();
    client.produce("a", 1, &["some bytes"]).await;
    for version in 0..=5 {
        let all = client.call::<DescribeLogDirs>(version, &DescribeLogDirsRequest { topics: None }).await;
        let dir = &all.results[0];
        assert_eq!(
            (dir.error_code, dir.log_dir.as_str()),
            (ErrorCode::NONE, broker.path().to_str().unwrap())
        );
        let sizes: Vec<_> = dir.topics.iter().flat_map(|t| &t.partitions).map(|p| p.partition_size).collect();
        assert!(matches!(sizes[..], [0, 70..200, 0]), "{sizes:?}");
        assert_eq!(dir.total_bytes > dir.usable_bytes, version >= 4, "{dir:?}");
        let one = DescribableLogDirTopic { topic: "a".into(), partitions: vec![1, 7] };
        let none = DescribableLogDirTopic { topic: "no".into(), partitions: vec![0] };
        let some = DescribeLogDirsRequest { topics: Some(vec![one, none]) };
        let told = client.call::<DescribeLogDirs>(version, &some).await.results.remove(0).topics;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].partitions.iter().map(|p| p.partition_index).collect::<Vec<_>>(), [1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_moved_only_to_the_folder_that_it_is_in() {
    let broker = TestBroker::start(&[]);
    let (long, known) = ("t".repeat(213), broker.path().to_str().unwrap().to_owned());
    broker.topic("t", 3, &[]).await;
    broker.topic(&long, 11, &[]).await;
    let mut client = broker.connect();
    let (none, unknown) = (ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let (nowhere, too_long) = (ErrorCode::LOG_DIR_NOT_FOUND, ErrorCode::INVALID_TOPIC_EXCEPTION);
    let slash = format!("{known}/");
    // What Apache Kafka 4.3.1 answers, but for the order.
    let cases: [Case<'_>; 14] = [
        (&[(&known, "t", &[0, 2])], &[(0, none), (2, none)]),
        (&[(&slash, "t", &[0])], &[(0, nowhere)]),
        (&[("/nowhere", "t", &[0])], &[(0, nowhere)]),
        (&[("", "t", &[0])], &[(0, nowhere)]),
        (&[("data", "no", &[0])], &[(0, nowhere)]),
        (&[(&known, "no", &[0])], &[(0, unknown)]),
        (&[(&known, "t", &[7, 1, -1])], &[(-1, unknown), (1, none), (7, unknown)]),
        (&[(&known, "t", &[0, 0])], &[(0, none)]),
        (&[(&known, "t", &[0]), (&known, "t", &[1])], &[(0, none), (1, none)]),
        (&[(&known, "t", &[0]), ("/nowhere", "t", &[0])], &[(0, nowhere)]),
        (&[("/nowhere", "t", &[0]), (&known, "t", &[0])], &[(0, none)]),
        (&[(&known, &long, &[9, 10])], &[(9, none), (10, too_long)]),
        (&[("/nowhere", &long, &[9, 10])], &[(9, nowhere), (10, too_long)]),
        (&[(&known, "t", &[])], &[]),
    ];
    for (asked, expected) in cases {
        for version in 1..=2 {
            assert_eq!(alter_dirs(&mut client, version, asked).await, expected, "{asked:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_moved_to_or_from_where_the_disk_failed() {
    let broker = TestBroker::start(&[("log.dirs", "a,b")]);
    broker.topic("t", 2, &[]).await;
    let away = |data: &Path| fs::rename(data.join("b"), data.join("away")).unwrap();
    let broker = broker.kill_and(away).unwrap();
    let in_a = if broker.path().join("a/t-0").exists() { 0 } else { 1 };
    let mut client = broker.connect();
    let failed = ErrorCode::KAFKA_STORAGE_ERROR;
    for (dir, other) in [("a", ErrorCode::NONE), ("b", failed)] {
        let path = broker.path().join(dir);
        let asked = [(path.to_str().unwrap(), "t", &[in_a, 1 - in_a][..])];
        let told = alter_dirs(&mut client, 2, &asked).await;
        assert_eq!(told.iter().find(|(index, _)| *index == in_a).unwrap().1, other);
        assert_eq!(told.iter().find(|(index, _)| *index != in_a).unwrap().1, failed);
    }
}

// Java's describeTopics asks DescribeTopicPartitions before Metadata, and was told that all is well.
#[tokio::test(start_paused = true)]
async fn a_partition_on_a_failed_disk_has_no_leader_whoever_asks() {
    let broker = TestBroker::start(&[("log.dirs", "a,b")]);
    broker.topic("t", 2, &[]).await;
    let away = |data: &Path| fs::rename(data.join("b"), data.join("away")).unwrap();
    let broker = broker.kill_and(away).unwrap();
    let lost = if broker.path().join("a/t-0").exists() { 1 } else { 0 };
    let mut client = broker.connect();
    let told = client.call::<Metadata>(12, &MetadataRequest::default()).await.topics.remove(0);
    let by_metadata: Vec<_> =
        told.partitions.into_iter().map(|p| (p.error_code, p.leader_id, p.offline_replicas)).collect();
    let topics = vec![TopicRequest { name: "t".into() }];
    let request =
        DescribeTopicPartitionsRequest { topics, response_partition_limit: 10, ..Default::default() };
    let told = client.call::<DescribeTopicPartitions>(0, &request).await.topics.remove(0);
    let by_page: Vec<_> =
        told.partitions.into_iter().map(|p| (p.error_code, p.leader_id, p.offline_replicas)).collect();
    assert_eq!(by_page, by_metadata);
    assert_eq!(by_page[lost], (ErrorCode::LEADER_NOT_AVAILABLE, -1, vec![1]));
    assert_eq!(by_page[1 - lost], (ErrorCode::NONE, 1, vec![]));
    let preferred = ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE;
    for (election_type, code) in [(0, preferred), (1, ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE)] {
        let asked = TopicPartitions { topic: "t".into(), partitions: vec![0, 1] };
        let request =
            ElectLeadersRequest { election_type, topic_partitions: Some(vec![asked]), ..Default::default() };
        let results = client.call::<ElectLeaders>(2, &request).await.replica_election_results.remove(0);
        let codes: Vec<_> = results.partition_result.iter().map(|p| p.error_code).collect();
        assert_eq!((codes[lost], codes[1 - lost]), (code, ErrorCode::ELECTION_NOT_NEEDED));
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_folders_a_partition_stays_where_it_is() {
    let broker = TestBroker::start(&[("log.dirs", "a,b")]);
    broker.topic("t", 2, &[]).await;
    let mut client = broker.connect();
    for dir in ["a", "b"] {
        let path = broker.path().join(dir);
        let asked = [(path.to_str().unwrap(), "t", &[0, 1][..])];
        let codes = alter_dirs(&mut client, 2, &asked).await.into_iter().map(|(index, code)| {
            let is_here = path.join(format!("t-{index}")).exists();
            assert_eq!(code, if is_here { ErrorCode::NONE } else { ErrorCode::UNSUPPORTED_VERSION });
            is_here
        });
        assert_eq!(codes.filter(|is_here| *is_here).count(), 1);
    }
}
