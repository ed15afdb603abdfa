//! One process owns a data folder: the lock on its `.lock` file. The system drops it when the process ends.

use std::fs::{self, File, TryLockError};
use std::path::Path;

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
