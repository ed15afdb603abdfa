//! What metrics and health checks ask the broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use braid_protocol::ErrorCode;
use braid_storage::Log;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Broker;
use crate::group::Coordinator;
use crate::metrics::{Counts, GroupRoom, GroupStat, LogStat, PartitionStat, Scrape, SeriesLimits};
use crate::topic::Partition;

/// A health check names at most this many offline partitions.
const NAMED_MAX: usize = 20;
/// How long a scrape waits for the groups.
const GROUPS_ANSWER: Duration = Duration::from_secs(1);

/// A folder of `log.dirs`.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Its absolute path.
    pub path: PathBuf,
    /// Why it cannot be used, if so.
    pub wrong: Option<String>,
    /// The volume it is on.
    pub volume: Option<Volume>,
}

/// How much room there is where the log folder is, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    /// All of it.
    pub total: i64,
    /// What this process may still use.
    pub usable: i64,
}

impl Broker {
    /// Every log folder: its path, what is wrong with it, and the volume it is on, if that can be told.
    pub async fn folders(&self) -> Vec<Folder> {
        let state = self.dirs.state();
        let measure = move || {
            let one = |(path, wrong): (PathBuf, Option<String>)| {
                let path = std::path::absolute(&path).unwrap_or(path);
                let volume = if wrong.is_none() { volume(&path) } else { None };
                Folder { path, wrong, volume }
            };
            state.into_iter().map(one).collect()
        };
        tokio::task::spawn_blocking(measure).await.unwrap_or_default()
    }

    /// Whether the broker works; the error is for people.
    pub fn health(&self) -> Result<(), String> {
        let failed: Vec<_> =
            self.dirs.state().into_iter().filter_map(|(path, wrong)| Some((path, wrong?))).collect();
        let told = |partition: &Arc<Partition>| failed.iter().any(|(path, _)| **path == **partition.home());
        let mut lines: Vec<String> = failed
            .iter()
            .map(|(path, why)| format!("the log folder {} failed: {why}", path.display()))
            .collect();
        let offline = self.topics.partitions().into_iter().filter(|p| p.is_offline() && !told(p));
        let mut offline: Vec<_> = offline.map(|p| (p.topic().clone(), p.index())).collect();
        offline.sort();
        lines
            .extend(offline.iter().take(NAMED_MAX).map(|(t, p)| format!("the partition {t}-{p} is offline")));
        if offline.len() > NAMED_MAX {
            lines.push(format!("and {} more partitions are offline", offline.len() - NAMED_MAX));
        }
        if lines.is_empty() { Ok(()) } else { Err(lines.join("\n")) }
    }

    /// What the groups say; nothing while the coordinator does not run, or if its disk keeps it busy.
    fn ask_groups<T: Default>(&self, question: impl AsyncFnOnce(&Coordinator) -> Result<T, ErrorCode>) -> T {
        let (Some(groups), Ok(runtime)) = (self.groups.get(), Handle::try_current()) else {
            return T::default();
        };
        let answer = async { timeout(GROUPS_ANSWER, question(groups)).await };
        runtime.block_on(answer).ok().and_then(Result::ok).unwrap_or_default()
    }
}

impl Scrape for Broker {
    fn node_id(&self) -> i32 {
        self.config.node_id
    }

    fn address(&self) -> String {
        let advertised = self.config.advertised_listeners.as_ref().unwrap_or(&self.config.listeners);
        advertised.first().map(|l| format!("{}:{}", l.host, l.port)).unwrap_or_default()
    }

    fn limits(&self) -> SeriesLimits {
        let limit = |value: i32| usize::try_from(value).unwrap_or(0);
        SeriesLimits {
            groups: limit(self.config.braid_metrics_groups_max),
            partitions: limit(self.config.braid_metrics_partitions_max),
        }
    }

    fn partitions(&self, max: usize) -> Vec<PartitionStat> {
        let one = |partition: &Arc<Partition>| PartitionStat {
            topic: partition.topic().clone(),
            partition: partition.index(),
            log: partition.look(|log| log_stat(log, partition.watermark())).ok(),
        };
        let mut topics = self.topics.all();
        topics.sort_by_key(|topic| topic.metrics.order());
        let mut shown = Vec::new();
        for topic in topics {
            shown.extend(topic.partitions().iter().take(max - shown.len()).map(one));
            if shown.len() >= max {
                break;
            }
        }
        shown
    }

    fn watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        let partition = self.topics.get(topic)?.partition(partition)?;
        (!partition.is_offline()).then(|| partition.watermark())
    }

    fn groups(&self, room: GroupRoom) -> Vec<GroupStat> {
        self.ask_groups(async |groups: &Coordinator| groups.committed(room).await)
    }

    fn counts(&self) -> Counts {
        let image = self.cluster.image();
        let partitions = self.topics.partitions();
        let offline = partitions.iter().filter(|p| p.is_offline()).count();
        let producers = |p: &Arc<Partition>| p.look(|log| log.producers().len()).unwrap_or(0);
        let groups = self.ask_groups(Coordinator::stats);
        Counts {
            active_controllers: 1,
            active_brokers: 1,
            brokers: 1,
            topics: image.topic_count(),
            partitions: image.partition_count(),
            leaders: partitions.len() - offline,
            replicas: partitions.len(),
            at_min_isr: partitions.len() - offline,
            offline_partitions: offline,
            offline_replicas: offline,
            producer_ids: partitions.iter().map(producers).sum(),
            offline_log_dirs: self.dirs.state().iter().filter(|(_, wrong)| wrong.is_some()).count(),
            memory_used: self.memory.used(),
            memory_limit: self.memory.limit(),
            memory_closed: self.memory.closed(),
            groups: groups.groups(),
            offsets: groups.offsets,
            groups_stable: groups.stable + groups.consumer.stable,
            groups_preparing: groups.preparing_rebalance + groups.consumer.assigning,
            groups_completing: groups.completing_rebalance + groups.consumer.reconciling,
            groups_empty: groups.empty + groups.consumer.empty,
        }
    }
}

fn log_stat(log: &Log, watermark: i64) -> LogStat {
    LogStat {
        size: log.size_bytes(),
        start: log.start_offset(),
        end: log.end_offset(),
        watermark,
        segments: log.segment_count(),
        quarantined: log.quarantined(),
    }
}

fn volume(path: &Path) -> Option<Volume> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    Some(Volume { total: bytes(stat.f_blocks), usable: bytes(stat.f_bavail) })
}
