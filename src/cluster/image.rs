//! What the cluster is, as a value: topics, their ids and configs, and the changes that made it so. Pure.
//!
//! The metadata log holds [`Change`]s; an [`Image`] is what they add up to. A request takes one image and
//! sees one truth. A change is only ever applied after it is on stable storage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use braid_protocol::Uuid;
use serde::{Deserialize, Serialize};

/// No topic has a longer name, in bytes.
pub const NAME_MAX: usize = 249;

/// How many producer ids one [`Change::ProducerIds`] hands out, as in Kafka.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// One step of the cluster's history, written as JSON to the metadata log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Change {
    /// The first record of every metadata log.
    Formatted {
        /// Cluster id, 22 characters of URL-safe base64 as Kafka's.
        cluster_id: String,
    },
    /// A topic came to be.
    TopicCreated {
        /// Its name.
        name: String,
        /// Its id; never used again, not even for a topic of the same name.
        id: String,
        /// How many partitions it has.
        partitions: i32,
        /// Configs that differ from the broker's, by Kafka's names.
        configs: BTreeMap<String, String>,
    },
    /// A topic grew to this many partitions.
    PartitionsCreated {
        /// Its id.
        id: String,
        /// The new count; never smaller than before.
        partitions: i32,
    },
    /// A topic is gone; its folders may still be on disk.
    TopicDeleted {
        /// Its id.
        id: String,
    },
    /// The directories of a deleted topic are gone as well.
    TopicRemoved {
        /// Its id.
        id: String,
    },
    /// A topic's configs were altered.
    TopicConfigs {
        /// Its id.
        id: String,
        /// All that is set on it from now on.
        configs: BTreeMap<String, String>,
    },
    /// Configs of a broker were altered while it ran.
    BrokerConfigs {
        /// Its number; empty for what holds for all brokers.
        broker: String,
        /// All that is set on it from now on.
        configs: BTreeMap<String, String>,
    },
    /// Configs of a group were altered; the group need not exist.
    GroupConfigs {
        /// Its id.
        group: String,
        /// All that is set on it from now on.
        configs: BTreeMap<String, String>,
    },
    /// Every partition has a new leader epoch: the broker started after a stop that was not clean, so that
    /// records may be gone which were not on stable storage (KIP-320).
    LeaderEpoch {
        /// No partition has a smaller one from now on.
        epoch: i32,
    },
    /// Producer ids below `next` may have been handed out.
    ProducerIds {
        /// The first id that certainly was not.
        next: i64,
    },
}

impl Change {
    /// The key of the change's record: what a later change of the same key replaces when the log is
    /// compacted.
    pub fn key(&self) -> String {
        match self {
            Change::Formatted { .. } => "cluster".to_owned(),
            Change::TopicCreated { id, .. } => format!("topic/{id}"),
            Change::PartitionsCreated { id, .. } => format!("topic/{id}/partitions"),
            Change::TopicDeleted { id } | Change::TopicRemoved { id } => format!("topic/{id}/deleted"),
            Change::TopicConfigs { id, .. } => format!("topic/{id}/configs"),
            Change::BrokerConfigs { broker, .. } => format!("broker/{broker}/configs"),
            Change::GroupConfigs { group, .. } => format!("group/{group}/configs"),
            Change::LeaderEpoch { .. } => "leader-epoch".to_owned(),
            Change::ProducerIds { .. } => "producer-ids".to_owned(),
        }
    }
}

/// A topic as the cluster knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: Uuid,
    /// How many partitions it has; they are numbered from 0.
    pub partitions: i32,
    /// Configs set on the topic itself.
    pub configs: BTreeMap<String, String>,
}

/// The state of the cluster between two changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Cluster id; empty only before the first change.
    pub cluster_id: String,
    topics: BTreeMap<Arc<str>, Arc<TopicImage>>,
    /// The names, and how many topics were created before.
    ids: BTreeMap<Uuid, (Arc<str>, u64)>,
    /// Topics that were deleted and whose directories may still be there.
    deleted: BTreeSet<Uuid>,
    created: u64,
    brokers: BTreeMap<String, BTreeMap<String, String>>,
    groups: BTreeMap<String, BTreeMap<String, String>>,
    partitions: usize,
    leader_epoch: i32,
    next_producer_id: i64,
}

