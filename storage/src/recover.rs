//! Opening a log. After a clean stop nothing is walked; after a crash, everything from the last index entry
//! below the recovery point on is (from the segment's start if there is none that the log confirms): batch by
//! batch, by CRC, with offsets that continue each other.
//!
//! What a crash may leave behind the recovery point: a torn batch, zeros, bytes of an older life of the
//! blocks, segments that were not yet in the folder's order. All of that was never acknowledged as synced and
//! is truncated.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::checkpoint;
use crate::disk::{Disk, Entry};
use crate::epochs::Epochs;
use crate::error::{At, Error};
use crate::index::Indexes;
use crate::log::{EPOCHS, Log, LogConfig, Mark, OpenMode};
use crate::producers::Producers;
use crate::proof::Step;
use crate::segment::{Place, Segment};
use crate::swap;
use crate::sync::Unsynced;
use crate::walk::OLD_FORMAT;

/// Files that are leftovers whatever is in them.
const LEFTOVERS: [&str; 3] = ["tmp", "deleted", "cleaned"];

/// A log in an empty directory: nothing is looked for that cannot be there.
pub(crate) fn create(disk: Arc<dyn Disk>, dir: &Path, config: LogConfig, now_ms: i64) -> Result<Log, Error> {
    let mut log = load(place(disk, dir), config, &Folder::default(), 0, now_ms)?;
    (log.unsynced.parent, log.unsynced.dir) = (true, true);
    log.active().proof.ends_below(log.end.offset);
    log.active().with_txns(&log.segments, |_| ())?;
    Ok(log)
}

fn place(disk: Arc<dyn Disk>, dir: &Path) -> Arc<Place> {
    let (quarantined, deleted) = (AtomicU64::new(0), AtomicBool::new(false));
    Arc::new(Place { disk, dir: dir.to_path_buf(), quarantined, deleted })
}

pub(crate) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    config: LogConfig,
    how: OpenMode,
    log_start_offset: i64,
    now_ms: i64,
) -> Result<Log, Error> {
    let place = place(disk, dir);
    let mut entries = list(&place)?;
    if swap::resume(&place, &entries)? {
        entries = list(&place)?;
    }
    let found = Folder::sort(&place, entries)?;
    let is_new = found.logs.is_empty();
    let mut log = load(place, config, &found, log_start_offset, now_ms)?;
    (log.unsynced.parent, log.unsynced.dir) = (is_new, is_new);
    let (epochs, lost) = load_epochs(&log)?;
    log.epochs = epochs;
    let first = match how {
        OpenMode::Clean => {
            log.end.offset = clean_end(&log)?;
            None
        }
        OpenMode::Recover { recovery_point } => {
            Some((recover(&mut log, recovery_point, recovery_point)?, recovery_point))
        }
        OpenMode::Foreign { recovery_point } => {
            Some((recover(&mut log, recovery_point, i64::MAX)?, recovery_point))
        }
        OpenMode::Unknown => Some((recover(&mut log, 0, i64::MAX)?, 0)),
    };
    let end = log.end.offset;
    if end < log.start {
        let why = "the log ends before its start";
        return Err(Error::Corrupt { path: log.active().path("log"), offset: end, why });
    }
    log.active().proof.ends_below(end);
    log.advance_start(log.first_base_offset());
    forget_from(&mut log, end)?;
    match first {
        Some((first, recovery_point)) => {
            log.recovery_point = recovery_point;
            truncate_txns(&log, first, recovery_point)?;
            load_producers(&mut log, Some(recovery_point), now_ms)?;
            finish_recovery(&mut log, first)?;
        }
        None => {
            log.synced = log.end;
            load_producers(&mut log, None, now_ms)?;
        }
    }
    // So that whatever is appended can be noted in them.
    log.active().with_txns(&log.segments, |_| ())?;
    if let Some(path) = lost {
        tracing::warn!(
            path = %path.display(),
            "damaged or empty: where leader epochs began below the recovery point is not known any more"
        );
    }
    Ok(log)
}

fn list(place: &Place) -> Result<Vec<Entry>, Error> {
    match place.disk.list(&place.dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.at(&place.dir),
    }
}

/// A partition's files by kind.
#[derive(Default)]
struct Folder {
    /// Base offset and size.
    logs: Vec<(i64, u64)>,
    snapshots: Vec<i64>,
    /// Segments of which there is an index of aborted transactions.
    txns: HashSet<i64>,
}

