//! What the log says of changes of the cluster: one line for each, with who asked for it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use braid::broker::{NewTopic, Requester};
use braid_protocol::api::create_partitions::{
    CreatePartitions, CreatePartitionsRequest, CreatePartitionsTopic,
};
use braid_protocol::api::create_topics::{CreatableTopic, CreateTopics, CreateTopicsRequest};
use braid_protocol::api::delete_topics::{DeleteTopics, DeleteTopicsRequest};
use braid_protocol::api::find_coordinator::{FindCoordinator, FindCoordinatorRequest};
use braid_protocol::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigs, IncrementalAlterConfigsRequest,
};
use braid_protocol::frame;
use support::{Client, TestBroker};

/// The lines of this process so far.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Takes the lines about the changes of topics, groups and brokers, without time and target.
    fn changes(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        let of_changes = text.lines().filter_map(|line| line.split_once("braid::broker::requester: "));
        of_changes.map(|(_, line)| without_id(line)).collect()
    }
}

/// The line without the topic's id, which is another one each time.
fn without_id(line: &str) -> String {
    let words = line.split(' ').filter(|word| !word.starts_with("topic_id="));
    words.collect::<Vec<_>>().join(" ")
}

async fn alter(client: &mut Client, resource_type: i8, name: &str, config: (&str, &str)) {
    let (name, value) = (name.to_owned(), Some(config.1.to_owned()));
    let config = AlterableConfig { name: config.0.to_owned(), config_operation: 0, value };
    let resource = AlterConfigsResource { resource_type, resource_name: name, configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let altered = client.call::<IncrementalAlterConfigs>(1, &request).await;
    assert!(altered.responses[0].error_code.is_ok(), "{altered:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_one_line_that_says_who_asked_for_it() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let broker = TestBroker::start(&[("offsets.topic.num.partitions", "3")]);
    let mut client = broker.connect();
    broker.topic("t", 2, &[]).await;
    let more = CreatePartitionsTopic { name: "t".into(), count: 5, ..Default::default() };
    let request = CreatePartitionsRequest { topics: vec![more], ..Default::default() };
    client.call::<CreatePartitions>(3, &request).await;
    alter(&mut client, 2, "t", ("retention.ms", "5")).await;
    alter(&mut client, 32, "g", ("consumer.session.timeout.ms", "50000")).await;
    alter(&mut client, 4, "1", ("listener.name.a.ssl.key.password", "secret")).await;
    client
        .call::<DeleteTopics>(5, &DeleteTopicsRequest { topic_names: vec!["t".into()], ..Default::default() })
        .await;
    client
        .call::<FindCoordinator>(0, &FindCoordinatorRequest { key: "g".into(), ..Default::default() })
        .await;
    let by = r#"client="test" address=127.0.0.1:50000"#;
    assert_eq!(
        lines.changes(),
        [
            format!(r#"topic created topic="t" partitions=2 {by}"#),
            format!(r#"partitions created topic="t" partitions=5 {by}"#),
            format!(r#"configs altered topic="t" configs={{"retention.ms": "5"}} {by}"#),
            format!(r#"configs altered group="g" configs={{"consumer.session.timeout.ms": "50000"}} {by}"#),
            format!(r#"configs altered broker="1" configs=[] {by}"#),
            "stored and not obeyed: this broker does not have these configs broker=\"1\" \
             configs=[\"listener.name.a.ssl.key.password\"]"
                .to_owned(),
            format!(r#"topic deleted topic="t" partitions=5 {by}"#),
            r#"topic created topic="__consumer_offsets" partitions=3"#.to_owned(),
        ]
    );

    // A client id ends no line.
    let topic =
        CreatableTopic { name: "u".into(), num_partitions: 1, replication_factor: 1, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let chunks = frame::request_frame::<CreateTopics>(7, 1, Some("a\nb"), &request).unwrap();
    client.send_raw(&chunks.concat()).await;
    client.receive::<CreateTopics>(7).await;
    let by = r#"client="a\nb" address=127.0.0.1:50000"#;
    assert_eq!(lines.changes(), [format!(r#"topic created topic="u" partitions=1 {by}"#)]);

    // The second is decided again, once the first is on stable storage.
    let (broker, by) = (&broker.broker, &Requester::Broker);
    let new = NewTopic { name: "u".into(), partitions: 3, replication_factor: 1, ..Default::default() };
    let id = broker.topic("u").unwrap().id;
    let (deleted, created) = tokio::join!(broker.delete_topic(id, by), broker.create_topic(new, by));
    assert!(deleted.is_ok() && created.is_ok());
    assert_eq!(
        lines.changes(),
        [r#"topic deleted topic="u" partitions=1"#, r#"topic created topic="u" partitions=3"#]
    );
}
