//! Changes of the cluster: topics come, grow and go, and producer ids are handed out.
//!
//! What may be changed is decided here; `changes.rs` carries it out.

use std::collections::BTreeMap;
use std::sync::Arc;

use braid_protocol::{ErrorCode, Uuid};
use tracing::{info, warn};

use super::changes::Answer;
use super::{Broker, OFFSETS_TOPIC, Refused, Requester, TRANSACTIONS_TOPIC};
use crate::cluster::{Change, Image, NAME_MAX, PRODUCER_ID_BLOCK, TopicImage};
use crate::config::TopicConfig;
use crate::topic::{LogDir, OpenError, Partition, Topic, Wanted};

/// More partitions than this are refused, all topics together.
const PARTITIONS_MAX: usize = 100_000;
/// More partitions than this cannot be created by one request, as in Kafka.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

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

impl Broker {
    /// Creates a topic. When it returns, the topic is on stable storage and can be written to.
    pub async fn create_topic(
        self: &Arc<Self>,
        new: NewTopic,
        requester: &Requester,
    ) -> Result<Arc<TopicImage>, Refused> {
        let answer = self.ask_for_topic(new, requester);
        self.run_changes();
        answer.wait().await.map(|(_, topic)| topic)
    }

    /// Creates topics, each for itself; the results are in the same order.
    pub async fn create_topics(
        self: &Arc<Self>,
        new: impl IntoIterator<Item = NewTopic>,
        requester: &Requester,
    ) -> Vec<Result<Arc<TopicImage>, Refused>> {
        let answers: Vec<_> = new.into_iter().map(|new| self.ask_for_topic(new, requester)).collect();
        self.run_changes();
        let mut created = Vec::with_capacity(answers.len());
        for answer in answers {
            created.push(answer.wait().await.map(|(_, topic)| topic));
        }
        created
    }

    fn ask_for_topic(&self, new: NewTopic, requester: &Requester) -> Answer<Arc<TopicImage>> {
        let decide = move |image: &Image, broker: &Broker| {
            let id = Uuid(*uuid::Uuid::new_v4().as_bytes());
            let topic = TopicImage { id, ..broker.with_defaults(image, &new)? };
            let created = Change::TopicCreated {
                name: new.name.clone(),
                id: id.to_string(),
                partitions: topic.partitions,
                configs: new.configs.clone(),
            };
            Ok((vec![created], Arc::new(topic)))
        };
        self.ask(decide, requester)
    }

    /// What a wanted topic would become, with the defaults filled in, or why it cannot be.
    pub fn with_defaults(&self, image: &Image, new: &NewTopic) -> Result<TopicImage, Refused> {
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
        self.check_partitions(image, &new.name, partitions, partitions)?;
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
    pub async fn delete_topic(self: &Arc<Self>, id: Uuid, requester: &Requester) -> Result<(), Refused> {
        self.delete_topics([id], requester).await.pop().unwrap_or(Ok(()))
    }

    /// Deletes topics, each for itself; the results are in the same order.
    pub async fn delete_topics(
        self: &Arc<Self>,
        ids: impl IntoIterator<Item = Uuid>,
        requester: &Requester,
    ) -> Vec<Result<(), Refused>> {
        let delete = |id: Uuid| {
            let decide = move |image: &Image, _: &Broker| match image.topic_by_id(id) {
                Some(topic) => Ok((vec![Change::TopicDeleted { id: id.to_string() }], topic.name.clone())),
                None => {
                    Err((ErrorCode::UNKNOWN_TOPIC_ID, "This server does not host this topic ID.".to_owned()))
                }
            };
            self.ask(decide, requester)
        };
        let answers: Vec<_> = ids.into_iter().map(delete).collect();
        self.run_changes();
        let mut deleted = Vec::with_capacity(answers.len());
        for answer in answers {
            deleted.push(match answer.wait().await {
                Ok((_, name)) => {
                    self.forget_offsets(&name).await;
                    Ok(())
                }
                Err(refused) => Err(refused),
            });
        }
        deleted
    }

    async fn forget_offsets(self: &Arc<Self>, topic: &str) {
        if let Some(Ok(groups)) = self.groups_if_any().await
            && let Err(code) = groups.forget_topic(topic).await
        {
            warn!(%code, topic, "offsets committed for a deleted topic remain until they expire");
        }
    }

    /// Gives a topic more partitions.
    pub async fn grow_topic(
        self: &Arc<Self>,
        name: String,
        partitions: i32,
        requester: &Requester,
    ) -> Result<(), Refused> {
        let decide = move |image: &Image, broker: &Broker| {
            let id = broker.check_growth(image, &name, partitions)?.id;
            Ok((vec![Change::PartitionsCreated { id: id.to_string(), partitions }], ()))
        };
        self.change(decide, requester).await.map(drop)
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
        let (_, first) = self.change(first, &Requester::Broker).await.map_err(|(code, _)| code)?;
        *block = first..first + PRODUCER_ID_BLOCK;
        block.next().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)
    }

