//! Making a log durable: what a sync must cover, what a checkpoint and a close write down.
//!
//! One at a time syncs a log: the flusher, or the thread that opens or closes it.

use std::io;
use std::mem;
use std::sync::Arc;

use crate::checkpoint;
use crate::disk::File;
use crate::error::{At, Error};
use crate::flush::SyncPoint;
use crate::log::{EPOCHS, Log};
use crate::segment::Segment;

/// What the next sync must cover beside the active file.
#[derive(Default)]
pub(crate) struct Unsynced {
    pub(crate) files: Vec<Arc<dyn File>>,
    pub(crate) sealed: Vec<Arc<Segment>>,
    /// New names in the partition's folder.
    pub(crate) dir: bool,
    /// The partition's folder is new itself.
    pub(crate) parent: bool,
}

impl Log {
    /// Is there anything that the next sync would make durable?
    pub fn dirty(&self) -> bool {
        self.end != self.synced || self.unsynced.dir || !self.unsynced.files.is_empty()
    }

    /// Is a segment full and not synced yet?
    pub fn has_unsynced_segment(&self) -> bool {
        !self.unsynced.sealed.is_empty()
    }

    /// What has to be synced for everything written so far to be durable. It must be synced, and given to
    /// [`Log::synced`]; if its sync fails, this log must not be written to again.
    pub fn sync_point(&mut self) -> SyncPoint {
        let Unsynced { mut files, sealed, dir, parent } = mem::take(&mut self.unsynced);
        if self.end.position > 0 {
            files.push(Arc::clone(&self.file));
        }
        SyncPoint { files, sealed, dir, parent, place: Arc::clone(&self.place), mark: self.end }
    }

    /// `point` was synced: moves the synced offset up to it.
    pub fn synced(&mut self, point: SyncPoint) {
        for sealed in &point.sealed {
            sealed.release();
        }
        if point.mark.offset > self.synced.offset || point.mark.segment > self.synced.segment {
            self.synced = point.mark;
        }
    }

    /// Syncs here and now. For starts, stops and tests; a broker at work has a `Flusher`. A failure is final:
    /// the log can still be read, but neither appended to nor synced.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.refuse_if_failed()?;
        let point = self.sync_point();
        self.failed = true;
        point.sync().at(&self.place.dir)?;
        self.failed = false;
        self.synced(point);
        Ok(())
    }

    /// Once a sync has failed nothing is written or synced any more.
    pub(crate) fn refuse_if_failed(&self) -> Result<(), Error> {
        match self.failed {
            true => Err(io::Error::other("a sync failed before")).at(&self.place.dir),
            false => Ok(()),
        }
    }

    /// Writes down what is new in the caches: index entries, aborted transactions, producers, leader epochs.
    /// To be called before a new recovery point is kept (recovery trusts the indexes below it), which makes
    /// recovery short. A few small syncs.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        for file in self.active().save_indexes(false)? {
            let synced = file.sync().at(&self.place.dir);
            synced.inspect_err(|_| self.active().indexes_lost())?;
            self.unsynced.dir = true;
        }
        self.active().save_txns()?;
        self.save_snapshot()?;
        self.save_epochs()
    }

    /// The checkpoint of recovery points on disk says `offset` now. Only below it may segments be compacted.
    pub fn checkpointed(&mut self, offset: i64) {
        self.recovery_point = offset.min(self.synced.offset).max(self.recovery_point);
    }

    /// Writes everything down and syncs it, so that the folder can be opened with
    /// [`OpenMode::Clean`](crate::OpenMode::Clean). Costs nothing if nothing was written since. The log may
    /// still be read, and even written to, if it is closed again.
    pub fn close(&mut self) -> Result<(), Error> {
        self.finish()?;
        if self.dirty() { self.sync() } else { Ok(()) }
    }

    /// [`Log::close`] without the sync, which has to follow ([`Log::dirty`], [`Log::sync_point`]): for many
    /// logs that are synced together.
    pub fn finish(&mut self) -> Result<(), Error> {
        let mut files = self.active().save_indexes(true)?;
        self.active().save_txns()?;
        files.extend(self.save_snapshot()?);
        if self.torn || !files.is_empty() {
            self.trim()?;
        }
        self.unsynced.dir |= !files.is_empty();
        self.unsynced.files.append(&mut files);
        self.save_epochs()
    }

    /// Cuts off what a failed write left behind the end, and gives back reserved space.
    pub(crate) fn trim(&mut self) -> Result<(), Error> {
        self.file.set_len(self.end.position).at(&self.active().path("log"))?;
        self.torn = false;
        Ok(())
    }

    /// Writes the producers down as they are at the log's end, unless they are already. Two generations are
    /// kept, and the newest that does not lie behind the recovery point: recovery replays from there.
    pub(crate) fn save_snapshot(&mut self) -> Result<Option<Arc<dyn File>>, Error> {
        let offset = self.end.offset;
        if self.snapshots.last() == Some(&offset) {
            return Ok(None);
        }
        let disk = &*self.place.disk;
        let path = self.place.path(offset, "snapshot");
        let file = checkpoint::replace(disk, &path, &self.producers.snapshot())?;
        self.snapshots.push(offset);
        while let [_, second, _, ..] = self.snapshots[..] {
            let gone = match second <= self.recovery_point {
                true => 0,
                false if self.snapshots.len() > 3 => 1,
                false => break,
            };
            // One that cannot be removed does no harm.
            let _ = disk.remove(&self.place.path(self.snapshots.remove(gone), "snapshot"));
        }
        Ok(Some(file))
    }

    pub(crate) fn save_epochs(&mut self) -> Result<(), Error> {
        if mem::take(&mut self.epochs_changed) {
            let path = self.place.dir.join(EPOCHS);
            let written = checkpoint::write(&*self.place.disk, &path, self.epochs.to_text().as_bytes());
            self.epochs_changed = written.is_err();
            return written;
        }
        Ok(())
    }
}
