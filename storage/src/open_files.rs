//! How many files this process may have open, and how many a disk holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The limit of open files, and those that are open through one disk. A file that can be opened again need
/// not be kept: see [`OpenFiles::may_keep`].
#[derive(Debug)]
pub struct OpenFiles {
    limit: usize,
    open: AtomicUsize,
    sockets: AtomicUsize,
    kept_max: AtomicUsize,
    all_max: AtomicUsize,
}

impl Default for OpenFiles {
    /// With the limit of this process as it is now.
    fn default() -> OpenFiles {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        OpenFiles::new(limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX))
    }
}

impl OpenFiles {
    /// With a limit of the caller's choice.
    pub fn new(limit: usize) -> OpenFiles {
        let (open, sockets) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (kept_max, all_max) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(usize::MAX));
        OpenFiles { limit, open, sockets, kept_max, all_max }
    }

    /// How many files and sockets the process may have open.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many files are open through the disk.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many sockets are open beside the files, as [`OpenFiles::set_sockets`] said.
    pub fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }

    /// Notes how many sockets are open beside the files.
    pub fn set_sockets(&self, sockets: usize) {
        self.sockets.store(sockets, Ordering::Relaxed);
    }

    /// Sets how many files, and how many files and sockets together, may be open before files that could be
    /// opened again are no longer kept.
    pub fn keep_up_to(&self, files: usize, all: usize) {
        self.kept_max.store(files, Ordering::Relaxed);
        self.all_max.store(all, Ordering::Relaxed);
    }

    /// Whether a file that could be opened again may stay open.
    pub fn may_keep(&self) -> bool {
        let (open, all_max) = (self.open(), self.all_max.load(Ordering::Relaxed));
        open <= self.kept_max.load(Ordering::Relaxed) && open.saturating_add(self.sockets()) <= all_max
    }

    /// Counts a file for as long as the value returned lives.
    pub(crate) fn count(self: &Arc<Self>) -> Counted {
        self.open.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }
}

/// An open file that is counted.
#[derive(Debug)]
pub(crate) struct Counted(Arc<OpenFiles>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
