//! A cluster of one: the metadata log beside the partitions' logs, and the image it adds up to.
//!
//! A change is appended and synced before it is published, and published before it is answered. The log is an
//! ordinary Kafka log whose records are JSON ([`Change`]) under a key, so `kafka-dump-log` can show it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use braid_storage::{AppendError, BatchBuilder, Disk, Error, Log, LogConfig, OpenMode, batches, records};
use parking_lot::{Mutex, RwLock};

use super::{Change, Image};

/// The folder of the metadata log. Kafka would read the name as a partition of an unknown topic.
pub const FOLDER: &str = "__braid_metadata-0";
/// The leader epoch of the metadata log: it has one writer forever.
const LEADER_EPOCH: i32 = 0;
/// How much of the metadata log is read at a time when it is replayed.
const REPLAY_BYTES: usize = 1 << 20;

/// The metadata of a broker that is a cluster by itself.
pub struct Solo {
    log: Mutex<Log>,
    image: RwLock<Arc<Image>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Solo {
    /// Opens the metadata log in `dir`, or begins one, and replays it.
    ///
    /// A new one is of the cluster given, or of a new one, and begins with the changes that `found` brings:
    /// all in one batch, so that a crash leaves all of them or none. The log is always recovered from its
    /// start: it is small, and every record in it was synced.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        cluster_id: Option<&str>,
        found: impl FnOnce() -> Result<Vec<Change>, Error>,
        now_ms: i64,
    ) -> Result<Solo, Error> {
        let path = dir.join(FOLDER);
        let mode = OpenMode::Recover { recovery_point: 0 };
        let mut log = Log::open(disk, &path, LogConfig::default(), mode, 0, now_ms)?;
        let mut image = Image::default();
        for change in replay(&log, &path)? {
            image.apply(&change);
        }
        if image.cluster_id.is_empty() {
            let new = || braid_protocol::Uuid(*uuid::Uuid::new_v4().as_bytes()).to_string();
            let mut first =
                vec![Change::Formatted { cluster_id: cluster_id.map_or_else(new, str::to_owned) }];
            first.extend(found()?);
            write(&mut log, &first, now_ms)?;
            first.iter().for_each(|change| image.apply(change));
        }
        Ok(Solo { log: Mutex::new(log), image: RwLock::new(Arc::new(image)), turn: Arc::default() })
    }

    /// The cluster as it is now.
    pub fn image(&self) -> Arc<Image> {
        self.image.read().clone()
    }

    /// The offset after the last record of the metadata log. All of it is on stable storage.
    pub fn end_offset(&self) -> i64 {
        self.log.lock().end_offset()
    }

    /// The leader epoch of the metadata log.
    pub fn leader_epoch(&self) -> i32 {
        LEADER_EPOCH
    }

    /// Commits and publishes a change while the broker starts, when nobody else can change anything.
    pub fn commit_at_start(&self, change: Change, now_ms: i64) -> Result<(), Error> {
        let mut next = Image::clone(&self.image());
        next.apply(&change);
        write(&mut self.log.lock(), &[change], now_ms)?;
        *self.image.write() = Arc::new(next);
        Ok(())
    }

    /// Waits for the right to change the cluster: one at a time, so that what was decided still holds when it
    /// is written.
    pub async fn turn(self: &Arc<Self>) -> Turn {
        let held = self.turn.clone().lock_owned().await;
        Turn { image: self.image(), cluster: self.clone(), _held: held }
    }
}

/// The right to change the cluster, held until dropped.
pub struct Turn {
    cluster: Arc<Solo>,
    image: Arc<Image>,
    _held: tokio::sync::OwnedMutexGuard<()>,
}

impl Turn {
    /// The cluster before the change.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Writes the changes to stable storage, all of them or none. Blocks; they are not visible yet.
    pub fn commit(&self, changes: &[Change], now_ms: i64) -> Result<(), Error> {
        write(&mut self.cluster.log.lock(), changes, now_ms)
    }

    /// Shows everyone the image that the changes lead to, and gives the turn to the next.
    pub fn publish(self, next: Arc<Image>) {
        *self.cluster.image.write() = next;
    }
}

fn write(log: &mut Log, changes: &[Change], now_ms: i64) -> Result<(), Error> {
    let path = log.dir().to_owned();
    let mut batch = BatchBuilder::new();
    for change in changes {
        let value = serde_json::to_vec(change).map_err(|e| unreadable(&path, -1, &e))?;
        batch.push(now_ms, Some(change.key().as_bytes()), Some(&value), &[]);
    }
    let batch = batch.build().map_err(|e| Error::Io { path: path.clone(), source: io::Error::other(e) })?;
    match log.append(&batch, None, LEADER_EPOCH, now_ms) {
        Ok(_) => log.sync(),
        Err(AppendError::Storage(error)) => Err(error),
        Err(error) => Err(Error::Io { path, source: io::Error::other(error) }),
    }
}

fn replay(log: &Log, path: &Path) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    let mut next = log.start_offset();
    while next < log.end_offset() {
        let read = log.read(next, REPLAY_BYTES, log.end_offset(), true);
        for (header, batch) in batches(&read.map_err(|e| unreadable(path, next, &e))?.bytes) {
            for record in records(&batch).map_err(|e| unreadable(path, next, &e))? {
                let record = record.map_err(|e| unreadable(path, next, &e))?;
                let change = serde_json::from_slice(record.value.as_deref().unwrap_or_default());
                changes.push(change.map_err(|e| unreadable(path, record.offset, &e))?);
            }
            next = header.last_offset() + 1;
        }
    }
    Ok(changes)
}

/// A metadata log that passed its checksums and still says nothing: another version's, perhaps.
fn unreadable(path: &Path, offset: i64, why: &dyn std::fmt::Display) -> Error {
    let source = io::Error::other(format!("the record at offset {offset} cannot be read: {why}"));
    Error::Io { path: path.to_owned(), source }
}