    /// Whether a topic can grow to `partitions`; the topic if so.
    pub fn check_growth<'a>(
        &self,
        image: &'a Image,
        name: &str,
        partitions: i32,
    ) -> Result<&'a TopicImage, Refused> {
        let unknown = || {
            let why = "This server does not host this topic-partition.".to_owned();
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why)
        };
        let topic = image.topic(name).ok_or_else(unknown)?;
        let now = topic.partitions;
        if partitions <= now {
            let why = match partitions == now {
                true => format!("Topic already has {now} partition(s)."),
                false => format!(
                    "The topic {name} currently has {now} partition(s); {partitions} would not be an \
                     increase."
                ),
            };
            return Err((ErrorCode::INVALID_PARTITIONS, why));
        }
        self.check_partitions(image, name, partitions, partitions - now)?;
        Ok(topic)
    }

    /// Whether there may be `more` partitions.
    fn check_partitions(&self, image: &Image, name: &str, partitions: i32, more: i32) -> Result<(), Refused> {
        if partitions <= 0 {
            let why = "Number of partitions was set to an invalid non-positive value.";
            return Err((ErrorCode::INVALID_PARTITIONS, why.to_owned()));
        }
        let (now, more) = (image.partition_count(), more as usize);
        if now + more > PARTITIONS_MAX {
            let why = format!("A broker holds at most {PARTITIONS_MAX} partitions.");
            return Err((ErrorCode::POLICY_VIOLATION, why));
        }
        let descriptors = self.dirs.descriptors();
        let (max, kept) = (descriptors.partitions_max(), self.kept_for_internal(image, name));
        if now + more + kept > max || !descriptors.has_room_for(now + more) {
            let (limit, clients) = (descriptors.limit(), descriptors.clients());
            let kept =
                if kept > 0 { format!(", {kept} are kept for internal topics") } else { String::new() };
            let why = format!(
                "The broker's limit of {limit} open files is enough for {max} partitions: there are \
                 {now}{kept}, and {more} more were asked for while {clients} clients are connected. To have \
                 more, {}.",
                descriptors.remedy()
            );
            return Err((ErrorCode::POLICY_VIOLATION, why));
        }
        Ok(())
    }

    /// Partitions that other topics may not take: those of internal topics that do not exist yet, without
    /// which there are no groups and no transactions. Where there are few for anyone, none are kept.
    fn kept_for_internal(&self, image: &Image, name: &str) -> usize {
        let internal = [
            (OFFSETS_TOPIC, self.config.offsets_topic_num_partitions),
            (TRANSACTIONS_TOPIC, self.config.transaction_state_log_num_partitions),
        ];
        if internal.iter().any(|(internal, _)| *internal == name) {
            return 0;
        }
        let missing = internal.iter().filter(|(internal, _)| image.topic(internal).is_none());
        let kept = missing.map(|(_, partitions)| (*partitions).max(0) as usize).sum();
        if kept < self.dirs.descriptors().partitions_max() / 4 { kept } else { 0 }
    }

    /// Opens all partitions of the image, at the start of the broker; the oldest topics first.
    pub(super) fn open_partitions(&self, image: &Image) -> Result<(), OpenError> {
        let (begin, broker, topics) = (std::time::Instant::now(), self.live(), image.topics_by_age());
        let mut wanted: Vec<Wanted> = Vec::with_capacity(image.partition_count());
        for topic in &topics {
            let config = TopicConfig::of(&broker, &topic.configs);
            wanted.extend((0..topic.partitions).map(|n| (Arc::clone(topic), n, config.clone())));
        }
        let opened = self.dirs.open_at_start(&wanted, image, &broker, self.clock.now())?;
        let offline = opened.iter().filter(|partition| partition.is_offline()).count();
        let mut opened = opened.into_iter();
        for topic in topics {
            let partitions: Vec<Arc<Partition>> = opened.by_ref().take(topic.partitions as usize).collect();
            let config = TopicConfig::of(&broker, &topic.configs);
            let metrics = self.metrics.topic(&topic.name);
            self.topics.insert(Arc::new(Topic::new(topic, config, metrics, partitions)));
        }
        self.dirs.descriptors().share(image.partition_count());
        if !wanted.is_empty() {
            let took_ms = begin.elapsed().as_millis() as u64;
            info!(partitions = wanted.len() - offline, offline, took_ms, "logs opened");
        }
        Ok(())
    }

    /// Gives every partition its leader epoch. After a stop that was not clean it is a new one: records that
    /// were not on stable storage may be gone, and consumers that have read them find out by it (KIP-320).
    pub(super) fn raise_leader_epochs(&self, now_ms: i64) {
        let partitions = self.topics.partitions();
        let mut epoch = self.cluster.image().leader_epoch();
        if self.dirs.usable().any(LogDir::must_be_checked) {
            epoch = partitions.iter().map(|partition| partition.leader_epoch()).fold(epoch, i32::max) + 1;
            info!(epoch, "leader epochs bumped: the last shutdown was not clean");
            if let Err(error) = self.cluster.commit_at_start(Change::LeaderEpoch { epoch }, now_ms) {
                // A full disk: to serve is worth more, and the next start bumps it again.
                warn!(%error, epoch, "the leader epoch was not written to the metadata log");
            }
        }
        partitions.iter().for_each(|partition| partition.raise_leader_epoch(epoch));
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
    if name.len() > NAME_MAX {
        let begin = name.get(..name.floor_char_boundary(NAME_MAX)).unwrap_or_default();
        return Err(format!(
            "Topic name is illegal, it can't be longer than {NAME_MAX} characters: {begin}..."
        ));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || ".-_".contains(*c))) {
        Some(c) => Err(format!(
            "Topic name \"{name}\" is illegal, it contains {c:?}; \
             only ASCII letters, digits, '.', '_' and '-' may be used"
        )),
        None => Ok(()),
    }
}
