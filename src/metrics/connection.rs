//! Connections of each listener, and the client software behind them (KIP-511).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use prometheus::{Error, IntCounter, IntCounterVec, Registry};

use super::WINDOW;
use super::page::{Kind, Labels, Page};
use super::recent::Recent;

/// Clients say who they are, so what they say is bounded: this many kinds of software at a time, the rest is
/// "other".
const SOFTWARE_MAX: usize = 200;

/// The counters of one listener.
#[derive(Clone)]
pub struct ConnectionMetrics {
    created: IntCounter,
    closed: IntCounter,
    refused: IntCounterVec,
    listener: Arc<str>,
    software: Software,
}

impl ConnectionMetrics {
    /// Counts a connection for as long as the value returned lives.
    pub fn opened(&self) -> Connection {
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
    software: Option<Client>,
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
        self.metrics.closed.inc();
        if let Some(kind) = self.software.take() {
            self.metrics.software.leave(&kind);
        }
    }
}

/// The families of all listeners.
pub(super) struct Connections {
    created: IntCounterVec,
    closed: IntCounterVec,
    refused: IntCounterVec,
    software: Software,
    listeners: Mutex<Vec<Listener>>,
}

/// What is worked out of a listener at each scrape.
struct Listener {
    metrics: ConnectionMetrics,
    labels: Labels,
    created: Recent<f64>,
    closed: Recent<f64>,
}

impl Connections {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let counter = |n, help, labels: &[&str]| super::counter(&name(n), help, labels, registry);
        Ok(Self {
            created: counter("connection_creation_total", "Connections accepted.", &LABELS)?,
            closed: counter("connection_close_total", "Connections closed.", &LABELS)?,
            refused: counter("connection_refused_total", "Connections turned away.", &["listener", "limit"])?,
            software: Software::default(),
            listeners: Mutex::default(),
        })
    }

    pub(super) fn get(&self, listener: &str) -> ConnectionMetrics {
        let values = [listener, "0"];
        let metrics = ConnectionMetrics {
            created: self.created.with_label_values(&values),
            closed: self.closed.with_label_values(&values),
            refused: self.refused.clone(),
            listener: listener.into(),
            software: self.software.clone(),
        };
        let mut listeners = self.listeners.lock();
        if listeners.iter().all(|known| &*known.metrics.listener != listener) {
            let labels = LABELS.into_iter().zip(values);
            let labels = labels.fold(Labels::none(), |all, (name, value)| all.and(name, value));
            let [created, closed] =
                [&metrics.created, &metrics.closed].map(|c| Recent::new(WINDOW, c.get() as f64));
            listeners.push(Listener { metrics: metrics.clone(), labels, created, closed });
        }
        metrics
    }

    /// Writes what is worked out at each scrape.
    pub(super) fn write(&self, page: &mut Page) {
        let mut listeners = self.listeners.lock();
        // The name ends like a part of a histogram, so it must not have the type of a gauge.
        let mut open = page.family(&name("connection_count"), Kind::Untyped, "Connections open.");
        for Listener { metrics, labels, .. } in listeners.iter() {
            // Closed first: a connection that comes and goes meanwhile must not make it negative.
            let closed = metrics.closed.get();
            open.add(labels, metrics.created.get().saturating_sub(closed));
        }
        let now = Instant::now();
        let help = "Connections accepted a second, lately.";
        let mut rates = page.family(&name("connection_creation_rate"), Kind::Gauge, help);
        for Listener { metrics, labels, created, .. } in listeners.iter_mut() {
            rates.add(labels, created.rate(now, metrics.created.get() as f64));
        }
        let help = "Connections closed a second, lately.";
        let mut rates = page.family(&name("connection_close_rate"), Kind::Gauge, help);
        for Listener { metrics, labels, closed, .. } in listeners.iter_mut() {
            rates.add(labels, closed.rate(now, metrics.closed.get() as f64));
        }
        let help = "Connections open, by what clients say they are.";
        let mut family = page.family(&name("connections_software"), Kind::Gauge, help);
        for ([listener, software, version], count) in self.software.open.lock().iter() {
            let labels = [
                ("listener", &**listener),
                ("clientsoftwarename", software),
                ("clientsoftwareversion", version),
            ];
            family.add(&Labels::of(&labels), count);
        }
    }
}

/// Kafka labels with the network thread too, and dashboards sum it away; here it is always 0.
const LABELS: [&str; 2] = ["listener", "networkprocessor"];

fn name(rest: &str) -> String {
    format!("kafka_server_socket_server_metrics_{rest}")
}

/// What a client is: the listener it came by, its software and its version.
type Client = [Arc<str>; 3];

/// Open connections by client software. A kind is listed only while one of its connections is open.
#[derive(Clone, Default)]
struct Software {
    open: Arc<Mutex<HashMap<Client, i64>>>,
}

impl Software {
    fn join(&self, listener: &Arc<str>, name: &str, version: &str) -> Client {
        let mut open = self.open.lock();
        let mut kind: Client = [listener.clone(), bounded(name).into(), bounded(version).into()];
        if open.len() >= SOFTWARE_MAX && !open.contains_key(&kind) {
            kind = [listener.clone(), "other".into(), "".into()];
        }
        *open.entry(kind.clone()).or_default() += 1;
        kind
    }

    fn leave(&self, kind: &Client) {
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
