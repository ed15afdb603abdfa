//! The group coordinator's start: its topic, what the topic holds, and its journal.
//!
//! Offsets that are committed within a transaction are transactional batches of the producer without sequence
//! numbers, and the end of a transaction is a control batch, as in any other partition that it spans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_storage::batch::NO_SEQUENCE;
use braid_storage::{AppendError, BatchBuilder, EndMarker};
use tracing::{debug, error, info};

use super::internal::read_back;
use super::{Broker, OFFSETS_TOPIC};
use crate::config::BrokerConfig;
use crate::group::{Coordinator, GroupConfig, Groups, Patterns, Record, TxnMarker, TxnProducer};
use crate::machine::{Clock, Journal, Machine, Millis};
use crate::topic::{Fault, Partition};

impl Broker {
    /// The group coordinator; the first call creates its topic or loads it.
    pub async fn groups(self: &Arc<Self>) -> Result<&Coordinator, ErrorCode> {
        self.groups.get_or_try_init(|| self.start_groups()).await
    }

    /// The group coordinator, unless no group was ever used: then there is nothing to load.
    pub async fn groups_if_any(self: &Arc<Self>) -> Option<Result<&Coordinator, ErrorCode>> {
        match self.topic(OFFSETS_TOPIC) {
            Some(_) => Some(self.groups().await),
            None => None,
        }
    }

    async fn start_groups(self: &Arc<Self>) -> Result<Coordinator, ErrorCode> {
        let count = self.config.offsets_topic_num_partitions;
        let topic = self.internal_topic(OFFSETS_TOPIC, count, topic_configs(&self.config)).await?;
        let groups_max = self.memory.names_per_partition(topic.partitions().len() as i32);
        let config = GroupConfig { groups_max, ..group_config(&self.config) };
        let patterns = config.patterns.clone();
        let partitions = topic.partitions();
        let replaying = tokio::task::spawn_blocking(move || {
            let load = |partition: &Arc<Partition>| match replay(partition, &config) {
                Ok(groups) => Some((groups, partition.clone())),
                Err(error) => {
                    let partition = partition.index();
                    error!(%error, topic = OFFSETS_TOPIC, partition, "the groups in it are not available");
                    None
                }
            };
            partitions.iter().map(load).collect::<Vec<_>>()
        });
        let machines = replaying.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        let known: usize = machines.iter().flatten().map(|(groups, _)| groups.stats().groups()).sum();
        info!(groups = known, "group coordinator started");
        let used = machines.iter().flatten().flat_map(|(groups, _)| groups.regexes());
        let used: BTreeSet<String> = used.take(Patterns::MAX).map(str::to_owned).collect();
        // Heartbeats then find them compiled; the start need not wait for it.
        tokio::task::spawn_blocking(move || patterns.compile(&used));
        // Sessions are a matter of time passed, whatever becomes of the wall clock.
        Ok(Coordinator::start(Clock::starting_at(self.clock.now()), machines))
    }
}

/// What Kafka sets on the topic too.
pub(super) fn topic_configs(config: &BrokerConfig) -> BTreeMap<String, String> {
    let configs = [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
    ];
    configs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn group_config(config: &BrokerConfig) -> GroupConfig {
    GroupConfig {
        initial_rebalance_delay_ms: i64::from(config.group_initial_rebalance_delay_ms),
        session_timeout_min_ms: config.group_min_session_timeout_ms,
        session_timeout_max_ms: config.group_max_session_timeout_ms,
        members_max: config.group_max_size.max(1) as usize,
        consumer_session_timeout_ms: i64::from(config.group_consumer_session_timeout_ms),
        consumer_heartbeat_interval_ms: config.group_consumer_heartbeat_interval_ms,
        consumer_members_max: config.group_consumer_max_size.max(1) as usize,
        migration: config.group_consumer_migration_policy,
        offset_metadata_max_bytes: config.offset_metadata_max_bytes.max(0) as usize,
        offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
        offsets_retention_check_interval_ms: config.offsets_retention_check_interval_ms,
        ..GroupConfig::default()
    }
}

/// The groups of one partition, as its records tell them.
fn replay(partition: &Partition, config: &GroupConfig) -> Result<Groups, Fault> {
    let mut groups = Groups::new(config.clone());
    read_back(partition, |header, record| {
        let (producer_id, producer_epoch) = (header.producer_id, header.producer_epoch);
        if !header.is_control() {
            let producer = TxnProducer { id: producer_id, epoch: producer_epoch, guard: None };
            let producer = header.is_transactional().then_some(producer);
            groups.load(&record.key.unwrap_or_default(), record.value.as_ref(), producer);
        } else if let Some(EndMarker { commit, coordinator_epoch }) = EndMarker::of(&record) {
            let marker = TxnMarker { producer_id, producer_epoch, coordinator_epoch, commit };
            groups.replay(Record::Marker(marker));
        }
    })?;
    Ok(groups)
}

impl Journal for Arc<Partition> {
    type Record = Record;

    /// A decision is plain records, offsets of one transaction, or one marker: one batch in any case, and no
    /// larger than any other batch of the topic may be.
    fn append(&self, now: Millis, records: &[Record]) -> Result<i64, ErrorCode> {
        let producer = records.first().and_then(Record::producer);
        let mut batch = match producer {
            Some(TxnProducer { id, epoch, .. }) => {
                BatchBuilder::new().producer(id, epoch, NO_SEQUENCE).transactional()
            }
            None => BatchBuilder::new(),
        };
        let bytes_max = self.batch_bytes_max();
        for (key, value) in records.iter().filter_map(Record::write) {
            batch.push(now, Some(&key), value.as_deref(), &[]);
            if batch.total_len() > bytes_max {
                debug!(records = records.len(), "too large for a batch of {OFFSETS_TOPIC}-{}", self.index());
                return Err(ErrorCode::MESSAGE_TOO_LARGE);
            }
        }
        let appended = match records {
            [Record::Marker(marker)] => self.append_marker(*marker, now),
            _ => batch
                .build()
                .map_err(Fault::Refused)
                .and_then(|batch| Partition::append(self, &batch, producer.and_then(|p| p.guard), now)),
        };
        match appended {
            Ok(appended) => Ok(appended.last_offset + 1),
            Err(Fault::Append(AppendError::Producer(error))) => {
                debug!(%error, "refused by {OFFSETS_TOPIC}-{}", self.index());
                Err(Fault::Append(AppendError::Producer(error)).code())
            }
            Err(fault) => {
                error!(error = %fault, topic = OFFSETS_TOPIC, partition = self.index(), "append failed");
                Err(fault.code())
            }
        }
    }

    fn durable(&self) -> i64 {
        self.watermark()
    }

    async fn wait_durable(&self, end: i64) -> Result<(), ErrorCode> {
        self.reached(end - 1).await.map_err(|fault| fault.code())
    }
}
