//! Braid: a Kafka-compatible broker. The modules from top to bottom; each uses only those below it
//! (`tests/tidy.rs`). src/README.md describes how they work together.

pub mod args; // the command line
pub mod notify; // sd_notify
pub mod tools; // braid dump, braid check

pub mod server; // accept, limit, shut down
pub mod connection; // frames in, frames out, in order
pub mod api; // the table of APIs; one file per API
pub mod http; // /metrics and /healthz
pub mod upkeep; // background jobs: checkpoints, retention, compaction
pub mod broker; // the shared state: topics, coordinators, memory, workers
pub mod group; // the group coordinator, a value
pub mod txn; // the transaction coordinator, a value
pub mod machine; // drives coordinators: channel, timer, log
pub mod topic; // name or id -> topic -> partition: log and watermark
pub mod cluster; // which topics exist: the image and its log

pub mod logging; // the log on stderr, and its levels
pub mod config; // every setting once
#[cfg(test)]
mod dice; // random numbers for tests
pub mod metrics; // what is counted

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use braid_storage::RealDisk;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::api::Service;
use crate::broker::{Broker, CloseError, OpenError};
use crate::config::{BrokerConfig, Listener};
use crate::http::HttpState;
use crate::machine::Clock;
use crate::metrics::{Metrics, Scrape};
use crate::server::Bound;

/// Why the broker did not start, or did not end well: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address cannot be listened on.
    #[error("cannot listen on {listener}: {source}; is another broker running? set {key} to another port")]
    Bind {
        /// The listener.
        listener: String,
        /// What the system says.
        source: io::Error,
        /// The setting it comes from.
        key: &'static str,
    },
    /// The data cannot be opened.
    #[error("cannot open {dirs}: {source}")]
    Open {
        /// The log folders.
        dirs: String,
        /// What is wrong with it.
        source: OpenError,
    },
    /// The data could not be closed cleanly. Nothing acknowledged is lost; the next start takes longer.
    #[error("the shutdown was not clean: {0}")]
    Close(#[from] CloseError),
    /// The metrics clash.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Runs a broker until `shutdown` completes, and ends it cleanly.
///
/// `log` is the way to the levels of the log that has begun.
pub async fn run(
    config: BrokerConfig,
    log: logging::Filter,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let begin = Instant::now();
    raise_file_limit();
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        listeners.push(bind(listener, config.socket_listen_backlog_size, "listeners").await?);
    }
    let mut pages = Vec::new();
    for listener in &config.http_listeners {
        pages.push(bind(listener, config.socket_listen_backlog_size, "http.listeners").await?);
    }
    let metrics = Arc::new(Metrics::new(prometheus::Registry::new())?);
    let broker = open(config, &metrics).await?;
    broker.loggers.attach(log);
    let scrape: Arc<dyn Scrape> = broker.clone();
    metrics.observe(Arc::downgrade(&scrape))?;

    let (stop, stopped) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for page in pages {
        info!("metrics on http://{}/metrics", page.address);
        let reporting = broker.clone();
        let state = HttpState { metrics: metrics.clone(), health: Arc::new(move || reporting.health()) };
        tasks.spawn(http::serve(page.socket, state, told(stopped.clone())));
    }
    tasks.spawn(upkeep::run(broker.clone(), stopped.clone()));
    tasks.spawn(warm_up(broker.clone()));
    announce(&broker, &listeners, begin);
    notify::tell("READY=1");
    let service = Arc::new(Service::new(broker.clone()));
    tasks.spawn(server::run(service, listeners, stopped));

    shutdown.await;
    notify::tell("STOPPING=1");
    stop.send_replace(true);
    while tasks.join_next().await.is_some() {}
    let closing = tokio::task::spawn_blocking(move || broker.close());
    closing.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))?;
    info!("shut down cleanly");
    Ok(())
}

async fn bind(listener: &Listener, backlog: i32, key: &'static str) -> Result<Bound, RunError> {
    let failed = |source| RunError::Bind { listener: listener.to_string(), source, key };
    server::bind(listener, backlog.max(1) as u32).await.map_err(failed)
}

async fn open(config: BrokerConfig, metrics: &Arc<Metrics>) -> Result<Arc<Broker>, RunError> {
    let dirs = named(&config);
    let metrics = metrics.clone();
    let opening = tokio::task::spawn_blocking(move || {
        let disk = metrics.timed(Arc::new(RealDisk::default()));
        Broker::open(config, metrics, disk, Clock::system())
    });
    let opened = opening.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    opened.map_err(|source| RunError::Open { dirs, source })
}

/// The folders of the data, for people.
fn named(config: &BrokerConfig) -> String {
    let dirs: Vec<String> = config.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
    dirs.join(", ")
}

fn announce(broker: &Broker, listeners: &[Bound], begin: Instant) {
    let durability = broker.live().braid_durability;
    let at: Vec<String> = listeners.iter().map(|l| format!("{}://{}", l.name, l.address)).collect();
    info!(
        "braid {} is ready on {} after {} ms; data in {}, acks=all means {durability}",
        env!("CARGO_PKG_VERSION"),
        at.join(", "),
        begin.elapsed().as_millis(),
        named(&broker.config),
    );
}

/// Completes when the broker is told to stop.
async fn told(mut stopped: watch::Receiver<bool>) {
    // An error means that the broker is gone already.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Loads the groups that were there before, so that their first question need not wait; and the transactions,
/// because those that were being ended have to be, and those that are open may be too old.
async fn warm_up(broker: Arc<Broker>) {
    if let Some(Err(code)) = broker.transactions_if_any().await {
        warn!(%code, "the transactions could not be loaded; the next request tries again");
    }
    if broker.topic(broker::OFFSETS_TOPIC).is_some()
        && let Err(code) = broker.groups().await
    {
        warn!(%code, "the groups could not be loaded; the next request tries again");
    }
}

/// Each connection and each log needs a file descriptor; the soft limit is often only 1024.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
}
