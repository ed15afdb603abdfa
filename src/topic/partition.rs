//! A partition: its log, its watermark, and those who wait for it to move.
//!
//! Append, durable, visible and acknowledged are four steps. Under `synced` durability the watermark moves
//! when the flusher has brought the log to stable storage; under `written` it moves with the append. Nobody
//! reads at or above the watermark, so a consumer never acts on a record that a power cut can take back.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use braid_storage::flush::Dirty;
use braid_storage::{
    Appended, BatchBuilder, Checked, CleanedSegment, Log, LogConfig, Rules, SyncPoint, TxnGuard, TxnStatus,
    Validation,
};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::fault::Fault;
use super::home::Home;
use super::points::LogPoints;
use super::settings::Settings;
use super::state::{Locked, State};
use super::status::{Closed, Status};
use super::turn::SyncTurn;
use super::wait::{Moved, Waiter, Waiters};
use crate::config::Durability;

/// One partition that this broker leads.
pub struct Partition {
    topic: Arc<str>,
    index: i32,
    /// Replaced under the lock of `state` only: a promise of durability holds for whole appends.
    settings: RwLock<Arc<Settings>>,
    home: Home,
    /// None if the log could not be opened, or was closed.
    state: Mutex<Option<State>>,
    /// The high watermark: the offset after the last record that anyone may see.
    watermark: AtomicI64,
    /// The last stable offset. Moves with the watermark, under the lock of `state`, and never ahead of it.
    pub(super) stable: AtomicI64,
    status: Status,
    /// The epoch that its leader, this broker, appends with. Never below that of a batch in the log.
    pub(super) leader_epoch: AtomicI32,
    /// Is there a timer that will ask for a sync?
    sync_planned: AtomicBool,
    pub(super) waiters: Waiters,
}

/// The end of a transaction in one partition (KIP-98), as its coordinator decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Whose transaction.
    pub producer_id: i64,
    /// The producer's epoch; from transaction version 2 on the one after that of the data (KIP-890).
    pub producer_epoch: i16,
    /// The coordinator's epoch.
    pub coordinator_epoch: i32,
    /// Committed, not aborted?
    pub commit: bool,
}

impl Partition {
    /// A partition over its opened log. All that was recovered is visible: it was read back from the disk.
    pub fn new(topic: Arc<str>, index: i32, settings: Settings, home: Home, log: Log) -> Partition {
        let state = State::new(log);
        let end = state.log.end_offset();
        let stable = state.log.last_stable_offset(end);
        Self::with(topic, index, settings, home, Some(state), (end, stable))
    }

    /// A partition whose log could not be opened: offline until the broker starts again.
    pub fn unopened(topic: Arc<str>, index: i32, settings: Settings, home: Home) -> Partition {
        Self::with(topic, index, settings, home, None, (0, 0))
    }

    fn with(
        topic: Arc<str>,
        index: i32,
        settings: Settings,
        home: Home,
        state: Option<State>,
        (watermark, stable): (i64, i64),
    ) -> Partition {
        Partition {
            topic,
            index,
            settings: RwLock::new(Arc::new(settings)),
            home,
            leader_epoch: AtomicI32::new(state.as_ref().and_then(|s| s.log.latest_epoch()).unwrap_or(0)),
            status: Status::new(state.is_none().then_some(Closed::Failed)),
            state: Mutex::new(state),
            watermark: AtomicI64::new(watermark),
            stable: AtomicI64::new(stable),
            sync_planned: AtomicBool::default(),
            waiters: Waiters::default(),
        }
    }

    /// Applies other settings from the next append on.
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

