//! New partitions: where they go, and the making of their directories and logs, several at the same time.
//!
//! This comes before the change of the cluster that names them is written down: if one cannot be made, there
//! is no such change. That a log begins is noted in the checkpoint first, so that a start after a kill knows
//! the directories that were made for nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use braid_protocol::Uuid;
use braid_storage::{Error, Log, checkpoint};

use super::dir::{LogDir, Wanted};
use super::dirs::{LogDirs, Slot};
use super::opening::{self, Opened};
use super::partition::Partition;
use super::settings::{log_config, settings};
use crate::cluster::Image;
use crate::config::BrokerConfig;

impl LogDirs {
    /// Makes new partitions, each in the directory with the fewest; one result for each, in the order given.
    /// Those that came to be must be committed or given to [`LogDirs::discard`].
    pub fn create(
        &self,
        wanted: &[Wanted],
        image: &Image,
        broker: &BrokerConfig,
        now_ms: i64,
    ) -> Vec<Result<Arc<Partition>, Error>> {
        let mut queues: Vec<Vec<usize>> = self.slots.iter().map(|_| Vec::new()).collect();
        for (n, (topic, index, _)) in wanted.iter().enumerate() {
            // Where an earlier attempt left something that could not be removed, so that it is in one place.
            let left = |slot: &Slot| {
                slot.dir.as_ref().is_ok_and(|dir| dir.is_leftover(&dir.folder(&topic.name, *index)))
            };
            let home = self.slots.iter().position(left).or_else(|| self.emptiest());
            if let Some(home) = home
                && let Some(queue) = queues.get_mut(home)
            {
                self.count(home);
                queue.push(n);
            }
        }
        for (slot, queue) in self.slots.iter().zip(&mut queues) {
            let Ok(dir) = &slot.dir else { continue };
            let keys = queue.iter().filter_map(|n| wanted.get(*n)).map(|(t, i, _)| (t.name.to_string(), *i));
            if !queue.is_empty()
                && let Err(error) = dir.begin(keys)
            {
                // Its partitions are then without a result.
                dir.home().judge(&error);
                tracing::error!(%error, partitions = queue.len(), "new partitions cannot be noted");
                dir.partitions.fetch_sub(queue.len(), Ordering::Relaxed);
                queue.clear();
            }
        }
        let create = |dir: &LogDir, one: &Wanted| dir.create_one(one, image, broker, now_ms);
        let mut made = opening::each(self, wanted, &queues, create, false);
        let none = || {
            let source = io::Error::other("no log directory takes new partitions");
            Err(Error::Io { path: "log.dirs".into(), source })
        };
        (0..wanted.len()).map(|n| made.remove(&n).unwrap_or_else(none)).collect()
    }

    /// Removes new partitions of a topic that were not committed.
    pub fn discard(&self, topic: Uuid, partitions: &[Arc<Partition>]) {
        for (dir, here) in self.by_folder(partitions).filter(|(_, here)| !here.is_empty()) {
            dir.discard(topic, &here);
        }
    }
}

impl LogDir {
    /// Makes a partition; nothing of it is left if that fails.
    fn create_one(&self, wanted: &Wanted, image: &Image, broker: &BrokerConfig, now_ms: i64) -> Opened {
        let (topic, index, _) = wanted;
        let dir = self.folder(&topic.name, *index);
        let made = self.make(&dir, image).and_then(|()| {
            let filled = self.fill(wanted, &dir, broker, now_ms);
            filled.inspect_err(|_| self.discard_dir(topic.id, dir.clone()))
        });
        made.inspect(|partition| partition.raise_leader_epoch(image.leader_epoch())).inspect_err(|error| {
            self.partitions.fetch_sub(1, Ordering::Relaxed);
            self.forget_one(&(topic.name.to_string(), *index));
            self.home().judge(error);
            if matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound) {
                self.check();
            }
        })
    }

    /// Makes the directory. What has its name is removed if it is ours, or else put aside.
    fn make(&self, dir: &Path, image: &Image) -> Result<(), Error> {
        let at = |source| Error::Io { path: dir.to_owned(), source };
        if !self.disk.make_dir(dir).map_err(at)? {
            self.make_room(image, dir)?;
            if !self.disk.make_dir(dir).map_err(at)? {
                return Err(at(io::ErrorKind::AlreadyExists.into()));
            }
        }
        Ok(())
    }

    fn fill(
        &self,
        (topic, index, config): &Wanted,
        dir: &Path,
        broker: &BrokerConfig,
        now_ms: i64,
    ) -> Opened {
        checkpoint::write_first_topic_id(&*self.disk, dir, &uuid::Uuid::from_bytes(topic.id.0))?;
        let log = Log::create(self.disk.clone(), dir, log_config(config, broker), now_ms)?;
        let (topic, home) = (topic.name.clone(), self.home());
        Ok(Arc::new(Partition::new(topic, *index, settings(config), home, log)))
    }
}
