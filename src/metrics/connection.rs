//! Connections of each listener, and the client software behind them (KIP-511).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Clients say who they are, so what they say is bounded: this many kinds of software at a time, the rest is
/// "other".
const SOFTWARE_MAX: usize = 200;

/// The counters of one listener.
#[derive(Clone)]
pub struct ConnectionMetrics {
    count: IntGauge,
    created: IntCounter,
    closed: IntCounter,
    refused: IntCounterVec,
    listener: Arc<str>,
    software: Software,
}

impl ConnectionMetrics {
    /// Counts a connection for as long as the value returned lives.
    pub fn opened(&self) -> Connection {
        self.count.inc();
        self.created.inc();
        Connection { metrics: self.clone(), software: None }
    }

    /// Counts a connection turned away; `limit` is the setting that said so, such as `max.connections`.
    pub fn refused(&self, limit: &'static str) {
        self.refused.with_label_values(&[&self.listener, limit]).inc();
    }
}

/// A connection that is open and counted; dropping it counts it closed.
pub struct Connection {
    metrics: ConnectionMetrics,
    software: Option<Kind>,
}

impl Connection {
    /// Notes what the client says in ApiVersions that it is.
    pub fn software(&mut self, name: &str, version: &str) {
        if let Some(earlier) = self.software.take() {
            self.metrics.software.leave(&earlier);
        }
        self.software = Some(self.metrics.software.join(&self.metrics.listener, name, version));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.count.dec();
        self.metrics.closed.inc();
        if let Some(kind) = self.software.take() {
            self.metrics.software.leave(&kind);
        }
    }
}

/// The families of all listeners.
pub(super) struct Connections {
    count: IntGaugeVec,
    created: IntCounterVec,
    closed: IntCounterVec,
    refused: IntCounterVec,
    software: Software,
}

impl Connections {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let name = |name| format!("kafka_server_socket_server_metrics_{name}");
        // Kafka labels with the network thread too, and dashboards sum it away; here it is always 0.
        let labels = &["listener", "networkProcessor"];
        let count = IntGaugeVec::new(Opts::new(name("connection_count"), "Connections open."), labels)?;
        registry.register(Box::new(count.clone()))?;
        let counter = |n, help, labels| super::counter(&name(n), help, labels, registry);
        let software = Software::new(&name("connections_software"))?;
        registry.register(Box::new(software.clone()))?;
        Ok(Self {
            count,
            created: counter("connection_creation_total", "Connections accepted.", labels)?,
            closed: counter("connection_close_total", "Connections closed.", labels)?,
            refused: counter("connection_refused_total", "Connections turned away.", &["listener", "limit"])?,
            software,
        })
    }

    pub(super) fn get(&self, listener: &str) -> ConnectionMetrics {
        let labels = [listener, "0"];
        ConnectionMetrics {
            count: self.count.with_label_values(&labels),
            created: self.created.with_label_values(&labels),
            closed: self.closed.with_label_values(&labels),
            refused: self.refused.clone(),
            listener: listener.into(),
            software: self.software.clone(),
        }
    }
}

/// What a client is: the listener it came by, its software and its version.
type Kind = [Arc<str>; 3];

/// Open connections by client software. A kind is listed only while one of its connections is open.
#[derive(Clone)]
struct Software {
    desc: Desc,
    open: Arc<Mutex<HashMap<Kind, i64>>>,
}

impl Software {
    fn new(name: &str) -> Result<Self, Error> {
        let labels = ["listener", "clientSoftwareName", "clientSoftwareVersion"].map(str::to_owned).to_vec();
        let help = "Connections open, by what clients say they are.".to_owned();
        Ok(Self { desc: Desc::new(name.to_owned(), help, labels, HashMap::new())?, open: Arc::default() })
    }

    fn join(&self, listener: &Arc<str>, name: &str, version: &str) -> Kind {
        let mut open = self.open.lock();
        let mut kind: Kind = [listener.clone(), bounded(name).into(), bounded(version).into()];
        if open.len() >= SOFTWARE_MAX && !open.contains_key(&kind) {
            kind = [listener.clone(), "other".into(), "".into()];
        }
        *open.entry(kind.clone()).or_default() += 1;
        kind
    }

    fn leave(&self, kind: &Kind) {
        if let Entry::Occupied(mut count) = self.open.lock().entry(kind.clone()) {
            *count.get_mut() -= 1;
            if *count.get() <= 0 {
                count.remove();
            }
        }
    }
}

/// What may stand in a label: the characters KIP-511 allows, and not too many of them.
fn bounded(text: &str) -> &str {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if !text.is_empty() && text.len() <= 64 && text.chars().all(allowed) { text } else { "unknown" }
}

impl Collector for Software {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut family = super::scrape::Family::gauge(&self.desc);
        for ([listener, name, version], count) in self.open.lock().iter() {
            let labels =
                [("listener", &**listener), ("clientSoftwareName", name), ("clientSoftwareVersion", version)];
            family.add(&labels, *count as f64);
        }
        vec![family.done()]
    }
}
