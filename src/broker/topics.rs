//! Changes of the cluster: topics come, grow and go, and producer ids are handed out.
//!
//! Every change is decided on the newest image, written to stable storage, carried out, and then shown; one
//! at a time, and to its end even if whoever asked hangs up half way.

use std::collections::BTreeMap;
use std::sync::Arc;

use braid_protocol::{ErrorCode, Uuid};
use tracing::{error, info, warn};

use super::Broker;
use crate::cluster::{Change, Image, PRODUCER_ID_BLOCK, TopicImage};
use crate::config::TopicConfig;
use crate::topic::{OpenError, Partition, Topic};

/// More partitions than this are refused, all topics together.
const PARTITIONS_MAX: usize = 100_000;

/// A topic that somebody wants.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Its name; see [`check_topic_name`].
    pub name: String,
    /// How many partitions; -1 for the broker's default.
    pub partitions: i32,
    /// How many copies of each; -1 for the broker's default.
    pub replication_factor: i16,
    /// Configs of its own.
    pub configs: BTreeMap<String, String>,
}

/// Why a change of the cluster was refused: the code, and words for whoever asked.
pub type Refused = (ErrorCode, String);

impl Broker {
    /// Creates a topic. When it returns, the topic is on stable storage and can be written to.
    pub async fn create_topic(self: &Arc<Self>, new: NewTopic) -> Result<Arc<TopicImage>, Refused> {
        self.change(move |image, broker| {
            let topic = broker.settle(image, &new)?;
            let id = Uuid(*uuid::Uuid::new_v4().as_bytes());
            let created = Change::TopicCreated {
                name: new.name.clone(),
                id: id.to_string(),
                partitions: topic.partitions,
                configs: new.configs.clone(),
            };
            Ok((vec![created], id))
        })
        .await
        .map(|(image, id)| image.topic_by_id(id).cloned())?
        .ok_or_else(|| (ErrorCode::UNKNOWN_SERVER_ERROR, "the new topic is not in the image".to_owned()))
    }

    /// What a wanted topic would become, with the defaults filled in, or why it cannot be.
    pub fn settle(&self, image: &Image, new: &NewTopic) -> Result<TopicImage, Refused> {
        check_topic_name(&new.name).map_err(|why| (ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
        if super::is_reserved(&new.name) {
            let why = format!("Creation of internal topic {} is prohibited.", new.name);
            return Err((ErrorCode::INVALID_REQUEST, why));
        }
        if image.topic(&new.name).is_some() {
            return Err((ErrorCode::TOPIC_ALREADY_EXISTS, format!("Topic '{}' already exists.", new.name)));
        }
        if let Some(other) = image.collision(&new.name) {
            let why = format!("Topic '{}' collides with existing topic: {other}", new.name);
            return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, why));
        }
        let partitions = if new.partitions == -1 { self.config.num_partitions } else { new.partitions };
        check_partitions(image, partitions, partitions)?;
        if !matches!(new.replication_factor, -1 | 1) {
            let why = match new.replication_factor {
                n if n < 1 => {
                    "Replication factor must be larger than 0, or -1 to use the default value.".into()
                }
                n => format!("Unable to replicate the partition {n} time(s): there is only 1 broker."),
            };
            return Err((ErrorCode::INVALID_REPLICATION_FACTOR, why));
        }
        crate::config::validate_topic_configs(&self.live(), &new.configs)
            .map_err(|(_, why)| (ErrorCode::INVALID_CONFIG, why))?;
        let name = new.name.as_str().into();
        Ok(TopicImage { name, id: Uuid::ZERO, partitions, configs: new.configs.clone() })
    }

    /// Deletes a topic: it is unknown at once, its files go right after, and groups forget what they
    /// committed for it.
    pub async fn delete_topic(self: &Arc<Self>, id: Uuid) -> Result<(), Refused> {
        let (_, name) = self
            .change(move |image, _| match image.topic_by_id(id) {
                Some(topic) => Ok((vec![Change::TopicDeleted { id: id.to_string() }], topic.name.clone())),
                None => {
                    Err((ErrorCode::UNKNOWN_TOPIC_ID, "This server does not host this topic ID.".to_owned()))
                }
            })
            .await?;
        if let Some(Ok(groups)) = self.groups_if_any().await
            && let Err(code) = groups.forget_topic(&name).await
        {
            warn!(%code, topic = &*name, "offsets committed for a deleted topic remain until they expire");
        }
        Ok(())
    }

    /// Gives a topic more partitions.
    pub async fn grow_topic(self: &Arc<Self>, name: String, partitions: i32) -> Result<(), Refused> {
        self.change(move |image, _| {
            let id = check_growth(image, &name, partitions)?.id;
            Ok((vec![Change::PartitionsCreated { id: id.to_string(), partitions }], ()))
        })
        .await
        .map(drop)
    }

