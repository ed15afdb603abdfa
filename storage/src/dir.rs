//! Folders as a whole: one process owns a data folder by the lock on its `.lock` file, which the system drops
//! when the process ends; and a partition's folder goes in one step.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::error::{At, Error};

/// Held as long as the folder is in use.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Makes the folder if it is missing and takes its lock. `Error::Locked` if another process has it.
    pub fn acquire(dir: &Path) -> Result<DirLock, Error> {
        fs::create_dir_all(dir).at(dir)?;
        let path = dir.join(".lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).at(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(DirLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: dir.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(Error::Io { path, source }),
        }
    }
}

/// Deletes the folder of a partition, if there is one: it gets a name that nothing takes for a partition's,
/// and is removed.
pub fn delete(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    let mut doomed = dir.as_os_str().to_owned();
    doomed.push(format!(".{}-delete", uuid::Uuid::new_v4().simple()));
    match disk.rename(dir, Path::new(&doomed)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.at(dir)?,
    }
    let parent = dir.parent().unwrap_or(Path::new("."));
    disk.sync_dir(parent).at(parent)?;
    disk.remove(Path::new(&doomed)).at(Path::new(&doomed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(&dir.path().join("data")).unwrap();
        assert!(matches!(DirLock::acquire(&dir.path().join("data")), Err(Error::Locked { .. })));
        drop(lock);
        assert!(DirLock::acquire(&dir.path().join("data")).is_ok());
    }
}
