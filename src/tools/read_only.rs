//! A disk that only reads, so that the storage's own parsers can be used on a folder that must not change.
//!
//! It copies instead of mapping: a file that a running broker cuts is an error here and not a SIGBUS.

use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use braid_storage::disk::Entry;
use braid_storage::{Disk, File, RealDisk};
use bytes::Bytes;

/// See the file's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadOnly;

impl Disk for ReadOnly {
    fn open(&self, path: &Path, _create: bool, _capacity: u64) -> io::Result<Arc<dyn File>> {
        let file = fs::File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Arc::new(Opened { file, len }))
    }

    fn make_dir(&self, _dir: &Path) -> io::Result<bool> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk::default().list(dir)
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        refuse()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        refuse()
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        refuse()
    }
}

fn refuse() -> io::Result<()> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

struct Opened {
    file: fs::File,
    len: u64,
}

impl File for Opened {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
        at.checked_add(len as u64).filter(|end| *end <= self.len).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes.into())
    }

    fn append(&self, _at: u64, _slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        refuse()
    }

    fn sync(&self) -> io::Result<()> {
        refuse()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        refuse()
    }
}
