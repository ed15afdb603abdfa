//! What a data folder says of its partitions, and whether a broker uses it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use braid_storage::checkpoint::{self, MetaProperties, Offsets};
use braid_storage::{Disk, Error};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::finding::Finding;
use super::read_only::ReadOnly;
use crate::cluster;

/// How far each partition was cleaned; only compacted ones are in it.
pub(super) const CLEANED: &str = "cleaner-offset-checkpoint";

/// The files of a data folder that are about its partitions.
pub(super) struct DataFolder {
    pub(super) path: PathBuf,
    /// What is wrong with these files.
    pub(super) findings: Vec<Finding>,
    /// Does anything tell that this is a data folder?
    known: bool,
    clean: bool,
    recovery_points: Offsets,
    log_starts: Offsets,
    watermarks: Offsets,
    cleaned: Offsets,
}

/// What its data folder says of one partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    /// Will the next start look for what a crash left behind?
    pub(super) unclean: bool,
    /// Was it closed, so that what is written last is there?
    pub(super) closed: bool,
    /// Offsets below are synced.
    pub(super) recovery_point: Option<i64>,
    /// The first offset.
    pub(super) log_start: Option<i64>,
    /// The high watermark.
    pub(super) watermark: Option<i64>,
    /// Offsets below are compacted.
    pub(super) cleaned: Option<i64>,
}

impl Context {
    /// Does the next start read the log from here on, and mend what it finds?
    pub(super) fn recovers(&self, offset: i64) -> bool {
        self.unclean && offset >= self.recovery_point.unwrap_or(0)
    }
}

impl DataFolder {
    /// Reads what there is; a folder without any of it is not a data folder, and says nothing.
    pub(super) fn read(path: &Path) -> DataFolder {
        let mut findings = Vec::new();
        let mut offsets = |name: &str| {
            let read = read_offsets(&path.join(name));
            let read = read.map_err(|error| findings.push(of_error(&path.join(name), error))).ok().flatten();
            read.unwrap_or_default()
        };
        let recovery_points = offsets(checkpoint::RECOVERY_POINTS);
        let log_starts = offsets(checkpoint::LOG_STARTS);
        let watermarks = offsets(checkpoint::HIGH_WATERMARKS);
        let cleaned = offsets(CLEANED);
        let points = path.join(checkpoint::RECOVERY_POINTS);
        let meta = MetaProperties::read(&ReadOnly, path);
        let has_meta = path.join(checkpoint::META_PROPERTIES).exists();
        let known = has_meta || points.exists();
        if known && has_nothing(&points) {
            let then = "a start that is not clean reads every log from its beginning";
            findings.push(Finding::new(&points, "missing or empty").harmless(then));
        }
        let starts = path.join(checkpoint::LOG_STARTS);
        // Both are written at each checkpoint, and this one then has a line at least.
        if recovery_points.values().any(|point| *point > 0) && has_nothing(&starts) {
            let what = "missing or empty: records that DeleteRecords has deleted can be read again";
            findings.push(Finding::new(&starts, what));
        }
        match meta {
            Err(error) => findings.push(of_error(&path.join(checkpoint::META_PROPERTIES), error)),
            Ok(None) if known => findings.push(
                Finding::new(&path.join(checkpoint::META_PROPERTIES), "missing")
                    .harmless("the next start writes it again"),
            ),
            Ok(_) => {}
        }
        let clean = path.join(checkpoint::CLEAN_SHUTDOWN).exists();
        let path = path.to_path_buf();
        DataFolder { path, findings, known, clean, recovery_points, log_starts, watermarks, cleaned }
    }

    /// Is there anything in it that only a data folder has?
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// What it says of the partition whose folder has this name.
    pub(super) fn context(&self, name: &str) -> Context {
        let key =
            name.rsplit_once('-').and_then(|(topic, n)| Some((topic.to_owned(), n.parse::<i32>().ok()?)));
        let of = |offsets: &Offsets| key.as_ref().and_then(|key| offsets.get(key).copied());
        Context {
            // The metadata log is never closed.
            unclean: self.known && (!self.clean || name == cluster::FOLDER),
            closed: self.known && self.clean && of(&self.recovery_points).is_some(),
            recovery_point: of(&self.recovery_points),
            log_start: of(&self.log_starts),
            watermark: of(&self.watermarks),
            cleaned: of(&self.cleaned),
        }
    }

