//! The driver of rdkafka, which is librdkafka in Rust: it does what compat/drive/protocol.md says.

use std::time::Duration;

use anyhow::Context;
use braid_compat_rust::{Answer, Call, Client, Record, Refusal, serve, text};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(20);

struct Driver {
    settings: ClientConfig,
    admin: AdminClient<DefaultClientContext>,
    /// It asks, and is in no group.
    asking: BaseConsumer,
    producer: Option<FutureProducer>,
    consumer: Option<StreamConsumer>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", std::env::args().nth(1).context("rdkafka BROKER")?);
    let (admin, asking) = (settings.create()?, settings.create()?);
    serve(Driver { settings, admin, asking, producer: None, consumer: None }).await
}

/// Kafka's code for librdkafka's: what it finds by itself has none below zero.
fn refusal(code: RDKafkaErrorCode, text: impl std::fmt::Display) -> Refusal {
    let number = match code {
        RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownPartition => 3,
        RDKafkaErrorCode::MessageTimedOut => 7,
        RDKafkaErrorCode::Fenced => 90,
        other => (other as i32).max(-1),
    };
    Refusal { code: number, name: format!("{code:?}"), text: text.to_string() }
}

fn refused(error: KafkaError) -> Refusal {
    let code = if let KafkaError::AdminOp(code) = &error { Some(*code) } else { error.rdkafka_error_code() };
    code.map_or_else(|| Refusal::unknown(&error), |code| refusal(code, &error))
}

/// What an admin call says of one thing.
type Told<T> = Result<T, (String, RDKafkaErrorCode)>;

/// The answer of an admin call that was for one thing.
fn only<T>(answers: Result<Vec<Told<T>>, KafkaError>) -> Answer {
    for answer in answers.map_err(refused)? {
        answer.map_err(|(what, code)| refusal(code, what))?;
    }
    Ok(Value::Null)
}

fn done(result: Result<(), KafkaError>) -> Answer {
    result.map_err(refused).map(|()| Value::Null)
}

/// The place that a call is about, with an offset.
fn place(call: &Call, offset: Offset) -> Result<TopicPartitionList, Refusal> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&call.topic, call.part(), offset).map_err(refused)?;
    Ok(list)
}

impl Client for Driver {
    async fn answer(&mut self, call: Call) -> Answer {
        match call.what.as_str() {
            "producer" => self.make_producer(&call),
            "send" | "begin" | "commit_transaction" | "abort_transaction" | "send_offsets" => {
                let producer =
                    self.producer.as_ref().ok_or_else(|| Refusal::unknown("there is no producer"))?;
                self.produce(producer, &call).await
            }
            "consumer" => self.join(&call),
            "assign" => self.assign(&call),
            "close" => {
                self.consumer = None;
                Ok(Value::Null)
            }
            "poll" | "assignment" | "commit" => {
                let consumer =
                    self.consumer.as_ref().ok_or_else(|| Refusal::unknown("there is no consumer"))?;
                consume(consumer, &call).await
            }
            "topics" | "metadata" | "range" | "at_time" | "committed" | "groups" | "describe_group" => {
                self.ask(&call)
            }
            _ => self.administer(&call).await,
        }
    }
}

// ---- producing

impl Driver {
    fn make_producer(&mut self, call: &Call) -> Answer {
        let mut settings = self.settings.clone();
        settings.set("acks", call.acks.as_deref().unwrap_or("all"));
        settings.set("compression.type", call.codec.as_deref().unwrap_or("none"));
        settings.set("topic.metadata.propagation.max.ms", "3000");
        if call.idempotent {
            settings.set("enable.idempotence", "true");
        }
        if let Some(id) = &call.transactional_id {
            settings.set("transactional.id", id);
        }
        if let Some(age) = call.refresh_ms {
            settings.set("topic.metadata.refresh.interval.ms", age.to_string());
        }
        let producer: FutureProducer = settings.create().map_err(refused)?;
        if call.transactional_id.is_some() {
            producer.init_transactions(TIMEOUT).map_err(refused)?;
        }
        self.producer = Some(producer);
        Ok(Value::Null)
    }

