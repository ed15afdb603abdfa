//! A partition: its log, its watermark, and those who wait for it to move.
//!
//! Append, durable, visible and acknowledged are four steps. Under `synced` durability the watermark moves
//! when the flusher has brought the log to stable storage; under `written` it moves with the append. Nobody
//! reads at or above the watermark, so a consumer never acts on a record that a power cut can take back.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use braid_protocol::ErrorCode;
use braid_storage::flush::{Dirty, Flusher};
use braid_storage::producers::ProducerError;
use braid_storage::retain::Deleted;
use braid_storage::{
    AppendError, Appended, Checked, Error, Invalid, Log, LogConfig, ReadError, Refusal, Rules, Slice,
    SyncPoint, validate,
};
use bytes::Bytes;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard, RwLock};
use tokio::runtime::Handle;

use super::wait::{Waiter, Waiters, Waiting};
use crate::config::Durability;

/// The leader epoch of every partition of a cluster of one: there is nobody to lose an election to.
pub const LEADER_EPOCH: i32 = 0;

/// Why a partition said no.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The batch breaks a rule of the format or of the topic.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The log would not have it: out of sequence, an old producer, or the disk.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log cannot give it: an offset out of range, or the disk.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk, or what is on it.
    #[error(transparent)]
    Storage(#[from] Error),
    /// The log folder failed before, or a thread died in the middle of an append.
    #[error("the partition is offline; see the first error in the broker's log")]
    Offline,
}

