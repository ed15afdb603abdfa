//! One partition's log: segments in order; append and roll. `sync.rs` makes it durable, `reader.rs` reads,
//! `lookup.rs` finds by time, `retain.rs` deletes old segments, `swap.rs` replaces compacted ones,
//! `recover.rs` opens.
//!
//! One thread at a time appends (the partition's lock); readers take a snapshot under that lock and read
//! without it. Written and synced are two ends: what is synced survives a power cut.

use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::batch::{Header, TimestampType};
pub use crate::config::LogConfig;
use crate::disk::{Disk, File};
use crate::epochs::Epochs;
use crate::error::{AppendError, Error, ReadError};
pub use crate::flush::SyncPoint;
use crate::producers::{Producers, TxnGuard, TxnStatus};
use crate::proof::Step;
pub use crate::reader::{Reader, Slice};
use crate::segment::{Place, Segment};
use crate::swap::{Doomed, Swap};
use crate::sync::Unsynced;
use crate::validate::Checked;

/// The name of the epochs' file in a partition's folder.
pub(crate) const EPOCHS: &str = "leader-epoch-checkpoint";

/// How the log was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// By [`Log::close`], or it is new.
    Clean,
    /// Not so: everything from the segment of this offset on is checked. What lies below was synced once, and
    /// its loss is an error.
    Recover {
        /// From the recovery point checkpoint.
        recovery_point: i64,
    },
    /// By another broker, whose cleaner may have left gaps between offsets also above the
    /// recovery point: those are believed, as Kafka does.
    Foreign {
        /// From the recovery point checkpoint.
        recovery_point: i64,
    },
    /// Not so, and there is no recovery point: the checkpoint is lost, or does not know the log yet.
    /// Everything is checked, and gaps between offsets are believed, as Kafka does: compaction may have left
    /// them.
    Unknown,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The broker's time, if that is what counts in the batch; otherwise -1.
    pub log_append_time_ms: i64,
    /// The log's first offset, as Produce answers it.
    pub log_start_offset: i64,
    /// How many bytes were written; 0 for a duplicate.
    pub bytes: usize,
    /// It was appended before, and this is the first answer again.
    pub duplicate: bool,
}

/// An offset and where its batch begins, in which segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) offset: i64,
    pub(crate) segment: i64,
    pub(crate) position: u64,
}

/// A partition's log.
pub struct Log {
    pub(crate) place: Arc<Place>,
    pub(crate) config: LogConfig,
    /// Oldest first; never empty; the last one is written to. Shared with readers, replaced on a roll.
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    pub(crate) file: Arc<dyn File>,
    pub(crate) start: i64,
    pub(crate) end: Mark,
    pub(crate) synced: Mark,
    pub(crate) producers: Producers,
    pub(crate) epochs: Epochs,
    pub(crate) epochs_changed: bool,
    /// Offsets of the producer snapshots on disk, in order.
    pub(crate) snapshots: Vec<i64>,
    /// Largest timestamp of the active segment's first batch, once known.
    pub(crate) first_timestamp: Option<i64>,
    /// When the active segment was made or opened.
    pub(crate) active_since_ms: i64,
    pub(crate) unsynced: Unsynced,
    /// What the recovery point checkpoint on disk says: below it, recovery expects gaps and asks no
    /// questions.
    pub(crate) recovery_point: i64,
    /// A swap that is decided and not done yet.
    pub(crate) swap: Option<Swap>,
    /// Files that have lost their names and are to be unlinked.
    pub(crate) doomed: Vec<Doomed>,
    /// A failed write may have left bytes behind the end.
    pub(crate) torn: bool,
    /// A sync has failed: what it should have kept may be gone, and a second one would not tell.
    pub(crate) failed: bool,
}