    async fn produce(&self, producer: &FutureProducer, call: &Call) -> Answer {
        match call.what.as_str() {
            "begin" => done(producer.begin_transaction()),
            "commit_transaction" => done(producer.commit_transaction(TIMEOUT)),
            "abort_transaction" => done(producer.abort_transaction(TIMEOUT)),
            "send_offsets" => {
                let group = self.member_of(&call.group)?.group_metadata();
                let group = group.ok_or_else(|| Refusal::unknown("the group has no metadata"))?;
                let offsets = place(call, Offset::Offset(call.number()))?;
                done(producer.send_offsets_to_transaction(&offsets, &group, TIMEOUT))
            }
            _ => send(producer, call).await,
        }
    }

    /// A consumer that knows the group, and has not joined it.
    fn member_of(&self, group: &str) -> Result<BaseConsumer, Refusal> {
        self.settings.clone().set("group.id", group).create().map_err(refused)
    }
}

async fn send(producer: &FutureProducer, call: &Call) -> Answer {
    let mut sent = Vec::new();
    for record in &call.records {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_ref() })
        });
        let message = FutureRecord {
            topic: &call.topic,
            partition: call.partition,
            payload: record.value.as_ref(),
            key: record.key.as_ref(),
            timestamp: record.time,
            headers: Some(headers),
        };
        sent.push(producer.send_result(message).map_err(|(error, _)| refused(error))?);
    }
    let mut offsets = Vec::new();
    for one in sent {
        let delivery = one.await.map_err(Refusal::unknown)?.map_err(|(error, _)| refused(error))?;
        offsets.push(delivery.offset);
    }
    Ok(json!(offsets))
}

// ---- consuming

impl Driver {
    fn consumer_settings(&self, call: &Call) -> ClientConfig {
        let mut settings = self.settings.clone();
        settings.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        settings.set("isolation.level", call.isolation.as_deref().unwrap_or("read_uncommitted"));
        let mut set = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                settings.set(name, value);
            }
        };
        set("group.instance.id", call.instance.clone());
        set("topic.metadata.refresh.interval.ms", call.refresh_ms.map(|age| age.to_string()));
        set("fetch.min.bytes", call.min_bytes.map(|octets| octets.to_string()));
        set("fetch.wait.max.ms", call.wait_ms.map(|ms| ms.to_string()));
        set("partition.assignment.strategy", call.assignor.as_ref().map(|name| format!("{name}-sticky")));
        if call.protocol.as_deref() == Some("consumer") {
            set("group.protocol", Some("consumer".into()));
        } else {
            set("session.timeout.ms", Some(call.session_ms.unwrap_or(6000).to_string()));
            set("heartbeat.interval.ms", Some("500".into()));
        }
        settings
    }

    fn join(&mut self, call: &Call) -> Answer {
        let consumer: StreamConsumer =
            self.consumer_settings(call).set("group.id", &call.group).create().map_err(refused)?;
        let topics: Vec<&str> = call.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(refused)?;
        self.consumer = Some(consumer);
        Ok(Value::Null)
    }

    fn assign(&mut self, call: &Call) -> Answer {
        let offset = match call.offset.as_str() {
            Some("latest") => Offset::End,
            Some(_) => Offset::Beginning,
            None => Offset::Offset(call.number()),
        };
        // it takes no consumer without the name of a group
        let consumer: StreamConsumer =
            self.consumer_settings(call).set("group.id", "alone").create().map_err(refused)?;
        consumer.assign(&place(call, offset)?).map_err(refused)?;
        self.consumer = Some(consumer);
        Ok(Value::Null)
    }
}

async fn consume(consumer: &StreamConsumer, call: &Call) -> Answer {
    match call.what.as_str() {
        "poll" => {
            let (mut polled, mut wait) = (Vec::new(), Duration::from_millis(call.ms));
            while let Ok(next) = tokio::time::timeout(wait, consumer.recv()).await {
                match next {
                    Ok(message) => polled.push(read(&message)),
                    Err(error) => eprintln!("{error}"), // it tells of what it mends, too: a lost connection
                }
                wait = Duration::from_millis(20); // what comes together is given together
            }
            Ok(json!(polled))
        }
        "assignment" => {
            let owned = consumer.assignment().map_err(refused)?;
            let mut names: Vec<String> =
                owned.elements().iter().map(|one| format!("{}-{}", one.topic(), one.partition())).collect();
            names.sort();
            Ok(json!(names))
        }
        _ => match consumer.commit_consumer_state(CommitMode::Sync) {
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(Value::Null),
            result => done(result),
        },
    }
}