impl Folder {
    fn sort(place: &Place, entries: Vec<Entry>) -> Result<Folder, Error> {
        let mut folder = Folder::default();
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            let Some((stem, suffix)) = entry.name.rsplit_once('.') else { continue };
            let offset = stem.parse::<i64>().ok().filter(|offset| *offset >= 0 && stem.len() == 20);
            match (offset, suffix) {
                (Some(base), "log") => folder.logs.push((base, entry.len)),
                (Some(offset), "snapshot") => folder.snapshots.push(offset),
                (Some(base), "txnindex") => drop(folder.txns.insert(base)),
                (_, suffix) if LEFTOVERS.contains(&suffix) => {
                    let path = place.dir.join(&entry.name);
                    place.disk.remove(&path).at(&path)?;
                }
                _ => {}
            }
        }
        folder.logs.sort_unstable();
        folder.snapshots.sort_unstable();
        Ok(folder)
    }
}

/// The log as the folder's names and sizes tell it; its end is not known yet.
fn load(
    place: Arc<Place>,
    config: LogConfig,
    found: &Folder,
    log_start_offset: i64,
    now_ms: i64,
) -> Result<Log, Error> {
    let interval = config.index_interval_bytes;
    let capacity = config.segment_bytes;
    let (active, sealed) = match found.logs.split_last() {
        Some(((last, _), sealed)) => (Segment::open(&place, *last, capacity, interval)?, sealed),
        None => (Segment::create(&place, log_start_offset, capacity, interval)?, &[][..]),
    };
    let mut segments: Vec<_> =
        sealed.iter().map(|(base, size)| Arc::new(Segment::sealed(&place, *base, *size, interval))).collect();

    let path = active.path("log");
    let file = active.file().ok_or(io::Error::from(io::ErrorKind::NotFound)).at(&path)?;
    let end = Mark { offset: active.base, segment: active.base, position: active.size() };
    segments.push(Arc::new(active));
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
        segment.proof.ends_below(next.base);
    }
    segments.iter().filter(|segment| !found.txns.contains(&segment.base)).for_each(|s| s.no_txns());
    Ok(Log {
        place,
        config,
        segments: Arc::new(segments),
        file,
        start: log_start_offset,
        end,
        synced: end,
        producers: Producers::default(),
        epochs: Epochs::default(),
        epochs_changed: false,
        snapshots: found.snapshots.clone(),
        first_timestamp: None,
        active_since_ms: now_ms,
        unsynced: Unsynced::default(),
        recovery_point: 0,
        swap: None,
        doomed: Vec::new(),
        torn: false,
        failed: false,
    })
}

/// The leader epochs, and the path of their file if it has lost them. Damage is not an error: epochs of
/// batches that are walked are found again. Nor is it news if the log cannot be opened: Kafka leaves the file
/// of a log of message format 0 or 1 empty.
fn load_epochs(log: &Log) -> Result<(Epochs, Option<PathBuf>), Error> {
    let path = log.place.dir.join(EPOCHS);
    let Some(bytes) = checkpoint::read(&*log.place.disk, &path)? else {
        return Ok((Epochs::default(), None));
    };
    let epochs = std::str::from_utf8(&bytes).ok().and_then(Epochs::from_text);
    let written = log.end.position > 0 || log.segments.len() > 1;
    // Kafka makes the file with the log, and writes to it before the first batch.
    let lost = epochs.is_none() || (bytes.is_empty() && written);
    Ok((epochs.unwrap_or_default(), lost.then_some(path)))
}

/// The end of a log that was closed: the last thing that was written is a snapshot named for it. A folder
/// that Kafka has written may lack it; then the last index entry is near.
fn clean_end(log: &Log) -> Result<i64, Error> {
    let active = log.active();
    let size = active.size();
    if size == 0 {
        return Ok(active.base);
    }
    if let Some(offset) = log.snapshots.last().filter(|offset| **offset > active.base) {
        return Ok(*offset);
    }
    let from = active.floor_of_end()?;
    let mut end = active.base;
    for found in active.walk(from, size, false) {
        end = found?.header.next_offset();
    }
    Ok(end)
}

