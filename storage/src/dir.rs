//! Folders as a whole: one process owns a data folder by the lock on its `.lock` file, which the system drops
//! when the process ends; and a partition's folder goes in one step.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::{At, Error};

/// The longest name of a file, in bytes: NAME_MAX of Linux.
const NAME_MAX: usize = 255;

/// Held as long as the folder is in use.
#[derive(Debug)]
pub struct DirLock {
    path: PathBuf,
    file: File,
}

impl DirLock {
    /// Makes the folder if it is missing and takes its lock. `Error::Locked` if another process has it.
    pub fn acquire(dir: &Path) -> Result<DirLock, Error> {
        fs::create_dir_all(dir).at(dir)?;
        let path = dir.join(".lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).at(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(DirLock { path, file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: dir.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(Error::Io { path, source }),
        }
    }

    /// An error if the directory was removed, moved away or replaced while it was in use. Costs two calls.
    pub fn check(&self) -> io::Result<()> {
        let here = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let found = fs::metadata(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(error.kind(), "it was removed or moved away"),
            _ => error,
        })?;
        match here(found) == here(self.file.metadata()?) {
            true => Ok(()),
            false => Err(io::Error::other("it was replaced by another one")),
        }
    }
}

/// Deletes the directory of a partition, if there is one.
pub fn delete(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    let Some(doomed) = doom(disk, dir)? else { return Ok(()) };
    let parent = dir.parent().unwrap_or(Path::new("."));
    disk.sync_dir(parent).at(parent)?;
    disk.remove(&doomed).at(&doomed)
}

/// Gives the directory of a partition a name that nothing takes for a partition's: the first half of its
/// deletion. Returns the new path; none if there is no such directory.
pub fn doom(disk: &dyn Disk, dir: &Path) -> Result<Option<PathBuf>, Error> {
    let doomed = aside(dir, "delete");
    match disk.rename(dir, &doomed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        renamed => renamed.at(dir).map(|()| Some(doomed)),
    }
}

/// A new name for the directory of a partition that nothing takes for a partition's, as Kafka makes it:
/// `<topic>-<partition>.<uuid>-<kind>`, the topic truncated where the name would be too long for a file.
pub fn aside(dir: &Path, kind: &str) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let (topic, partition) = name.rsplit_once('-').unwrap_or((&name, ""));
    let rest = format!("-{partition}.{}-{kind}", uuid::Uuid::new_v4().simple());
    let end = topic.floor_char_boundary(NAME_MAX.saturating_sub(rest.len()));
    dir.with_file_name(format!("{}{rest}", topic.get(..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // `rm -rf` of the data under a running broker, or another directory mounted over it.
    #[test]
    fn a_directory_that_is_removed_or_replaced_is_found_out() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("data");
        let lock = DirLock::acquire(&dir).unwrap();
        lock.check().unwrap();
        fs::rename(&dir, parent.path().join("elsewhere")).unwrap();
        assert_eq!(lock.check().unwrap_err().kind(), io::ErrorKind::NotFound);
        let other = DirLock::acquire(&dir).unwrap();
        assert!(lock.check().unwrap_err().to_string().contains("replaced"));
        other.check().unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(other.check().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    // DeleteTopics of a topic with a name of 212 to 249 characters failed, and so did making it again.
    #[test]
    fn a_directory_with_the_longest_name_can_be_put_aside() {
        for (name, kept) in [("t-0", "t-0."), ("with-dash-12", "with-dash-12.")] {
            let aside = aside(&Path::new("/data").join(name), "stray");
            let aside = aside.to_str().unwrap();
            assert!(aside.strip_prefix("/data/").is_some_and(|aside| aside.starts_with(kept)), "{aside}");
            assert!(aside.ends_with("-stray"), "{aside}");
        }
        let longest = format!("/data/{}-10000", "a".repeat(249));
        let aside = aside(Path::new(&longest), "delete");
        let name = aside.file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), NAME_MAX);
        assert!(name.starts_with("aaa") && name.contains("a-10000.") && name.ends_with("-delete"), "{name}");
    }

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(&dir.path().join("data")).unwrap();
        assert!(matches!(DirLock::acquire(&dir.path().join("data")), Err(Error::Locked { .. })));
        drop(lock);
        assert!(DirLock::acquire(&dir.path().join("data")).is_ok());
    }
}