fn read(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: text(message.key()),
        value: text(message.payload()),
        headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
        time: message.timestamp().to_millis(),
    }
}

// ---- asking

impl Driver {
    fn ask(&self, call: &Call) -> Answer {
        match call.what.as_str() {
            "topics" => {
                let found = self.asking.fetch_metadata(None, TIMEOUT).map_err(refused)?;
                Ok(found.topics().iter().map(|topic| topic.name()).collect())
            }
            "metadata" => {
                let found = self.asking.fetch_metadata(Some(&call.topic), TIMEOUT).map_err(refused)?;
                let brokers: Vec<String> = found
                    .brokers()
                    .iter()
                    .map(|broker| format!("{}:{}", broker.host(), broker.port()))
                    .collect();
                let partitions = found.topics().first().map_or(0, |topic| topic.partitions().len());
                Ok(json!({ "brokers": brokers, "partitions": partitions }))
            }
            "range" => {
                let (first, next) =
                    self.asking.fetch_watermarks(&call.topic, call.part(), TIMEOUT).map_err(refused)?;
                Ok(json!([first, next]))
            }
            "at_time" => {
                let found = self.asking.offsets_for_times(place(call, Offset::Offset(call.time))?, TIMEOUT);
                offsets(&found.map_err(refused)?).map(|found| json!(found.first()))
            }
            "committed" => {
                let mut list = TopicPartitionList::new();
                for partition in call.list() {
                    list.add_partition(&call.topic, partition);
                }
                let found = self.member_of(&call.group)?.committed_offsets(list, TIMEOUT).map_err(refused)?;
                Ok(json!(offsets(&found)?))
            }
            "groups" => {
                let found = self.asking.fetch_group_list(None, TIMEOUT).map_err(refused)?;
                Ok(found.groups().iter().map(|group| group.name()).collect())
            }
            _ => {
                let found = self.asking.fetch_group_list(Some(&call.group), TIMEOUT).map_err(refused)?;
                let group = found.groups().first().ok_or_else(|| Refusal::unknown("no such group"))?;
                Ok(json!({ "state": group.state(), "members": group.members().len() }))
            }
        }
    }

    async fn administer(&self, call: &Call) -> Answer {
        let (admin, options) = (&self.admin, AdminOptions::new().operation_timeout(Some(TIMEOUT)));
        let topic = ResourceSpecifier::Topic(&call.topic);
        match call.what.as_str() {
            "create" => {
                let replicas = TopicReplication::Fixed(call.replicas.unwrap_or(1));
                let mut topic = NewTopic::new(&call.topic, call.count(), replicas);
                for (name, value) in &call.config {
                    topic = topic.set(name, value);
                }
                only(admin.create_topics(&[topic], &options).await)
            }
            "delete" => only(admin.delete_topics(&[&call.topic], &options).await),
            "add_partitions" => {
                only(admin.create_partitions(&[NewPartitions::new(&call.topic, call.total)], &options).await)
            }
            "get_config" => {
                let found = admin.describe_configs(&[topic], &options).await.map_err(refused)?;
                let found = found.into_iter().next().ok_or_else(|| Refusal::unknown("no answer"))?;
                let found = found.map_err(|code| refusal(code, code))?;
                Ok(json!(found.get(&call.name).and_then(|entry| entry.value.as_deref())))
            }
            "set_config" => {
                let alter = AlterConfig::new(topic).set(&call.name, &call.value);
                only(admin.alter_configs(&[alter], &options).await.map(|answers| {
                    answers.into_iter().map(|one| one.map_err(|(_, code)| (code.to_string(), code))).collect()
                }))
            }
            "delete_group" => only(admin.delete_groups(&[&call.group], &options).await),
            "delete_records" => {
                let before = place(call, Offset::Offset(call.before))?;
                offsets(&admin.delete_records(&before, &options).await.map_err(refused)?).map(|_| Value::Null)
            }
            other => Err(Refusal::unknown(format!("rdkafka has no {other}"))),
        }
    }
}

/// The offsets in a list, -1 where there is none; or the error of one of them.
fn offsets(list: &TopicPartitionList) -> Result<Vec<i64>, Refusal> {
    let offset = |one: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        one.error().map_err(refused)?;
        Ok(if let Offset::Offset(offset) = one.offset() { offset } else { -1 })
    };
    list.elements().iter().map(offset).collect()
}
