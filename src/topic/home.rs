//! The log directory that a partition lies in, as the partition sees it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use braid_storage::flush::Flusher;
use braid_storage::{Error, Reach};
use tracing::error;

/// The folder of `log.dirs` that a partition lies in.
#[derive(Clone)]
pub struct Home {
    /// Its path.
    pub path: Arc<Path>,
    /// What syncs there; none in a folder that could not be opened.
    pub flusher: Option<Arc<Flusher>>,
    /// Set once the folder has failed, and everything in it with it.
    pub failed: Arc<AtomicBool>,
}

impl Home {
    /// Takes the folder offline if the failure reaches that far: as in Kafka, a disk that fails at one thing
    /// is not trusted with another.
    pub(super) fn judge(&self, error: &Error) {
        let (Reach::Folder, Error::Io { source, .. }) = (error.reach(), error) else { return };
        fail(&self.path, &self.failed, source);
        if let Some(flusher) = &self.flusher {
            flusher.give_up(source);
        }
    }
}

/// Takes all of a log directory offline.
pub(super) fn fail(path: &Path, failed: &AtomicBool, error: &io::Error) {
    if !failed.swap(true, Ordering::AcqRel) {
        let log_dir = path.display();
        let remedy = "restart the broker after repairing it";
        error!(%log_dir, %error, remedy, "the log directory failed and is offline");
    }
}
