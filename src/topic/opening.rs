//! The opening of many logs: all folders at the same time, several threads in each, with a line now and then
//! while it takes long.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use braid_storage::Error;
use tracing::{error, info};

use super::dir::{LogDir, Wanted};
use super::dirs::{LogDirs, Place};
use super::partition::Partition;
use super::settings::settings;
use crate::config::BrokerConfig;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(3);

/// Partitions that cannot be opened are named one by one up to this many.
const TOLD_MAX: usize = 10;

/// What became of a partition.
pub(super) type Opened = Result<Arc<Partition>, Error>;

/// Opens partitions of a broker that starts at their places, and returns them in the order wanted. One that
/// cannot be opened is offline.
pub(super) fn open_all(
    dirs: &LogDirs,
    wanted: &[Wanted],
    places: &[Place],
    broker: &BrokerConfig,
    now_ms: i64,
) -> Vec<Arc<Partition>> {
    let mut queues: Vec<Vec<usize>> = dirs.slots.iter().map(|_| Vec::new()).collect();
    for (n, place) in places.iter().enumerate() {
        if let Place::In(home) = place
            && let Some(queue) = queues.get_mut(*home)
        {
            queue.push(n);
        }
    }
    for (slot, queue) in dirs.slots.iter().zip(&queues) {
        if slot.dir.as_ref().is_ok_and(LogDir::must_be_checked) && !queue.is_empty() {
            let (log_dir, logs) = (slot.path.display(), queue.len());
            info!(%log_dir, logs, "the last shutdown was not clean: recovering the logs");
        }
    }
    let open = |dir: &LogDir, one: &Wanted| dir.open_one(one, broker, now_ms);
    let mut opened = each(dirs, wanted, &queues, open, true);
    let mut partitions = Vec::with_capacity(wanted.len());
    let mut offline = Offline::default();
    for (n, (one, place)) in wanted.iter().zip(places).enumerate() {
        let (Place::In(home) | Place::Offline(home)) = *place;
        partitions.push(match opened.remove(&n) {
            Some(Ok(partition)) => partition,
            Some(Err(error)) => {
                offline.add(one, &error);
                unopened(dirs, one, home)
            }
            None => {
                // That a directory is offline has been logged.
                offline.no_descriptors += usize::from(n >= dirs.descriptors().partitions_max());
                unopened(dirs, one, home)
            }
        });
    }
    offline.complain(dirs, wanted.len());
    partitions
}

/// Does the same with many partitions, each of the queue of its directory; several threads in each.
pub(super) fn each(
    dirs: &LogDirs,
    wanted: &[Wanted],
    queues: &[Vec<usize>],
    open: impl Fn(&LogDir, &Wanted) -> Opened + Sync,
    at_start: bool,
) -> HashMap<usize, Opened> {
    let (begin, open) = (Instant::now(), &open);
    let total: usize = queues.iter().map(Vec::len).sum();
    let done = &AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        // Nothing is ever sent: it tells when the last worker is gone.
        let (alive, watched) = channel::<()>();
        for (slot, queue) in dirs.slots.iter().zip(queues) {
            let Ok(dir) = &slot.dir else { continue };
            let next = Arc::new(AtomicUsize::new(0));
            for _ in 0..dirs.threads.min(queue.len()) {
                let (next, alive) = (next.clone(), alive.clone());
                workers.push(scope.spawn(move || {
                    let _alive = alive;
                    let mut opened = Vec::new();
                    while let Some(n) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let Some(one) = wanted.get(*n) else { continue };
                        opened.push((*n, open(dir, one)));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    opened
                }));
            }
        }
        drop(alive);
        while watched.recv_timeout(TELL_EVERY) == Err(RecvTimeoutError::Timeout) {
            let (done, verb) = (done.load(Ordering::Relaxed), if at_start { "opened" } else { "created" });
            info!("{done} of {total} logs {verb} after {} s", begin.elapsed().as_secs());
        }
        let joined = workers.into_iter().map(|w| w.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        joined.flatten().collect()
    })
}

fn unopened(dirs: &LogDirs, (topic, index, config): &Wanted, home: usize) -> Arc<Partition> {
    Arc::new(Partition::unopened(topic.name.clone(), *index, settings(config), dirs.home(home)))
}

/// Partitions that could not be opened, and why.
#[derive(Default)]
struct Offline {
    no_descriptors: usize,
    others: usize,
}

impl Offline {
    fn add(&mut self, (topic, partition, _): &Wanted, error: &Error) {
        if error.is_out_of_files() {
            self.no_descriptors += 1;
            return;
        }
        if self.others < TOLD_MAX {
            let remedy = error.remedy();
            error!(topic = %topic.name, partition, %error, remedy, "this partition is offline");
        }
        self.others += 1;
    }

    fn complain(&self, dirs: &LogDirs, total: usize) {
        if self.others > TOLD_MAX {
            let more = self.others - TOLD_MAX;
            error!(more, "more partitions are offline for such reasons; /healthz names some");
        }
        if self.no_descriptors > 0 {
            let (offline, descriptors) = (self.no_descriptors, dirs.descriptors());
            error!(
                "{offline} of {total} partitions, the newest ones, are offline: the limit of {} open files \
                 is enough for {} partitions; {}",
                descriptors.limit(),
                descriptors.partitions_max(),
                descriptors.remedy()
            );
        }
    }
}