    /// A producer id that nobody ever had.
    pub async fn new_producer_id(self: &Arc<Self>) -> Result<i64, ErrorCode> {
        let mut block = self.producer_ids.lock().await;
        if let Some(id) = block.next() {
            return Ok(id);
        }
        let first = |image: &Image, _: &Broker| {
            let first = image.next_producer_id();
            Ok((vec![Change::ProducerIds { next: first + PRODUCER_ID_BLOCK }], first))
        };
        let (_, first) = self.change(first).await.map_err(|(code, _)| code)?;
        *block = first..first + PRODUCER_ID_BLOCK;
        block.next().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)
    }

    /// Changes the cluster: decide, write down, open what is new, show it. Runs to its end even if whoever
    /// asked hangs up half way.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        decide: impl FnOnce(&Image, &Broker) -> Result<(Vec<Change>, T), Refused> + Send + 'static,
    ) -> Result<(Arc<Image>, T), Refused> {
        let broker = self.clone();
        let work = async move {
            let turn = broker.cluster.turn().await;
            let (changes, outcome) = decide(turn.image(), &broker)?;
            let storage = |e: OpenError| {
                error!(error = %e, "a change of the cluster failed");
                (
                    ErrorCode::KAFKA_STORAGE_ERROR,
                    "Disk error when trying to access log file on the disk.".into(),
                )
            };
            let next =
                turn.commit(changes.clone(), broker.clock.now()).await.map_err(|e| storage(e.into()))?;
            let opening = broker.clone();
            let opened = tokio::task::spawn_blocking(move || {
                opening.reconfigure(&next, &changes);
                let result = opening.open_partitions(&next, false);
                opening.close_deleted(&next);
                (next, result)
            });
            let (next, result) = opened.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
            turn.publish(next);
            result.map_err(storage)?;
            Ok((broker.cluster.image(), outcome))
        };
        let failed = |_| (ErrorCode::UNKNOWN_SERVER_ERROR, "the change failed".to_owned());
        tokio::spawn(work).await.map_err(failed)?
    }

    /// Opens the partitions of the image that are not open yet.
    pub(super) fn open_partitions(&self, image: &Image, at_start: bool) -> Result<(), OpenError> {
        let open =
            |topic: &TopicImage| self.topics.get_by_id(topic.id).map_or(0, |t| t.partitions().len() as i32);
        let (mut wanted, broker) = (Vec::new(), self.live());
        for topic in image.topics().filter(|topic| open(topic) < topic.partitions) {
            let config = TopicConfig::of(&broker, &topic.configs);
            wanted.extend((open(topic)..topic.partitions).map(|n| (topic.clone(), n, config.clone())));
        }
        let begin = std::time::Instant::now();
        let now = self.clock.now();
        let opened = match at_start {
            true => self.dirs.open_at_start(&wanted, image, &broker, now)?,
            false => self.dirs.create(&wanted, &broker, now)?,
        };
        let offline = opened.iter().filter(|partition| partition.is_offline()).count();
        let mut opened = opened.into_iter();
        for topic in image.topics() {
            let missing = (topic.partitions - open(topic)).max(0) as usize;
            let more: Vec<Arc<Partition>> = opened.by_ref().take(missing).collect();
            match self.topics.get_by_id(topic.id) {
                Some(topic) => topic.grow(more),
                None => {
                    let config = TopicConfig::of(&broker, &topic.configs);
                    let metrics = self.metrics.topic(&topic.name);
                    self.topics.insert(Arc::new(Topic::new(topic, config, metrics, more)));
                }
            }
        }
        if at_start && !wanted.is_empty() {
            let took_ms = begin.elapsed().as_millis() as u64;
            info!(partitions = wanted.len() - offline, offline, took_ms, "logs opened");
        }
        Ok(())
    }

    /// Closes what the image no longer has.
    fn close_deleted(&self, image: &Image) {
        for topic in self.topics.all() {
            if image.topic_by_id(topic.id).is_none() {
                self.topics.remove(topic.id);
                self.metrics.forget(&topic.name);
                self.dirs.delete(&topic.partitions());
            }
        }
    }
}

/// Kafka's rules for topic names.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Topic name is illegal, it can't be empty".to_owned());
    }
    if name == "." || name == ".." {
        return Err("Topic name cannot be \".\" or \"..\"".to_owned());
    }
    if name.len() > 249 {
        return Err(format!("Topic name is illegal, it can't be longer than 249 characters: {name}"));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || ".-_".contains(*c))) {
        Some(c) => Err(format!(
            "Topic name \"{name}\" is illegal, it contains {c:?}; \
             only ASCII letters, digits, '.', '_' and '-' may be used"
        )),
        None => Ok(()),
    }
}

/// Whether a topic can grow to `partitions`; the topic if so.
pub fn check_growth<'a>(image: &'a Image, name: &str, partitions: i32) -> Result<&'a TopicImage, Refused> {
    let unknown =
        || (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition.".into());
    let topic = image.topic(name).ok_or_else(unknown)?;
    let now = topic.partitions;
    if partitions <= now {
        let why = match partitions == now {
            true => format!("Topic already has {now} partition(s)."),
            false => format!(
                "The topic {name} currently has {now} partition(s); {partitions} would not be an increase."
            ),
        };
        return Err((ErrorCode::INVALID_PARTITIONS, why));
    }
    check_partitions(image, partitions, partitions - now)?;
    Ok(topic)
}

fn check_partitions(image: &Image, partitions: i32, more: i32) -> Result<(), Refused> {
    if partitions <= 0 {
        let why = "Number of partitions was set to an invalid non-positive value.";
        return Err((ErrorCode::INVALID_PARTITIONS, why.to_owned()));
    }
    if image.partition_count() + more as usize > PARTITIONS_MAX {
        let why = format!("A broker holds at most {PARTITIONS_MAX} partitions.");
        return Err((ErrorCode::POLICY_VIOLATION, why));
    }
    Ok(())
}