/// Walks what may not be synced, and cuts it where it stops being a log, which is also where offsets do not
/// continue each other, unless that is below `compacted_below`. Returns the number of the first segment that
/// was looked at. Leaves the log's synced end at the last batch before the recovery point.
fn recover(log: &mut Log, recovery_point: i64, compacted_below: i64) -> Result<usize, Error> {
    let segments = Arc::clone(&log.segments);
    let first = segments.partition_point(|segment| segment.base <= recovery_point).saturating_sub(1);
    let mut next = segments.get(first).map_or(log.end.offset, |segment| segment.base);
    let mut bad = None;
    log.synced =
        segments.get(first).map_or(log.end, |s| Mark { offset: s.base, segment: s.base, position: 0 });
    for (n, segment) in segments.iter().enumerate().skip(first) {
        if segment.base < next || (segment.base > next && segment.base > compacted_below) {
            bad = Some((n, 0, "the segment does not continue the one before"));
            break;
        }
        next = segment.base;
        let stop = check(log, segment, (recovery_point, compacted_below), &mut next)?;
        if let Some((position, why)) = stop {
            bad = Some((n, position, why));
            break;
        }
    }
    let truncated = bad.map(|(n, position, why)| {
        let path = segments.get(n).map(|segment| segment.path("log")).unwrap_or_default();
        // Records of an old format are good records: they are not a tail to truncate.
        if next < recovery_point || why == OLD_FORMAT {
            return Err(Error::Corrupt { path, offset: next, why });
        }
        let Tail { bytes, batches } = tail(log, n, position)?;
        tracing::warn!(
            path = %path.display(), offset = next, position, why, bytes, good_batches_behind = batches,
            "truncating the unsynced tail of the log"
        );
        truncate(log, n, position)
    });
    truncated.transpose()?;
    if next < recovery_point {
        let why = "the log ends before what was synced";
        return Err(Error::Corrupt { path: log.active().path("log"), offset: next, why });
    }
    let active = log.active();
    log.end = Mark { offset: next, segment: active.base, position: active.size() };
    Ok(first)
}

/// Checks one segment and completes its indexes. Returns where it stops being one, and why.
fn check(
    log: &mut Log,
    segment: &Segment,
    (recovery_point, compacted_below): (i64, i64),
    next: &mut i64,
) -> Result<Option<(u64, &'static str)>, Error> {
    let known = segment.resume(recovery_point);
    let (mut indexes, from) = match known {
        Some((indexes, found)) => {
            *next = found.header.base_offset;
            (indexes, found.position)
        }
        None => (Indexes::new(segment.base), 0),
    };
    let mut walk = segment.walk(from, segment.size(), true);
    let mut bad = None;
    loop {
        let position = walk.position();
        if *next <= recovery_point {
            log.synced = Mark { offset: *next, segment: segment.base, position };
        }
        let header = match walk.next() {
            None => break,
            Some(Ok(found)) => found.header,
            Some(Err(Error::Corrupt { why, .. })) => {
                bad = Some((position, why));
                break;
            }
            Some(Err(error)) => return Err(error),
        };
        if header.base_offset < *next || (header.base_offset > *next && *next >= compacted_below) {
            bad = Some((position, "the batch does not continue the one before"));
            break;
        }
        indexes.append(&header, position, log.config.index_interval_bytes);
        *next = header.next_offset();
        log.epochs_changed |= log.epochs.assign(header.partition_leader_epoch, header.base_offset);
    }
    segment.set_indexes(indexes);
    segment.proof.trust_from(from);
    Ok(bad)
}

/// What goes when a log is truncated.
struct Tail {
    bytes: u64,
    /// Good batches behind the bad one, as far as its length and theirs lead.
    batches: u64,
}

