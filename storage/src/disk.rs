//! The seam to the file system: `Disk` and `File`, a few methods each, and the real ones.
//!
//! Appends are `pwritev` at a position that the caller names, into space reserved ahead (`fallocate` without
//! changing the size, so that a file is never longer than what was written). Reads are slices of one shared,
//! read-only map that is as large as the file may become; only bytes below the written length are ever given
//! out, since touching a page beyond the end of a file is a SIGBUS. For the same reason a file is cut only
//! above that length. This is the one file with `unsafe` in it.
//! The disk remembers which memory is a map of which open file, so that a slice can be sent from there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rustix::fs::FallocateFlags;

use crate::open_files::{Counted, OpenFiles};

/// A file system, or a part of one.
pub trait Disk: Send + Sync {
    /// Opens a file to read and write it; with `create` it and the folders above it are made if missing.
    /// `capacity` is how large it may become (a hint: what is mapped).
    fn open(&self, path: &Path, create: bool, capacity: u64) -> io::Result<Arc<dyn File>>;
    /// Makes a directory whose parent is there. False if something of this name is there already.
    fn make_dir(&self, dir: &Path) -> io::Result<bool>;
    /// What is in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Moves a file or folder, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, or a folder with everything in it. What is open stays readable.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder survive a power cut.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Is it the operating system's? Then folders can be locked, and synced as a whole.
    fn is_real(&self) -> bool {
        false
    }
    /// How many files may be open, where that is limited.
    fn open_files(&self) -> Option<&OpenFiles> {
        None
    }
    /// Where a slice that was read lies, if its file is still open here: the sender can leave the
    /// copying to the system.
    fn origin(&self, _slice: &[u8]) -> Option<Origin> {
        None
    }
}

/// A place in an open file.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file.
    pub file: Arc<fs::File>,
    /// Bytes from its beginning.
    pub at: u64,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name, without the folder. Names that are not UTF-8 are left out of listings.
    pub name: String,
    /// Bytes; 0 for a folder.
    pub len: u64,
    /// Is it a folder?
    pub is_dir: bool,
}

/// An open file.
pub trait File: Send + Sync {
    /// Bytes written so far.
    fn len(&self) -> u64;
    /// `len` bytes from `at` on, without a copy. An error if they reach beyond [`File::len`].
    fn read(&self, at: u64, len: usize) -> io::Result<Bytes>;
    /// Writes all slices at `at`, which becomes the end of the file's contents when it succeeds. After an
    /// error nothing is different for readers. The slices are used up.
    fn append(&self, at: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Makes the contents and the length survive a power cut. After an error no further call can be trusted.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to this length and gives reserved space back. Slices handed out must lie below it.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Is there nothing in it?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The operating system's files.
#[derive(Clone, Debug, Default)]
pub struct RealDisk {
    maps: Arc<Maps>,
    files: Arc<OpenFiles>,
}

impl RealDisk {
    /// A disk that believes in another limit of open files than the process has.
    pub fn with_limit(files: usize) -> RealDisk {
        RealDisk { maps: Arc::default(), files: Arc::new(OpenFiles::new(files)) }
    }
}

/// Which memory is a map of which file: by where it begins, how long it is. All of it is mapped as long as it
/// stands here, so no other bytes can lie there.
#[derive(Debug, Default)]
struct Maps(RwLock<BTreeMap<usize, (usize, Weak<fs::File>)>>);

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool, capacity: u64) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(create).mode(0o644);
        let file = match options.open(path) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().ok_or(error)?)?;
                options.open(path)?
            }
            opened => opened?,
        };
        let len = file.metadata()?.len();
        let (file, maps) = (Arc::new(file), self.maps.clone());
        let space = Space { capacity, reserved: AtomicU64::new(len), refused: AtomicBool::new(false) };
        let (len, map, counted) = (AtomicU64::new(len), Mutex::new(None), self.files.count());
        Ok(Arc::new(RealFile { file, len, space, map, maps, _counted: counted }))
    }

    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            made => made.map(|()| true),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_dir = entry.file_type()?.is_dir();
            let len = if is_dir { 0 } else { entry.metadata()?.len() };
            entries.push(Entry { name, len, is_dir });
        }
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path)?.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn is_real(&self) -> bool {
        true
    }

    fn open_files(&self) -> Option<&OpenFiles> {
        Some(&self.files)
    }

    fn origin(&self, slice: &[u8]) -> Option<Origin> {
        let at = slice.as_ptr().addr();
        let maps = self.maps.0.read();
        let (begin, (len, file)) = maps.range(..=at).next_back()?;
        let inside = (at - begin).checked_add(slice.len()).is_some_and(|end| end <= *len);
        let file = file.upgrade().filter(|_| inside)?;
        Some(Origin { file, at: (at - begin) as u64 })
    }
}

