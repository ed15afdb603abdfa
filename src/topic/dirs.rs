//! All folders of `log.dirs`: which of them work, which partition lies where, and where a new one goes.
//!
//! A folder that cannot be opened, or that fails later, takes its partitions offline and nothing else; but
//! without the first one, which holds the metadata, there is no broker. Folders are remembered ([`Known`]),
//! so that an unmounted one is not taken for a new one.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use braid_protocol::Uuid;
use braid_storage::{Disk, Error};
use tracing::error;

use super::descriptors::Descriptors;
use super::dir::{LogDir, Wanted, partition_of_folder};
use super::home::Home;
use super::known::{self, Known};
use super::opening;
use super::partition::Partition;
use super::points::Key;
use super::status::Closed;
use crate::cluster::Image;
use crate::config::BrokerConfig;

/// Why the data cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder is of another cluster, or of another broker.
    #[error("{0}")]
    Foreign(String),
    /// The folder with the metadata is not named first.
    #[error("the metadata is in {}: name that folder first in log.dirs", .0.display())]
    Elsewhere(PathBuf),
    /// There is nothing in the first folder, but another one has data.
    #[error(
        "{} has data, but {}, where the metadata should be, is empty: is it mounted? \
         if it never had any, name the other one first in log.dirs",
        used.display(),
        first.display()
    )]
    Empty {
        /// The first folder.
        first: PathBuf,
        /// One that was used before.
        used: PathBuf,
    },
    /// A partition is there twice.
    #[error("partition {partition} is in {} and in {}: move one away", one.display(), other.display())]
    Twice {
        /// Topic and number.
        partition: String,
        /// Its folder.
        one: PathBuf,
        /// Its other folder.
        other: PathBuf,
    },
    /// The disk, or what is on it.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// A folder of `log.dirs`, or why there is none.
pub(super) struct Slot {
    pub(super) path: Arc<Path>,
    pub(super) dir: Result<LogDir, String>,
}

/// Where a partition is to be opened.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// In this folder.
    In(usize),
    /// Nowhere: this folder, where it must be, cannot be used, or no more files can be opened.
    Offline(usize),
}

/// The folders of `log.dirs`, the one with the metadata first.
pub struct LogDirs {
    pub(super) slots: Vec<Slot>,
    pub(super) threads: usize,
    disk: Arc<dyn Disk>,
    descriptors: Descriptors,
}

impl LogDirs {
    /// Takes possession of the folders. `threads` open logs in each at the same time.
    pub fn open(disk: &Arc<dyn Disk>, paths: &[PathBuf], threads: i32) -> Result<LogDirs, OpenError> {
        let first = paths.first().map_or(Path::new("."), PathBuf::as_path);
        let known = Known::read(&**disk, first)?;
        let lost = known.lost(&**disk, paths);
        let mut slots: Vec<Slot> = Vec::with_capacity(paths.len());
        for path in paths {
            let dir = match lost.iter().find(|lost| **lost == known::absolute(path)) {
                Some(_) => Err(format!("holds no data of this broker any more; {}", known.what_to_do(first))),
                None => match LogDir::open(disk.clone(), path) {
                    Ok(dir) => Ok(dir),
                    Err(error) if slots.is_empty() || matches!(error, Error::Locked { .. }) => {
                        return Err(error.into());
                    }
                    Err(error) => Err(error.to_string()),
                },
            };
            slots.push(Slot { path: path.as_path().into(), dir });
        }
        for path in lost.iter().filter(|lost| !paths.iter().any(|path| known::absolute(path) == **lost)) {
            let why = format!("is not named in log.dirs; {}", known.what_to_do(first));
            slots.push(Slot { path: path.as_path().into(), dir: Err(why) });
        }
        let (threads, descriptors) = (threads.max(1) as usize, Descriptors::new(disk.clone()));
        let dirs = LogDirs { slots, threads, disk: disk.clone(), descriptors };
        for (path, why) in dirs.offline() {
            error!(log_dir = %path.display(), why, "log directory unusable, its partitions are offline");
        }
        dirs.check_first(first)?;
        Ok(dirs)
    }

