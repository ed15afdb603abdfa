//! One folder of `log.dirs`: who owns it, how it was left, and the opening and check-pointing of the logs in
//! it. `creating.rs` makes new ones, `closing.rs` closes them, `removal.rs` removes them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use braid_protocol::Uuid;
use braid_storage::checkpoint::{self, MetaProperties};
use braid_storage::dir::DirLock;
use braid_storage::disk::Entry;
use braid_storage::flush::{Dirty, Flusher};
use braid_storage::{Disk, Error, Log, OpenMode};
use parking_lot::Mutex;
use tracing::{error, warn};

use super::fault::Fault;
use super::home::{Home, fail};
use super::partition::Partition;
use super::points::{Key, LogPoints, Points};
use super::removal::Leftover;
use super::settings::{log_config, settings};
use crate::cluster::TopicImage;
use crate::config::{BrokerConfig, Durability, TopicConfig};

/// A folder of `log.dirs`, owned by this process until dropped.
pub struct LogDir {
    path: Arc<Path>,
    pub(super) disk: Arc<dyn Disk>,
    clean: bool,
    /// Is this start the first of ours, on what another broker left?
    foreign: bool,
    meta: Option<MetaProperties>,
    flusher: Arc<Flusher>,
    failed: Arc<AtomicBool>,
    /// What the checkpoints on disk say. Held while they are written; taken before a partition's lock.
    points: Mutex<Points>,
    /// The folders that were in it when it was opened.
    found: Vec<String>,
    /// How many partitions lie here.
    pub(super) partitions: AtomicUsize,
    /// Directories of partitions that are to be removed.
    pub(super) leftovers: Mutex<Vec<Leftover>>,
    lock: Option<DirLock>,
}

/// A partition to open: its topic, its number, its topic's config.
pub type Wanted = (Arc<TopicImage>, i32, TopicConfig);

/// What is in a partition's folder.
#[derive(PartialEq)]
enum Remains {
    /// There is no such folder, or none that a log could be opened in.
    None,
    /// Nothing, or what another topic left is now out of the way.
    Empty,
    /// A log; `named` if the folder tells whose it is.
    Log { named: bool },
}

impl LogDir {
    /// Takes possession of the folder, and sees how it was left.
    pub(super) fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<LogDir, Error> {
        let lock = disk.is_real().then(|| DirLock::acquire(path)).transpose()?;
        let clean = checkpoint::take_clean_mark(&*disk, path)?;
        let points = Mutex::new(Points::read(&*disk, path)?);
        let meta = MetaProperties::read(&*disk, path)?;
        let at = |source| Error::Io { path: path.to_owned(), source };
        let entries = match disk.list(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(at)?,
        };
        let is_log = |entry: &&Entry| {
            entry.is_dir && entry.name != crate::cluster::FOLDER && partition_of_folder(&entry.name).is_some()
        };
        let logs = entries.iter().filter(is_log).count();
        if !clean && points.lock().is_empty() && logs > 0 {
            let path = path.display();
            warn!(%path, logs, "the recovery points are missing or empty: every log is read from its start");
        }
        let failed = Arc::new(AtomicBool::new(false));
        let tell = {
            let (path, failed) = (path.to_owned(), failed.clone());
            move |error: &io::Error| fail(&path, &failed, error)
        };
        let flusher = Flusher::start(disk.is_real().then_some(path), tell).map_err(at)?;
        Ok(LogDir {
            path: path.into(),
            disk,
            clean,
            foreign: false,
            meta,
            flusher: Arc::new(flusher),
            failed,
            points,
            found: entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect(),
            partitions: AtomicUsize::new(0),
            leftovers: Mutex::default(),
            lock,
        })
    }

    /// The cluster that the folder says it belongs to.
    pub(super) fn cluster_id(&self) -> Option<&str> {
        self.meta.as_ref()?.cluster_id.as_deref()
    }