impl Image {
    /// Applies one change. A change that makes no sense here (an unknown id) is ignored: replay must not
    /// fail.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Formatted { cluster_id } => self.cluster_id.clone_from(cluster_id),
            Change::TopicCreated { name, id, partitions, configs } => {
                let Ok(id) = id.parse::<Uuid>() else { return };
                let name: Arc<str> = name.as_str().into();
                self.ids.insert(id, (name.clone(), self.created));
                self.created += 1;
                self.put(TopicImage { name, id, partitions: *partitions, configs: configs.clone() });
            }
            Change::PartitionsCreated { id, partitions } => {
                let Some(topic) = id.parse().ok().and_then(|id| self.topic_by_id(id)) else { return };
                self.put(TopicImage { partitions: *partitions, ..TopicImage::clone(topic) });
            }
            Change::TopicDeleted { id } => {
                let Ok(id) = id.parse() else { return };
                if self.remove(id) {
                    self.deleted.insert(id);
                }
            }
            Change::TopicRemoved { id } => {
                let Ok(id) = id.parse() else { return };
                self.remove(id);
                self.deleted.remove(&id);
            }
            Change::TopicConfigs { id, configs } => {
                let Some(topic) = id.parse().ok().and_then(|id| self.topic_by_id(id)) else { return };
                self.put(TopicImage { configs: configs.clone(), ..TopicImage::clone(topic) });
            }
            Change::BrokerConfigs { broker, configs } => {
                self.brokers.insert(broker.clone(), configs.clone());
            }
            Change::GroupConfigs { group, configs } if configs.is_empty() => {
                self.groups.remove(group);
            }
            Change::GroupConfigs { group, configs } => {
                self.groups.insert(group.clone(), configs.clone());
            }
            Change::LeaderEpoch { epoch } => self.leader_epoch = self.leader_epoch.max(*epoch),
            Change::ProducerIds { next } => self.next_producer_id = self.next_producer_id.max(*next),
        }
    }

    /// False if there is no such topic.
    fn remove(&mut self, id: Uuid) -> bool {
        let Some((name, _)) = self.ids.remove(&id) else { return false };
        let gone = self.topics.remove(&name);
        self.partitions -= gone.map_or(0, |t| t.partitions as usize);
        true
    }

    fn put(&mut self, topic: TopicImage) {
        self.partitions += topic.partitions as usize;
        let before = self.topics.insert(topic.name.clone(), Arc::new(topic));
        self.partitions -= before.map_or(0, |t| t.partitions as usize);
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    /// All topics, the oldest first.
    pub fn topics_by_age(&self) -> Vec<&Arc<TopicImage>> {
        let mut topics: Vec<_> =
            self.ids.values().filter_map(|(name, age)| Some((age, self.topics.get(name)?))).collect();
        topics.sort_unstable_by_key(|(age, _)| **age);
        topics.into_iter().map(|(_, topic)| topic).collect()
    }

    /// The topics that were deleted and whose directories may still be there.
    pub fn deleted(&self) -> impl Iterator<Item = Uuid> {
        self.deleted.iter().copied()
    }

    /// Whether this is a topic that was deleted and may have left directories.
    pub fn is_deleted(&self, id: Uuid) -> bool {
        self.deleted.contains(&id)
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        if name.len() > NAME_MAX {
            return None;
        }
        self.topics.get(name)
    }

    /// The topic of this id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.ids.get(&id).and_then(|(name, _)| self.topics.get(name))
    }

    /// How many partitions all topics have together.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// What was altered on a broker while it ran; the empty name stands for all brokers.
    pub fn broker_configs(&self, broker: &str) -> BTreeMap<String, String> {
        self.brokers.get(broker).cloned().unwrap_or_default()
    }

    /// What is set on a group, if anything is.
    pub fn group_configs(&self, group: &str) -> Option<&BTreeMap<String, String>> {
        self.groups.get(group)
    }

    /// The groups that something is set on.
    pub fn configured_groups(&self) -> impl ExactSizeIterator<Item = &String> {
        self.groups.keys()
    }

    /// The smallest leader epoch that a partition can have.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// The first producer id that was certainly never handed out.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// A topic whose name differs from `name` only in `.` and `_`: Kafka's metric names would collide, so
    /// both cannot exist.
    pub fn collision(&self, name: &str) -> Option<&str> {
        let plain = |s: &str| s.replace('.', "_");
        if !name.contains(['.', '_']) {
            return None;
        }
        let wanted = plain(name);
        self.topics.keys().map(AsRef::as_ref).find(|other: &&str| *other != name && plain(other) == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(name: &str, id: u8, partitions: i32) -> Change {
        Change::TopicCreated {
            name: name.into(),
            id: Uuid([id; 16]).to_string(),
            partitions,
            configs: BTreeMap::new(),
        }
    }

    fn image(changes: &[Change]) -> Image {
        let mut image = Image::default();
        changes.iter().for_each(|c| image.apply(c));
        image
    }

    #[test]
    fn topics_are_found_by_name_and_id_and_counted() {
        let grow = Change::PartitionsCreated { id: Uuid([1; 16]).to_string(), partitions: 5 };
        let image = image(&[created("a", 1, 3), created("b", 2, 1), grow]);
        assert_eq!(image.topic("a").map(|t| t.partitions), Some(5));
        assert_eq!(image.topic_by_id(Uuid([2; 16])).map(|t| t.name.to_string()), Some("b".into()));
        assert_eq!((image.topic_count(), image.partition_count()), (2, 6));
    }

    #[test]
    fn a_deleted_topic_is_gone_under_both_names() {
        let image = image(&[created("a", 1, 3), Change::TopicDeleted { id: Uuid([1; 16]).to_string() }]);
        assert!(image.topic("a").is_none() && image.topic_by_id(Uuid([1; 16])).is_none());
        assert_eq!(image.partition_count(), 0);
    }

    #[test]
    fn a_deleted_topic_is_remembered_until_its_directories_are_gone() {
        let id = |n| Uuid([n; 16]);
        let deleted = |n| Change::TopicDeleted { id: id(n).to_string() };
        let mut image = image(&[created("a", 1, 3), created("b", 2, 1), deleted(1), deleted(9)]);
        assert_eq!(image.deleted().collect::<Vec<_>>(), [id(1)]);
        image.apply(&created("a", 3, 1));
        assert!(image.is_deleted(id(1)) && image.topic("a").is_some());
        image.apply(&Change::TopicRemoved { id: id(1).to_string() });
        assert_eq!((image.deleted().count(), image.topic_count()), (0, 2));
        // When the log is compacted this may be all that is left of a deletion.
        image.apply(&Change::TopicRemoved { id: id(2).to_string() });
        assert_eq!((image.deleted().count(), image.topic_count()), (0, 1));
    }

    #[test]
    fn topics_are_as_old_as_their_creation() {
        let gone = Change::TopicDeleted { id: Uuid([1; 16]).to_string() };
        let image =
            image(&[created("a", 1, 1), created("c", 2, 1), created("b", 3, 1), gone, created("a", 4, 1)]);
        let names: Vec<_> = image.topics_by_age().iter().map(|topic| &*topic.name).collect();
        assert_eq!(names, ["c", "b", "a"]);
    }

    #[test]
    fn altered_configs_replace_those_before_and_keep_the_rest_of_the_topic() {
        let configs = |value: &str| BTreeMap::from([("retention.ms".to_owned(), value.to_owned())]);
        let id = Uuid([1; 16]).to_string();
        let mut image = image(&[created("a", 1, 3)]);
        image.apply(&Change::TopicConfigs { id: id.clone(), configs: configs("1") });
        image.apply(&Change::PartitionsCreated { id: id.clone(), partitions: 5 });
        assert_eq!(image.topic("a").map(|t| (t.partitions, t.configs.clone())), Some((5, configs("1"))));
        image.apply(&Change::TopicConfigs { id, configs: BTreeMap::new() });
        assert_eq!(image.topic("a").map(|t| t.configs.len()), Some(0));
        for value in ["1", "2"] {
            image.apply(&Change::BrokerConfigs { broker: String::new(), configs: configs(value) });
        }
        assert_eq!((image.broker_configs(""), image.broker_configs("1").len()), (configs("2"), 0));
    }

    #[test]
    fn a_group_without_configs_is_forgotten() {
        let set = |configs| Change::GroupConfigs { group: "g".into(), configs };
        let configs = BTreeMap::from([("consumer.session.timeout.ms".to_owned(), "50000".to_owned())]);
        let mut image = image(&[set(configs.clone())]);
        assert_eq!(image.group_configs("g"), Some(&configs));
        assert_eq!(image.configured_groups().collect::<Vec<_>>(), ["g"]);
        image.apply(&set(BTreeMap::new()));
        assert_eq!((image.group_configs("g"), image.configured_groups().len()), (None, 0));
    }

    #[test]
    fn producer_ids_never_go_back() {
        let image = image(&[Change::ProducerIds { next: 2000 }, Change::ProducerIds { next: 1000 }]);
        assert_eq!(image.next_producer_id(), 2000);
    }

    #[test]
    fn names_that_metrics_cannot_tell_apart_collide() {
        let image = image(&[created("a.b", 1, 1), created("plain", 2, 1)]);
        assert_eq!(image.collision("a_b"), Some("a.b"));
        assert_eq!(image.collision("a.b"), None);
        assert_eq!(image.collision("ab"), None);
    }

    #[test]
    fn a_change_survives_its_journey_through_json() {
        let configs = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
        let altered = Change::TopicConfigs { id: "x".into(), configs: configs.clone() };
        let broker = Change::BrokerConfigs { broker: "1".into(), configs };
        for change in [created("t", 9, 4), altered, broker, Change::ProducerIds { next: 7 }] {
            let text = serde_json::to_string(&change).unwrap();
            assert_eq!(serde_json::from_str::<Change>(&text).unwrap(), change, "{text}");
        }
    }
}
