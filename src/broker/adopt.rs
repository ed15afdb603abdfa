//! Moving in: a log folder that another broker left, Apache Kafka most likely, becomes ours.
//!
//! Kafka keeps its topics in a metadata log of its own, which is not read. The partitions' folders say
//! enough: the topic's name and number, its id in `partition.metadata`, and the segments. What the folders do
//! not say, the configs of the topics, has to be set again.

use std::collections::{BTreeMap, BTreeSet};

use braid_protocol::Uuid;
use braid_storage::compact::CLEANER_OFFSETS;
use braid_storage::{Disk, checkpoint};
use tracing::{info, warn};

use super::{BrokerConfig, check_topic_name, groups, is_reserved, txns};
use crate::cluster::Change;
use crate::topic::{LogDirs, partition_of_folder};

/// A topic as its folders tell it.
#[derive(Default)]
struct Found {
    id: Option<Uuid>,
    /// The largest partition number, plus one.
    partitions: i32,
}

/// The changes that make the topics found in the folders topics of ours.
pub(super) fn topics(disk: &dyn Disk, dirs: &LogDirs, config: &BrokerConfig) -> Vec<Change> {
    let cleaned = cleaned(disk, dirs);
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let folders = dirs.usable().flat_map(|dir| dir.found().iter().map(move |name| (dir.path(), name)));
    for (dir, name) in folders {
        let Some((topic, index)) = partition_of_folder(name) else { continue };
        if check_topic_name(topic).is_err() || is_reserved(topic) {
            continue;
        }
        let id = checkpoint::read_topic_id(disk, &dir.join(name)).unwrap_or_else(|error| {
            warn!(%error, "the topic gets a new id");
            None
        });
        let topic = found.entry(topic.to_owned()).or_default();
        topic.partitions = topic.partitions.max(index.saturating_add(1));
        topic.id = topic.id.or(id.map(|id| Uuid(*id.as_bytes())));
    }
    if !found.is_empty() {
        let partitions: i32 = found.values().map(|topic| topic.partitions).sum();
        info!(
            topics = found.len(),
            partitions, "moving into the data of another broker; set topic configs again"
        );
    }
    let created = found.into_iter().map(|(name, topic)| Change::TopicCreated {
        id: topic.id.unwrap_or_else(|| Uuid(*uuid::Uuid::new_v4().as_bytes())).to_string(),
        partitions: topic.partitions,
        configs: match &*name {
            super::OFFSETS_TOPIC => groups::topic_configs(config),
            super::TRANSACTIONS_TOPIC => txns::topic_configs(),
            name if cleaned.contains(name) => kept(name),
            _ => BTreeMap::new(),
        },
        name,
    });
    created.collect()
}

/// The topics that the other broker compacted, now or before.
fn cleaned(disk: &dyn Disk, dirs: &LogDirs) -> BTreeSet<String> {
    let read = dirs.usable().map(|dir| checkpoint::read_offsets(disk, &dir.path().join(CLEANER_OFFSETS)));
    let offsets = read.filter_map(|read| {
        let logged = read.inspect_err(|error| warn!(%error, "which topics were compacted is not known"));
        logged.ok().flatten()
    });
    offsets.flat_map(BTreeMap::into_keys).map(|(topic, _)| topic).collect()
}

/// The configs of a topic that was compacted: nothing may be deleted by its age.
fn kept(topic: &str) -> BTreeMap<String, String> {
    warn!(topic, "it was compacted: its records are kept forever until cleanup.policy is set");
    BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())])
}
