//! The transaction coordinator's start, the markers it has written, and the question every transactional
//! write asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use braid_protocol::ErrorCode;
use braid_storage::{BatchBuilder, TxnGuard, TxnStatus};
use tracing::{error, info, warn};

use super::internal::read_back;
use super::{Broker, OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use crate::config::BrokerConfig;
use crate::machine::{Clock, Journal, Millis};
use crate::topic::{Fault, Marker, NO_EPOCH, Partition};
use crate::txn::{Coordinator, Ended, Producer, Record, Transactions, TxnConfig, Version};

/// The epoch of the coordinator of a cluster of one, which is never an old one: where a marker of a larger
/// epoch came before, from the cluster that the folder is of or by an operator's hand, that one goes on.
const COORDINATOR_EPOCH: i32 = 0;
/// How long a marker waits for a partition whose disk failed, before it tries again.
const RETRY: Duration = Duration::from_secs(1);

impl Broker {
    /// The transaction coordinator; the first call creates its topic or loads it.
    pub async fn transactions(self: &Arc<Self>) -> Result<&Coordinator, ErrorCode> {
        self.transactions.get_or_try_init(|| self.start_transactions()).await
    }

    /// The transaction coordinator, unless there never was a transaction: then there is nothing to load.
    pub async fn transactions_if_any(self: &Arc<Self>) -> Option<Result<&Coordinator, ErrorCode>> {
        match self.topic(TRANSACTIONS_TOPIC) {
            Some(_) => Some(self.transactions().await),
            None => None,
        }
    }

    async fn start_transactions(self: &Arc<Self>) -> Result<Coordinator, ErrorCode> {
        let count = self.config.transaction_state_log_num_partitions;
        let topic = self.internal_topic(TRANSACTIONS_TOPIC, count, topic_configs()).await?;
        let ids_max = self.memory.names_per_partition(topic.partitions().len() as i32);
        let config = TxnConfig { ids_max, ..txn_config(&self.config) };
        let partitions = topic.partitions();
        let replaying = tokio::task::spawn_blocking(move || {
            let load = |partition: &Arc<Partition>| load(partition, &config);
            partitions.iter().map(load).collect::<Vec<_>>()
        });
        let machines = replaying.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        let known: usize = machines.iter().flatten().map(|(ids, _)| ids.len()).sum();
        info!(ids = known, "transaction coordinator started");
        let coordinator = Coordinator::start(Clock::starting_at(self.clock.now()), machines);
        for partition in 0..coordinator.partitions() {
            tokio::spawn(write_markers(Arc::downgrade(self), coordinator.clone(), partition));
        }
        Ok(coordinator)
    }

    /// Makes sure that a producer's transaction spans a partition before it writes there: what it needs to
    /// append, nothing if its transaction is open there already. `version` is what its client speaks: a
    /// classic one has added the partition, else this adds it (KIP-890).
    pub async fn txn_guard(
        self: &Arc<Self>,
        transactional_id: &str,
        producer: Producer,
        partition: &Partition,
        version: Version,
    ) -> Result<Option<TxnGuard>, ErrorCode> {
        let status = || partition.transaction(producer.0, producer.1).map_err(|fault| fault.code());
        let TxnStatus::Closed(before) = status()? else { return Ok(None) };
        let coordinator = self.transactions().await?;
        let place = (partition.topic().to_string(), partition.index());
        match version {
            Version::Classic => {
                // If the transaction ends after this was said, the guard is not the present one any more.
                coordinator.verify(transactional_id, producer, place).await?;
                Ok(Some(before))
            }
            Version::EpochBump => {
                // The marker of the last transaction may have come only now. That of this one would bump the
                // epoch, so nothing of it can be written too late.
                coordinator.add(transactional_id, producer, [place].into(), version).await?;
                match status()? {
                    TxnStatus::Open => Ok(None),
                    TxnStatus::Closed(now) => Ok(Some(now)),
                }
            }
        }
    }

    /// Writes the marker that ends a transaction in one partition; returns when it is durable. A partition
    /// that is gone has nothing to end.
    pub async fn write_marker(
        self: &Arc<Self>,
        topic: &str,
        index: i32,
        marker: Marker,
    ) -> Result<(), ErrorCode> {
        let partition = self.topics.find(topic)?.lead(index, NO_EPOCH)?;
        if topic == OFFSETS_TOPIC {
            return self.groups().await?.end_transaction(index, marker).await;
        }
        let appended = partition.append_marker(marker, self.clock.now()).map_err(|fault| fault.code())?;
        partition.reached(appended.last_offset).await.map_err(|fault| fault.code())
    }
}

/// Takes ends from one partition's machine, for as long as there is a broker.
async fn write_markers(broker: Weak<Broker>, coordinator: Coordinator, partition: usize) {
    while let Ok(ended) = coordinator.markers(partition).await {
        for ended in ended {
            let Some(broker) = broker.upgrade() else { return };
            tokio::spawn(write_all(broker, coordinator.clone(), ended));
        }
    }
}

/// Ends one transaction everywhere. What has failed is tried again until it works or the broker stops.
async fn write_all(broker: Arc<Broker>, coordinator: Coordinator, ended: Ended) {
    let mut waiting = tokio::task::JoinSet::new();
    for (topic, index) in ended.partitions.clone() {
        let (broker, producer, commit) = (broker.clone(), ended.producer, ended.commit);
        waiting.spawn(async move {
            while let Err(code) = write_one(&broker, &topic, index, producer, commit).await {
                warn!(%code, %topic, partition = index, "the marker of a transaction was not written yet");
                tokio::time::sleep(RETRY).await;
            }
        });
    }
    while let Some(written) = waiting.join_next().await {
        if let Err(error) = written {
            // Not complete without each of its markers: the next start writes them.
            return error!(%error, transactional_id = ended.id, "a marker was not written");
        }
    }
    while let Err(code) = coordinator.marked(&ended).await {
        warn!(%code, transactional_id = ended.id, "the end of a transaction was not written yet");
        tokio::time::sleep(RETRY).await;
    }
}

async fn write_one(
    broker: &Arc<Broker>,
    topic: &str,
    index: i32,
    (producer_id, producer_epoch): Producer,
    commit: bool,
) -> Result<(), ErrorCode> {
    // The topic may have been deleted.
    let Some(partition) = broker.topic(topic).and_then(|topic| topic.partition(index)) else { return Ok(()) };
    let before = partition.coordinator_epoch(producer_id).map_err(|fault| fault.code())?;
    let coordinator_epoch = before.max(COORDINATOR_EPOCH);
    let marker = Marker { producer_id, producer_epoch, coordinator_epoch, commit };
    match broker.write_marker(topic, index, marker).await {
        Ok(()) => Ok(()),
        // Or is deleted now; or the producer has moved on, so its transaction was ended here before.
        Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::INVALID_PRODUCER_EPOCH) => Ok(()),
        Err(code) => Err(code),
    }
}

