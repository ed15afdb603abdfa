//! The closing of many logs: all directories at the same time, several threads in each, a few logs at a time.
//!
//! A log that is closed opens its index files and a snapshot and gives up its own file right after, so that
//! this needs no more descriptors than it frees. The mark of a clean shutdown is left where every log could
//! be closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use braid_storage::flush::Dirty;
use braid_storage::{Error, checkpoint};
use parking_lot::Mutex;
use tracing::{error, warn};

use super::dir::LogDir;
use super::dirs::LogDirs;
use super::fault::Fault;
use super::partition::Partition;

/// A log holds this many descriptors while it is closed: two indexes, a snapshot, its own file.
const DESCRIPTORS: usize = 4;
/// Logs that are closed and synced together, per thread, however many descriptors there are.
const TOGETHER_MAX: usize = 256;
/// Failures that are logged one by one.
const TOLD_MAX: usize = 5;

/// The data was not closed as it should be. Nothing acknowledged is lost; the next start takes longer.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct CloseError(Vec<String>);

impl LogDirs {
    /// Syncs and closes all logs, and leaves the mark of a clean shutdown in every directory where all could
    /// be.
    pub fn close(&self, partitions: &[Arc<Partition>]) -> Result<(), CloseError> {
        let mut unclean = Vec::new();
        for (path, _) in self.state().into_iter().filter(|(_, wrong)| wrong.is_some()) {
            let dir = path.display();
            unclean.push(format!("log directory {dir} is offline; the next start checks what is there"));
        }
        let working = self.by_folder(partitions).filter(|(dir, _)| dir.failure().is_none());
        let working: Vec<(&LogDir, Vec<Arc<Partition>>)> = working.collect();
        let spare = self.descriptors().reserve() / (DESCRIPTORS * self.threads * working.len().max(1));
        let together = spare.clamp(1, TOGETHER_MAX);
        let close = |(dir, partitions)| {
            let dir: &LogDir = dir;
            dir.close(partitions, self.threads, together)
        };
        unclean.extend(std::thread::scope(|scope| {
            let workers: Vec<_> = working.into_iter().map(|it| scope.spawn(move || close(it))).collect();
            let joined =
                workers.into_iter().map(|w| w.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
            joined.filter_map(Result::err).collect::<Vec<_>>()
        }));
        if unclean.is_empty() { Ok(()) } else { Err(CloseError(unclean)) }
    }
}

/// What could not be closed so far.
#[derive(Default)]
struct Open {
    /// Out of descriptors: there are more when others are closed.
    again: Vec<Arc<Partition>>,
    failed: usize,
    first: Option<String>,
}

impl Open {
    fn fail(&mut self, dir: &LogDir, error: &Error) {
        if self.failed < TOLD_MAX {
            error!(%error, log_dir = %dir.path().display(), "a log could not be closed");
        }
        self.failed += 1;
        self.first.get_or_insert_with(|| error.to_string());
    }
}

impl LogDir {
    fn close(&self, partitions: Vec<Arc<Partition>>, threads: usize, together: usize) -> Result<(), String> {
        let open = Mutex::new(Open::default());
        self.close_all(&partitions, threads, together, &open, true);
        let again = std::mem::take(&mut open.lock().again);
        self.close_all(&again, 1, 1, &open, false);
        let mut open = open.into_inner();
        if let Err(error) = self.keep_points() {
            open.fail(self, &error);
        }
        if open.failed == 0
            && let Err(error) = checkpoint::mark_clean(&*self.disk, self.path())
        {
            open.fail(self, &error);
        }
        let (dir, total) = (self.path().display(), partitions.len());
        match open {
            Open { failed: 0, .. } => Ok(()),
            Open { failed, first, .. } => Err(format!(
                "{failed} of {total} logs in {dir} could not be closed, the next start checks them all: {}",
                first.as_deref().unwrap_or("they were offline")
            )),
        }
    }

    fn close_all(
        &self,
        partitions: &[Arc<Partition>],
        threads: usize,
        together: usize,
        open: &Mutex<Open>,
        may_repeat: bool,
    ) {
        let (next, groups) = (AtomicUsize::new(0), partitions.chunks(together));
        let groups: Vec<_> = groups.collect();
        let work = || {
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.close_some(group, open, may_repeat);
            }
        };
        std::thread::scope(|scope| (0..threads.min(groups.len())).for_each(|_| drop(scope.spawn(work))));
    }

    fn close_some(&self, partitions: &[Arc<Partition>], open: &Mutex<Open>, may_repeat: bool) {
        let mut finished = Vec::with_capacity(partitions.len());
        for partition in partitions {
            match partition.finish() {
                Ok(()) => finished.push(partition.clone()),
                Err(Fault::Storage(error)) if may_repeat && error.is_out_of_files() => {
                    open.lock().again.push(partition.clone());
                }
                Err(Fault::Storage(error)) => open.lock().fail(self, &error),
                Err(_) => open.lock().failed += 1,
            }
        }
        if let Err(error) = self.flush(finished.iter().map(|p| p.clone() as Arc<dyn Dirty>).collect()) {
            let mut open = open.lock();
            open.fail(self, &error);
            open.failed += finished.len().saturating_sub(1);
            return;
        }
        for partition in finished {
            match partition.close() {
                Some(log) if !log.dirty() => self.set_points(partition.key(), &log),
                _ => {
                    let (topic, partition) = (partition.topic(), partition.index());
                    warn!(%topic, partition, "the log was written to while it was closed");
                    open.lock().failed += 1;
                }
            }
        }
    }
}
