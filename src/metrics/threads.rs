//! How idle the threads are that serve requests, as Kafka tells it of its two pools.
//!
//! Here one pool reads, works and writes, so both figures are the same.

use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::WINDOW;
use super::page::{Kind, Page};
use super::recent::Recent;

const NAMES: [&str; 2] = [
    "kafka_network_socketserver_networkprocessoravgidle_percent",
    "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
];

/// The threads' work so far.
pub(super) struct Threads {
    busy_seconds: Mutex<Recent<f64>>,
}

impl Threads {
    pub(super) fn new() -> Threads {
        Threads { busy_seconds: Mutex::new(Recent::new(WINDOW, 0.0)) }
    }

    /// Writes how idle they were lately, 0 to 1; nothing when asked outside of the runtime.
    pub(super) fn write(&self, page: &mut Page) {
        let Ok(runtime) = Handle::try_current() else { return };
        let runtime = runtime.metrics();
        let workers = runtime.num_workers();
        let busy = (0..workers).map(|n| runtime.worker_total_busy_duration(n).as_secs_f64()).sum();
        let busy = self.busy_seconds.lock().rate(Instant::now(), busy) / workers.max(1) as f64;
        for name in NAMES {
            page.one(
                name,
                Kind::Gauge,
                "How idle the threads are that serve requests, 0 to 1.",
                1.0 - busy.clamp(0.0, 1.0),
            );
        }
    }
}
