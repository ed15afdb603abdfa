//! The group coordinator's start: its topic, what the topic holds, and the way back into it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_storage::{BatchBuilder, Error, Invalid, batches, records};
use tracing::{error, info};

use super::{Broker, NewTopic, OFFSETS_TOPIC};
use crate::config::BrokerConfig;
use crate::group::{Coordinator, GroupConfig, Groups, Record};
use crate::machine::{Clock, Journal, Millis};
use crate::topic::{Fault, Partition};

/// How much of a partition is read at a time when it is replayed.
const REPLAY_BYTES: usize = 1 << 20;

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
        if self.topic(OFFSETS_TOPIC).is_none() {
            let configs = topic_configs(&self.config);
            let (name, partitions) = (OFFSETS_TOPIC.to_owned(), self.config.offsets_topic_num_partitions);
            let new = NewTopic { name, partitions, replication_factor: 1, configs };
            match self.create_topic(new).await {
                Ok(_) | Err((ErrorCode::TOPIC_ALREADY_EXISTS, _)) => {}
                Err((code, why)) => {
                    error!(%code, "cannot create {OFFSETS_TOPIC}: {why}");
                    return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
                }
            }
        }
        let topic = self.topic(OFFSETS_TOPIC).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        let config = group_config(&self.config);
        let partitions = topic.partitions();
        let replaying = tokio::task::spawn_blocking(move || {
            let load = |partition: &Arc<Partition>| match replay(partition, &config) {
                Ok(groups) => Some((groups, partition.clone())),
                Err(error) => {
                    error!(%error, "the groups in {OFFSETS_TOPIC}-{} are not available", partition.index());
                    None
                }
            };
            partitions.iter().map(load).collect::<Vec<_>>()
        });
        let machines = replaying.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        let known: usize = machines.iter().flatten().map(|(groups, _)| groups.stats().groups()).sum();
        info!(groups = known, "group coordinator started");
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
        offset_metadata_max_bytes: config.offset_metadata_max_bytes.max(0) as usize,
        offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
        offsets_retention_check_interval_ms: config.offsets_retention_check_interval_ms,
        ..GroupConfig::default()
    }
}

/// The groups of one partition, as its records tell them.
fn replay(partition: &Partition, config: &GroupConfig) -> Result<Groups, Fault> {
    let mut groups = Groups::new(config.clone());
    let mut next = partition.start_offset()?;
    loop {
        let read = partition.read(next, REPLAY_BYTES, true)?;
        if read.bytes.is_empty() {
            return Ok(groups);
        }
        for (header, batch) in batches(&read.bytes) {
            next = header.last_offset() + 1;
            if header.is_control() {
                continue;
            }
            // Checked when it was appended, and again when the log was recovered: whatever is wrong now is
            // the disk's.
            let records = records(&batch).map_err(|why| unreadable(partition, next, why))?;
            for record in records {
                let record = record.map_err(|why| unreadable(partition, next, why))?;
                groups.load(&record.key.unwrap_or_default(), record.value.as_ref());
            }
        }
    }
}

fn unreadable(partition: &Partition, next: i64, why: Invalid) -> Fault {
    let path = format!("{}-{}", partition.topic(), partition.index()).into();
    Fault::Storage(Error::Io { path, source: io::Error::other(format!("before offset {next}: {why}")) })
}

impl Journal for Arc<Partition> {
    type Record = Record;

    fn append(&self, now: Millis, records: &[Record]) -> Result<i64, ErrorCode> {
        let mut batch = BatchBuilder::new();
        for record in records {
            let (key, value) = record.write();
            batch.push(now, Some(&key), value.as_deref(), &[]);
        }
        match Partition::append(self, &batch.build(), now) {
            Ok(appended) => Ok(appended.last_offset + 1),
            Err(fault) => {
                error!(error = %fault, "cannot write to {OFFSETS_TOPIC}-{}", self.index());
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
