//! What the broker counts, under the names that Kafka's dashboards ask for (jmx_exporter's and Strimzi's
//! rules), as Prometheus text.
//!
//! Hot paths hold handles that were looked up once: [`TopicMetrics`] per topic, [`RequestMetrics`] per API
//! and version. A count is then one atomic addition. What is a state rather than an event is asked for at
//! each scrape, through [`Scrape`].
//!
//! Not done: quantile summaries (`totaltimems{quantile}`): latencies are histograms in seconds; the names of
//! kafka_exporter; rates per second, which Prometheus computes itself.

mod connection; // connections of each listener
mod process; // memory, processor time and files of this process
mod request; // requests, errors and latencies of each API
mod scrape; // states asked for at each scrape: partitions, groups
mod topic; // records and bytes of each topic

use std::sync::{Arc, Weak};

use prometheus::{Error, IntCounterVec, Opts, Registry, TextEncoder};

pub use connection::{Connection, ConnectionMetrics};
pub use request::RequestMetrics;
pub use scrape::{Counts, PartitionStat, Scrape};
pub use topic::TopicMetrics;

/// Everything that is counted, registered with one registry.
pub struct Metrics {
    registry: Registry,
    topics: topic::Topics,
    requests: request::Requests,
    connections: connection::Connections,
}

impl Metrics {
    /// Registers all families. Fails if the registry already has one of their names.
    pub fn new(registry: Registry) -> Result<Self, Error> {
        let build =
            counter("braid_build_info", "Always 1; its label is the version.", &["version"], &registry)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).inc();
        registry.register(Box::new(process::Process::new()?))?;
        Ok(Self {
            topics: topic::Topics::new(&registry)?,
            requests: request::Requests::new(&registry)?,
            connections: connection::Connections::new(&registry)?,
            registry,
        })
    }

    /// The counters of a topic: look them up once and keep them. Call it for topics that exist only, since
    /// each name costs memory until [`Metrics::forget`].
    pub fn topic(&self, name: &str) -> Arc<TopicMetrics> {
        self.topics.get(name)
    }

    /// Drops the series of a topic that was deleted.
    pub fn forget(&self, topic: &str) {
        self.topics.forget(topic);
    }

    /// The counters of one version of an API: look them up once and keep them. Only versions that are served
    /// may be asked for, since each costs memory for ever.
    pub fn request(&self, api: &'static str, version: i16) -> RequestMetrics {
        self.requests.get(api, version)
    }

    /// The counters of a listener: look them up once and keep them.
    pub fn listener(&self, name: &str) -> ConnectionMetrics {
        self.connections.get(name)
    }

    /// Asks this for its state at each scrape, for as long as it lives. Fails if called twice.
    pub fn observe(&self, scrape: Weak<dyn Scrape>) -> Result<(), Error> {
        self.registry.register(Box::new(scrape::Collected::new(scrape)?))
    }

    /// All families in Prometheus's text format. The error is a family that cannot be printed, a bug here.
    pub fn render(&self) -> Result<String, Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// The `Content-Type` of [`Metrics::render`].
    pub fn content_type() -> &'static str {
        prometheus::TEXT_FORMAT
    }
}

/// Registers a family of counters.
fn counter(name: &str, help: &str, labels: &[&str], registry: &Registry) -> Result<IntCounterVec, Error> {
    let family = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

#[cfg(test)]
mod tests;
