//! Requests, errors, latencies of each API, and where a request's time goes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{Error, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::page::{Kind, Labels, Page};
use super::timing::Timing;

/// The upper ends of the latency buckets in seconds: from what a page cache takes to what a parked Fetch
/// waits.
const BUCKETS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];

/// The phases of a request as Kafka names them, in the order of [`Phases::all`].
const PHASES: [(&str, &str); 6] = [
    ("totaltimems", "Milliseconds from the arrival of a request until its answer was sent."),
    ("requestqueuetimems", "Milliseconds until a request was taken up: others before it, or no memory."),
    ("localtimems", "Milliseconds of work on a request: decode, check, append, read."),
    ("remotetimems", "Milliseconds a request waited: for the disk, for records, for other members."),
    ("responsequeuetimems", "Milliseconds an answer waited for those before it."),
    ("responsesendtimems", "Milliseconds until the client's socket had taken the answer."),
];

/// What parks requests, by Kafka's names, and the APIs whose requests it parks.
const PURGATORIES: [(&str, &[&str]); 4] = [
    ("Produce", &["Produce"]),
    ("Fetch", &["Fetch"]),
    ("DeleteRecords", &["DeleteRecords"]),
    ("Rebalance", &["JoinGroup", "SyncGroup"]),
];

/// Where the time of one request went. The phases follow one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// From its arrival until it was taken up.
    pub request_queue: Duration,
    /// Work on it: up to its first wait.
    pub local: Duration,
    /// From there until the answer was there.
    pub remote: Duration,
    /// From there until it was the answer's turn to be sent.
    pub response_queue: Duration,
    /// From there until the socket had taken it.
    pub response_send: Duration,
}

impl Phases {
    /// All phases together.
    pub fn total(&self) -> Duration {
        self.request_queue + self.local + self.remote + self.response_queue + self.response_send
    }

    fn all(&self) -> [Duration; 6] {
        let Phases { request_queue, local, remote, response_queue, response_send } = *self;
        [self.total(), request_queue, local, remote, response_queue, response_send]
    }
}

/// How many there are of something right now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Level(Arc<AtomicI64>);

