//! Settings altered while the broker runs: of topics and of the broker, written to the metadata log and
//! obeyed from then on.

use std::sync::Arc;

use braid_protocol::ErrorCode;
use tracing::warn;

use super::{Broker, Refused, Requester};
use crate::cluster::{Change, Image, TopicImage};
use crate::config::{Alteration, BrokerConfig, Configs, TopicConfig, alter_broker, alter_group, alter_topic};

/// Groups need not exist to be set up, so there is a limit to them.
const CONFIGURED_GROUPS_MAX: usize = 10_000;

/// What somebody wants to be altered on one resource.
#[derive(Clone, Debug)]
pub enum Alter {
    /// These settings, the rest stays.
    Some(Vec<(String, Alteration)>),
    /// All of them: what is not named goes back to its default.
    All(Configs),
}

impl Alter {
    /// What it is altered from, and how.
    fn over(self, now: Configs) -> (Configs, Vec<(String, Alteration)>) {
        match self {
            Alter::Some(wanted) => (now, wanted),
            Alter::All(configs) => {
                let set = configs.into_iter().map(|(name, value)| (name, Alteration::Set(value)));
                (Configs::new(), set.collect())
            }
        }
    }
}

impl Broker {
    /// The settings as they are now, with what was altered while the broker ran.
    pub fn live(&self) -> Arc<BrokerConfig> {
        self.live.read().clone()
    }

    /// Alters a topic's configs. When it returns they are on stable storage, and obeyed.
    pub async fn alter_topic_configs(
        self: &Arc<Self>,
        topic: String,
        alter: Alter,
        requester: &Requester,
    ) -> Result<(), Refused> {
        let decide = move |image: &Image, broker: &Broker| {
            let (id, configs) = broker.altered_topic(image, &topic, alter.clone())?;
            Ok((vec![Change::TopicConfigs { id, configs }], ()))
        };
        self.change(decide, requester).await.map(drop)
    }

    /// The topic's id and what would be set on it after such an alteration, or why it cannot be.
    pub fn altered_topic(
        &self,
        image: &Image,
        topic: &str,
        alter: Alter,
    ) -> Result<(String, Configs), Refused> {
        let unknown =
            || (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("The topic '{topic}' does not exist."));
        let found = image.topic(topic).ok_or_else(unknown)?;
        let (now, wanted) = alter.over(found.configs.clone());
        let configs = alter_topic(&self.live(), &now, wanted);
        configs.map(|it| (found.id.to_string(), it)).map_err(|why| (ErrorCode::INVALID_CONFIG, why))
    }

    /// Alters the configs of this broker, or with an empty name of all brokers. When it returns they are on
    /// stable storage, and obeyed.
    pub async fn alter_broker_configs(
        self: &Arc<Self>,
        broker: String,
        alter: Alter,
        requester: &Requester,
    ) -> Result<(), Refused> {
        let decide = move |image: &Image, this: &Broker| {
            let configs = this.altered_broker(image, &broker, alter.clone())?;
            Ok((vec![Change::BrokerConfigs { broker: broker.clone(), configs }], ()))
        };
        self.change(decide, requester).await.map(drop)
    }

    /// What would be set on a broker after such an alteration, or why it cannot be. Kafka's code for that is
    /// INVALID_REQUEST.
    pub fn altered_broker(&self, image: &Image, broker: &str, alter: Alter) -> Result<Configs, Refused> {
        let refused = |why: String| (ErrorCode::INVALID_REQUEST, why);
        let own = self.config.node_id.to_string();
        if !broker.is_empty() && broker != own {
            return Err(refused(format!(
                "Unexpected broker id, expected {own} or empty string, but received {broker}"
            )));
        }
        let (now, wanted) = alter.over(image.broker_configs(broker));
        let configs = alter_broker(&self.config, &now, wanted, !broker.is_empty()).map_err(refused)?;
        let (all, this) = match broker.is_empty() {
            true => (configs.clone(), image.broker_configs(&own)),
            false => (image.broker_configs(""), configs.clone()),
        };
        self.config.altered(&all, &this).map_err(|error| refused(error.to_string()))?;
        Ok(configs)
    }

    /// Alters the configs of a group, which need not exist. When it returns they are on stable storage, and
    /// the group's members use them from their next heartbeat on.
    pub async fn alter_group_configs(
        self: &Arc<Self>,
        group: String,
        alter: Alter,
        requester: &Requester,
    ) -> Result<(), Refused> {
        let decide = move |image: &Image, broker: &Broker| {
            let configs = broker.altered_group(image, &group, alter.clone())?;
            Ok((vec![Change::GroupConfigs { group: group.clone(), configs }], ()))
        };
        self.change(decide, requester).await.map(drop)
    }

    /// What would be set on a group after such an alteration, or why it cannot be.
    pub fn altered_group(&self, image: &Image, group: &str, alter: Alter) -> Result<Configs, Refused> {
        let refused = |why: &str| Err((ErrorCode::INVALID_REQUEST, why.to_owned()));
        if group.is_empty() {
            return refused("Default group resources are not allowed.");
        }
        let now = image.group_configs(group);
        if now.is_none() && image.configured_groups().len() >= CONFIGURED_GROUPS_MAX {
            return refused("Too many groups have configs of their own.");
        }
        let (now, wanted) = alter.over(now.cloned().unwrap_or_default());
        alter_group(&self.live(), &now, wanted).map_err(|why| (ErrorCode::INVALID_CONFIG, why))
    }

    /// Applies the configs that these changes brought to what is open.
    pub(super) fn reconfigure(&self, image: &Image, changes: &[Change]) {
        if changes.iter().any(|change| matches!(change, Change::BrokerConfigs { .. })) {
            *self.live.write() = Arc::new(altered(&self.config, image));
            image.topics().for_each(|topic| self.configure(topic));
        }
        for change in changes {
            if let Change::TopicConfigs { id, .. } = change
                && let Some(topic) = id.parse().ok().and_then(|id| image.topic_by_id(id))
            {
                self.configure(topic);
            }
        }
    }

    fn configure(&self, topic: &TopicImage) {
        if let Some(open) = self.topics.get_by_id(topic.id) {
            let broker = self.live();
            open.configure(TopicConfig::of(&broker, &topic.configs), &broker);
        }
    }
}

/// The settings that a broker was started with, and over them what was altered while it ran.
pub(super) fn altered(start: &BrokerConfig, image: &Image) -> BrokerConfig {
    let own = image.broker_configs(&start.node_id.to_string());
    start.altered(&image.broker_configs(""), &own).unwrap_or_else(|error| {
        warn!(%error, "the dynamic broker configs are invalid; using the static ones");
        start.clone()
    })
}
