//! The log folder: who owns it, how it was left, and the opening, check-pointing and closing of the logs in
//! it.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use braid_protocol::Uuid;
use braid_storage::checkpoint::{self, MetaProperties, Offsets};
use braid_storage::dir::DirLock;
use braid_storage::flush::{Dirty, Flusher};
use braid_storage::{Disk, Error, Log, LogConfig, OpenMode, Rules, TimestampType};
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::partition::{Partition, Settings};
use crate::cluster::{Image, TopicImage};
use crate::config::{BrokerConfig, TopicConfig};

/// A compressed batch may become this many times the largest message, and at least [`DECOMPRESSED_MIN`].
const DECOMPRESSED_TIMES: usize = 100;
const DECOMPRESSED_MIN: usize = 100 << 20;

/// A folder of `log.dirs`, owned by this process until dropped.
pub struct LogDir {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    threads: usize,
    clean: bool,
    recovery_points: Offsets,
    meta: Option<MetaProperties>,
    flusher: Arc<Flusher>,
    /// Checkpoints are written by one at a time.
    writing: Mutex<()>,
    _lock: DirLock,
}

/// A partition to open: its topic, its number, its topic's config.
pub type Wanted = (Arc<TopicImage>, i32, TopicConfig);

impl LogDir {
    /// Takes possession of the folder, and sees how it was left. `threads` open logs at the same time.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, threads: i32) -> Result<LogDir, Error> {
        let lock = DirLock::acquire(path)?;
        let clean = checkpoint::take_clean_mark(&*disk, path)?;
        let points = checkpoint::read_offsets(&*disk, &path.join(checkpoint::RECOVERY_POINTS));
        let recovery_points = points.unwrap_or_else(|error| {
            warn!(%error, "without recovery points, all logs are read from their start");
            None
        });
        let meta = MetaProperties::read(&*disk, path)?;
        let failed = {
            let path = path.to_owned();
            move |error: &io::Error| {
                let dir = path.display();
                error!(%error, "log folder {dir} failed; restart the broker once it is mended");
            }
        };
        let flusher = Flusher::start(Some(path), failed)
            .map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Ok(LogDir {
            path: path.to_owned(),
            disk,
            threads: threads.max(1) as usize,
            clean,
            recovery_points: recovery_points.unwrap_or_default(),
            meta,
            flusher: Arc::new(flusher),
            writing: Mutex::new(()),
            _lock: lock,
        })
    }

    /// The cluster that the folder says it belongs to.
    pub fn cluster_id(&self) -> Option<&str> {
        self.meta.as_ref().map(|meta| meta.cluster_id.as_str())
    }

    /// Marks the folder as this broker's; the error says whose it is instead.
    pub fn claim(&self, cluster_id: &str, node_id: i32) -> Result<(), String> {
        match &self.meta {
            Some(meta) if meta.cluster_id != cluster_id => {
                let theirs = &meta.cluster_id;
                Err(format!("it belongs to cluster {theirs}, but its metadata to cluster {cluster_id}"))
            }
            Some(meta) if meta.node_id != node_id => {
                Err(format!("it belongs to node.id={}, but this broker has node.id={node_id}", meta.node_id))
            }
            Some(_) => Ok(()),
            None => {
                let directory_id = uuid::Uuid::new_v4();
                let meta = MetaProperties { cluster_id: cluster_id.to_owned(), node_id, directory_id };
                meta.write(&*self.disk, &self.path).map_err(|e| e.to_string())
            }
        }
    }

    /// Opens partitions, several at a time, in the order given. At the start of the broker they are recovered
    /// if the last one did not end cleanly; later on they are new.
    pub fn open_all(
        &self,
        wanted: &[Wanted],
        broker: &BrokerConfig,
        now_ms: i64,
        at_start: bool,
    ) -> Result<Vec<Arc<Partition>>, Error> {
        if at_start && !self.clean && !self.recovery_points.is_empty() {
            info!(logs = wanted.len(), "the last shutdown was not clean: checking the logs");
        }
        let begin = Instant::now();
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let worker = || {
            let mut opened = Vec::new();
            while let Some(one) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                opened.push(self.open_one(one, broker, now_ms, at_start)?);
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if done % 1000 == 0 && at_start {
                    info!("{done} of {} logs opened after {} ms", wanted.len(), begin.elapsed().as_millis());
                }
            }
            Ok(opened)
        };
        let opened: Result<Vec<Vec<Arc<Partition>>>, Error> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(|w| w.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
        });
        let mut by_name: BTreeMap<(Arc<str>, i32), Arc<Partition>> =
            opened?.into_iter().flatten().map(|p| ((p.topic().clone(), p.index()), p)).collect();
        Ok(wanted
            .iter()
            .filter_map(|(topic, index, _)| by_name.remove(&(topic.name.clone(), *index)))
            .collect())
    }

    fn open_one(
        &self,
        (topic, index, config): &Wanted,
        broker: &BrokerConfig,
        now_ms: i64,
        at_start: bool,
    ) -> Result<Arc<Partition>, Error> {
        let dir = self.path.join(folder(&topic.name, *index));
        self.identify(&dir, topic.id)?;
        let key = (topic.name.to_string(), *index);
        let recovery_point = self.recovery_points.get(&key).copied().unwrap_or(0);
        let mode = match self.clean || !at_start {
            true => OpenMode::Clean,
            false => OpenMode::Recover { recovery_point },
        };
        let log = Log::open(self.disk.clone(), &dir, log_config(config, broker), mode, 0, now_ms)?;
        let settings = Settings { rules: rules(config), durability: config.braid_durability };
        Ok(Arc::new(Partition::new(topic.name.clone(), *index, settings, self.flusher.clone(), log)))
    }

    /// Makes sure that the folder is this topic's: one that was left by another topic of the same name is put
    /// aside.
    fn identify(&self, dir: &Path, id: Uuid) -> Result<(), Error> {
        let id = uuid::Uuid::from_bytes(id.0);
        match checkpoint::read_topic_id(&*self.disk, dir) {
            Ok(Some(found)) if found == id => return Ok(()),
            Ok(Some(_)) => self.put_aside(dir)?,
            Ok(None) => {}
            Err(error) => warn!(%error, "writing it anew"),
        }
        checkpoint::write_topic_id(&*self.disk, dir, &id)
    }

    fn put_aside(&self, dir: &Path) -> Result<(), Error> {
        let mut stray = dir.as_os_str().to_owned();
        stray.push(format!(".{}-stray", uuid::Uuid::new_v4().simple()));
        warn!(
            "{} belongs to no topic of this cluster; it is kept as {}",
            dir.display(),
            Path::new(&stray).display()
        );
        let renamed = self.disk.rename(dir, Path::new(&stray));
        renamed.map_err(|source| Error::Io { path: dir.to_owned(), source })
    }

    /// Removes what deleted topics left behind, and puts aside the folders of topics that the image does not
    /// know.
    pub fn sweep(&self, image: &Image) -> Result<(), Error> {
        let at = |source| Error::Io { path: self.path.clone(), source };
        let known: HashSet<String> =
            image.topics().flat_map(|t| (0..t.partitions).map(|n| folder(&t.name, n))).collect();
        for entry in self.disk.list(&self.path).map_err(at)?.into_iter().filter(|entry| entry.is_dir) {
            let (name, dir) = (entry.name.as_str(), self.path.join(&entry.name));
            if name.ends_with("-delete") {
                self.disk.remove(&dir).map_err(at)?;
            } else if is_log_folder(name) && !known.contains(name) && name != crate::cluster::FOLDER {
                self.put_aside(&dir)?;
            }
        }
        Ok(())
    }

    /// Deletes a partition's files. Readers that are at it may finish.
    pub fn delete(&self, partition: &Partition) {
        partition.go_offline();
        if let Err(error) = partition.delete_log() {
            error!(%error, "the files of a deleted topic could not be removed; the next start tries again");
        }
    }

    /// Writes down what recovery would otherwise have to find out.
    pub fn checkpoint(&self, partitions: &[Arc<Partition>]) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock();
        let mut points = Offsets::new();
        for partition in partitions {
            // What is offline keeps the point it had.
            let point = partition.with_log(|log| log.checkpoint().map(|()| log.synced_offset()));
            if let Ok(point) = point {
                points.insert((partition.topic().to_string(), partition.index()), point?);
            }
        }
        checkpoint::write_offsets(&*self.disk, &self.path.join(checkpoint::RECOVERY_POINTS), &points)
    }

    /// Syncs and closes all logs; if every one could be, leaves the mark of a clean shutdown.
    pub fn close(&self, partitions: &[Arc<Partition>]) -> Result<(), Error> {
        let mut offline = 0;
        let mut finished: Vec<Arc<dyn Dirty>> = Vec::new();
        for partition in partitions {
            match partition.with_log(Log::finish) {
                Ok(done) => done.map(|()| finished.push(partition.clone()))?,
                Err(_) => offline += 1,
            }
        }
        let flushed = self.flusher.flush(finished);
        flushed.map_err(|source| Error::Io { path: self.path.clone(), source })?;
        self.checkpoint(partitions)?;
        if offline == 0 {
            return checkpoint::mark_clean(&*self.disk, &self.path);
        }
        warn!(offline, "not all logs could be closed: the next start checks them");
        Ok(())
    }

    /// Why nothing in this folder can be written any more, if so.
    pub fn failure(&self) -> Option<io::Error> {
        self.flusher.failure()
    }
}

