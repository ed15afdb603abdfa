//! How late the threads are that serve sockets: what computes on one of them for long makes all clients wait.

use std::time::Duration;

use prometheus::{Error, Histogram, HistogramOpts, IntCounterVec, Registry};

/// Upper ends of the buckets, in seconds: a thread may compute for 20 ms.
const BUCKETS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// From this time on, the first step of a request counts as long.
pub const LONG_STEP: Duration = Duration::from_millis(20);

/// The families.
pub(super) struct Reactor {
    pub(super) lateness: Histogram,
    pub(super) long_steps: IntCounterVec,
}

impl Reactor {
    pub(super) fn new(registry: &Registry) -> Result<Reactor, Error> {
        let lateness = HistogramOpts::new(
            "braid_reactor_lateness_seconds",
            "How late a timer fires, looked at ten times a second: what all clients wait.",
        );
        let lateness = Histogram::with_opts(lateness.buckets(BUCKETS.to_vec()))?;
        registry.register(Box::new(lateness.clone()))?;
        let long_steps = super::counter(
            "braid_reactor_long_steps_total",
            "Requests that computed for more than 20 ms on a thread that serves sockets.",
            &["request"],
            registry,
        )?;
        Ok(Reactor { lateness, long_steps })
    }
}
