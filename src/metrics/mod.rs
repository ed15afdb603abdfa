//! What the broker counts, under the names that Kafka's dashboards ask for (jmx_exporter's and Strimzi's
//! rules, and kafka_exporter's for lag), as Prometheus text.
//!
//! Hot paths hold handles that were looked up once: [`TopicMetrics`] per topic, [`RequestMetrics`] per API
//! and version. A count is then one atomic addition. What is a state rather than an event is asked for at
//! each scrape, through [`Scrape`], and written straight into the page.
//!
//! Names of labels are in lower case, as jmx_exporter's `lowercaseOutputLabelNames` makes them: Prometheus's
//! own linter takes no others.
//! Not done: the same counts without a topic, which Prometheus sums itself; the names of Confluent's rules.

mod connection; // connections of each listener
mod disk; // how long syncs take
mod groups; // how far groups have come
mod page; // the text of what is put together at each scrape
mod process; // memory, processor time and files of this process
mod reactor; // how late sockets are served
mod recent; // what has changed lately
mod request; // requests, errors and latencies of each API
mod scrape; // states asked for at each scrape: partitions, counts
mod threads; // how idle the threads are
mod timing; // quantiles
mod topic; // records and bytes of each topic

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use braid_storage::Disk;
use prometheus::{Error, IntCounterVec, Opts, Registry, TextEncoder};

use page::{Kind, Labels, Page};

pub use connection::{Connection, ConnectionMetrics};
pub use groups::{GROUP_LABEL_MAX, GroupRoom, GroupStat};
pub use reactor::LONG_STEP;
pub use request::{Inside, Level, Phases, RequestMetrics};
pub use scrape::{Counts, LogStat, PartitionStat, Scrape, SeriesLimits};
pub use topic::{Counter, TopicMetrics};

/// Rates a second look back this long at least, and twice as long at most.
const WINDOW: Duration = Duration::from_secs(30);

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    topics: topic::Topics,
    requests: request::Requests,
    connections: connection::Connections,
    syncs: Arc<timing::Timing>,
    threads: threads::Threads,
    reactor: reactor::Reactor,
    fetch_sessions: Level,
    scrape: OnceLock<Weak<dyn Scrape>>,
}

impl Metrics {
    /// Registers the families of counters. Fails if the registry already has one of their names.
    pub fn new(registry: Registry) -> Result<Self, Error> {
        Ok(Self {
            topics: topic::Topics::default(),
            requests: request::Requests::new(&registry)?,
            connections: connection::Connections::new(&registry)?,
            syncs: Arc::new(timing::Timing::new()),
            threads: threads::Threads::new(),
            reactor: reactor::Reactor::new(&registry)?,
            fetch_sessions: Level::default(),
            scrape: OnceLock::new(),
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
    /// may be asked for, since each costs memory forever.
    pub fn request(&self, api: &'static str, version: i16) -> RequestMetrics {
        self.requests.get(api, version)
    }

    /// Requests that wait for memory.
    pub fn queued(&self) -> &Level {
        &self.requests.queued
    }

    /// Answers that wait for their socket.
    pub fn leaving(&self) -> &Level {
        &self.requests.leaving
    }

    /// Fetch sessions remembered (KIP-227).
    pub fn fetch_sessions(&self) -> &Level {
        &self.fetch_sessions
    }

    /// A timer of the threads that serve sockets fired this late.
    pub fn reactor_late(&self, late: Duration) {
        self.reactor.lateness.observe(late.as_secs_f64());
    }

    /// A request computed on such a thread for longer than [`LONG_STEP`].
    pub fn long_step(&self, api: &str) {
        self.reactor.long_steps.with_label_values(&[api]).inc();
    }

    /// The counters of a listener: look them up once and keep them.
    pub fn listener(&self, name: &str) -> ConnectionMetrics {
        self.connections.get(name)
    }

    /// The same disk, with its syncs timed.
    pub fn timed(&self, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        Arc::new(disk::TimedDisk { disk, syncs: self.syncs.clone() })
    }

    /// Asks this for its state at each scrape, for as long as it lives. Fails if called twice.
    pub fn observe(&self, scrape: Weak<dyn Scrape>) -> Result<(), Error> {
        self.scrape.set(scrape).map_err(|_| Error::AlreadyReg)
    }

    /// All families in Prometheus's text format. May block. The error is a family that cannot be printed, a
    /// bug here.
    pub fn render(&self) -> Result<String, Error> {
        let counters = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        let mut page = Page::default();
        page.family("braid_build_info", Kind::Gauge, "Always 1; its label is the version.")
            .add(&Labels::of(&[("version", env!("CARGO_PKG_VERSION"))]), 1);
        process::write(&mut page);
        self.threads.write(&mut page);
        self.connections.write(&mut page);
        self.requests.write(&mut page);
        let flushes = "kafka_log_logflushstats_logflushrateandtimems";
        self.syncs.write(
            &mut page.family(flushes, Kind::Summary, "Milliseconds to sync a file of a log."),
            &Labels::none(),
        );
        let sessions = "kafka_server_fetchsessioncache_numincrementalfetchsessions";
        page.one(sessions, Kind::Gauge, "Fetch sessions remembered.", self.fetch_sessions.get());
        let scrape = self.scrape.get().and_then(Weak::upgrade);
        let topics_max = scrape.as_ref().map_or(usize::MAX, |scrape| scrape.limits().partitions);
        self.topics.write(&mut page, topics_max);
        if let Some(scrape) = scrape {
            scrape::write(&*scrape, &mut page);
        }
        Ok(page.behind(counters))
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
