//! The driver of rskafka, which has no groups, no transactions and no settings of topics: it does what
//! compat/drive/protocol.md says of the rest.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use braid_compat_rust::{Answer, Call, Client, Record, Refusal, serve, text};
use chrono::DateTime;
use futures_util::StreamExt;
use rskafka::BackoffConfig;
use rskafka::client::consumer::{StartOffset, StreamConsumerBuilder};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client as Kafka, ClientBuilder};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// For what the controller does.
const TIMEOUT_MS: i32 = 10_000;
/// It makes one batch of what it is given at once: no more than the broker takes.
const BATCH_OCTETS: usize = 1_000_000;

struct Driver {
    kafka: Kafka,
    partitions: HashMap<(String, i32), Arc<PartitionClient>>,
    compression: Compression,
    reader: Option<Reader>,
}

/// A consumer of one partition, which reads on its own until it is dropped.
struct Reader {
    arrived: mpsc::UnboundedReceiver<Record>,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let broker = std::env::args().nth(1).context("rskafka BROKER")?;
    let patience = BackoffConfig {
        init_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_millis(500),
        base: 2.0,
        deadline: Some(Duration::from_secs(60)),
    };
    let kafka = ClientBuilder::new(vec![broker]).backoff_config(patience).build().await?;
    serve(Driver { kafka, partitions: HashMap::new(), compression: Compression::NoCompression, reader: None })
        .await
}

fn refused(error: Error) -> Refusal {
    let Error::ServerError { protocol_error, .. } = &error else { return Refusal::unknown(error) };
    let code = (1..200).find(|code| ProtocolError::new(*code) == Some(*protocol_error));
    Refusal { code: code.map_or(-1, i32::from), name: format!("{protocol_error:?}"), text: error.to_string() }
}

impl Client for Driver {
    async fn answer(&mut self, call: Call) -> Answer {
        let controller = || self.kafka.controller_client().map_err(refused);
        match call.what.as_str() {
            "create" => {
                let replicas = call.replicas.map_or(Ok(1), i16::try_from).map_err(Refusal::unknown)?;
                let made = controller()?.create_topic(&call.topic, call.count(), replicas, TIMEOUT_MS).await;
                made.map_err(refused).map(|()| Value::Null)
            }
            "delete" => {
                let deleted = controller()?.delete_topic(&call.topic, TIMEOUT_MS).await;
                deleted.map_err(refused).map(|()| Value::Null)
            }
            "topics" => {
                let topics = self.kafka.list_topics().await.map_err(refused)?;
                Ok(topics.into_iter().map(|topic| topic.name).collect())
            }
            "metadata" => {
                let topics = self.kafka.list_topics().await.map_err(refused)?;
                let topic = topics.iter().find(|topic| topic.name == call.topic);
                Ok(json!({ "brokers": null, "partitions": topic.map_or(0, |topic| topic.partitions.len()) }))
            }
            "producer" => self.choose(&call),
            "send" => self.send(call).await,
            "assign" => self.assign(&call).await,
            "poll" => self.poll(Duration::from_millis(call.ms)).await,
            "close" => {
                self.reader = None;
                Ok(Value::Null)
            }
            "range" => {
                let partition = self.partition(&call).await?;
                let first = partition.get_offset(OffsetAt::Earliest).await.map_err(refused)?;
                Ok(json!([first, partition.get_offset(OffsetAt::Latest).await.map_err(refused)?]))
            }
            "at_time" => {
                let time = DateTime::from_timestamp_millis(call.time)
                    .ok_or_else(|| Refusal::unknown("a bad time"))?;
                let found = self.partition(&call).await?.get_offset(OffsetAt::Timestamp(time)).await;
                found.map_err(refused).map(Value::from)
            }
            "delete_records" => {
                let deleted = self.partition(&call).await?.delete_records(call.before, TIMEOUT_MS).await;
                deleted.map_err(refused).map(|()| Value::Null)
            }
            other => Err(Refusal::unknown(format!("rskafka has no {other}"))),
        }
    }
}