    /// The id of the folder itself (KIP-858); none before it is claimed.
    pub fn directory_id(&self) -> Option<Uuid> {
        Some(Uuid(*self.meta.as_ref()?.directory_id?.as_bytes()))
    }

    /// Was it ever claimed, by this broker or another?
    pub(super) fn is_used(&self) -> bool {
        self.meta.is_some()
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the folders that were in it when it was opened.
    pub fn found(&self) -> &[String] {
        &self.found
    }

    /// Was it left by a broker that could not close its logs?
    pub fn must_be_checked(&self) -> bool {
        !self.clean && !self.points.lock().is_empty()
    }

    /// What its partitions need of it.
    pub(super) fn home(&self) -> Home {
        let flusher = Some(self.flusher.clone());
        Home { path: self.path.clone(), flusher, failed: self.failed.clone() }
    }

    /// Whose folder it is, if it is not this broker's.
    pub(super) fn owner(&self, cluster_id: &str, node_id: i32) -> Option<String> {
        let dir = self.path.display();
        let meta = self.meta.as_ref()?;
        match (&meta.cluster_id, meta.node_id) {
            (Some(theirs), _) if theirs != cluster_id => {
                Some(format!("{dir} belongs to cluster {theirs}, but the metadata to cluster {cluster_id}"))
            }
            (_, Some(theirs)) if theirs != node_id => {
                Some(format!("{dir} belongs to node.id={theirs}, but this broker has node.id={node_id}"))
            }
            _ => None,
        }
    }

    /// Marks the folder as this broker's, if it is nobody's yet, or does not say all that it should: that of
    /// a Kafka with ZooKeeper (version 0), or from before directories had ids.
    pub(super) fn claim(&mut self, cluster_id: &str, node_id: i32) -> Result<(), Error> {
        if !self.meta.as_ref().is_some_and(MetaProperties::is_complete) {
            let known = self.meta.as_ref().and_then(|meta| meta.directory_id);
            let directory_id = known.unwrap_or_else(uuid::Uuid::new_v4);
            let meta = MetaProperties::new(cluster_id, node_id, directory_id);
            meta.write(&*self.disk, &self.path)?;
            self.keep_folder()?;
            self.meta = Some(meta);
        }
        Ok(())
    }

    /// The logs in it are another broker's: see [`OpenMode::Foreign`].
    pub(super) fn adopt(&mut self) {
        self.foreign = true;
    }

    /// Makes a folder that may just have been created survive a power cut, and those above it.
    fn keep_folder(&self) -> Result<(), Error> {
        for above in self.path.ancestors().skip(1) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            match self.disk.sync_dir(above) {
                // No permission: what is in it existed before us.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced.map_err(|source| Error::Io { path: above.to_owned(), source })?,
            }
        }
        Ok(())
    }

    /// Opens a partition at the start of the broker; recovers it if the last stop was not clean.
    pub(super) fn open_one(
        &self,
        (topic, index, config): &Wanted,
        broker: &BrokerConfig,
        now_ms: i64,
    ) -> Result<Arc<Partition>, Error> {
        let (dir, key) = (self.folder(&topic.name, *index), (topic.name.to_string(), *index));
        let remains = self.examine(&dir, topic.id)?;
        let (recovery_point, start) = self.points_of(&dir, &key, &remains)?;
        if remains != (Remains::Log { named: true }) {
            checkpoint::write_topic_id(&*self.disk, &dir, &uuid::Uuid::from_bytes(topic.id.0))?;
        }
        let mode = match recovery_point {
            // Also after a clean stop: its last segment may be of a format that we do not read.
            Some(recovery_point) if self.foreign => OpenMode::Foreign { recovery_point },
            _ if self.clean => OpenMode::Clean,
            Some(recovery_point) => OpenMode::Recover { recovery_point },
            None => OpenMode::Unknown,
        };
        let settings = settings(config);
        // Of what a killed broker left, everything becomes visible: only as durable as the topic asks for.
        let open = match settings.durability {
            Durability::Synced => Log::open,
            Durability::Written => Log::open_written,
        };
        let log = open(self.disk.clone(), &dir, log_config(config, broker), mode, start, now_ms)?;
        Ok(Arc::new(Partition::new(topic.name.clone(), *index, settings, self.home(), log)))
    }