struct RealFile {
    file: Arc<fs::File>,
    /// What was written by whole appends: readers never see more.
    len: AtomicU64,
    space: Space,
    /// All of the file that may ever be, and then some; see [`map`].
    map: Mutex<Option<Bytes>>,
    maps: Arc<Maps>,
    _counted: Counted,
}

impl File for RealFile {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
        let end = at.checked_add(len as u64).filter(|end| *end <= self.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if len == 0 {
            return Ok(Bytes::new());
        }
        let mut slot = self.map.lock();
        let whole = match &*slot {
            Some(mapped) if mapped.len() as u64 >= end => mapped,
            // A file that outgrew its capacity is mapped with room to grow, so that this stays rare.
            _ if end > self.space.capacity => {
                slot.insert(map(&self.file, end.saturating_mul(2), &self.maps)?)
            }
            _ => slot.insert(map(&self.file, self.space.capacity, &self.maps)?),
        };
        Ok(whole.slice(at as usize..end as usize))
    }

    fn append(&self, mut at: u64, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let total: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        let end = at.checked_add(total).ok_or(io::ErrorKind::FileTooLarge)?;
        self.space.reserve(&self.file, end);
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match rustix::io::pwritev(&self.file, slices, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.len.store(end, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.len.fetch_min(len, Ordering::AcqRel);
        self.file.set_len(len)?;
        self.len.store(len, Ordering::Release);
        self.space.reserved.store(len, Ordering::Relaxed);
        Ok(())
    }
}

/// Blocks reserved behind the end of a file, so that a write need not look for them.
struct Space {
    capacity: u64,
    reserved: AtomicU64,
    refused: AtomicBool,
}

impl Space {
    /// Files this small reserve nothing: most partitions are.
    const SMALL: u64 = 64 << 10;
    const STEP_MAX: u64 = 64 << 20;

    /// Sees to it that `end` is reserved, if the file is worth it: each time as much again as there is. Only
    /// makes things faster, so a refusal is not an error: a disk that is full will say so to the write.
    fn reserve(&self, file: &fs::File, end: u64) {
        let reserved = self.reserved.load(Ordering::Relaxed);
        if end <= Space::SMALL || end <= reserved || self.refused.load(Ordering::Relaxed) {
            return;
        }
        let target = (end + end.min(Space::STEP_MAX)).min(self.capacity).max(end);
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, reserved, target - reserved) {
            Ok(()) => self.reserved.store(target, Ordering::Relaxed),
            Err(rustix::io::Errno::OPNOTSUPP) => self.refused.store(true, Ordering::Relaxed),
            Err(_) => {}
        }
    }
}

/// A map that is known to its disk as long as it lives.
struct Mapped {
    map: memmap2::Mmap,
    maps: Arc<Maps>,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Before the memory is given back, and may become another map.
        self.maps.0.write().remove(&self.map.as_ptr().addr());
    }
}

