//! Group commit: one thread a data folder that syncs for everybody who waits.
//!
//! Logs are submitted when they have something to sync; while one round of syncs runs, the next gathers, each
//! log once. Who is alone may sync on a thread of its own. A few logs are synced one by one, many by one
//! `syncfs`. A failed sync is final: the system may have dropped the pages, and a second try would say that
//! all is well. So nothing is ever synced again, and everybody is told.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::disk::File;
use crate::log::Mark;
use crate::segment::{Place, Segment};

/// More dirty logs than this are synced by one `syncfs`.
const ONE_BY_ONE_MAX: usize = 8;

/// What has to be synced for a log to be durable up to an offset. Taken under the partition's lock, synced
/// outside.
pub struct SyncPoint {
    pub(crate) files: Vec<Arc<dyn File>>,
    pub(crate) sealed: Vec<Arc<Segment>>,
    pub(crate) dir: bool,
    pub(crate) parent: bool,
    pub(crate) place: Arc<Place>,
    pub(crate) mark: Mark,
}

impl SyncPoint {
    /// Syncs the files, and the folder if it has new names.
    pub fn sync(&self) -> io::Result<()> {
        for file in &self.files {
            file.sync()?;
        }
        if self.dir {
            match self.place.disk.sync_dir(&self.place.dir) {
                // Nobody waits for a log that is deleted, and the disk is as good as before.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_deleted() => return Ok(()),
                synced => synced?,
            }
        }
        match self.place.dir.parent() {
            Some(parent) if self.parent => self.place.disk.sync_dir(parent),
            _ => Ok(()),
        }
    }

    fn is_deleted(&self) -> bool {
        self.place.deleted.load(Ordering::Acquire)
    }

    /// The offset up to which the log is durable once this is synced.
    pub fn end_offset(&self) -> i64 {
        self.mark.offset
    }
}

/// Something with a log in it.
pub trait Dirty: Send + Sync {
    /// What is to be synced now; `None` if nothing.
    fn begin(&self) -> Option<SyncPoint>;
    /// It was synced, or it never will be: then nothing of it may be acknowledged, and the log must not be
    /// used.
    fn end(&self, outcome: Result<SyncPoint, io::Error>);
}

/// The thread, and the way to it. Dropping it syncs what was submitted and joins the thread.
pub struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Held from the beginning of a round to its end: a log must be synced by one at a time.
    round: Mutex<()>,
    /// Whom to tell of the first failure.
    failed: Mutex<Option<Box<Tell>>>,
    /// To sync the whole file system with; none where the logs are not on a real one.
    root: Option<fs::File>,
}

/// Is called with the first failure.
type Tell = dyn FnOnce(&io::Error) + Send;

#[derive(Default)]
struct Queue {
    logs: Vec<Arc<dyn Dirty>>,
    /// Where the queued logs live in memory: tells who is queued.
    queued: HashSet<usize>,
    /// The thread has taken logs that it has not synced yet.
    taken: bool,
    stop: bool,
    failed: Option<Failure>,
}

/// An `io::Error` that can be told to many.
#[derive(Clone)]
struct Failure(Arc<io::Error>);

