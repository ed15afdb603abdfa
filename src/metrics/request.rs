//! Requests, errors and latencies of each API.

use std::time::Duration;

use prometheus::{Error, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Registry};

/// The upper ends of the latency buckets in seconds: from what a page cache takes to what a parked Fetch
/// waits.
const BUCKETS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];

/// The counters of one version of an API.
pub struct RequestMetrics {
    requests: IntCounter,
    succeeded: IntCounter,
    errors: IntCounterVec,
    total_time: Histogram,
    api: &'static str,
}

impl RequestMetrics {
    /// Counts an answered request: how long it took from its arrival until its answer was ready to be sent,
    /// waiting included, and the name of its error.
    pub fn answered(&self, took: Duration, error: Option<&str>) {
        self.requests.inc();
        self.total_time.observe(took.as_secs_f64());
        match error {
            None => self.succeeded.inc(),
            // Kafka's error codes are few, so this cannot grow without bound.
            Some(error) => self.errors.with_label_values(&[self.api, error]).inc(),
        }
    }
}

/// The families of all APIs.
pub(super) struct Requests {
    requests: IntCounterVec,
    errors: IntCounterVec,
    total_time: HistogramVec,
}

impl Requests {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let total_time = HistogramVec::new(
            HistogramOpts::new(
                "kafka_network_requestmetrics_totaltime_seconds",
                "Time from the arrival of a request to its answer, waiting included.",
            )
            .buckets(BUCKETS.to_vec()),
            &["request"],
        )?;
        registry.register(Box::new(total_time.clone()))?;
        Ok(Self {
            requests: super::counter(
                "kafka_network_requestmetrics_requests_total",
                "Requests answered.",
                &["request", "version"],
                registry,
            )?,
            errors: super::counter(
                "kafka_network_requestmetrics_errors_total",
                "Requests by the error they were answered with; NONE for success.",
                &["request", "error"],
                registry,
            )?,
            total_time,
        })
    }

    pub(super) fn get(&self, api: &'static str, version: i16) -> RequestMetrics {
        RequestMetrics {
            requests: self.requests.with_label_values(&[api, &version.to_string()]),
            succeeded: self.errors.with_label_values(&[api, "NONE"]),
            errors: self.errors.clone(),
            total_time: self.total_time.with_label_values(&[api]),
            api,
        }
    }
}