impl Driver {
    async fn partition(&mut self, call: &Call) -> Result<Arc<PartitionClient>, Refusal> {
        let place = (call.topic.clone(), call.part());
        if let Some(known) = self.partitions.get(&place) {
            return Ok(Arc::clone(known));
        }
        let made = self.kafka.partition_client(&call.topic, call.part(), UnknownTopicHandling::Error).await;
        let made = Arc::new(made.map_err(refused)?);
        self.partitions.insert(place, Arc::clone(&made));
        Ok(made)
    }

    fn choose(&mut self, call: &Call) -> Answer {
        self.compression = match call.codec.as_deref() {
            None | Some("none") => Compression::NoCompression,
            Some("gzip") => Compression::Gzip,
            Some("snappy") => Compression::Snappy,
            Some("lz4") => Compression::Lz4,
            Some("zstd") => Compression::Zstd,
            Some(other) => return Err(Refusal::unknown(other)),
        };
        Ok(Value::Null)
    }

    async fn send(&mut self, mut call: Call) -> Answer {
        let partition = self.partition(&call).await?;
        let (mut offsets, mut batch, mut octets) = (Vec::new(), Vec::new(), 0);
        for record in std::mem::take(&mut call.records).into_iter().map(written) {
            octets += record.approximate_size() + 100;
            if octets > BATCH_OCTETS {
                let full = std::mem::take(&mut batch);
                octets = record.approximate_size() + 100;
                offsets.extend(partition.produce(full, self.compression).await.map_err(refused)?);
            }
            batch.push(record);
        }
        offsets.extend(partition.produce(batch, self.compression).await.map_err(refused)?);
        Ok(json!(offsets))
    }

    async fn assign(&mut self, call: &Call) -> Answer {
        let start = match call.offset.as_str() {
            Some("latest") => StartOffset::Latest,
            Some(_) => StartOffset::Earliest,
            None => StartOffset::At(call.number()),
        };
        let partition = call.part();
        let mut stream = StreamConsumerBuilder::new(self.partition(call).await?, start)
            .with_min_batch_size(call.min_bytes.unwrap_or(1))
            .with_max_wait_ms(call.wait_ms.unwrap_or(500))
            .build();
        let (into, arrived) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some(next) = stream.next().await {
                match next {
                    Ok((found, _)) => drop(into.send(read(partition, found.offset, found.record))),
                    Err(error) => eprintln!("the reader ends: {error}"),
                }
            }
        });
        self.reader = Some(Reader { arrived, task });
        Ok(Value::Null)
    }

    async fn poll(&mut self, wait: Duration) -> Answer {
        let Some(reader) = &mut self.reader else { return Err(Refusal::unknown("there is no consumer")) };
        let mut polled = Vec::new();
        if let Ok(Some(first)) = tokio::time::timeout(wait, reader.arrived.recv()).await {
            polled.push(first);
            tokio::time::sleep(Duration::from_millis(50)).await; // what comes together is given together
            while let Ok(next) = reader.arrived.try_recv() {
                polled.push(next);
            }
        }
        Ok(json!(polled))
    }
}

fn written(record: Record) -> rskafka::record::Record {
    rskafka::record::Record {
        key: record.key.map(String::into_bytes),
        value: record.value.map(String::into_bytes),
        headers: record
            .headers
            .into_iter()
            .map(|(name, value)| (name, value.unwrap_or_default().into()))
            .collect(),
        timestamp: record.time.and_then(DateTime::from_timestamp_millis).unwrap_or_else(chrono::Utc::now),
    }
}

fn read(partition: i32, offset: i64, record: rskafka::record::Record) -> Record {
    Record {
        partition,
        offset,
        key: text(record.key.as_deref()),
        value: text(record.value.as_deref()),
        headers: record.headers.iter().map(|(name, value)| (name.clone(), text(Some(value)))).collect(),
        time: Some(record.timestamp.timestamp_millis()),
    }
}
