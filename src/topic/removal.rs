//! Directories of partitions that are not needed any more. Those of deleted topics, and of topics whose
//! creation failed, are removed; what belongs to no topic that this broker ever had is put aside.
//!
//! What cannot be removed now is tried again every few seconds, and by the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use braid_protocol::Uuid;
use braid_storage::{Entry, Error};
use tracing::{error, warn};

use super::dir::{LogDir, partition_of_folder};
use super::partition::Partition;
use super::points::Key;
use super::status::Closed;
use crate::cluster::Image;

/// A directory that is to be removed and could not be yet.
pub(super) struct Leftover {
    /// The topic it belongs to.
    topic: Uuid,
    dir: PathBuf,
}

impl LogDir {
    /// Gives the directory of no topic of this cluster a name that nothing takes for a partition's.
    pub(super) fn put_aside(&self, dir: &Path) -> Result<(), Error> {
        let stray = braid_storage::dir::aside(dir, "stray");
        warn!("{} belongs to no topic of this cluster; it is kept as {}", dir.display(), stray.display());
        let renamed = self.disk.rename(dir, &stray);
        renamed.map_err(|source| Error::Io { path: dir.to_owned(), source })
    }

    /// Removes what deleted topics left behind, and puts aside the directories of partitions that are not
    /// known. To be called before the points of others are forgotten.
    pub(super) fn sweep(&self, image: &Image) {
        for name in self.found() {
            let dir = self.path().join(name);
            let swept = match partition_of_folder(name) {
                _ if name.ends_with("-delete") => {
                    self.disk.remove(&dir).map_err(|source| Error::Io { path: dir, source })
                }
                Some((topic, index)) if name != crate::cluster::FOLDER => {
                    match image.topic(topic).is_some_and(|topic| index < topic.partitions) {
                        true => Ok(()),
                        false => self.sweep_unknown(image, &dir, &(topic.to_owned(), index)),
                    }
                }
                _ => Ok(()),
            };
            if let Err(error) = swept {
                error!(%error, "what a deleted topic left behind could not be removed");
            }
        }
    }

    fn sweep_unknown(&self, image: &Image, dir: &Path, key: &Key) -> Result<(), Error> {
        let topic = self.topic_of(dir);
        // The points say that it was begun here; it was never committed, so no client can have written to it.
        let is_uncommitted = || Ok::<_, Error>(self.has_just_begun(key) && self.is_unused(dir)?);
        if topic.is_some_and(|id| image.is_deleted(id)) || is_uncommitted()? {
            let removed = braid_storage::dir::delete(&*self.disk, dir);
            return removed.inspect_err(|_| self.leave(topic.unwrap_or(Uuid::ZERO), dir.to_owned()));
        }
        self.put_aside(dir)
    }

    /// Whether a partition's directory is as its creation left it: without a single byte of a log.
    pub(super) fn is_unused(&self, dir: &Path) -> Result<bool, Error> {
        let first = |entry: &Entry| {
            let stem = entry.name.split('.').next().unwrap_or_default();
            entry.len == 0 && stem.len() == 20 && stem.bytes().all(|digit| digit == b'0')
        };
        let metadata = |entry: &Entry| entry.name.starts_with(braid_storage::checkpoint::PARTITION_METADATA);
        let entries = self.disk.list(dir).map_err(|source| Error::Io { path: dir.to_owned(), source })?;
        Ok(entries.iter().all(|entry| !entry.is_dir && (first(entry) || metadata(entry))))
    }

    /// Makes room for a new partition where something of its name is already.
    pub(super) fn make_room(&self, image: &Image, dir: &Path) -> Result<(), Error> {
        let mut leftovers = self.leftovers.lock();
        let known = leftovers.iter().position(|leftover| leftover.dir == dir);
        if known.is_none() && !self.topic_of(dir).is_some_and(|id| image.is_deleted(id)) {
            return self.put_aside(dir);
        }
        braid_storage::dir::delete(&*self.disk, dir)?;
        known.map(|n| leftovers.swap_remove(n));
        Ok(())
    }

    /// Deletes the files of partitions of this directory, and forgets their points. Readers that are at them
    /// may finish.
    pub(super) fn delete(&self, topic: Uuid, partitions: &[Arc<Partition>]) {
        // A round of checkpoints under way skips what is offline.
        partitions.iter().for_each(|partition| partition.shut(Closed::Deleted));
        self.partitions.fetch_sub(partitions.len(), Ordering::Relaxed);
        let mut failures = Vec::new();
        failures.extend(self.forget(partitions, true).err());
        let mut doomed = Vec::with_capacity(partitions.len());
        for partition in partitions {
            partition.abandon_log();
            let dir = self.folder(partition.topic(), partition.index());
            match braid_storage::dir::doom(&*self.disk, &dir) {
                Ok(renamed) => doomed.extend(renamed),
                Err(error) => {
                    failures.push(error);
                    self.leave(topic, dir);
                }
            }
        }
        let synced = match doomed.is_empty() {
            true => Ok(()),
            false => self.disk.sync_dir(self.path()),
        };
        let at = |path: &Path, source| Error::Io { path: path.to_owned(), source };
        let synced = synced.map_err(|source| failures.push(at(self.path(), source)));
        for dir in doomed {
            let removed = synced
                .and_then(|()| self.disk.remove(&dir).map_err(|source| failures.push(at(&dir, source))));
            if removed.is_err() {
                self.leave(topic, dir);
            }
        }
        if let Some(error) = failures.first() {
            let failures = failures.len();
            error!(%error, failures, "the files of a deleted topic could not be removed; trying again later");
        }
    }

    /// Removes new partitions that were not published: the change they were made for has failed.
    pub(super) fn discard(&self, topic: Uuid, partitions: &[Arc<Partition>]) {
        partitions.iter().for_each(|partition| partition.shut(Closed::Deleted));
        self.partitions.fetch_sub(partitions.len(), Ordering::Relaxed);
        // Cannot fail: nothing is written.
        let _ = self.forget(partitions, false);
        for partition in partitions {
            partition.abandon_log();
            self.discard_dir(topic, self.folder(partition.topic(), partition.index()));
        }
    }

    /// Removes a directory that was just made.
    pub(super) fn discard_dir(&self, topic: Uuid, dir: PathBuf) {
        match self.disk.remove(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                warn!(%error, dir = %dir.display(), "cannot be removed now; trying again later");
                self.leave(topic, dir);
            }
            _ => {}
        }
    }

    fn leave(&self, topic: Uuid, dir: PathBuf) {
        self.leftovers.lock().push(Leftover { topic, dir });
    }

    /// Tries again to remove what could not be removed before.
    pub(super) fn remove_leftovers(&self) {
        let mut leftovers = self.leftovers.lock();
        if !leftovers.is_empty() && self.failure().is_none() {
            leftovers.retain(|left| match self.disk.remove(&left.dir) {
                Err(error) => error.kind() != std::io::ErrorKind::NotFound,
                Ok(()) => false,
            });
        }
    }

    /// Whether a directory of this topic is still to be removed.
    pub(super) fn has_leftover_of(&self, topic: Uuid) -> bool {
        self.leftovers.lock().iter().any(|leftover| leftover.topic == topic)
    }

    /// Whether this directory is still to be removed.
    pub(super) fn is_leftover(&self, dir: &Path) -> bool {
        self.leftovers.lock().iter().any(|leftover| leftover.dir == dir)
    }
}
