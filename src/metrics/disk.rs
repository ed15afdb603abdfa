//! A file system whose syncs are timed: what Kafka calls log flushes.
//!
//! Not done: when very many logs are dirty the flusher syncs the whole file system at once, and that is not a
//! sync of a file: it is not timed.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use braid_storage::{Disk, Entry, File, OpenFiles, Origin};
use bytes::Bytes;

use super::timing::Timing;

/// Another file system, and a clock beside it.
pub(super) struct TimedDisk {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) syncs: Arc<Timing>,
}

struct TimedFile {
    file: Arc<dyn File>,
    syncs: Arc<Timing>,
}

impl Disk for TimedDisk {
    fn open(&self, path: &Path, create: bool, capacity: u64) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, create, capacity)?;
        Ok(Arc::new(TimedFile { file, syncs: self.syncs.clone() }))
    }

    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        self.disk.make_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn is_real(&self) -> bool {
        self.disk.is_real()
    }

    fn open_files(&self) -> Option<&OpenFiles> {
        self.disk.open_files()
    }

    fn origin(&self, slice: &[u8]) -> Option<Origin> {
        self.disk.origin(slice)
    }
}

impl File for TimedFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
        self.file.read(at, len)
    }

    fn append(&self, at: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.file.append(at, slices)
    }

    fn sync(&self) -> io::Result<()> {
        let began = Instant::now();
        let synced = self.file.sync();
        self.syncs.record(began.elapsed());
        synced
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