    /// Is the metadata in the first folder, or nowhere yet?
    fn check_first(&self, first: &Path) -> Result<(), OpenError> {
        let has_metadata = |dir: &&LogDir| dir.found().iter().any(|name| name == crate::cluster::FOLDER);
        if let Some(dir) = self.usable().find(has_metadata).filter(|dir| dir.path() != first) {
            return Err(OpenError::Elsewhere(dir.path().to_owned()));
        }
        // A disk that is not mounted must not become a new cluster over the data of an old one.
        match self.usable().find(|dir| dir.is_used()) {
            Some(used) if !self.first().is_some_and(LogDir::is_used) => {
                Err(OpenError::Empty { first: first.to_owned(), used: used.path().to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// The descriptors that the logs share with clients.
    pub fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    /// The folder with the metadata.
    pub fn first(&self) -> Option<&LogDir> {
        self.usable().next()
    }

    /// Whether the directory with the metadata has failed: then nothing can be changed any more.
    pub fn first_failed(&self) -> bool {
        self.first().is_none_or(|dir| dir.failure().is_some())
    }

    /// The folders that could be opened.
    pub fn usable(&self) -> impl Iterator<Item = &LogDir> {
        self.slots.iter().filter_map(|slot| slot.dir.as_ref().ok())
    }

    /// The folders that could not be opened, and why.
    fn offline(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.slots.iter().filter_map(|slot| Some((&*slot.path, slot.dir.as_ref().err()?.as_str())))
    }

    /// Every folder's path, and what is wrong with it if it cannot be used (any more).
    pub fn state(&self) -> Vec<(PathBuf, Option<String>)> {
        let wrong = |slot: &Slot| match &slot.dir {
            Ok(dir) => dir.failure().map(|error| error.to_string()),
            Err(why) => Some(why.clone()),
        };
        self.slots.iter().map(|slot| (slot.path.to_path_buf(), wrong(slot))).collect()
    }

    /// The cluster that the folders say they belong to.
    pub fn cluster_id(&self) -> Option<&str> {
        self.usable().find_map(LogDir::cluster_id)
    }

    /// Marks the folders as this broker's, and remembers them.
    pub fn claim(&mut self, cluster_id: &str, node_id: i32) -> Result<(), OpenError> {
        if let Some(owner) = self.usable().find_map(|dir| dir.owner(cluster_id, node_id)) {
            return Err(OpenError::Foreign(owner));
        }
        for (n, slot) in self.slots.iter_mut().enumerate() {
            let Ok(dir) = &mut slot.dir else { continue };
            match dir.claim(cluster_id, node_id) {
                Err(error) if n == 0 => return Err(error.into()),
                Err(error) => {
                    let log_dir = slot.path.display();
                    error!(%log_dir, %error, "log directory unusable, its partitions are offline");
                    slot.dir = Err(error.to_string());
                }
                Ok(()) => {}
            }
        }
        let Some(first) = self.first() else { return Ok(()) };
        let others = self.usable().skip(1).filter_map(|dir| Some((dir.directory_id()?, dir.path())));
        let others: Vec<(Uuid, &Path)> = others.collect();
        Ok(Known::read(&*self.disk, first.path())?.remember(&*self.disk, first.path(), &others)?)
    }

    /// The logs in the directories are another broker's, and become ours.
    pub fn adopt(&mut self) {
        self.slots.iter_mut().filter_map(|slot| slot.dir.as_mut().ok()).for_each(LogDir::adopt);
    }

    /// Opens the partitions of a broker that starts, in the order given: those whose log cannot be opened are
    /// offline. Then what belongs to no topic of the image is removed or put aside.
    pub fn open_at_start(
        &self,
        wanted: &[Wanted],
        image: &Image,
        broker: &BrokerConfig,
        now_ms: i64,
    ) -> Result<Vec<Arc<Partition>>, OpenError> {
        let homes = self.find(image)?;
        for (n, slot) in self.slots.iter().enumerate() {
            let Ok(dir) = &slot.dir else { continue };
            let is_here =
                |key: &Key| is_known(image, &key.0, key.1) && homes.get(key).is_none_or(|home| *home == n);
            dir.sweep(image);
            if let Err(error) = dir.forget_others(is_here) {
                error!(%error, "the recovery points of deleted topics could not be removed");
            }
            let here = homes.values().filter(|home| **home == n).count();
            dir.partitions.store(here, Ordering::Relaxed);
        }
        let offline = self.slots.iter().position(|slot| slot.dir.is_err());
        let place = |(topic, index, _): &Wanted| {
            let key = (topic.name.to_string(), *index);
            if let Some(home) = homes.get(&key) {
                return Place::In(*home);
            }
            let lost = |slot: &Slot| slot.dir.as_ref().is_ok_and(|dir| dir.knows(&key));
            match (self.slots.iter().position(lost), offline) {
                // Opening it there finds out that it is gone.
                (Some(lost), _) => self.put(lost),
                // It may never have been anywhere; but if it has, it is there.
                (None, Some(offline)) => Place::Offline(offline),
                (None, None) => self.put(self.emptiest().unwrap_or_default()),
            }
        };
        let mut places: Vec<Place> = wanted.iter().map(place).collect();
        // The newest ones find no descriptors left.
        for place in places.iter_mut().skip(self.descriptors.partitions_max()) {
            let (Place::In(home) | Place::Offline(home)) = *place;
            *place = Place::Offline(home);
        }
        Ok(opening::open_all(self, wanted, &places, broker, now_ms))
    }

    /// Counts a partition that comes to this folder.
    fn put(&self, n: usize) -> Place {
        self.count(n);
        Place::In(n)
    }

    pub(super) fn count(&self, n: usize) {
        if let Some(Slot { dir: Ok(dir), .. }) = self.slots.get(n) {
            dir.partitions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The folder with the fewest partitions.
    pub(super) fn emptiest(&self) -> Option<usize> {
        let healthy = self.slots.iter().enumerate().filter_map(|(n, slot)| {
            let dir = slot.dir.as_ref().ok().filter(|dir| dir.failure().is_none())?;
            Some((dir.partitions.load(Ordering::Relaxed), n))
        });
        healthy.min().map(|(_, n)| n)
    }

    /// The folder of each partition of the image that is found.
    fn find(&self, image: &Image) -> Result<HashMap<Key, usize>, OpenError> {
        let mut homes: HashMap<Key, usize> = HashMap::new();
        for (n, slot) in self.slots.iter().enumerate() {
            let Ok(dir) = &slot.dir else { continue };
            let partitions = dir.found().iter().filter_map(|name| partition_of_folder(name));
            for (topic, index) in partitions.filter(|(topic, index)| is_known(image, topic, *index)) {
                let key = (topic.to_owned(), index);
                let home = match homes.get(&key) {
                    Some(other) => self.choose(image, &key, *other, n)?,
                    None => n,
                };
                homes.insert(key, home);
            }
        }
        Ok(homes)
    }

    /// Of two folders of a partition, the one that is not of a deleted topic of the same name.
    fn choose(&self, image: &Image, key: &Key, one: usize, other: usize) -> Result<usize, OpenError> {
        let mut ours = Vec::new();
        for n in [one, other] {
            let Some(Slot { dir: Ok(dir), .. }) = self.slots.get(n) else { continue };
            let folder = dir.folder(&key.0, key.1);
            match image.topic(&key.0).and_then(|topic| dir.is_of(&folder, topic.id)) {
                Some(false) => dir.put_aside(&folder)?,
                _ => ours.push((n, folder)),
            }
        }
        // What a creation left that came to nothing has nothing in it.
        if let [_, _] = ours.as_slice()
            && let Some(unused) = ours.iter().position(|(n, folder)| self.is_unused(*n, folder))
        {
            let (n, folder) = ours.remove(unused);
            if let Some(Slot { dir: Ok(dir), .. }) = self.slots.get(n) {
                braid_storage::dir::delete(&*dir.disk, &folder)?;
            }
        }
        match ours.as_slice() {
            [(n, _)] => Ok(*n),
            [(_, one), (_, other), ..] => Err(OpenError::Twice {
                partition: format!("{}-{}", key.0, key.1),
                one: one.clone(),
                other: other.clone(),
            }),
            [] => Ok(one),
        }
    }

    fn is_unused(&self, n: usize, folder: &Path) -> bool {
        let dir = self.slots.get(n).and_then(|slot| slot.dir.as_ref().ok());
        dir.is_some_and(|dir| dir.is_unused(folder).unwrap_or(false))
    }

    /// What a partition of this folder needs of it.
    pub(super) fn home(&self, n: usize) -> Home {
        match self.slots.get(n) {
            Some(Slot { dir: Ok(dir), .. }) => dir.home(),
            slot => Home {
                path: slot.map_or(Path::new("").into(), |slot| slot.path.clone()),
                flusher: None,
                failed: Arc::new(AtomicBool::new(true)),
            },
        }
    }

    /// The partitions of each folder that could be opened.
    pub(super) fn by_folder<'a>(
        &'a self,
        partitions: &[Arc<Partition>],
    ) -> impl Iterator<Item = (&'a LogDir, Vec<Arc<Partition>>)> {
        let mut groups: BTreeMap<Arc<Path>, Vec<Arc<Partition>>> = BTreeMap::new();
        for partition in partitions {
            groups.entry(partition.home().clone()).or_default().push(partition.clone());
        }
        self.usable().map(move |dir| (dir, groups.remove(dir.path()).unwrap_or_default()))
    }

    /// Does `work` in every folder that works; the first error, after all of it.
    fn each(
        &self,
        partitions: &[Arc<Partition>],
        work: impl Fn(&LogDir, &[Arc<Partition>]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        for (dir, partitions) in self.by_folder(partitions) {
            if dir.failure().is_none() {
                result = result.and(work(dir, &partitions));
            }
        }
        result
    }

    /// Writes down what recovery would otherwise have to find out. With `sync`, what was written without a
    /// sync is synced before.
    pub fn checkpoint(&self, partitions: &[Arc<Partition>], sync: bool) -> Result<(), Error> {
        self.each(partitions, |dir, here| dir.checkpoint(here, sync))
    }

    /// Writes down where these logs start: records that were deleted must not come back after a crash.
    pub fn save_starts(&self, partitions: &[Arc<Partition>]) -> Result<(), Error> {
        self.each(partitions, |dir, here| if here.is_empty() { Ok(()) } else { dir.save_starts(here) })
    }

    /// Deletes the files of a topic's partitions. Readers that are at them may finish.
    pub fn delete(&self, topic: Uuid, partitions: &[Arc<Partition>]) {
        partitions.iter().for_each(|partition| partition.shut(Closed::Deleted));
        for (dir, here) in self.by_folder(partitions).filter(|(_, here)| !here.is_empty()) {
            dir.delete(topic, &here);
        }
    }

    /// Whether nothing is left on any disk of a topic that was deleted, as far as can be seen.
    pub fn is_removed(&self, topic: Uuid) -> bool {
        let removed = |slot: &Slot| {
            slot.dir.as_ref().is_ok_and(|dir| dir.failure().is_none() && !dir.has_leftover_of(topic))
        };
        self.slots.iter().all(removed)
    }

    /// Takes directories offline that were removed or replaced while they were in use, and tries again to
    /// remove what could not be removed before. Cheap unless there is such a thing.
    pub fn watch(&self) {
        self.usable().for_each(|dir| {
            dir.check();
            dir.remove_leftovers();
        });
    }
}

fn is_known(image: &Image, topic: &str, index: i32) -> bool {
    image.topic(topic).is_some_and(|topic| index < topic.partitions)
}