impl Fault {
    /// What Kafka calls it; the one place where failures of the log become answers.
    pub fn code(&self) -> ErrorCode {
        match self {
            Fault::Refused(refusal) => match refusal.why {
                Invalid::InvalidRecord => ErrorCode::INVALID_RECORD,
                Invalid::Corrupt => ErrorCode::CORRUPT_MESSAGE,
                Invalid::TooLarge => ErrorCode::MESSAGE_TOO_LARGE,
                Invalid::RecordListTooLarge => ErrorCode::RECORD_LIST_TOO_LARGE,
                Invalid::InvalidTimestamp => ErrorCode::INVALID_TIMESTAMP,
                Invalid::UnsupportedCompression => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            },
            Fault::Append(AppendError::Producer(error)) => match error {
                ProducerError::InvalidEpoch { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
                ProducerError::OutOfOrder { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
                ProducerError::InvalidTxnState { .. } => ErrorCode::INVALID_TXN_STATE,
                ProducerError::CoordinatorFenced { .. } => ErrorCode::TRANSACTION_COORDINATOR_FENCED,
            },
            Fault::Append(AppendError::OffsetsExhausted) => ErrorCode::UNKNOWN_SERVER_ERROR,
            Fault::Read(ReadError::OutOfRange { .. }) => ErrorCode::OFFSET_OUT_OF_RANGE,
            Fault::Append(AppendError::Storage(error))
            | Fault::Read(ReadError::Storage(error))
            | Fault::Storage(error) => match error {
                Error::Corrupt { .. } => ErrorCode::CORRUPT_MESSAGE,
                _ => ErrorCode::KAFKA_STORAGE_ERROR,
            },
            Fault::Offline => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }
}

/// What a partition needs to know of its topic's config.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a batch must be like.
    pub rules: Rules,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// `flush.messages`: records that may lie unsynced under `written`.
    pub flush_messages: i64,
    /// `flush.ms`: how long a record may lie unsynced under `written`.
    pub flush_ms: i64,
}

/// What was read, and the bounds it was read within.
#[derive(Clone, Debug)]
pub struct Read {
    /// Whole batches: a slice of the segment's map. The first may begin before the offset asked for.
    pub bytes: Bytes,
    /// The first offset that can be read.
    pub log_start_offset: i64,
    /// The high watermark.
    pub watermark: i64,
}

/// The folder of `log.dirs` that a partition lies in.
#[derive(Clone)]
pub struct Home {
    /// Its path.
    pub path: Arc<Path>,
    /// What syncs there; none in a folder that could not be opened.
    pub flusher: Option<Arc<Flusher>>,
    /// Set once the folder has failed, and everything in it with it.
    pub failed: Arc<AtomicBool>,
}

/// One partition that this broker leads.
pub struct Partition {
    topic: Arc<str>,
    index: i32,
    /// Replaced under the lock of `state` only: a promise of durability holds for whole appends.
    settings: RwLock<Arc<Settings>>,
    home: Home,
    /// None if the log could not be opened.
    state: Mutex<Option<State>>,
    /// The high watermark: the offset after the last record that anyone may see.
    watermark: AtomicI64,
    offline: AtomicBool,
    /// Is there a timer that will ask for a sync?
    sync_planned: AtomicBool,
    waiters: Waiters,
}

struct State {
    log: Log,
    /// False while a change is half done; still false under a lock just taken, it tells that its maker
    /// panicked.
    whole: bool,
    /// Bytes appended since the log was opened; and how many of them were appended when the last sync began.
    appended: u64,
    syncing: u64,
    visible: u64,
}

impl Partition {
    /// A partition over its opened log. All that was recovered is visible: it was read back from the disk.
    pub fn new(topic: Arc<str>, index: i32, settings: Settings, home: Home, log: Log) -> Partition {
        let end = log.end_offset();
        let state = State { log, whole: true, appended: 0, syncing: 0, visible: 0 };
        Self::with(topic, index, settings, home, Some(state), end)
    }

    /// A partition whose log could not be opened: offline until the broker starts again.
    pub fn unopened(topic: Arc<str>, index: i32, settings: Settings, home: Home) -> Partition {
        Self::with(topic, index, settings, home, None, 0)
    }

    fn with(
        topic: Arc<str>,
        index: i32,
        settings: Settings,
        home: Home,
        state: Option<State>,
        watermark: i64,
    ) -> Partition {
        Partition {
            topic,
            index,
            settings: RwLock::new(Arc::new(settings)),
            home,
            offline: AtomicBool::new(state.is_none()),
            state: Mutex::new(state),
            watermark: AtomicI64::new(watermark),
            sync_planned: AtomicBool::default(),
            waiters: Waiters::default(),
        }
    }

    /// Goes by other settings from the next append on.
    pub fn configure(&self, settings: Settings, log: LogConfig) -> Result<(), Fault> {
        let mut state = self.lock()?;
        state.log.set_config(log);
        *self.settings.write() = Arc::new(settings);
        // A timer may be set to the old time; it does no harm.
        self.sync_planned.store(false, Ordering::Release);
        Ok(())
    }

    /// The topic's name.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The partition's number.
    pub fn index(&self) -> i32 {
        self.index
    }

    /// What an acknowledgement means here.
    pub fn durability(&self) -> Durability {
        self.settings.read().durability
    }

    /// The folder of `log.dirs` that it lies in.
    pub fn home(&self) -> &Arc<Path> {
        &self.home.path
    }

    /// Its name in checkpoints.
    pub fn key(&self) -> (String, i32) {
        (self.topic.to_string(), self.index)
    }

    /// The high watermark.
    pub fn watermark(&self) -> i64 {
        self.watermark.load(Ordering::Acquire)
    }

    /// The last stable offset: no transaction that began below it is open.
    pub fn last_stable_offset(&self) -> i64 {
        self.watermark()
    }

    /// True once the partition can neither be written nor trusted.
    pub fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire) || self.home.failed.load(Ordering::Acquire)
    }

    /// Checks a batch as a client sent it. Takes no lock that an append holds.
    pub fn check(&self, records: &Bytes, zstd_allowed: bool, now_ms: i64) -> Result<Checked, Fault> {
        let rules = Rules { zstd_allowed, ..self.settings.read().rules.clone() };
        validate(records, &rules, now_ms).map_err(Fault::Refused)
    }

