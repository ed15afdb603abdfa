//! One folder of `log.dirs`: who owns it, how it was left, and the opening, check-pointing and closing of the
//! logs in it.

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

use super::partition::{Home, Partition};
use super::points::{Key, Points};
use super::settings::{log_config, settings};
use crate::cluster::TopicImage;
use crate::config::{BrokerConfig, Durability, TopicConfig};

/// A folder of `log.dirs`, owned by this process until dropped.
pub struct LogDir {
    path: Arc<Path>,
    disk: Arc<dyn Disk>,
    clean: bool,
    meta: Option<MetaProperties>,
    flusher: Arc<Flusher>,
    failed: Arc<AtomicBool>,
    /// What the checkpoints on disk say. Held while they are written; taken before a partition's lock.
    points: Mutex<Points>,
    /// The folders that were in it when it was opened.
    found: Vec<String>,
    /// How many partitions lie here.
    pub(super) partitions: AtomicUsize,
    _lock: Option<DirLock>,
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
            meta,
            flusher: Arc::new(flusher),
            failed,
            points,
            found: entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect(),
            partitions: AtomicUsize::new(0),
            _lock: lock,
        })
    }

    /// The cluster that the folder says it belongs to.
    pub(super) fn cluster_id(&self) -> Option<&str> {
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

    /// The names of the folders that were in it when it was opened.
    pub fn found(&self) -> &[String] {
        &self.found
    }

    /// Was it left by a broker that could not close its logs?
    pub(super) fn must_be_checked(&self) -> bool {
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
        match self.meta.as_ref()? {
            meta if meta.cluster_id != cluster_id => {
                let theirs = &meta.cluster_id;
                Some(format!("{dir} belongs to cluster {theirs}, but the metadata to cluster {cluster_id}"))
            }
            meta if meta.node_id != node_id => {
                let theirs = meta.node_id;
                Some(format!("{dir} belongs to node.id={theirs}, but this broker has node.id={node_id}"))
            }
            _ => None,
        }
    }

    /// Marks the folder as this broker's, if it is nobody's yet.
    pub(super) fn claim(&mut self, cluster_id: &str, node_id: i32) -> Result<(), Error> {
        if self.meta.is_none() {
            let directory_id = uuid::Uuid::new_v4();
            let meta = MetaProperties { cluster_id: cluster_id.to_owned(), node_id, directory_id };
            meta.write(&*self.disk, &self.path)?;
            self.keep_folder()?;
            self.meta = Some(meta);
        }
        Ok(())
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

    /// Opens a partition. At the start of the broker it is recovered if the last one did not end cleanly;
    /// later on it is new.
    pub(super) fn open_one(
        &self,
        (topic, index, config): &Wanted,
        broker: &BrokerConfig,
        now_ms: i64,
        at_start: bool,
    ) -> Result<Arc<Partition>, Error> {
        let (dir, key) = (self.folder(&topic.name, *index), (topic.name.to_string(), *index));
        let remains = self.examine(&dir, topic.id)?;
        let (recovery_point, start) = self.points_of(&dir, &key, &remains, at_start)?;
        if remains != (Remains::Log { named: true }) {
            checkpoint::write_topic_id(&*self.disk, &dir, &uuid::Uuid::from_bytes(topic.id.0))?;
        }
        let mode = match self.clean || !at_start {
            true => OpenMode::Clean,
            false => recovery_point
                .map_or(OpenMode::Unknown, |recovery_point| OpenMode::Recover { recovery_point }),
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
        let found = checkpoint::read_topic_id(&*self.disk, dir).unwrap_or_else(|error| {
            warn!(%error, "it is written anew");
            None
        });
        found.map(|found| found.as_bytes() == &id.0)
    }

    /// The recovery point and the start of a log. One that begins must not inherit those of a deleted log of
    /// the same name: it would seem to have lost what it never had. A deleted topic's are forgotten with it,
    /// so that at the start of the broker they are the log's own: one that had records and is gone is not
    /// begun anew, unless somebody left an empty folder in its place.
    fn points_of(
        &self,
        dir: &Path,
        key: &Key,
        remains: &Remains,
        at_start: bool,
    ) -> Result<(Option<i64>, i64), Error> {
        let mut points = self.points.lock();
        let (recovery_point, start) = points.of(key);
        match remains {
            Remains::Log { .. } => return Ok((recovery_point, start)),
            Remains::None if at_start && recovery_point.unwrap_or(0).max(start) > 0 => {
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

    /// Writes down that logs have begun: of one that no recovery point is known of anything is believed
    /// ([`OpenMode::Unknown`]), also a hole that a crash made.
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

    /// Gives the folder of no topic of this cluster a name that nothing takes for a partition's.
    pub(super) fn put_aside(&self, dir: &Path) -> Result<(), Error> {
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

    /// Removes what deleted topics left behind, and puts aside the folders of partitions that are not known.
    pub(super) fn sweep(&self, known: impl Fn(&str, i32) -> bool) -> Result<(), Error> {
        for name in &self.found {
            let dir = self.path.join(name);
            if name.ends_with("-delete") {
                self.disk.remove(&dir).map_err(|source| Error::Io { path: dir, source })?;
            } else if partition_of_folder(name).is_some_and(|(topic, index)| !known(topic, index))
                && name != crate::cluster::FOLDER
            {
                self.put_aside(&dir)?;
            }
        }
        Ok(())
    }

    /// Deletes the files of partitions of this folder, and forgets their points. Readers that are at them may
    /// finish.
    pub(super) fn delete(&self, partitions: &[Arc<Partition>]) {
        // A round of checkpoints under way skips what is offline.
        partitions.iter().for_each(|partition| partition.go_offline());
        let mut points = self.points.lock();
        let forgotten = partitions.iter().filter(|partition| points.forget(&partition.key())).count();
        let forget = if forgotten > 0 { points.write(&*self.disk, &self.path) } else { Ok(()) };
        drop(points);
        let removed = partitions.iter().map(|partition| {
            self.partitions.fetch_sub(1, Ordering::Relaxed);
            let dir = self.folder(partition.topic(), partition.index());
            partition.delete_log().unwrap_or_else(|| braid_storage::dir::delete(&*self.disk, &dir))
        });
        for error in std::iter::once(forget).chain(removed).filter_map(Result::err) {
            error!(%error, "the files of a deleted topic could not be removed; the next start tries again");
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
            let written = partition.with_log(|log| {
                log.checkpoint()?;
                Ok::<_, Error>((log.synced_offset(), log.start_offset(), log.first_base_offset()))
            });
            match written {
                Ok(Ok((recovery, start, first))) => {
                    points.set(partition.key(), recovery, start, first);
                    moved.push((partition, recovery));
                }
                Ok(Err(error)) => {
                    error!(%error, "this log keeps its recovery point");
                    self.home().judge(&error);
                }
                Err(_) => {}
            }
        }
        points.write(&*self.disk, &self.path).inspect_err(|error| self.home().judge(error))?;
        drop(points);
        for (partition, recovery) in moved {
            // One that has gone offline since needs no news.
            let _ = partition.with_log(|log| log.checkpointed(recovery));
        }
        Ok(())
    }

    /// Writes down where these logs start: records that were deleted must not come back after a crash.
    pub(super) fn save_starts(&self, partitions: &[Arc<Partition>]) -> Result<(), Error> {
        let mut points = self.points.lock();
        for partition in partitions {
            let starts = partition.with_log(|log| (log.start_offset(), log.first_base_offset()));
            if let Ok((start, first)) = starts {
                points.set_start(partition.key(), start, first);
            }
        }
        points.write_starts(&*self.disk, &self.path).inspect_err(|error| self.home().judge(error))
    }

    /// Syncs and closes all logs; if every one could be, leaves the mark of a clean shutdown.
    pub(super) fn close(&self, partitions: &[Arc<Partition>]) -> Result<(), Error> {
        let mut open = 0;
        let mut finished: Vec<Arc<dyn Dirty>> = Vec::new();
        for partition in partitions {
            match partition.with_log(Log::finish) {
                Ok(Ok(())) => finished.push(partition.clone()),
                Ok(Err(error)) => {
                    error!(%error, "a log could not be closed");
                    open += 1;
                }
                Err(_) => open += 1,
            }
        }
        self.flush(finished)?;
        self.checkpoint(partitions, false)?;
        if open == 0 {
            return checkpoint::mark_clean(&*self.disk, &self.path);
        }
        let dir = self.path.display();
        warn!("{open} logs in {dir} could not be closed: the next start checks all that are there");
        Ok(())
    }

    fn flush(&self, logs: Vec<Arc<dyn Dirty>>) -> Result<(), Error> {
        self.flusher.flush(logs).map_err(|source| {
            fail(&self.path, &self.failed, &source);
            Error::Io { path: self.path.to_path_buf(), source }
        })
    }

    /// Why nothing in this folder can be written any more, if so.
    pub fn failure(&self) -> Option<io::Error> {
        self.flusher.failure()
    }
}

/// Takes all of a folder offline.
pub(super) fn fail(path: &Path, failed: &AtomicBool, error: &io::Error) {
    if !failed.swap(true, Ordering::AcqRel) {
        let dir = path.display();
        error!(%error, "log folder {dir} failed and is offline; restart the broker once it is mended");
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