impl Level {
    /// This many more, or with a negative number fewer.
    pub fn add(&self, more: i64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// One more for as long as the value returned lives.
    pub fn enter(&self) -> Inside {
        self.add(1);
        Inside(self.clone())
    }

    /// How many there are now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One that is counted by a [`Level`]; dropping it counts it out.
#[derive(Debug)]
pub struct Inside(Level);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// The counters of one version of an API.
pub struct RequestMetrics {
    requests: Vec<IntCounter>,
    api: Arc<Meter>,
}

impl RequestMetrics {
    /// Counts an answered request, and the name of its error.
    pub fn answered(&self, error: Option<&str>) {
        self.requests.iter().for_each(IntCounter::inc);
        match error {
            None => self.api.succeeded.iter().for_each(IntCounter::inc),
            // Kafka's error codes are few, so this cannot grow without bound.
            Some(error) => {
                let errors = &self.api.errors;
                self.api.names.iter().for_each(|name| errors.with_label_values(&[*name, error]).inc());
            }
        }
    }

    /// Counts where the time of a request went whose answer has been sent.
    pub fn sent(&self, phases: &Phases) {
        // The first request of an API makes room for all that follow.
        let times = self.api.times.get_or_init(|| Times::new(&self.api));
        times.latency.iter().for_each(|one| one.observe(phases.total().as_secs_f64()));
        times.phases.iter().zip(phases.all()).for_each(|(timing, took)| timing.record(took));
    }

    /// Counts a request of this API as parked for as long as the value returned lives.
    pub fn parked(&self) -> Inside {
        self.api.parked.enter()
    }
}

/// What is counted of an API.
struct Meter {
    names: Vec<&'static str>,
    succeeded: Vec<IntCounter>,
    errors: IntCounterVec,
    latency: HistogramVec,
    times: OnceLock<Times>,
    parked: Level,
}

/// The latencies of an API, under each of its names, and its phases.
struct Times {
    latency: Vec<Histogram>,
    phases: Box<[Timing; 6]>,
}

impl Times {
    fn new(api: &Meter) -> Times {
        let latency = api.names.iter().map(|name| api.latency.with_label_values(&[*name]));
        Times { latency: latency.collect(), phases: Box::new(std::array::from_fn(|_| Timing::new())) }
    }
}

/// The names that requests of an API are counted under. Kafka tells the Fetches of consumers from those of
/// followers, and counts both as Fetch too; there are no followers here.
fn names(api: &'static str) -> Vec<&'static str> {
    match api {
        "Fetch" => vec!["Fetch", "FetchConsumer"],
        other => vec![other],
    }
}

/// The families of all APIs.
pub(super) struct Requests {
    requests: IntCounterVec,
    errors: IntCounterVec,
    latency: HistogramVec,
    meters: Mutex<Vec<(&'static str, Arc<Meter>)>>,
    /// Requests that wait for memory.
    pub(super) queued: Level,
    /// Answers that wait for their socket.
    pub(super) leaving: Level,
}

impl Requests {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let latency = HistogramOpts::new(
            "kafka_network_requestmetrics_totaltime_seconds",
            "Time from the arrival of a request until its answer was sent, waiting included.",
        );
        let latency = HistogramVec::new(latency.buckets(BUCKETS.to_vec()), &["request"])?;
        registry.register(Box::new(latency.clone()))?;
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
            latency,
            meters: Mutex::default(),
            queued: Level::default(),
            leaving: Level::default(),
        })
    }

    pub(super) fn get(&self, api: &'static str, version: i16) -> RequestMetrics {
        let mut meters = self.meters.lock();
        let known = meters.iter().find(|(name, _)| *name == api).map(|(_, meter)| meter.clone());
        let api = known.unwrap_or_else(|| {
            let meter = Arc::new(self.meter(api));
            meters.push((api, meter.clone()));
            meter
        });
        let version = version.to_string();
        let requests = api.names.iter().map(|name| self.requests.with_label_values(&[*name, &version]));
        RequestMetrics { requests: requests.collect(), api }
    }

    fn meter(&self, api: &'static str) -> Meter {
        let names = names(api);
        Meter {
            succeeded: names.iter().map(|name| self.errors.with_label_values(&[*name, "NONE"])).collect(),
            errors: self.errors.clone(),
            latency: self.latency.clone(),
            times: OnceLock::new(),
            parked: Level::default(),
            names,
        }
    }

    /// Writes what is worked out at each scrape. The times of an API appear with its first request.
    pub(super) fn write(&self, page: &mut Page) {
        let meters = self.meters.lock().clone();
        for (i, (name, help)) in PHASES.iter().enumerate() {
            let name = format!("kafka_network_requestmetrics_{name}");
            let mut family = page.family(&name, Kind::Summary, help);
            for (_, meter) in &meters {
                let Some(timing) = meter.times.get().and_then(|times| times.phases.get(i)) else { continue };
                for name in &meter.names {
                    timing.write(&mut family, &Labels::of(&[("request", name)]));
                }
            }
        }
        let name = "kafka_server_delayedoperationpurgatory_purgatorysize";
        let mut family = page.family(name, Kind::Gauge, "Requests that wait for something to happen.");
        for (operation, apis) in PURGATORIES {
            let parked = meters.iter().filter(|(api, _)| apis.contains(api)).map(|(_, m)| m.parked.get());
            family.add(&Labels::of(&[("delayedoperation", operation)]), parked.sum::<i64>());
        }
        let mut queue = |name: &str, help: &str, level: &Level| {
            page.one(&format!("kafka_network_requestchannel_{name}"), Kind::Gauge, help, level.get());
        };
        queue("requestqueuesize", "Requests that wait for memory.", &self.queued);
        queue("responsequeuesize", "Answers that wait for their socket.", &self.leaving);
    }
}
