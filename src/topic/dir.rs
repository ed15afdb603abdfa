//! The log folder: who owns it, how it was left, and the opening, check-pointing and closing of the logs in
//! it.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use braid_protocol::Uuid;
use braid_storage::checkpoint::{self, MetaProperties};
use braid_storage::dir::DirLock;
use braid_storage::disk::Entry;
use braid_storage::flush::{Dirty, Flusher};
use braid_storage::{Disk, Error, Log, LogConfig, OpenMode, Rules, TimestampType};
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::partition::{Partition, Settings};
use super::points::{Key, Points};
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
    meta: Option<MetaProperties>,
    flusher: Arc<Flusher>,
    /// What the checkpoints on disk say. Held while they are written; taken before a partition's lock.
    points: Mutex<Points>,
    _lock: Option<DirLock>,
}

/// A partition to open: its topic, its number, its topic's config.
pub type Wanted = (Arc<TopicImage>, i32, TopicConfig);

impl LogDir {
    /// Takes possession of the folder, and sees how it was left. `threads` open logs at the same time.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, threads: i32) -> Result<LogDir, Error> {
        let lock = disk.is_real().then(|| DirLock::acquire(path)).transpose()?;
        let clean = checkpoint::take_clean_mark(&*disk, path)?;
        let points = Mutex::new(Points::read(&*disk, path)?);
        let meta = MetaProperties::read(&*disk, path)?;
        let failed = {
            let path = path.to_owned();
            move |error: &io::Error| {
                let dir = path.display();
                error!(%error, "log folder {dir} failed; restart the broker once it is mended");
            }
        };
        let flusher = Flusher::start(disk.is_real().then_some(path), failed)
            .map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Ok(LogDir {
            path: path.to_owned(),
            disk,
            threads: threads.max(1) as usize,
            clean,
            meta,
            flusher: Arc::new(flusher),
            points,
            _lock: lock,
        })
    }

    /// The cluster that the folder says it belongs to.
    pub fn cluster_id(&self) -> Option<&str> {
        self.meta.as_ref().map(|meta| meta.cluster_id.as_str())
    }

    /// The id of the folder itself (KIP-858); none before it is claimed.
    pub fn directory_id(&self) -> Option<Uuid> {
        self.meta.as_ref().map(|meta| Uuid(*meta.directory_id.as_bytes()))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Marks the folder as this broker's; the error says whose it is instead.
    pub fn claim(&mut self, cluster_id: &str, node_id: i32) -> Result<(), String> {
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
                self.keep_folder().map_err(|e| e.to_string())?;
                meta.write(&*self.disk, &self.path).map_err(|e| e.to_string())?;
                self.meta = Some(meta);
                Ok(())
            }
        }
    }

    /// Makes a folder that may just have been created survive a power cut, and those above it likewise.
    fn keep_folder(&self) -> Result<(), Error> {
        for above in self.path.ancestors().skip(1) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            match self.disk.sync_dir(above) {
                // Whoever may not look into a folder did not create what is in it.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced.map_err(|source| Error::Io { path: above.to_owned(), source })?,
            }
        }
        Ok(())
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
        if at_start && !self.clean && !self.points.lock().is_empty() {
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
        let (recovery_point, start) = self.points_of(&dir, &(topic.name.to_string(), *index))?;
        let mode = match self.clean || !at_start {
            true => OpenMode::Clean,
            false => OpenMode::Recover { recovery_point },
        };
        let log = Log::open(self.disk.clone(), &dir, log_config(config, broker), mode, start, now_ms)?;
        let (name, flusher) = (topic.name.clone(), self.flusher.clone());
        Ok(Arc::new(Partition::new(name, *index, settings(config), flusher, log)))
    }

    /// The recovery point and the start of a log. One that begins must not inherit those of a deleted log of
    /// the same name: it would seem to have lost what it never had.
    fn points_of(&self, dir: &Path, key: &Key) -> Result<(i64, i64), Error> {
        let is_log = |entry: &Entry| !entry.is_dir && entry.name.ends_with(".log");
        let begins = match self.disk.list(dir) {
            Ok(entries) => !entries.iter().any(is_log),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(source) => return Err(Error::Io { path: dir.to_owned(), source }),
        };
        let mut points = self.points.lock();
        if begins && points.forget(key) {
            points.write(&*self.disk, &self.path)?;
        }
        Ok(points.of(key))
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
            } else if partition_of_folder(name).is_some()
                && !known.contains(name)
                && name != crate::cluster::FOLDER
            {
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

    /// Writes down what recovery would otherwise have to find out, and where the logs start.
    pub fn checkpoint(&self, partitions: &[Arc<Partition>]) -> Result<(), Error> {
        let mut points = self.points.lock();
        let (mut next, mut moved) = (Points::default(), Vec::with_capacity(partitions.len()));
        for partition in partitions {
            let written = partition.with_log(|log| {
                log.checkpoint()?;
                Ok((log.synced_offset(), log.start_offset(), log.first_base_offset()))
            });
            match written {
                Ok(written) => {
                    let (recovery, start, first) = written?;
                    next.set(partition.key(), recovery, start, first);
                    moved.push((partition, recovery));
                }
                // What is offline keeps the points it had.
                Err(_) => next.copy(&partition.key(), &points),
            }
        }
        next.write(&*self.disk, &self.path)?;
        *points = next;
        for (partition, recovery) in moved {
            // One that has gone offline since needs no news.
            let _ = partition.with_log(|log| log.checkpointed(recovery));
        }
        Ok(())
    }

    /// Writes down where these logs start: records that were deleted must not come back after a crash.
    pub fn save_starts(&self, partitions: &[Arc<Partition>]) -> Result<(), Error> {
        let mut points = self.points.lock();
        for partition in partitions {
            let starts = partition.with_log(|log| (log.start_offset(), log.first_base_offset()));
            if let Ok((start, first)) = starts {
                points.set_start(partition.key(), start, first);
            }
        }
        points.write_starts(&*self.disk, &self.path)
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

/// The topic and the number of a partition, if this is the name of a partition's folder.
pub fn partition_of_folder(name: &str) -> Option<(&str, i32)> {
    let (topic, index) = name.rsplit_once('-')?;
    let index = index.parse().ok().filter(|index| *index >= 0)?;
    (!topic.is_empty()).then_some((topic, index))
}

/// Has an open partition go by another config of its topic.
pub fn configure(partition: &Partition, topic: &TopicConfig, broker: &BrokerConfig) {
    // What is offline goes by its config when it is opened again.
    let _ = partition.configure(settings(topic), log_config(topic, broker));
}

fn settings(topic: &TopicConfig) -> Settings {
    Settings {
        rules: rules(topic),
        durability: topic.braid_durability,
        flush_messages: topic.flush_messages,
        flush_ms: topic.flush_ms,
    }
}

fn log_config(topic: &TopicConfig, broker: &BrokerConfig) -> LogConfig {
    LogConfig {
        segment_bytes: topic.segment_bytes.max(0) as u64,
        segment_ms: topic.segment_ms,
        segment_jitter_ms: draw(topic.segment_jitter_ms.min(topic.segment_ms)),
        delete: topic.cleanup_policy.delete,
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        index_interval_bytes: topic.index_interval_bytes.max(0) as u32,
        index_max_bytes: topic.segment_index_bytes.max(0) as u32,
        producer_expiration_ms: i64::from(broker.producer_id_expiration_ms),
    }
}

/// A number from 0 to below `limit`, different each time.
fn draw(limit: i64) -> i64 {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    // A uuid's upper two bits there are fixed.
    u64::try_from(limit).ok().and_then(|limit| (low & (u64::MAX >> 2)).checked_rem(limit)).unwrap_or(0) as i64
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
    use super::partition_of_folder;

    #[test]
    fn folders_of_partitions_are_told_from_others() {
        for (name, found) in [("t-0", ("t", 0)), ("with-dash-12", ("with-dash", 12)), ("__c-49", ("__c", 49))]
        {
            assert_eq!(partition_of_folder(name), Some(found));
        }
        for name in ["t", "-0", "t-", "t-x", "t-0.0123-delete", "t-0.0123-stray", "lost+found"] {
            assert_eq!(partition_of_folder(name), None, "{name}");
        }
    }
}