fn tail(log: &Log, n: usize, position: u64) -> Result<Tail, Error> {
    let mut tail = Tail { bytes: 0, batches: 0 };
    let mut from = position;
    for (n, segment) in log.segments.iter().skip(n).enumerate() {
        let size = segment.size();
        tail.bytes += size.saturating_sub(from);
        let mut walk = segment.walk(from, size, true);
        if n == 0 {
            match walk.claim() {
                Ok(bad) => walk.go_to(bad.end()),
                Err(Error::Corrupt { .. }) => walk.go_to(size),
                Err(error) => return Err(error),
            }
        }
        for found in walk {
            match found {
                Ok(_) => tail.batches += 1,
                Err(Error::Corrupt { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        from = 0;
    }
    Ok(tail)
}

/// Cuts segment `n` at `position`, which makes it the active one, and removes those behind it.
fn truncate(log: &mut Log, n: usize, position: u64) -> Result<(), Error> {
    let segments = Arc::make_mut(&mut log.segments);
    // A segment of which nothing is left is only kept if it is the only one.
    let keep = if position == 0 && n > 0 { n } else { n + 1 };
    let doomed = segments.split_off(keep.min(segments.len()));
    for segment in doomed {
        for suffix in ["index", "timeindex", "txnindex", "log"] {
            let path = segment.path(suffix);
            match log.place.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at(&path),
                _ => {}
            }
        }
    }
    let active = log.active();
    active.reopen(log.config.segment_bytes)?;
    if keep > n {
        active.truncate_at(position)?;
    }
    let path = active.path("log");
    log.file = active.file().ok_or(io::Error::from(io::ErrorKind::NotFound)).at(&path)?;
    log.file.sync().at(&path)?;
    log.place.sync_dir()
}

/// What the files say of transactions that ended below the recovery point was synced before that was kept;
/// the rest is read from the log again.
fn truncate_txns(log: &Log, first: usize, recovery_point: i64) -> Result<(), Error> {
    for segment in log.segments.iter().skip(first) {
        segment.with_txns(&log.segments, |index| index.truncate_to(recovery_point))?;
    }
    Ok(())
}

/// Saves the indexes of sealed segments that were walked, and notes what the next sync must cover: a kill
/// leaves good batches that were never synced.
fn finish_recovery(log: &mut Log, first: usize) -> Result<(), Error> {
    let segments = Arc::clone(&log.segments);
    let unsynced = log.end.offset > log.synced.offset;
    for segment in segments.iter().take(segments.len() - 1).skip(first) {
        segment.save_txns()?;
        log.unsynced.files.append(&mut segment.save_indexes(true)?);
        if unsynced {
            let path = segment.path("log");
            log.unsynced.files.push(log.place.disk.open(&path, false, 0).at(&path)?);
        }
    }
    log.unsynced.dir |= unsynced;
    if !unsynced {
        log.synced = log.end;
    }
    Ok(())
}

/// Forgets what was noted of offsets that are gone.
fn forget_from(log: &mut Log, end: i64) -> Result<(), Error> {
    log.epochs_changed |= log.epochs.truncate(end);
    let gone: Vec<i64> = log.snapshots.iter().copied().filter(|offset| *offset > end).collect();
    log.snapshots.retain(|offset| *offset <= end);
    for offset in &gone {
        let path = log.place.path(*offset, "snapshot");
        log.place.disk.remove(&path).at(&path)?;
    }
    // They must not come back when the log has grown beyond them.
    if gone.is_empty() { Ok(()) } else { log.place.sync_dir() }
}

/// Producers from the newest snapshot that can be read, and the batches since. With a recovery point, from
/// one that does not lie behind it: the transactions that were aborted since are found on the way.
fn load_producers(log: &mut Log, recovery_point: Option<i64>, now_ms: i64) -> Result<(), Error> {
    let mut from = log.segments.first().map_or(0, |segment| segment.base);
    let mut damaged = Vec::new();
    let recovery_point = recovery_point.unwrap_or(i64::MAX);
    for offset in log.snapshots.iter().rev().copied().filter(|offset| *offset <= recovery_point) {
        let bytes = checkpoint::read(&*log.place.disk, &log.place.path(offset, "snapshot"))?;
        if let Some(producers) = bytes.and_then(|bytes| Producers::from_snapshot(&bytes, now_ms)) {
            log.producers = producers;
            from = offset;
            break;
        }
        damaged.push(offset);
    }
    log.snapshots.retain(|offset| !damaged.contains(offset));
    let segments = Arc::clone(&log.segments);
    let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
    for segment in segments.iter().skip(first) {
        if from >= log.end.offset {
            break;
        }
        for step in segment.survey(from.max(segment.base))? {
            // What a bad batch said of its producer is lost; that it is bad has been logged.
            let Step::Good(found) = step? else { continue };
            if found.header.last_offset() < from {
                continue;
            }
            let ended = segment.replay(&found, &mut log.producers, now_ms)?;
            if let Some(ended) = ended.filter(|ended| ended.last_offset >= recovery_point) {
                segment.with_txns(&segments, |index| index.push(&ended))?;
            }
        }
    }
    Ok(())
}