impl Failure {
    fn error(&self) -> io::Error {
        copy(&self.0)
    }
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl Flusher {
    /// Starts the thread. `root` is the data folder, if it is on a real disk. `failed` is called once, by who
    /// syncs, after the first sync that fails, before the waiting logs are told.
    pub fn start(
        root: Option<&Path>,
        failed: impl FnOnce(&io::Error) + Send + 'static,
    ) -> io::Result<Flusher> {
        let root = root.map(fs::File::open).transpose()?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            round: Mutex::default(),
            failed: Mutex::new(Some(Box::new(failed))),
            root,
        });
        let worker = Arc::clone(&shared);
        let work = move || worker.run();
        let thread = std::thread::Builder::new().name("flusher".to_owned()).spawn(work)?;
        Ok(Flusher { shared, thread: Some(thread) })
    }

    /// Asks for a sync of this log; returns at once. Everything it has written by now will be covered. An
    /// error if a sync has failed before; `end` is not called then.
    pub fn submit(&self, log: Arc<dyn Dirty>) -> io::Result<()> {
        let mut queue = self.shared.queue.lock();
        if let Some(failure) = &queue.failed {
            return Err(failure.error());
        }
        if queue.queued.insert(address(&log)) {
            queue.logs.push(log);
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Is nobody syncing, and nobody waiting to be synced? When this is known it may have changed.
    pub fn is_idle(&self) -> bool {
        self.shared.round.try_lock().is_some() && self.shared.queue.lock().is_idle()
    }

    /// Syncs this log on this thread if the flusher is idle, and says whether it did: to hand it over to
    /// another thread and back takes a good part of the time that a fast disk needs. A failure is told as
    /// that of any other round.
    pub fn sync_if_idle(&self, log: Arc<dyn Dirty>) -> bool {
        let Some(turn) = self.shared.round.try_lock() else { return false };
        if !self.shared.queue.lock().is_idle() {
            return false;
        }
        self.shared.round(turn, vec![log]);
        true
    }

    /// Syncs these logs here and now, all together if they are many: for a checkpoint or a shutdown. A
    /// failure is as final as any, and after one nothing is synced any more.
    pub fn flush(&self, logs: Vec<Arc<dyn Dirty>>) -> io::Result<()> {
        let _round = self.shared.round.lock();
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let mut jobs = Job::all(logs);
        let Err(failure) = self.shared.sync_all(&mut jobs) else { return Ok(()) };
        self.shared.queue.lock().failed = Some(failure.clone());
        untold(jobs).for_each(|log| log.end(Err(failure.error())));
        Err(failure.error())
    }

    /// The disk has failed at something else: nothing is synced from now on, and those who wait are told.
    pub fn give_up(&self, error: &io::Error) {
        let failure = Failure(Arc::new(copy(error)));
        let late = {
            let mut queue = self.shared.queue.lock();
            queue.failed.get_or_insert_with(|| failure.clone());
            std::mem::take(&mut queue.logs)
        };
        late.into_iter().for_each(|log| log.end(Err(failure.error())));
    }

    /// Has a sync failed, or was the disk given up?
    pub fn failure(&self) -> Option<io::Error> {
        self.shared.queue.lock().failed.as_ref().map(Failure::error)
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.queue.lock().stop = true;
        self.shared.wake.notify_one();
        // The last log may let go of it on the thread itself, which then ends by itself.
        let joinable = |thread: &JoinHandle<()>| thread.thread().id() != std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(joinable) {
            // A panic in there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn address(log: &Arc<dyn Dirty>) -> usize {
    Arc::as_ptr(log).addr()
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.logs.is_empty() && !self.taken && !self.stop && self.failed.is_none()
    }
}

impl Shared {
    fn run(&self) {
        while let Some(logs) = self.next_round() {
            if !self.round(self.round.lock(), logs) {
                return;
            }
        }
    }

    /// Syncs these logs. False if that fails: then nothing is synced any more, and everybody is told.
    fn round(&self, turn: MutexGuard<'_, ()>, logs: Vec<Arc<dyn Dirty>>) -> bool {
        let mut jobs = Job::all(logs);
        let Err(failure) = self.sync_all(&mut jobs) else { return true };
        tracing::error!(error = %failure.0, "a sync failed and this disk is given up");
        if let Some(failed) = self.failed.lock().take() {
            failed(&failure.0);
        }
        let late = {
            let mut queue = self.queue.lock();
            queue.failed = Some(failure.clone());
            std::mem::take(&mut queue.logs)
        };
        drop(turn);
        for log in untold(jobs).chain(late) {
            log.end(Err(failure.error()));
        }
        false
    }

    /// Waits for work. `None` once told to stop, and nothing is left.
    fn next_round(&self) -> Option<Vec<Arc<dyn Dirty>>> {
        let mut queue = self.queue.lock();
        queue.taken = false;
        while queue.logs.is_empty() {
            if queue.stop {
                return None;
            }
            self.wake.wait(&mut queue);
        }
        queue.queued.clear();
        queue.taken = true;
        Some(std::mem::take(&mut queue.logs))
    }

    /// Syncs, and tells each as soon as it is safe. A panic is a failure like any other: no request may
    /// wait for a thread that is gone.
    fn sync_all(&self, jobs: &mut [Job]) -> Result<(), Failure> {
        let synced = catch_unwind(AssertUnwindSafe(|| self.try_sync_all(jobs)));
        let synced = synced.unwrap_or_else(|_| Err(io::Error::other("a thread panicked while it synced")));
        synced.map_err(|error| Failure(Arc::new(error)))
    }

    fn try_sync_all(&self, jobs: &mut [Job]) -> io::Result<()> {
        for job in jobs.iter_mut() {
            job.point = job.log.begin();
            job.told = job.point.is_none();
        }
        let dirty = jobs.iter().filter(|job| !job.told).count();
        let whole = self.root.as_ref().filter(|_| dirty > ONE_BY_ONE_MAX);
        if let Some(root) = whole {
            rustix::fs::syncfs(root)?;
        }
        for job in jobs {
            let Some(point) = job.point.take() else { continue };
            if whole.is_none() {
                point.sync()?;
            }
            job.told = true;
            job.log.end(Ok(point));
        }
        Ok(())
    }
}

/// A log in a round.
struct Job {
    log: Arc<dyn Dirty>,
    point: Option<SyncPoint>,
    /// Does its owner know the outcome, or is there none?
    told: bool,
}

impl Job {
    fn all(logs: Vec<Arc<dyn Dirty>>) -> Vec<Job> {
        logs.into_iter().map(|log| Job { log, point: None, told: false }).collect()
    }
}

/// The logs whose owners do not know yet.
fn untold(jobs: Vec<Job>) -> impl Iterator<Item = Arc<dyn Dirty>> {
    jobs.into_iter().filter(|job| !job.told).map(|job| job.log)
}
