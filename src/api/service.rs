//! What connections serve: the broker, the counters of its requests, and what requests leave for later ones.

use std::sync::Arc;

use super::fetch_sessions::FetchSessions;
use super::{Row, TABLE};
use crate::broker::Broker;
use crate::metrics::{Inside, Metrics, Phases, RequestMetrics};

/// Fetch sessions may take one part in this many of the memory that requests may take.
const SESSIONS_SHARE: usize = 8;

/// What connections serve.
pub struct Service {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The counters of requests.
    pub meters: Meters,
    /// What consumers read, remembered between their fetches.
    pub(super) fetch_sessions: Arc<FetchSessions>,
}

impl Service {
    /// Serves this broker.
    pub fn new(broker: Arc<Broker>) -> Service {
        let fetch_sessions = FetchSessions::new(
            broker.config.max_incremental_fetch_session_cache_slots.max(0) as usize,
            broker.memory.limit() / SESSIONS_SHARE,
            broker.metrics.fetch_sessions().clone(),
        );
        let meters = Meters::new(&broker.metrics);
        Service { broker, meters, fetch_sessions: Arc::new(fetch_sessions) }
    }
}

/// The counters of every row and version, looked up once.
pub struct Meters {
    rows: Vec<Vec<RequestMetrics>>,
}

impl Meters {
    /// The counters of the whole table.
    fn new(metrics: &Metrics) -> Meters {
        let row =
            |row: &Row| row.advertises.clone().map(|version| metrics.request(row.name, version)).collect();
        Meters { rows: TABLE.iter().map(row).collect() }
    }

    /// Counts an answered request.
    pub fn answered(&self, row: usize, version: i16, error: Option<&str>) {
        if let Some(meter) = self.of(row, version) {
            meter.answered(error);
        }
    }

    /// Counts where the time of a request went whose answer has been sent.
    pub fn sent(&self, row: usize, version: i16, phases: &Phases) {
        if let Some(meter) = self.of(row, version) {
            meter.sent(phases);
        }
    }

    /// Counts a request as parked for as long as the value returned lives.
    pub fn parked(&self, row: usize, version: i16) -> Option<Inside> {
        self.of(row, version).map(RequestMetrics::parked)
    }

    fn of(&self, row: usize, version: i16) -> Option<&RequestMetrics> {
        let first = TABLE.get(row).map_or(0, |row| *row.advertises.start());
        self.rows.get(row)?.get(usize::try_from(version - first).ok()?)
    }
}