    /// Appends a checked batch. When it returns, the batch is in the page cache; see [`Partition::reached`].
    pub fn append(self: &Arc<Self>, batch: &Checked, now_ms: i64) -> Result<Appended, Fault> {
        let (appended, visible, must_sync, flush_ms) = {
            let mut state = self.lock()?;
            let settings = self.settings.read().clone();
            let synced = settings.durability == Durability::Synced;
            state.whole = false;
            let result = state.log.append(batch, LEADER_EPOCH, now_ms);
            state.whole = true;
            let appended = result?;
            state.appended += appended.bytes as u64;
            // What becomes visible is more than this batch, if the one before still waits to be synced.
            let visible = (!synced).then(|| (state.log.end_offset(), state.appended - state.visible));
            if let Some((offset, _)) = visible {
                self.watermark.store(offset, Ordering::Release);
                state.visible = state.appended;
            }
            let unsynced = state.log.end_offset() - state.log.synced_offset();
            // As in Kafka, a full segment is synced whatever the durability.
            let must_sync = synced || state.log.has_unsynced_segment() || unsynced >= settings.flush_messages;
            (appended, visible, must_sync, settings.flush_ms)
        };
        if let Some((offset, bytes)) = visible {
            self.waiters.moved(offset, usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        // Also a duplicate: it may still wait for the first one.
        if must_sync {
            self.submit()?;
        } else if flush_ms < i64::MAX {
            self.submit_later(flush_ms);
        }
        Ok(appended)
    }

    /// Asks for a sync in so many milliseconds, unless there is one to come already.
    fn submit_later(self: &Arc<Self>, ms: i64) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.sync_planned.swap(true, Ordering::AcqRel) {
            return;
        }
        let partition = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await;
            if let Some(partition) = partition.upgrade() {
                partition.sync_planned.store(false, Ordering::Release);
                // A failure has taken the partition offline; whoever writes next is told.
                let _ = partition.submit();
            }
        });
    }

    /// Asks for a sync of everything written so far. A disk that failed will never make it durable.
    fn submit(self: &Arc<Self>) -> Result<(), Fault> {
        let flusher = self.home.flusher.as_ref().ok_or(Fault::Offline)?;
        flusher.submit(self.clone()).map_err(|_| {
            self.go_offline();
            Fault::Offline
        })
    }

    /// Returns when the watermark is past `last_offset`: every record up to it is as durable as promised.
    pub async fn reached(&self, last_offset: i64) -> Result<(), Fault> {
        if self.watermark() > last_offset {
            return Ok(());
        }
        let waiter = Waiter::new(0);
        let _place = self.waiters.add_offset(&waiter, last_offset + 1);
        loop {
            if self.is_offline() {
                return Err(Fault::Offline);
            }
            if self.watermark() > last_offset {
                return Ok(());
            }
            waiter.woken().await;
        }
    }

    /// Returns when everything below `offset` is on stable storage, whatever an acknowledgement means.
    async fn synced(self: &Arc<Self>, offset: i64) -> Result<(), Fault> {
        let waiter = Waiter::new(0);
        // The watermark may be there already; a sync that ends wakes us all the same.
        let _place = self.waiters.add_offset(&waiter, offset);
        while self.with_log(|log| log.synced_offset())? < offset {
            self.submit()?;
            waiter.woken().await;
        }
        Ok(())
    }

    /// Nothing below `offset`, which must not be beyond the high watermark, is served from now on. Returns
    /// the first offset there is. The caller has it written down ([`super::LogDirs::save_starts`]).
    pub async fn delete_records(self: &Arc<Self>, offset: i64) -> Result<i64, Fault> {
        let watermark = self.watermark();
        if !(0..=watermark).contains(&offset) {
            let start = self.start_offset()?;
            return Err(Fault::Read(ReadError::OutOfRange { offset, start, end: watermark }));
        }
        // A log that lost its end to a power cut must not end before its start.
        self.synced(offset).await?;
        self.with_log(|log| {
            log.advance_start(offset);
            log.start_offset()
        })
    }

    /// Deletes the segments that the topic's settings no longer keep, and forgets producers that were idle
    /// for too long.
    pub fn retain(self: &Arc<Self>, now_ms: i64) -> Result<Deleted, Fault> {
        let deleted = {
            let mut state = self.lock()?;
            state.whole = false;
            state.log.expire_producers(now_ms);
            let result = state.log.retain(self.watermark(), now_ms);
            state.whole = true;
            result?
        };
        if deleted.segments() > 0 {
            self.submit()?;
        }
        Ok(deleted)
    }

    /// Unlinks the files of deleted segments that are due. Returns when the next are.
    pub fn unlink(&self, now_ms: i64) -> Result<Option<i64>, Fault> {
        let (due, next) = {
            let mut state = self.lock()?;
            (state.log.take_due(now_ms), state.log.next_due())
        };
        // Takes its time, so without the lock.
        due.run()?;
        Ok(next)
    }

    /// Counts bytes that become visible here for the waiter.
    pub fn wait<'a>(&'a self, waiter: &Arc<Waiter>) -> Waiting<'a> {
        self.waiters.add_bytes(waiter)
    }

    /// Whole batches from the one that holds `offset`, below the watermark, at most `max_bytes` of them; or
    /// one batch of any size if `at_least_one`. Takes the lock only for a look at which segments there are.
    pub fn read(&self, offset: i64, max_bytes: usize, at_least_one: bool) -> Result<Read, Fault> {
        let (reader, log_start_offset, watermark) = {
            let state = self.lock()?;
            let watermark = self.watermark();
            (state.log.reader(offset, watermark)?, state.log.start_offset(), watermark)
        };
        let Slice { bytes, .. } = reader.read(max_bytes, at_least_one)?;
        Ok(Read { bytes, log_start_offset, watermark })
    }

    /// The first record at or after a time, in ms since the epoch: its time and offset.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<(i64, i64)>, Fault> {
        Ok(self.lock()?.log.offset_for_timestamp(timestamp, self.last_stable_offset())?)
    }

    /// The largest time of a record, and the first offset that has it.
    pub fn max_timestamp(&self) -> Result<Option<(i64, i64)>, Fault> {
        Ok(self.lock()?.log.max_timestamp()?)
    }

    /// The first offset that can be read.
    pub fn start_offset(&self) -> Result<i64, Fault> {
        Ok(self.lock()?.log.start_offset())
    }

    /// The largest leader epoch at or below `epoch`, and where it ended (KIP-101).
    pub fn epoch_end(&self, epoch: i32) -> Result<Option<(i32, i64)>, Fault> {
        let end = self.lock()?.log.epoch_end_offset(epoch);
        Ok(end.map(|(epoch, offset)| (epoch, offset.min(self.watermark()))))
    }

    /// Runs `look` over the log, for figures and checkpoints.
    pub fn with_log<T>(&self, look: impl FnOnce(&mut Log) -> T) -> Result<T, Fault> {
        Ok(look(&mut self.lock()?.log))
    }

    /// Takes the partition offline: the folder failed or the topic is gone. Everyone who waits is told.
    pub fn go_offline(&self) {
        self.offline.store(true, Ordering::Release);
        self.waiters.wake_all();
    }

    /// Removes the log's files. The partition must be offline. None if there is no log to remove.
    pub fn delete_log(&self) -> Option<Result<(), Error>> {
        self.state.lock().as_ref().map(|state| state.log.delete())
    }

    fn lock(&self) -> Result<MappedMutexGuard<'_, State>, Fault> {
        let state = MutexGuard::try_map(self.state.lock(), Option::as_mut).map_err(|_| Fault::Offline)?;
        if !state.whole {
            self.go_offline();
        }
        if self.is_offline() { Err(Fault::Offline) } else { Ok(state) }
    }
}

impl Dirty for Partition {
    fn begin(&self) -> Option<SyncPoint> {
        let mut state = self.lock().ok()?;
        state.syncing = state.appended;
        state.log.dirty().then(|| state.log.sync_point())
    }

    fn end(&self, result: Result<SyncPoint, io::Error>) {
        let Ok(point) = result else { return self.go_offline() };
        let (watermark, bytes) = {
            let Ok(mut state) = self.lock() else { return };
            state.log.synced(point);
            let bytes = state.syncing.saturating_sub(state.visible);
            state.visible = state.visible.max(state.syncing);
            let watermark = state.log.synced_offset();
            // Under `written` the watermark is ahead of the disk.
            (self.watermark.fetch_max(watermark, Ordering::AcqRel).max(watermark), bytes as usize)
        };
        self.waiters.moved(watermark, bytes);
    }
}