    /// The partitions that have a recovery point above 0 and so must be there.
    pub(super) fn expected(&self) -> impl Iterator<Item = String> {
        let written = self.recovery_points.iter().filter(|(_, offset)| **offset > 0);
        written.map(|((topic, partition), _)| format!("{topic}-{partition}"))
    }
}

/// Takes a data folder's lock, shared with other tools, so that no broker starts while it is held. `None` if
/// it has none. The error is a line for people: a broker is there, Braid (flock) or Kafka (a POSIX lock).
pub(super) fn lock(dir: &Path) -> Result<Option<File>, String> {
    let path = dir.join(".lock");
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let posix = fcntl_getlk(&file, &Flock::from(FlockType::ReadLock)).map_err(|e| failed(e.into()))?;
    match file.try_lock_shared() {
        Ok(()) if posix.is_none() => Ok(Some(file)),
        Ok(()) | Err(TryLockError::WouldBlock) => {
            Err(format!("{} is used by a broker; stop it first", dir.display()))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Is the checkpoint missing, or has it not even a version?
fn has_nothing(path: &Path) -> bool {
    checkpoint::is_blank(&ReadOnly, path).unwrap_or(false)
}

/// Reads a checkpoint; Kafka makes these files before it has anything to say, and then they are empty.
pub(super) fn read_offsets(path: &Path) -> Result<Option<Offsets>, Error> {
    match checkpoint::read(&ReadOnly, path)? {
        Some(bytes) if bytes.is_empty() => Ok(Some(Offsets::new())),
        _ => checkpoint::read_offsets(&ReadOnly, path),
    }
}

/// A file that the storage's own parser refused.
pub(super) fn of_error(path: &Path, error: Error) -> Finding {
    match error {
        Error::Malformed { why, .. } => Finding::new(path, why),
        Error::Io { source, .. } => Finding::new(path, format!("cannot be read: {source}")),
        other => Finding::new(path, other),
    }
}

/// The names of files (or of folders) in a folder, in order.
pub(super) fn names(dir: &Path, folders: bool) -> Result<Vec<String>, String> {
    let listed = ReadOnly.list(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut names: Vec<_> = listed.into_iter().filter(|e| e.is_dir == folders).map(|e| e.name).collect();
    names.sort_unstable();
    Ok(names)
}

/// The offset that a segment's file is named for, and its kind: `00000000000000000042.index` is 42, `index`.
pub(super) fn segment_file(name: &str) -> Option<(i64, &str)> {
    let (stem, kind) = name.split_once('.')?;
    let digits = stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
    Some((stem.parse().ok().filter(|_| digits)?, kind))
}

/// Is this the name of a partition's folder, not of one that is deleted or was put aside?
pub(super) fn is_partition(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(topic, n)| !topic.is_empty() && n.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_file_is() {
        assert_eq!(segment_file("00000000000000000042.index"), Some((42, "index")));
        assert_eq!(segment_file("00000000000000000042.log.deleted"), Some((42, "log.deleted")));
        for name in ["42.index", "leader-epoch-checkpoint", "+0000000000000000042.log", ""] {
            assert_eq!(segment_file(name), None, "{name}");
        }
        assert!(is_partition("with-dash-12") && !is_partition("t-0.0123-delete") && !is_partition("-0"));
    }

    #[test]
    fn a_lock_is_seen_and_a_folder_without_one_is_free() {
        let dir = tempfile::tempdir().unwrap();
        assert!(lock(dir.path()).unwrap().is_none());
        let broker = braid_storage::dir::DirLock::acquire(dir.path()).unwrap();
        assert!(lock(dir.path()).unwrap_err().contains("used by a broker"));
        drop(broker);
        let tool = lock(dir.path()).unwrap();
        assert!(tool.is_some() && lock(dir.path()).is_ok());
        assert!(braid_storage::dir::DirLock::acquire(dir.path()).is_err());
    }
}