    /// How large a batch may be: `max.message.bytes`.
    pub fn batch_bytes_max(&self) -> usize {
        self.settings.read().rules.max_message_bytes
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

    /// The last stable offset: no transaction that began below it is open, or has an end that nobody may see
    /// yet.
    pub fn last_stable_offset(&self) -> i64 {
        self.stable.load(Ordering::Acquire)
    }

    /// Has this producer, with this epoch, begun a transaction here? If not, its coordinator must be asked
    /// before a batch may, and the guard be given to [`Partition::append`].
    pub fn transaction(&self, producer_id: i64, epoch: i16) -> Result<TxnStatus, Fault> {
        Ok(self.lock()?.log.transaction(producer_id, epoch))
    }

    /// Epoch of the coordinator that wrote this producer's last marker; -1 for none. A marker of a smaller
    /// epoch is refused.
    pub fn coordinator_epoch(&self, producer_id: i64) -> Result<i32, Fault> {
        Ok(self.lock()?.log.coordinator_epoch(producer_id))
    }

    /// Why the partition is not served; `None` while it is.
    pub fn closed(&self) -> Option<Closed> {
        let failed = || self.home.failed.load(Ordering::Acquire).then_some(Closed::Failed);
        self.status.closed().or_else(failed)
    }

    /// Whether the partition is not served.
    pub fn is_offline(&self) -> bool {
        self.closed().is_some()
    }

    /// Begins to check a batch as a client sent it. Takes no lock that an append holds.
    pub fn check(&self, records: &Bytes, zstd_allowed: bool, now_ms: i64) -> Result<Validation, Fault> {
        let rules = Rules { zstd_allowed, ..self.settings.read().rules.clone() };
        Validation::begin(records, &rules, now_ms).map_err(Fault::Refused)
    }

    /// Appends a checked batch. When it returns, the batch is in the page cache; see [`Partition::reached`].
    /// `guard`: the leave to begin a transaction, from [`Partition::transaction`].
    pub fn append(
        self: &Arc<Self>,
        batch: &Checked,
        guard: Option<TxnGuard>,
        now_ms: i64,
    ) -> Result<Appended, Fault> {
        let (appended, must_sync) = self.write(batch, guard, now_ms)?;
        if must_sync {
            self.submit()?;
        }
        Ok(appended)
    }

    /// The same; but that it is synced waits for the end of `turn`, so that one sync serves all of it.
    pub fn append_in(
        self: &Arc<Self>,
        turn: &SyncTurn,
        batch: &Checked,
        guard: Option<TxnGuard>,
        now_ms: i64,
    ) -> Result<Appended, Fault> {
        let (appended, must_sync) = self.write(batch, guard, now_ms)?;
        if must_sync {
            turn.add(self, appended.bytes);
        }
        Ok(appended)
    }

    /// Appends, and tells whether that is to be synced now.
    fn write(
        self: &Arc<Self>,
        batch: &Checked,
        guard: Option<TxnGuard>,
        now_ms: i64,
    ) -> Result<(Appended, bool), Fault> {
        let (appended, moved, must_sync, flush_ms) = {
            let mut state = self.lock()?;
            let settings = self.settings.read().clone();
            let synced = settings.durability == Durability::Synced;
            let appended = self.judged(state.log.append(batch, guard, self.leader_epoch(), now_ms))?;
            state.appended += appended.bytes as u64;
            // What becomes visible is more than this batch, if the one before still waits to be synced.
            let (end, all) = (state.log.end_offset(), state.appended);
            let moved = (!synced).then(|| self.advance_high_watermark(&mut state, end, all));
            let unsynced = end - state.log.synced_offset();
            // As in Kafka, a full segment is synced whatever the durability. A duplicate, too, may still wait
            // for the first one.
            let must_sync = synced || state.log.has_unsynced_segment() || unsynced >= settings.flush_messages;
            (appended, moved, must_sync, settings.flush_ms)
        };
        if let Some(moved) = moved {
            self.waiters.moved(moved);
        }
        if !must_sync && flush_ms < i64::MAX {
            self.submit_later(flush_ms);
        }
        Ok((appended, must_sync))
    }

    /// Ends a transaction of this partition. One that is not open here is ended all the same: a coordinator
    /// that lost the answer asks twice.
    pub fn append_marker(self: &Arc<Self>, marker: Marker, now_ms: i64) -> Result<Appended, Fault> {
        let Marker { producer_id, producer_epoch, coordinator_epoch, commit } = marker;
        let batch = BatchBuilder::new().producer(producer_id, producer_epoch, -1);
        let mut batch = batch.transactional().control();
        batch.push_marker(now_ms, commit, coordinator_epoch);
        self.append(&batch.build()?, None, now_ms)
    }

    /// Moves the watermark to `offset`, below which lie the first `bytes` that were ever appended, and the
    /// last stable offset with it. Neither ever moves back.
    fn advance_high_watermark(&self, state: &mut State, offset: i64, bytes: u64) -> Moved {
        let before = (self.last_stable_offset(), self.watermark());
        let watermark = self.watermark.fetch_max(offset, Ordering::AcqRel).max(offset);
        state.log.advance_high_watermark(watermark);
        let stable = state.log.last_stable_offset(watermark);
        self.stable.store(stable, Ordering::Release);
        let news = usize::try_from(bytes.saturating_sub(state.visible)).unwrap_or(usize::MAX);
        state.visible = state.visible.max(bytes);
        let stable_bytes = match before {
            (old, _) if old >= stable => 0,
            (old, seen) if old >= seen => news,
            // What a transaction held back is more than what is new.
            _ => usize::MAX,
        };
        Moved { watermark, bytes: news, stable_bytes }
    }

    /// Asks for a sync in this many milliseconds, unless one is planned already.
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
                // A failure has taken the partition offline; the next append is refused.
                let _ = partition.submit();
            }
        });
    }

    /// Asks for a sync of everything written so far. A disk that failed will never make it durable.
    pub(super) fn submit(self: &Arc<Self>) -> Result<(), Fault> {
        let failed = || {
            self.shut(Closed::Failed);
            Fault::Closed(self.closed().unwrap_or(Closed::Failed))
        };
        let flusher = self.home.flusher.as_ref().ok_or_else(failed)?;
        flusher.submit(self.clone()).map_err(|_| failed())
    }

    /// Syncs everything written so far if nobody else is syncing in this folder and threads may wait here;
    /// says whether it did. Other tasks go on meanwhile, on another thread.
    pub(super) fn sync_if_idle(self: &Arc<Self>) -> bool {
        let many_threads =
            || Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
        let Some(flusher) = self.home.flusher.as_ref() else { return false };
        flusher.is_idle()
            && many_threads()
            && tokio::task::block_in_place(|| flusher.sync_if_idle(self.clone()))
    }

    /// Returns when the watermark is past `last_offset`: every record up to it is as durable as promised.
    pub async fn reached(&self, last_offset: i64) -> Result<(), Fault> {
        if self.watermark() > last_offset {
            return Ok(());
        }
        let waiter = Waiter::new(0);
        let _place = self.waiters.add_offset(&waiter, last_offset + 1);
        loop {
            if let Some(why) = self.closed() {
                return Err(Fault::Closed(why));
            }
            if self.watermark() > last_offset {
                return Ok(());
            }
            waiter.woken().await;
        }
    }

    /// Looks at the log, for figures.
    pub fn look<T>(&self, look: impl FnOnce(&Log) -> T) -> Result<T, Fault> {
        Ok(look(&self.lock()?.log))
    }

    /// See [`Log::replace`].
    pub fn replace(&self, old: &[i64], new: CleanedSegment, now_ms: i64) -> Result<bool, Fault> {
        let replaced = self.lock()?.log.replace(old, new, now_ms);
        replaced.map_err(Fault::Storage)
    }

    /// See [`Log::checkpoint`].
    pub(super) fn checkpoint(&self) -> Result<LogPoints, Fault> {
        let mut state = self.lock()?;
        state.log.checkpoint()?;
        Ok(LogPoints::of(&state.log))
    }

    /// See [`Log::checkpointed`].
    pub(super) fn checkpointed(&self, recovery_point: i64) -> Result<(), Fault> {
        self.lock()?.log.checkpointed(recovery_point);
        Ok(())
    }

    /// See [`Log::finish`].
    pub(super) fn finish(&self) -> Result<(), Fault> {
        Ok(self.lock()?.log.finish()?)
    }

    /// Passes a result on; a disk that failed is given up, with all that is on it.
    pub(super) fn judged<T, E: Into<Fault>>(&self, result: Result<T, E>) -> Result<T, Fault> {
        result.map_err(Into::into).inspect_err(|fault| self.judge(fault))
    }

    /// Something failed that has to do with this log, on the way here or elsewhere: if it was the disk, the
    /// folder goes offline.
    pub fn judge(&self, fault: &Fault) {
        if let Some(error) = fault.storage() {
            self.home.judge(error);
        }
    }

    /// Ends service, and wakes every waiter to find that out.
    pub fn shut(&self, why: Closed) {
        self.status.close(why);
        self.waiters.wake_all();
    }

    /// The directory of the log is about to be removed: from now on it is no failure that it is gone.
    pub(super) fn abandon_log(&self) {
        if let Some(state) = self.state.lock().as_ref() {
            state.log.abandon();
        }
    }

    /// Takes the log out, for a shutdown: the partition is offline then. None if it was before.
    pub(super) fn close(&self) -> Option<Log> {
        drop(self.lock().ok()?);
        let state = self.state.lock().take();
        self.shut(Closed::Stopped);
        state.map(|state| state.log)
    }

    pub(super) fn lock(&self) -> Result<Locked<'_>, Fault> {
        let state = MutexGuard::try_map(self.state.lock(), Option::as_mut);
        if let Some(why) = self.closed() {
            drop(state);
            // Waiters may not have been woken: a log directory fails with all its partitions.
            self.waiters.wake_all();
            return Err(Fault::Closed(why));
        }
        let state = state.map_err(|_| Fault::Closed(Closed::Stopped))?;
        Ok(Locked::new(self, state))
    }
}

impl Dirty for Partition {
    fn begin(&self) -> Option<SyncPoint> {
        let mut state = self.lock().ok()?;
        state.syncing = state.appended;
        state.log.dirty().then(|| state.log.sync_point())
    }

    fn end(&self, result: Result<SyncPoint, io::Error>) {
        let Ok(point) = result else { return self.shut(Closed::Failed) };
        let moved = {
            let Ok(mut state) = self.lock() else { return };
            state.log.synced(point);
            // Under `written` the watermark is ahead of the disk.
            let (synced, bytes) = (state.log.synced_offset(), state.syncing);
            self.advance_high_watermark(&mut state, synced, bytes)
        };
        self.waiters.moved(moved);
    }
}
