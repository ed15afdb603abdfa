//! The checkpoints of a log folder: up to where each log is synced, and where it starts.

use std::path::Path;

use braid_storage::checkpoint::{LOG_STARTS, Offsets, RECOVERY_POINTS, read_offsets, write_offsets};
use braid_storage::{Disk, Error};
use tracing::warn;

/// A topic's name and the number of a partition.
pub(super) type Key = (String, i32);

/// What both files say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Points {
    recovery: Offsets,
    /// Only the starts that are not those of a log's first segment.
    starts: Offsets,
}

impl Points {
    /// Reads the files. Without recovery points, all logs are read from their start; without starts, deleted
    /// records would come back, so that a damaged file of those is an error.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Points, Error> {
        let recovery = read_offsets(disk, &dir.join(RECOVERY_POINTS)).unwrap_or_else(|error| {
            warn!(%error, "without recovery points, all logs are read from their start");
            None
        });
        let starts = read_offsets(disk, &dir.join(LOG_STARTS))?;
        Ok(Points { recovery: recovery.unwrap_or_default(), starts: starts.unwrap_or_default() })
    }

    /// Are there any?
    pub(super) fn is_empty(&self) -> bool {
        self.recovery.is_empty()
    }

    /// The recovery point of a log, if there is one, and where it starts.
    pub(super) fn of(&self, key: &Key) -> (Option<i64>, i64) {
        (self.recovery.get(key).copied(), self.starts.get(key).copied().unwrap_or(0))
    }

    /// Puts down that a log begins.
    pub(super) fn begin(&mut self, key: Key) {
        self.recovery.insert(key, 0);
    }

    /// Puts a log's points down; a start at or before its first segment goes without saying.
    pub(super) fn set(&mut self, key: Key, recovery: i64, start: i64, first_base: i64) {
        self.set_start(key.clone(), start, first_base);
        self.recovery.insert(key, recovery);
    }

    /// Puts a log's start down.
    pub(super) fn set_start(&mut self, key: Key, start: i64, first_base: i64) {
        match start > first_base {
            true => self.starts.insert(key, start),
            false => self.starts.remove(&key),
        };
    }

    /// Keeps the points of these logs only. True if there were others.
    pub(super) fn keep(&mut self, wanted: impl Fn(&Key) -> bool) -> bool {
        let before = self.recovery.len() + self.starts.len();
        self.recovery.retain(|key, _| wanted(key));
        self.starts.retain(|key, _| wanted(key));
        self.recovery.len() + self.starts.len() < before
    }

    /// Forgets a log. True if there was something to forget.
    pub(super) fn forget(&mut self, key: &Key) -> bool {
        let recovery = self.recovery.remove(key);
        self.starts.remove(key).or(recovery).is_some()
    }

    /// Writes both files.
    pub(super) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        self.write_starts(disk, dir)?;
        write_offsets(disk, &dir.join(RECOVERY_POINTS), &self.recovery)
    }

    /// Writes the starts alone.
    pub(super) fn write_starts(&self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        write_offsets(disk, &dir.join(LOG_STARTS), &self.starts)
    }
}
