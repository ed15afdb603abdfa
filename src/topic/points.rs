//! The checkpoints of a log folder: up to where each log is synced, and where it starts.

use std::path::Path;

use braid_storage::checkpoint::{
    LOG_STARTS, Offsets, RECOVERY_POINTS, is_blank, read_offsets, write_offsets,
};
use braid_storage::{Disk, Error, Log};
use tracing::warn;

/// A topic's name and the number of a partition.
pub(super) type Key = (String, i32);

/// The points of one log.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogPoints {
    /// Up to where it is synced.
    pub(super) recovery: i64,
    /// Its start offset.
    pub(super) start: i64,
    /// The base offset of its first segment.
    pub(super) first_base: i64,
}

impl LogPoints {
    pub(super) fn of(log: &Log) -> LogPoints {
        let (recovery, start) = (log.synced_offset(), log.start_offset());
        LogPoints { recovery, start, first_base: log.first_base_offset() }
    }
}

/// What both files say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Points {
    recovery: Offsets,
    /// Only the starts that are not those of a log's first segment.
    starts: Offsets,
    /// Whether they differ from what is on disk.
    starts_changed: bool,
}

impl Points {
    /// Reads the files. Without recovery points, all logs are read from their start; without starts, deleted
    /// records would come back, so that a damaged file of those is an error.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Points, Error> {
        let recovery = read_offsets(disk, &dir.join(RECOVERY_POINTS)).unwrap_or_else(|error| {
            warn!(%error, "without recovery points, all logs are read from their start");
            None
        });
        let path = dir.join(LOG_STARTS);
        let starts = read_offsets(disk, &path)?;
        let starts_changed = starts.is_none();
        let (recovery, starts) = (recovery.unwrap_or_default(), starts.unwrap_or_default());
        let points = Points { recovery, starts, starts_changed };
        // The file is written at the first checkpoint, and then has a line at least.
        if points.recovery.values().any(|point| *point > 0) && is_blank(disk, &path)? {
            let path = path.display();
            warn!(%path, "missing or empty: records that DeleteRecords has deleted can be read again");
        }
        Ok(points)
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
        self.starts_changed |= self.starts.remove(&key).is_some();
        self.recovery.insert(key, 0);
    }

    /// Sets a log's points; a start at or before its first segment is not written.
    pub(super) fn set(&mut self, key: Key, now: LogPoints) {
        self.set_start(key.clone(), now);
        self.recovery.insert(key, now.recovery);
    }

    /// Sets a log's start.
    pub(super) fn set_start(&mut self, key: Key, now: LogPoints) {
        let (before, now) = match now.start > now.first_base {
            true => (self.starts.insert(key, now.start), Some(now.start)),
            false => (self.starts.remove(&key), None),
        };
        self.starts_changed |= before != now;
    }

    /// Keeps the points of these logs only. True if there were others.
    pub(super) fn keep(&mut self, wanted: impl Fn(&Key) -> bool) -> bool {
        let before = (self.recovery.len(), self.starts.len());
        self.recovery.retain(|key, _| wanted(key));
        self.starts.retain(|key, _| wanted(key));
        self.starts_changed |= self.starts.len() < before.1;
        (self.recovery.len(), self.starts.len()) != before
    }

    /// Forgets a log. True if there was something to forget.
    pub(super) fn forget(&mut self, key: &Key) -> bool {
        let (recovery, start) = (self.recovery.remove(key), self.starts.remove(key));
        self.starts_changed |= start.is_some();
        start.or(recovery).is_some()
    }

    /// Writes both files.
    pub(super) fn write(&mut self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        self.write_starts(disk, dir)?;
        write_offsets(disk, &dir.join(RECOVERY_POINTS), &self.recovery)
    }

    /// Writes the starts alone, if they have changed.
    pub(super) fn write_starts(&mut self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        if self.starts_changed {
            write_offsets(disk, &dir.join(LOG_STARTS), &self.starts)?;
            self.starts_changed = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use braid_storage::sim::SimDisk;

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    // A crash of the file system left the file empty: deleted records came back, without a word.
    #[test]
    fn starts_that_are_missing_are_not_passed_over_in_silence() {
        let dir = Path::new("/data");
        let said = |recovery: &str, starts: Option<&str>| {
            let (disk, said) = (SimDisk::new(), Said::default());
            disk.plant(&dir.join(RECOVERY_POINTS), recovery.as_bytes());
            starts.iter().for_each(|text| disk.plant(&dir.join(LOG_STARTS), text.as_bytes()));
            let writer = said.clone();
            let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
            tracing::subscriber::with_default(subscriber, || Points::read(&disk, dir).unwrap());
            let bytes = said.0.lock().unwrap();
            String::from_utf8(bytes.clone()).unwrap()
        };
        for starts in [None, Some("")] {
            let text = said("0\n1\nt 0 7\n", starts);
            assert!(text.contains("WARN") && text.contains("/data/log-start-offset-checkpoint"), "{text}");
            for nothing_written in ["", "0\n0\n", "0\n1\nt 0 0\n"] {
                assert_eq!(said(nothing_written, starts), "");
            }
        }
        for starts in ["0\n0\n", "0\n1\nt 0 3\n"] {
            assert_eq!(said("0\n1\nt 0 7\n", Some(starts)), "");
        }
    }
}
