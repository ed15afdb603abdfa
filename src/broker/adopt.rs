//! Moving in: a log folder that another broker left, Apache Kafka most likely, becomes ours.
//!
//! Kafka keeps its topics in a metadata log of its own, which is not read. The partitions' folders say
//! enough: the topic's name and number, its id in `partition.metadata`, and the segments. What the folders do
//! not say, the configs of the topics, has to be set again.

use std::collections::BTreeMap;

use braid_protocol::Uuid;
use braid_storage::{Disk, checkpoint};
use tracing::{info, warn};

use super::{BrokerConfig, check_topic_name, groups, is_reserved};
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
        configs: if name == super::OFFSETS_TOPIC { groups::topic_configs(config) } else { BTreeMap::new() },
        name,
    });
    created.collect()
}
