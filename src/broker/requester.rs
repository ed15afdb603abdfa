//! Who asked for a change of the cluster, and the line in the log that says so.

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::field::{DisplayValue, display};
use tracing::{info, warn};

use crate::cluster::{Change, Image};
use crate::config::{Configs, broker_setting, is_sensitive};

/// Who asked for a change of the cluster.
#[derive(Clone, Debug)]
pub enum Requester {
    /// A client.
    Client {
        /// The client id of its request; empty if it was null.
        id: Arc<str>,
        /// Its address.
        address: SocketAddr,
    },
    /// The broker itself. Its lines have no fields `client` and `address`.
    Broker,
}

impl Requester {
    fn client(&self) -> Option<&str> {
        match self {
            Requester::Client { id, .. } => Some(id),
            Requester::Broker => None,
        }
    }

    fn address(&self) -> Option<DisplayValue<SocketAddr>> {
        match self {
            Requester::Client { address, .. } => Some(display(*address)),
            Requester::Broker => None,
        }
    }

    /// Logs a change that was committed; `before` and `after` are the images of its round.
    pub(super) fn log(&self, change: &Change, before: &Image, after: &Image) {
        let (client, address) = (self.client(), self.address());
        let known = |id: &str| {
            let id = id.parse().ok()?;
            after.topic_by_id(id).or_else(|| before.topic_by_id(id))
        };
        let name = |id: &str| known(id).map(|topic| &*topic.name);
        match change {
            Change::TopicCreated { name: topic, id, partitions, .. } => {
                info!(topic, topic_id = id, partitions, client, address, "topic created");
            }
            Change::PartitionsCreated { id, partitions } => {
                info!(topic = name(id), topic_id = id, partitions, client, address, "partitions created");
            }
            Change::TopicDeleted { id } => {
                let partitions = known(id).map(|topic| topic.partitions);
                info!(topic = name(id), topic_id = id, partitions, client, address, "topic deleted");
            }
            Change::TopicConfigs { id, configs } => {
                info!(topic = name(id), ?configs, client, address, "configs altered");
            }
            Change::GroupConfigs { group, configs } => {
                info!(group, ?configs, client, address, "configs altered");
            }
            Change::BrokerConfigs { broker, configs } => {
                let shown: Vec<_> = configs.iter().filter(|(name, _)| !is_sensitive(name)).collect();
                info!(broker, configs = ?shown, client, address, "configs altered");
                warn_of_ignored(broker, configs);
            }
            Change::Formatted { .. }
            | Change::TopicRemoved { .. }
            | Change::LeaderEpoch { .. }
            | Change::ProducerIds { .. } => {}
        }
    }
}

fn warn_of_ignored(broker: &str, configs: &Configs) {
    let ignored: Vec<_> = configs.keys().filter(|name| broker_setting(name).is_none()).collect();
    if !ignored.is_empty() {
        warn!(broker, configs = ?ignored, "stored and not obeyed: this broker does not have these configs");
    }
}