impl Log {
    /// Opens the log in folder `dir` (`.../<topic>-<partition>`); makes it if it is not there, which costs a
    /// folder and an empty file. `log_start_offset`: no offset below it is served; where a new log begins.
    ///
    /// After a crash, whatever does not form a log is cut from the end, but never below the recovery point:
    /// that, and a log that ends before its start, is `Error::Corrupt`. What is left is synced.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: LogConfig,
        how: OpenMode,
        log_start_offset: i64,
        now_ms: i64,
    ) -> Result<Log, Error> {
        let mut log = Log::open_written(disk, dir, config, how, log_start_offset, now_ms)?;
        if log.end.offset > log.synced.offset || !log.unsynced.files.is_empty() {
            log.sync()?;
        }
        Ok(log)
    }

    /// [`Log::open`] without the sync, which may take long: [`Log::synced_offset`] tells from where on the
    /// records that a killed process left are still in the page cache only, and the next sync covers them.
    pub fn open_written(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: LogConfig,
        how: OpenMode,
        log_start_offset: i64,
        now_ms: i64,
    ) -> Result<Log, Error> {
        crate::recover::open(disk, dir, config, how, log_start_offset, now_ms)
    }

    /// A new log in a directory that was just made and is empty.
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, config: LogConfig, now_ms: i64) -> Result<Log, Error> {
        crate::recover::create(disk, dir, config, now_ms)
    }

    /// Has this producer, with this epoch, begun a transaction here? If not, its coordinator must be asked
    /// before a batch of it may; the guard then goes to [`Log::append`].
    pub fn transaction(&self, producer_id: i64, epoch: i16) -> TxnStatus {
        self.producers.transaction(producer_id, epoch)
    }

    /// Epoch of the coordinator that wrote this producer's last marker here; -1 for none. One of a smaller
    /// epoch is taken for an older coordinator.
    pub fn coordinator_epoch(&self, producer_id: i64) -> i32 {
        self.producers.coordinator_epoch(producer_id)
    }

    /// Appends a batch: checks its producer, gives it offsets, writes it. `guard`: the leave to begin a
    /// transaction, from [`Log::transaction`]. After an error the log is as before.
    pub fn append(
        &mut self,
        batch: &Checked,
        guard: Option<TxnGuard>,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.refuse_if_failed()?;
        if let Some(before) = self.producers.check(&batch.header, &batch.body, guard)? {
            return Ok(Appended {
                base_offset: before.base_offset(),
                last_offset: before.last_offset,
                log_append_time_ms: log_append_time(&batch.header, before.timestamp),
                log_start_offset: self.start,
                bytes: 0,
                duplicate: true,
            });
        }
        let mut header = batch.header;
        header.base_offset = self.end.offset;
        header.partition_leader_epoch = leader_epoch;
        let next = header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1);
        let next = next.ok_or(AppendError::OffsetsExhausted)?;
        if self.must_roll(&header, now_ms)? {
            self.roll(now_ms)?;
        }
        if header.is_control() {
            // Loads them if need be, so that nothing can fail once the batch is written.
            self.active().with_txns(&self.segments, |_| ())?;
        }
        if let Err(error) = self.write(&header, &batch.body) {
            // What it left is not part of the log. If it cannot be cut off now, closing and rolling insist on
            // it.
            self.torn = self.file.set_len(self.end.position).is_err();
            return Err(error.into());
        }
        let bytes = header.total_len();
        self.end.offset = next;
        self.end.position += bytes as u64;
        self.first_timestamp.get_or_insert(header.max_timestamp);
        if let Some(ended) = self.producers.update(&header, &batch.body, now_ms) {
            self.active().with_txns(&self.segments, |index| index.push(&ended))?;
        }
        self.epochs_changed |= self.epochs.assign(leader_epoch, header.base_offset);
        Ok(Appended {
            base_offset: header.base_offset,
            last_offset: next - 1,
            log_append_time_ms: log_append_time(&header, header.max_timestamp),
            log_start_offset: self.start,
            bytes,
            duplicate: false,
        })
    }

    fn write(&self, header: &Header, body: &[u8]) -> Result<(), Error> {
        self.active().append(&*self.file, header, body, self.config.index_interval_bytes)
    }

    /// The segment that is written to.
    pub(crate) fn active(&self) -> &Arc<Segment> {
        // Not empty: made with one, and only ever added to.
        self.segments.last().expect("a log has a segment")
    }

    /// Is the active segment full, or old, with a batch of this header to come?
    fn must_roll(&mut self, next: &Header, now_ms: i64) -> Result<bool, Error> {
        let size = self.end.position;
        let index_max = self.config.index_max_bytes;
        // Asked even of an empty segment: it sees to it that the indexes are there to be added to.
        let index_full = self.active().with_indexes(|indexes| indexes.is_full(index_max))?;
        if size == 0 {
            return Ok(false);
        }
        let base = self.active().base;
        let first = match self.first_timestamp {
            Some(first) => first,
            None => match self.active().survey(0)?.next().transpose()? {
                Some(Step::Good(found)) => found.header.max_timestamp,
                _ => -1,
            },
        };
        self.first_timestamp = Some(first);
        let age = match first {
            0.. => next.max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.active_since_ms),
        };
        Ok(size.saturating_add(next.total_len() as u64) > self.config.segment_bytes.min(i32::MAX as u64)
            || age > self.config.segment_ms.saturating_sub(self.config.segment_jitter_ms)
            || index_full
            || next.last_offset() - base > i64::from(i32::MAX))
    }

    /// Seals the active segment and begins a new one at the log's end. Does nothing if the active one is
    /// empty.
    pub fn roll(&mut self, now_ms: i64) -> Result<(), Error> {
        if self.end.position == 0 {
            return Ok(());
        }
        let base = self.end.offset;
        let interval = self.config.index_interval_bytes;
        let sealed = Arc::clone(self.active());
        let mut files = sealed.save_indexes(true)?;
        sealed.save_txns()?;
        files.extend(self.save_snapshot()?);
        self.trim()?;
        // Comes last of what can fail: an empty segment must not be left in the folder while the old one goes
        // on.
        let next = Arc::new(Segment::create(&self.place, base, self.config.segment_bytes, interval)?);
        let Some(file) = next.file() else { return Ok(()) };
        files.push(mem::replace(&mut self.file, file));
        self.unsynced.files.append(&mut files);
        self.unsynced.sealed.push(sealed);
        self.unsynced.dir = true;
        Arc::make_mut(&mut self.segments).push(next);
        self.end = Mark { offset: base, segment: base, position: 0 };
        self.first_timestamp = None;
        self.active_since_ms = now_ms;
        Ok(())
    }

    /// The first offset that can be read.
    pub fn start_offset(&self) -> i64 {
        self.start
    }

    /// Nothing below `offset` is served from now on (DeleteRecords, retention); segments stay. Never moves
    /// back, nor beyond the end. The caller keeps it in the checkpoint; what is not synced below it must not
    /// be lost by then, since a log that ends before its start cannot be opened.
    pub fn advance_start(&mut self, offset: i64) {
        self.start = offset.min(self.end.offset).max(self.start);
        self.epochs_changed |= self.epochs.start_at(self.start);
    }

    /// The base offset of the oldest segment: the start offset, unless that was moved into the segment.
    pub fn first_base_offset(&self) -> i64 {
        self.segments.first().map_or(self.start, |segment| segment.base)
    }

    /// The offset that the next record gets.
    pub fn end_offset(&self) -> i64 {
        self.end.offset
    }

    /// Everything below is on stable storage.
    pub fn synced_offset(&self) -> i64 {
        self.synced.offset
    }

    /// Bytes in all `.log` files.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size()).sum()
    }

    /// How many segments there are; at least one.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// How many places with bad bytes were found since it was opened. Each was logged once; none is served.
    pub fn quarantined(&self) -> u64 {
        self.place.quarantined.load(Ordering::Relaxed)
    }

    /// The settings.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Changes the settings; they count from the next append on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The folder it is in.
    pub fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// What is known of the producers.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Where `read_committed` ends, given the high watermark: before the first transaction that is open, or
    /// whose end is not below the watermark.
    pub fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        self.producers.last_stable_offset(high_watermark).max(self.start)
    }

    /// The high watermark has advanced: transactions that ended below it hold nothing back any more.
    pub fn advance_high_watermark(&mut self, high_watermark: i64) {
        self.producers.forget_ended(high_watermark);
    }

    /// Forgets producers that were idle for longer than the settings allow. To be called now and then.
    pub fn expire_producers(&mut self, now_ms: i64) {
        self.producers.expire(now_ms, self.config.producer_expiration_ms);
    }

    /// The largest leader epoch that a batch carries.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.latest()
    }

    /// The leader epoch of the batch at `offset`, if that is in the log.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.epochs.at(offset)
    }

    /// The largest epoch not larger than `epoch`, and the offset after its last; `None` if `epoch` is newer
    /// than all. `current` is the epoch of the leader.
    pub fn epoch_end_offset(&self, epoch: i32, current: i32) -> Option<(i32, i64)> {
        self.epochs.end_offset(epoch, current, self.end.offset)
    }

    /// A snapshot for reading from `offset`, never beyond `up_to` (the start of a batch, or the end). Cheap:
    /// the reading itself needs no lock.
    pub fn reader(&self, offset: i64, up_to: i64) -> Result<Reader, ReadError> {
        let (start, end) = (self.start, self.end.offset);
        if !(start..=end).contains(&offset) {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        let known = if up_to == self.synced.offset { self.synced } else { self.end };
        Ok(Reader::new(Arc::clone(&self.segments), offset, up_to.min(end), known))
    }

    /// [`Log::reader`] and [`Reader::read`] in one.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        up_to: i64,
        at_least_one: bool,
    ) -> Result<Slice, ReadError> {
        Ok(self.reader(offset, up_to)?.read(max_bytes, at_least_one)?)
    }

    /// Closes the files of sealed segments, which are opened again when they are next read.
    pub fn close_sealed(&self) {
        self.segments.iter().for_each(|segment| segment.close_if_sealed());
    }

    /// Deletes the log: its folder gets a name that nothing takes for a log's, and is removed. Readers that
    /// are out finish.
    pub fn delete(&self) -> Result<(), Error> {
        self.abandon();
        crate::dir::delete(&*self.place.disk, &self.place.dir)
    }

    /// The log is about to be deleted: from now on it is no failure that its directory is gone.
    pub fn abandon(&self) {
        self.place.deleted.store(true, Ordering::Release);
    }
}

/// The time that Produce answers: only if it is the broker's.
fn log_append_time(header: &Header, timestamp: i64) -> i64 {
    match timestamp_type(header) {
        TimestampType::LogAppendTime => timestamp,
        TimestampType::CreateTime => -1,
    }
}

fn timestamp_type(header: &Header) -> TimestampType {
    if header.log_append_time() { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
}
