//! Partitions: files of whole batches, an index in memory, and who waits for more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use braid_bench::batch;
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use rustix::io::pwritev;
use tokio::sync::Notify;

/// CORRUPT_MESSAGE.
const CORRUPT: i16 = 2;
/// The most pieces of one `pwritev` (IOV_MAX).
const PIECES_MAX: usize = 1024;

/// All partitions, and how their files are made.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) partitions: Vec<Partition>,
    folder: PathBuf,
    segment_bytes: u64,
    synced: bool,
}

/// One partition.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// The offset behind the last record that is written.
    pub(crate) high_watermark: AtomicI64,
    /// Fetches that wait for it to grow: none cost a produce nothing.
    pub(crate) waiters: AtomicUsize,
    pub(crate) grown: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    segments: Vec<Arc<Segment>>,
    /// Bytes that are given away, of which the last ones may not be written yet.
    end: u64,
    /// Bytes that are written.
    written: u64,
    next_offset: i64,
    /// The base offset and place of every batch.
    index: Vec<(i64, u64)>,
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: File,
    /// Where in the partition the file begins.
    base: u64,
}

/// Batches that have their place, and are still to be written there.
#[derive(Debug)]
pub(crate) struct Pending {
    partition: usize,
    segment: Arc<Segment>,
    /// Where in the partition.
    position: u64,
    /// Where in the connection's buffer.
    bytes: Range<usize>,
    next_offset: i64,
}

/// A part of a file that answers a fetch.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) segment: Arc<Segment>,
    pub(crate) position: u64,
    pub(crate) length: usize,
}

impl Log {
    /// An empty log in `folder`, which is emptied.
    pub(crate) fn create(
        folder: PathBuf,
        parts: usize,
        segment_bytes: u64,
        synced: bool,
    ) -> io::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let partitions = (0..parts).map(|_| Partition::default()).collect();
        Ok(Self { partitions, folder, segment_bytes, synced })
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for partition in &self.partitions {
            *partition.state.lock() = State::default();
            partition.high_watermark.store(0, Ordering::Release);
        }
        fs::read_dir(&self.folder)?.try_for_each(|entry| fs::remove_file(entry?.path()))
    }

    /// Checks batches and gives them their place; `at` is where they begin in the connection's buffer.
    /// Returns the first one's offset, or an error code.
    pub(crate) fn append(
        &self,
        partition: usize,
        batches: &mut [u8],
        at: usize,
    ) -> Result<(i64, Pending), i16> {
        let mut rest = &*batches;
        while !rest.is_empty() {
            rest = &rest[batch::checked_length(rest).ok_or(CORRUPT)?..];
        }
        let mut state = self.partitions[partition].state.lock();
        let segment = self.room(partition, &mut state, batches.len() as u64).map_err(|_| CORRUPT)?;
        let (base_offset, position) = (state.next_offset, state.end);
        let mut start = 0;
        while let Some(length) = batch::length(&batches[start..]) {
            let one = &mut batches[start..start + length];
            batch::place(one, state.next_offset);
            let entry = (state.next_offset, position + start as u64);
            state.index.push(entry);
            state.next_offset = batch::next_offset(one);
            start += length;
        }
        state.end += start as u64;
        let bytes = at..at + start;
        Ok((base_offset, Pending { partition, segment, position, bytes, next_offset: state.next_offset }))
    }

    /// The segment that takes this many bytes: the last, or a new one.
    fn room(&self, partition: usize, state: &mut State, bytes: u64) -> io::Result<Arc<Segment>> {
        if let Some(last) = state.segments.last()
            && state.end + bytes <= last.base + self.segment_bytes
        {
            return Ok(Arc::clone(last));
        }
        let path = self.folder.join(format!("{partition}-{:020}.log", state.end));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        fallocate(&file, FallocateFlags::empty(), 0, self.segment_bytes)?;
        let segment = Arc::new(Segment { file, base: state.end });
        state.segments.push(Arc::clone(&segment));
        Ok(segment)
    }

    /// Writes what is pending, neighbours in one call, and lets consumers see it.
    pub(crate) fn flush(&self, buffer: &[u8], pending: &mut Vec<Pending>) -> io::Result<()> {
        let neighbours = |a: &Pending, b: &Pending| {
            Arc::ptr_eq(&a.segment, &b.segment) && a.position + a.bytes.len() as u64 == b.position
        };
        for run in pending.chunk_by(neighbours).flat_map(|run| run.chunks(PIECES_MAX)) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let pieces: Vec<_> = run.iter().map(|one| IoSlice::new(&buffer[one.bytes.clone()])).collect();
            let length: usize = run.iter().map(|one| one.bytes.len()).sum();
            let file = &first.segment.file;
            if pwritev(file, &pieces, first.position - first.segment.base)? < length {
                return Err(io::ErrorKind::WriteZero.into());
            }
            if self.synced {
                fdatasync(file)?;
            }
            self.partitions[first.partition].publish(first.position + length as u64, last.next_offset);
        }
        pending.clear();
        Ok(())
    }
}

impl Partition {
    fn publish(&self, written: u64, next_offset: i64) {
        let mut state = self.state.lock();
        state.written = state.written.max(written);
        self.high_watermark.fetch_max(next_offset, Ordering::AcqRel);
        drop(state);
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.grown.notify_waiters();
        }
    }

    /// What to send from `offset` on: at most `bytes_max`, but one batch at least if `one_at_least`.
    pub(crate) fn read(&self, offset: i64, bytes_max: u64, one_at_least: bool) -> Vec<Slice> {
        let state = self.state.lock();
        let found = state.index.partition_point(|(base, _)| *base <= offset);
        let Some(&(_, mut position)) = found.checked_sub(1).and_then(|at| state.index.get(at)) else {
            return Vec::new();
        };
        let first_end = state.index.get(found).map_or(state.end, |(_, end)| *end);
        let least = if one_at_least { first_end } else { 0 };
        let end = (position + bytes_max).max(least).min(state.written);
        let mut slices = Vec::new();
        let mut at = state.segments.partition_point(|segment| segment.base <= position).saturating_sub(1);
        while position < end {
            let segment = Arc::clone(&state.segments[at]);
            at += 1;
            let segment_end = state.segments.get(at).map_or(end, |next| next.base.min(end));
            let length = (segment_end - position) as usize;
            slices.push(Slice { position: position - segment.base, segment, length });
            position = segment_end;
        }
        slices
    }
}
