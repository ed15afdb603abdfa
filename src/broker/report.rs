//! What metrics and health checks ask the broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::Broker;
use crate::group::Stats;
use crate::metrics::{Counts, PartitionStat, Scrape};
use crate::topic::Partition;

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
        let failed = self.dirs.state().into_iter().filter_map(|(path, wrong)| Some((path, wrong?)));
        let lines: Vec<String> =
            failed.map(|(path, why)| format!("the log folder {} failed: {why}", path.display())).collect();
        if lines.is_empty() { Ok(()) } else { Err(lines.join("\n")) }
    }

    /// The groups' figures; none while the coordinator does not run.
    fn group_stats(&self) -> Stats {
        let (Some(groups), Ok(runtime)) = (self.groups.get(), Handle::try_current()) else {
            return Stats::default();
        };
        runtime.block_on(groups.stats()).unwrap_or_default()
    }
}

impl Scrape for Broker {
    fn partitions(&self) -> Vec<PartitionStat> {
        let stat = |topic: &crate::topic::Topic| -> Vec<PartitionStat> {
            let one = |partition: &Arc<Partition>| {
                let stat = partition.with_log(|log| PartitionStat {
                    topic: topic.name.clone(),
                    partition: partition.index(),
                    size: log.size_bytes(),
                    start: log.start_offset(),
                    end: log.end_offset(),
                    segments: log.segment_count(),
                });
                stat.ok()
            };
            topic.partitions().iter().filter_map(one).collect()
        };
        self.topics.all().iter().flat_map(|topic| stat(topic)).collect()
    }

    fn counts(&self) -> Counts {
        let image = self.cluster.image();
        let partitions = self.topics.partitions();
        let offline = partitions.iter().filter(|p| p.is_offline()).count();
        let producers = |p: &Arc<Partition>| p.with_log(|log| log.producers().len()).unwrap_or(0);
        let groups = self.group_stats();
        Counts {
            active_controllers: 1,
            active_brokers: 1,
            topics: image.topic_count(),
            partitions: image.partition_count(),
            leaders: partitions.len() - offline,
            replicas: partitions.len(),
            offline_partitions: offline,
            offline_replicas: offline,
            producer_ids: partitions.iter().map(producers).sum(),
            offline_log_dirs: self.dirs.state().iter().filter(|(_, wrong)| wrong.is_some()).count(),
            groups: groups.groups(),
            offsets: groups.offsets,
            groups_stable: groups.stable,
            groups_preparing: groups.preparing_rebalance,
            groups_completing: groups.completing_rebalance,
            groups_empty: groups.empty,
            ..Counts::default()
        }
    }
}

fn volume(path: &Path) -> Option<Volume> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    Some(Volume { total: bytes(stat.f_blocks), usable: bytes(stat.f_bavail) })
}