/// Maps the first `len` bytes of a file, also those it does not have yet.
#[allow(unsafe_code)]
fn map(file: &Arc<fs::File>, len: u64, maps: &Arc<Maps>) -> io::Result<Bytes> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: of the map, only slices below `RealFile::len` leave this file. Those bytes have been written,
    // are never written again (a log is only appended to), and are not cut off while slices are out
    // (`File::set_len`). One process owns a data folder (`dir.rs`), so nobody else changes the file.
    let map = unsafe { memmap2::MmapOptions::new().len(len).map(&**file)? };
    maps.0.write().insert(map.as_ptr().addr(), (len, Arc::downgrade(file)));
    Ok(Bytes::from_owner(Mapped { map, maps: maps.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(capacity: u64) -> (tempfile::TempDir, Arc<dyn File>) {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk::default().open(&dir.path().join("a/b/c.log"), true, capacity).unwrap();
        (dir, file)
    }

    #[test]
    fn slices_of_the_map_see_appends_and_never_more_than_was_written() {
        let (_dir, file) = file(1 << 20);
        file.append(0, &mut [IoSlice::new(b"hello "), IoSlice::new(b""), IoSlice::new(b"world")]).unwrap();
        assert_eq!(file.read(0, 11).unwrap(), "hello world");
        assert_eq!(file.read(5, 7).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(file.read(u64::MAX, 1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let before = file.read(0, 5).unwrap();
        file.append(11, &mut [IoSlice::new(&[7; 3 << 20])]).unwrap();
        assert_eq!(file.len(), 11 + (3 << 20));
        assert_eq!(file.read(11 + (2 << 20), 1 << 20).unwrap(), vec![7; 1 << 20]);
        assert_eq!(before, "hello");
    }

    #[test]
    fn reserved_space_does_not_lengthen_the_file_and_is_given_back() {
        use std::os::unix::fs::MetadataExt;
        let (dir, file) = file(1 << 30);
        let path = dir.path().join("a/b/c.log");
        file.append(0, &mut [IoSlice::new(&[1; 100 << 10])]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 100 << 10);
        file.set_len(100 << 10).unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 <= 104 << 10);
        file.append(100 << 10, &mut [IoSlice::new(&[2; 10])]).unwrap();
        assert_eq!(file.read(100 << 10, 10).unwrap(), vec![2; 10]);
    }

    #[test]
    fn a_removed_file_stays_readable() {
        let (dir, file) = file(0);
        file.append(0, &mut [IoSlice::new(b"abc")]).unwrap();
        RealDisk::default().remove(&dir.path().join("a")).unwrap();
        assert_eq!(file.read(0, 3).unwrap(), "abc");
    }

    #[test]
    fn a_slice_tells_which_open_file_it_lies_in() {
        use std::os::unix::fs::FileExt;
        let (dir, disk) = (tempfile::tempdir().unwrap(), RealDisk::default());
        let open = |name: &str| disk.open(&dir.path().join(name), true, 1 << 20).unwrap();
        let (one, other) = (open("one"), open("other"));
        one.append(0, &mut [IoSlice::new(b"hello world")]).unwrap();
        other.append(0, &mut [IoSlice::new(b"something else")]).unwrap();
        let (ours, theirs) = (one.read(6, 5).unwrap(), other.read(0, 9).unwrap());
        let Origin { file, at } = disk.origin(&ours).unwrap();
        let mut again = [0; 5];
        file.read_exact_at(&mut again, at).unwrap();
        assert_eq!((at, &again), (6, b"world"));
        assert_eq!(disk.origin(&theirs).unwrap().at, 0);
        assert!(disk.origin(b"bytes of nobody's").is_none());

        // Closed by all but the caller.
        drop((one, file));
        assert!(disk.origin(&ours).is_none());
        assert_eq!(ours, "world");
        drop((other, theirs));
        assert_eq!(disk.maps.0.read().len(), 1);
        drop(ours);
        assert!(disk.maps.0.read().is_empty());
    }
}