/// The folder of a partition, within the log folder.
fn folder(topic: &str, index: i32) -> String {
    format!("{topic}-{index}")
}

/// Is this the name of a partition's folder?
fn is_log_folder(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(topic, index)| !topic.is_empty() && index.parse::<u32>().is_ok())
}

fn log_config(topic: &TopicConfig, broker: &BrokerConfig) -> LogConfig {
    LogConfig {
        segment_bytes: topic.segment_bytes.max(0) as u64,
        segment_ms: topic.segment_ms,
        index_interval_bytes: topic.index_interval_bytes.max(0) as u32,
        index_max_bytes: topic.segment_index_bytes.max(0) as u32,
        producer_expiration_ms: i64::from(broker.producer_id_expiration_ms),
    }
}

fn rules(topic: &TopicConfig) -> Rules {
    let max_message_bytes = topic.max_message_bytes.max(0) as usize;
    Rules {
        max_message_bytes,
        segment_bytes: topic.segment_bytes.max(0) as usize,
        compacted: topic.cleanup_policy.compact,
        timestamp_type: match topic.message_timestamp_type {
            crate::config::TimestampType::CreateTime => TimestampType::CreateTime,
            crate::config::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
        },
        before_max_ms: topic.message_timestamp_before_max_ms,
        after_max_ms: topic.message_timestamp_after_max_ms,
        max_decompressed_bytes: max_message_bytes.saturating_mul(DECOMPRESSED_TIMES).max(DECOMPRESSED_MIN),
        zstd_allowed: true,
    }
}

#[cfg(test)]
mod tests {
    use super::is_log_folder;

    #[test]
    fn folders_of_partitions_are_told_from_others() {
        for name in ["t-0", "with-dash-12", "__consumer_offsets-49"] {
            assert!(is_log_folder(name), "{name}");
        }
        for name in ["t", "-0", "t-", "t-x", "t-0.0123-delete", "t-0.0123-stray", "lost+found"] {
            assert!(!is_log_folder(name), "{name}");
        }
    }
}