    /// The path of a partition's folder.
    pub(super) fn folder(&self, topic: &str, index: i32) -> PathBuf {
        self.path.join(folder(topic, index))
    }

    /// What is in a partition's folder. What another topic of the same name left is put aside.
    fn examine(&self, dir: &Path, id: Uuid) -> Result<Remains, Error> {
        let entries = match self.disk.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Remains::None),
            listed => listed.map_err(|source| Error::Io { path: dir.to_owned(), source })?,
        };
        if entries.is_empty() {
            return Ok(Remains::Empty);
        }
        let is_log = |entry: &Entry| !entry.is_dir && entry.name.ends_with(".log");
        match self.is_of(dir, id) {
            Some(false) => self.put_aside(dir).map(|()| Remains::Empty),
            named if entries.iter().any(is_log) => Ok(Remains::Log { named: named.is_some() }),
            _ => Ok(Remains::None),
        }
    }

    /// Is this the folder of the topic of that id? None if it does not tell.
    pub(super) fn is_of(&self, dir: &Path, id: Uuid) -> Option<bool> {
        self.topic_of(dir).map(|found| found == id)
    }

    /// The topic that a partition's directory says it belongs to.
    pub(super) fn topic_of(&self, dir: &Path) -> Option<Uuid> {
        let found = checkpoint::read_topic_id(&*self.disk, dir).unwrap_or_else(|error| {
            warn!(%error, "the partition's directory does not name its topic");
            None
        });
        found.map(|found| Uuid(*found.as_bytes()))
    }

    /// The recovery point and the start of a log. One that begins must not inherit those of a deleted log of
    /// the same name: it would seem to have lost what it never had. A deleted topic's are forgotten with it,
    /// so that at the start of the broker they are the log's own: one that had records and is gone is not
    /// begun again, unless somebody left an empty folder in its place.
    fn points_of(&self, dir: &Path, key: &Key, remains: &Remains) -> Result<(Option<i64>, i64), Error> {
        let mut points = self.points.lock();
        let (recovery_point, start) = points.of(key);
        match remains {
            Remains::Log { .. } => return Ok((recovery_point, start)),
            Remains::None if recovery_point.unwrap_or(0).max(start) > 0 => {
                let why = "the log is gone, but the recovery point says that it had records";
                return Err(Error::Corrupt { path: dir.to_owned(), offset: start, why });
            }
            Remains::None | Remains::Empty => {}
        }
        let others = points.forget(key);
        points.begin(key.clone());
        if others {
            points.write(&*self.disk, &self.path)?;
        }
        Ok((Some(0), 0))
    }

    /// Do the checkpoints say that this log had records?
    pub(super) fn knows(&self, key: &Key) -> bool {
        let (recovery_point, start) = self.points.lock().of(key);
        recovery_point.unwrap_or(0).max(start) > 0
    }

    /// Writes down that logs begin: of one that no recovery point is known of anything is believed
    /// ([`OpenMode::Unknown`]), also a hole that a crash made.
    pub(super) fn begin(&self, keys: impl Iterator<Item = Key>) -> Result<(), Error> {
        let mut points = self.points.lock();
        let keys: Vec<Key> = keys.collect();
        keys.iter().for_each(|key| points.begin(key.clone()));
        let written = points.write(&*self.disk, &self.path);
        written.inspect_err(|_| {
            points.keep(|key| !keys.contains(key));
        })
    }

    /// Whether the checkpoints on disk say of this log that it begins, and nothing else.
    pub(super) fn has_just_begun(&self, key: &Key) -> bool {
        self.points.lock().of(key) == (Some(0), 0)
    }

    /// Sets the points of a log that is closed; they are written with all others.
    pub(super) fn set_points(&self, key: Key, log: &Log) {
        self.points.lock().set(key, LogPoints::of(log));
    }

    /// Forgets a log that did not come to be.
    pub(super) fn forget_one(&self, key: &Key) {
        self.points.lock().forget(key);
    }

    /// Forgets the points of partitions; writes the checkpoints if that is needed.
    pub(super) fn forget(&self, partitions: &[Arc<Partition>], write: bool) -> Result<(), Error> {
        let mut points = self.points.lock();
        let forgotten = partitions.iter().filter(|partition| points.forget(&partition.key())).count();
        if write && forgotten > 0 { points.write(&*self.disk, &self.path) } else { Ok(()) }
    }

    /// Writes the checkpoints.
    pub(super) fn keep_points(&self) -> Result<(), Error> {
        self.points.lock().write(&*self.disk, &self.path)
    }

    /// Forgets the points of all logs but these.
    pub(super) fn forget_others(&self, is_here: impl Fn(&Key) -> bool) -> Result<(), Error> {
        let mut points = self.points.lock();
        match points.keep(is_here) {
            true => points.write(&*self.disk, &self.path),
            false => Ok(()),
        }
    }

    /// Writes down what recovery would otherwise have to find out, and where the logs start. One log that
    /// cannot tell keeps the points it had. With `sync`, what was written without a sync is synced before.
    pub(super) fn checkpoint(&self, partitions: &[Arc<Partition>], sync: bool) -> Result<(), Error> {
        if sync {
            let unsynced = partitions.iter().filter(|p| p.durability() == Durability::Written);
            self.flush(unsynced.map(|p| p.clone() as Arc<dyn Dirty>).collect())?;
        }
        let mut points = self.points.lock();
        let mut moved = Vec::with_capacity(partitions.len());
        for partition in partitions {
            match partition.checkpoint() {
                Ok(now) => {
                    points.set(partition.key(), now);
                    moved.push((partition, now.recovery));
                }
                Err(Fault::Storage(error)) => {
                    let (topic, partition) = (&**partition.topic(), partition.index());
                    error!(topic, partition, %error, "the log keeps its old recovery point");
                    self.home().judge(&error);
                }
                // Closed.
                Err(_) => {}
            }
        }
        points.write(&*self.disk, &self.path).inspect_err(|error| self.home().judge(error))?;
        drop(points);
        for (partition, recovery) in moved {
            // One that has been closed since does not need it.
            let _ = partition.checkpointed(recovery);
        }
        Ok(())
    }

    /// Writes down where these logs start: records that were deleted must not come back after a crash.
    pub(super) fn save_starts(&self, partitions: &[Arc<Partition>]) -> Result<(), Error> {
        let mut points = self.points.lock();
        for partition in partitions {
            if let Ok(now) = partition.look(LogPoints::of) {
                points.set_start(partition.key(), now);
            }
        }
        points.write_starts(&*self.disk, &self.path).inspect_err(|error| self.home().judge(error))
    }

    /// Syncs these logs now.
    pub(super) fn flush(&self, logs: Vec<Arc<dyn Dirty>>) -> Result<(), Error> {
        self.flusher.flush(logs).map_err(|source| {
            fail(&self.path, &self.failed, &source);
            Error::Io { path: self.path.to_path_buf(), source }
        })
    }

    /// Takes the directory offline if it was removed, moved away or replaced: what is written to files
    /// without a name is lost.
    pub(super) fn check(&self) {
        let Some(lock) = self.lock.as_ref().filter(|_| !self.failed.load(Ordering::Acquire)) else { return };
        let marked = || match self.meta.is_some() && !self.path.join(checkpoint::META_PROPERTIES).exists() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "its contents were removed")),
            false => Ok(()),
        };
        if let Err(error) = lock.check().and_then(|()| marked()) {
            let why = format!("while the broker ran, {error}; what was written to it meanwhile may be lost");
            let error = io::Error::new(error.kind(), why);
            fail(&self.path, &self.failed, &error);
            self.flusher.give_up(&error);
        }
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