/// What Kafka sets on the topic too.
pub(super) fn topic_configs() -> BTreeMap<String, String> {
    let configs = [
        ("cleanup.policy", "compact"),
        ("compression.type", "uncompressed"),
        ("segment.bytes", "104857600"),
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "false"),
    ];
    configs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn txn_config(config: &BrokerConfig) -> TxnConfig {
    TxnConfig {
        timeout_max_ms: config.transaction_max_timeout_ms,
        id_expiration_ms: Millis::from(config.transactional_id_expiration_ms),
        ..TxnConfig::default()
    }
}

/// The transactional ids of one partition, as its records tell them.
fn load(partition: &Arc<Partition>, config: &TxnConfig) -> Option<(Transactions, TxnLog)> {
    let mut ids = Transactions::new(config.clone());
    let read = read_back(partition, |header, record| {
        if !header.is_control() {
            ids.load(&record.key.unwrap_or_default(), record.value.as_ref());
        }
    });
    match read {
        Ok(()) => Some((ids, TxnLog(partition.clone()))),
        Err(error) => {
            let index = partition.index();
            let topic = TRANSACTIONS_TOPIC;
            error!(%error, topic, partition = index, "the transactions in it are not available");
            None
        }
    }
}

/// A partition of `__transaction_state`.
struct TxnLog(Arc<Partition>);

impl Journal for TxnLog {
    type Record = Record;

    fn append(&self, now: Millis, records: &[Record]) -> Result<i64, ErrorCode> {
        let mut batch = BatchBuilder::new();
        for record in records {
            let (key, value) = record.write();
            batch.push(now, Some(&key), value.as_deref(), &[]);
        }
        let built = batch.build().map_err(Fault::Refused);
        match built.and_then(|batch| self.0.append(&batch, None, now)) {
            Ok(appended) => Ok(appended.last_offset + 1),
            Err(fault) => {
                let (topic, partition) = (TRANSACTIONS_TOPIC, self.0.index());
                error!(error = %fault, topic, partition, "append failed");
                Err(fault.code())
            }
        }
    }

    fn durable(&self) -> i64 {
        self.0.watermark()
    }

    async fn wait_durable(&self, end: i64) -> Result<(), ErrorCode> {
        self.0.reached(end - 1).await.map_err(|fault| fault.code())
    }
}
