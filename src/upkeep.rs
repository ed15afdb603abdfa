//! Background jobs: writes recovery points, deletes old segments, unlinks their files,
//! compacts, and notices that a directory is gone.
//!
//! Each kind of work is a task of its own that ends between two rounds, never in the middle of one: when all
//! have ended, the logs can be closed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use crate::broker::Broker;

/// Work first begins this long after the start, if its interval is not shorter; Kafka does the same.
const FIRST_CHECK: Duration = Duration::from_secs(30);
/// How often the log directories are looked at; two system calls each.
const LOOK_AT_DIRS: Duration = Duration::from_secs(1);
/// Files are not unlinked more often than this.
const UNLINK_PAUSE_MS: i64 = 1_000;
/// How often the lateness of timers is measured.
const WATCH_REACTOR: Duration = Duration::from_millis(100);

/// Looks after the logs until the broker is told to stop; returns when no work is under way any more.
pub async fn run(broker: Arc<Broker>, stopped: watch::Receiver<bool>) {
    let work = async {
        tokio::join!(
            checkpoints(&broker, stopped.clone()),
            retention(&broker, stopped.clone()),
            compaction(&broker, stopped.clone()),
            watch_dirs(&broker, stopped.clone()),
            watch_reactor(&broker, stopped.clone()),
        );
    };
    let stop = async {
        told(stopped.clone()).await;
        broker.stop_cleaning();
    };
    tokio::join!(work, stop);
}

/// Completes when the broker is told to stop.
async fn told(mut stopped: watch::Receiver<bool>) {
    // An error means that the broker is gone already.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Waits until it is time; false if the broker is told to stop before.
async fn until(time: Instant, stopped: &watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        () = told(stopped.clone()) => false,
        () = sleep_until(time) => true,
    }
}

/// Runs work that blocks, to its end.
fn blocking<T: Default + Send + 'static>(
    broker: &Arc<Broker>,
    work: impl FnOnce(&Broker) -> T + Send + 'static,
) -> impl Future<Output = T> {
    let broker = broker.clone();
    let running = tokio::task::spawn_blocking(move || work(&broker));
    async move {
        running.await.unwrap_or_else(|error| {
            error!(%error, "work on the logs failed");
            T::default()
        })
    }
}

/// Writes recovery points down now and then, so that a crash costs little reading.
async fn checkpoints(broker: &Arc<Broker>, stopped: watch::Receiver<bool>) {
    let every = broker.config.log_flush_offset_checkpoint_interval_ms.max(1_000).unsigned_abs();
    let every = Duration::from_millis(every.into());
    while until(Instant::now() + every, &stopped).await {
        let write = |broker: &Broker| {
            if let Err(error) = broker.checkpoint() {
                error!(%error, "the recovery points could not be written");
            }
        };
        blocking(broker, write).await;
    }
}

/// Deletes old segments now and then, and unlinks them when they are due.
async fn retention(broker: &Arc<Broker>, stopped: watch::Receiver<bool>) {
    let every = Duration::from_millis(broker.config.log_retention_check_interval_ms.unsigned_abs());
    let mut check = Instant::now() + every.min(FIRST_CHECK);
    let mut wake = check;
    while until(wake, &stopped).await {
        let checks = Instant::now() >= check;
        let work = move |broker: &Broker| {
            if checks {
                broker.retain();
            }
            broker.unlink()
        };
        let due = blocking(broker, work).await;
        if checks {
            check = Instant::now() + every;
        }
        let ahead = due.map(|due| due.saturating_sub(broker.clock.now()).max(UNLINK_PAUSE_MS));
        let due = ahead.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms.unsigned_abs())));
        wake = due.map_or(check, |due| due.min(check));
    }
}

/// Notices soon that a log directory was removed: until then writes to it are acknowledged.
async fn watch_dirs(broker: &Arc<Broker>, stopped: watch::Receiver<bool>) {
    while until(Instant::now() + LOOK_AT_DIRS, &stopped).await {
        blocking(broker, Broker::watch).await;
    }
}

/// Measures how late timers fire: something computes on the threads that serve sockets, or the machine has
/// no processor for them.
async fn watch_reactor(broker: &Arc<Broker>, stopped: watch::Receiver<bool>) {
    loop {
        let due = Instant::now() + WATCH_REACTOR;
        if !until(due, &stopped).await {
            return;
        }
        broker.metrics.reactor_late(due.elapsed());
    }
}

/// Compacts what is dirty enough.
async fn compaction(broker: &Arc<Broker>, stopped: watch::Receiver<bool>) {
    let rest = || Duration::from_millis(broker.live().log_cleaner_backoff_ms.max(10).unsigned_abs());
    while until(Instant::now() + rest(), &stopped).await {
        blocking(broker, Broker::clean).await;
    }
}
