//! The opening of many logs: all folders at the same time, several threads in each, with a line now and then
//! while it takes long.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use braid_storage::Error;
use tracing::{error, info};

use super::dir::Wanted;
use super::dirs::{LogDirs, Place};
use super::partition::Partition;
use super::settings::settings;
use crate::config::BrokerConfig;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(3);

type Opened = Result<Arc<Partition>, Error>;

/// Opens partitions at their places, and returns them in the order wanted. At the start, one that cannot be
/// opened is offline; later on that is an error.
pub(super) fn open_all(
    dirs: &LogDirs,
    wanted: &[Wanted],
    places: &[Place],
    broker: &BrokerConfig,
    now_ms: i64,
    at_start: bool,
) -> Result<Vec<Arc<Partition>>, Error> {
    let begin = Instant::now();
    let mut queues: Vec<Vec<usize>> = dirs.slots.iter().map(|_| Vec::new()).collect();
    for (n, place) in places.iter().enumerate() {
        if let Place::In(home) = place
            && let Some(queue) = queues.get_mut(*home)
        {
            queue.push(n);
        }
    }
    let total: usize = queues.iter().map(Vec::len).sum();
    let done = &AtomicUsize::new(0);
    let mut opened: HashMap<usize, Opened> = std::thread::scope(|scope| {
        let mut workers = Vec::new();
        // Nothing is ever sent: it tells when the last worker is gone.
        let (alive, watched) = channel::<()>();
        for (slot, queue) in dirs.slots.iter().zip(&queues) {
            let Ok(dir) = &slot.dir else { continue };
            if at_start && !queue.is_empty() && dir.must_be_checked() {
                let path = slot.path.display();
                info!(logs = queue.len(), "the last shutdown was not clean: checking the logs in {path}");
            }
            let next = Arc::new(AtomicUsize::new(0));
            for _ in 0..dirs.threads.min(queue.len()) {
                let (next, alive) = (next.clone(), alive.clone());
                workers.push(scope.spawn(move || {
                    let _alive = alive;
                    let mut opened = Vec::new();
                    while let Some(n) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let Some(one) = wanted.get(*n) else { continue };
                        opened.push((*n, dir.open_one(one, broker, now_ms, at_start)));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    opened
                }));
            }
        }
        drop(alive);
        while watched.recv_timeout(TELL_EVERY) == Err(RecvTimeoutError::Timeout) {
            let done = done.load(Ordering::Relaxed);
            info!("{done} of {total} logs opened after {} s", begin.elapsed().as_secs());
        }
        let joined = workers.into_iter().map(|w| w.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        joined.flatten().collect()
    });
    let mut partitions = Vec::with_capacity(wanted.len());
    for (n, (one, place)) in wanted.iter().zip(places).enumerate() {
        let (Place::In(home) | Place::Offline(home)) = *place;
        partitions.push(match opened.remove(&n) {
            Some(Ok(partition)) => partition,
            Some(Err(error)) if !at_start => return Err(error),
            Some(Err(error)) => {
                complain(one, &error);
                unopened(dirs, one, home)
            }
            // That its folder is offline has been told.
            None => unopened(dirs, one, home),
        });
    }
    Ok(partitions)
}

fn unopened(dirs: &LogDirs, (topic, index, config): &Wanted, home: usize) -> Arc<Partition> {
    Arc::new(Partition::unopened(topic.name.clone(), *index, settings(config), dirs.home(home)))
}

/// Says what is wrong with a log, and what can be done.
fn complain((topic, partition, _): &Wanted, error: &Error) {
    let remedy = error.remedy();
    error!(topic = %topic.name, partition, "this partition is offline: {error}; {remedy}");
}
