//! Topics and their partitions, as this broker holds them: by name, by id, by number.

mod closing; // many logs at once, with few descriptors
mod creating; // new partitions
mod descriptors; // who may have how many files open
mod dir; // one folder of log.dirs
mod dirs; // all of them
mod epochs; // leader epochs
mod fault; // why a partition says no
mod home; // the log directory, as its partitions see it
mod known; // which folders there were
mod lead; // who leads a partition, in which epoch
mod opening; // many logs at once
mod partition;
mod points;
mod read;
mod retain; // deletes old records
mod removal; // directories that are not needed any more
mod settings;
mod state; // a partition's lock
mod status; // open, or closed for a reason
mod turn;
mod wait;

use std::collections::HashMap;
use std::sync::Arc;

use braid_protocol::Uuid;
use parking_lot::RwLock;

use crate::cluster::{NAME_MAX, TopicImage};
use crate::config::{BrokerConfig, TopicConfig};
use crate::metrics::TopicMetrics;

pub use closing::CloseError;
pub use descriptors::Descriptors;
pub use dir::{LogDir, Wanted, partition_of_folder};
pub use dirs::{LogDirs, OpenError};
pub use fault::Fault;
pub use home::Home;
pub use lead::NO_EPOCH;
pub use partition::{Marker, Partition};
pub use read::{Isolation, Read};
pub use settings::{Settings, configure};
pub use status::Closed;
pub use turn::SyncTurn;
pub use wait::Waiter;

/// A topic with its open partitions.
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: Uuid,
    /// Its counters.
    pub metrics: Arc<TopicMetrics>,
    config: RwLock<Arc<TopicConfig>>,
    partitions: RwLock<Arc<[Arc<Partition>]>>,
}

impl Topic {
    /// A topic with the partitions that are open so far.
    pub fn new(
        image: &TopicImage,
        config: TopicConfig,
        metrics: Arc<TopicMetrics>,
        open: Vec<Arc<Partition>>,
    ) -> Topic {
        let (name, id) = (image.name.clone(), image.id);
        let (config, partitions) = (RwLock::new(Arc::new(config)), RwLock::new(open.into()));
        Topic { name, id, metrics, config, partitions }
    }

    /// Its config as it is now: what was set on it, and the broker's for the rest.
    pub fn config(&self) -> Arc<TopicConfig> {
        self.config.read().clone()
    }

    /// Applies another config, to all its partitions.
    pub fn configure(&self, config: TopicConfig, broker: &BrokerConfig) {
        self.partitions().iter().for_each(|partition| configure(partition, &config, broker));
        *self.config.write() = Arc::new(config);
    }

    /// Its partitions, in the order of their numbers.
    pub fn partitions(&self) -> Arc<[Arc<Partition>]> {
        self.partitions.read().clone()
    }

    /// The partition of this number.
    pub fn partition(&self, index: i32) -> Option<Arc<Partition>> {
        self.partitions.read().get(usize::try_from(index).ok()?).cloned()
    }

    /// Whether the partition of this number is there and cannot be used, as its log folder failed.
    pub fn is_offline(&self, index: i32) -> bool {
        self.partition(index).is_some_and(|partition| partition.is_offline())
    }

    /// Adds partitions behind the last.
    pub fn grow(&self, more: Vec<Arc<Partition>>) {
        if more.is_empty() {
            return;
        }
        let mut partitions = self.partitions.write();
        *partitions = partitions.iter().cloned().chain(more).collect();
    }
}

/// All topics that are open.
#[derive(Default)]
pub struct Topics {
    maps: RwLock<Maps>,
}

#[derive(Default)]
struct Maps {
    by_name: HashMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Topics {
    /// The topic of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        // A client may name one of 32 KB for each of many partitions.
        if name.len() > NAME_MAX {
            return None;
        }
        self.maps.read().by_name.get(name).cloned()
    }

    /// The topic of this id.
    pub fn get_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.maps.read().by_id.get(&id).cloned()
    }

    /// All topics, in no particular order.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.maps.read().by_name.values().cloned().collect()
    }

    /// All partitions, in no particular order.
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        self.all().iter().flat_map(|topic| topic.partitions().to_vec()).collect()
    }

    /// Makes a topic known.
    pub fn insert(&self, topic: Arc<Topic>) {
        let mut maps = self.maps.write();
        maps.by_id.insert(topic.id, topic.clone());
        maps.by_name.insert(topic.name.clone(), topic);
    }

    /// Forgets a topic; requests that hold it already may still finish with it.
    pub fn remove(&self, id: Uuid) -> Option<Arc<Topic>> {
        let mut maps = self.maps.write();
        let topic = maps.by_id.remove(&id)?;
        if maps.by_name.get(&topic.name).is_some_and(|named| named.id == id) {
            maps.by_name.remove(&topic.name);
        }
        Some(topic)
    }
}
