//! Replacing sealed segments by a cleaned one, so that whatever happens the folder holds the old ones or the
//! new one, never a mixture. What compaction stands on:
//!
//! 1. Under the partition's lock, `Log::cleanable(bound)`: the sealed segments that may be cleaned, oldest
//!    first. None has an offset at or above the bound or the recovery point on disk
//!    ([`Log::checkpointed`](crate::Log::checkpointed)): above it, recovery takes a gap for a torn tail.
//! 2. Without the lock: the cleaner picks a run of neighbours and writes their successor beside them, named
//!    after the first: `first.path("log.cleaned")`, `"index.cleaned"`, `"timeindex.cleaned"`, and
//!    `"txnindex.cleaned"` (even an empty one) if any of them has a `.txnindex`. All are synced, files only.
//!    A file of that name may be left over from before: empty it first. The log may end up empty.
//! 3. Under the lock, `Log::replace(&bases, cleaned, now)`. `Ok(false)`: some of the old segments are gone
//!    (retention) and the work is thrown away. After an error the log is as it was or will be as it should
//!    be: the next `replace` or `retain`, or the next start, goes on with what was decided.
//!
//! On disk, Kafka's suffixes: `.cleaned` becomes `.swap`, the log last: that decides. Then the other old
//! segments get `.deleted`, then `.swap` loses its suffix, the log last: that ends it. At a start `.log.swap`
//! is carried through, any other `.swap` and `.cleaned` is removed. Readers of the old segments have them
//! mapped and goes on.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Entry;
use crate::error::{At, Error};
use crate::log::{Log, Mark};
use crate::record;
use crate::segment::{Place, Segment};

/// A segment's files; the log comes last, because with it everything is said.
const SUFFIXES: [&str; 4] = ["txnindex", "timeindex", "index", "log"];

/// A segment that is complete, synced and will not change.
pub struct SealedSegment {
    pub(crate) segment: Arc<Segment>,
    next: i64,
}

impl SealedSegment {
    /// No offset in it is smaller.
    pub fn base_offset(&self) -> i64 {
        self.segment.base
    }

    /// Where the next segment begins.
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// Bytes of its `.log`.
    pub fn size_bytes(&self) -> u64 {
        self.segment.size()
    }

    /// The largest timestamp in it; none if it is empty or its records have none.
    pub fn largest_timestamp(&self) -> Result<Option<i64>, Error> {
        self.segment.largest_timestamp()
    }

    /// Its contents: the map of the file.
    pub fn bytes(&self) -> Result<Bytes, Error> {
        let size = usize::try_from(self.size_bytes()).map_err(io::Error::other);
        self.segment.read(0, size.at(&self.path("log"))?)
    }

    /// `<base offset>.<suffix>`, in the partition's folder.
    pub fn path(&self, suffix: &str) -> PathBuf {
        self.segment.path(suffix)
    }
}

/// What a cleaner has written: see the head of `swap.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanedSegment {
    /// The base offset of the first segment that it replaces.
    pub base_offset: i64,
    /// Bytes of its `.log.cleaned`.
    pub size_bytes: u64,
}

/// A swap whose `.log.swap` is there: it will be carried through.
pub(crate) struct Swap {
    old: Vec<i64>,
    new: CleanedSegment,
}

/// A file that waits to be unlinked.
pub(crate) struct Doomed {
    due_ms: i64,
    path: PathBuf,
}

impl Log {
    /// The sealed segments that lie below `below` and may be replaced, oldest first.
    pub fn cleanable(&self, below: i64) -> Vec<SealedSegment> {
        let below = below.min(self.recovery_point);
        let next = self.segments.iter().skip(1).map(|segment| segment.base);
        let sealed = self.segments.iter().zip(next).take_while(|(_, next)| *next <= below);
        sealed.map(|(segment, next)| SealedSegment { segment: Arc::clone(segment), next }).collect()
    }

    /// Puts a cleaned segment in the place of the sealed ones with these base offsets, which are neighbours.
    /// False if they are not there any more. The old files are to be unlinked later: [`Log::take_due`].
    pub fn replace(&mut self, old: &[i64], new: CleanedSegment, now_ms: i64) -> Result<bool, Error> {
        self.finish_swap(now_ms)?;
        let place = Arc::clone(&self.place);
        let sealed = self.cleanable(i64::MAX);
        let found = sealed
            .windows(old.len().max(1))
            .find(|run| run.iter().map(|s| s.base_offset()).eq(old.iter().copied()));
        let Some(found) = found.filter(|_| old.first() == Some(&new.base_offset)) else {
            for suffix in SUFFIXES {
                remove(&place, place.path(new.base_offset, &format!("{suffix}.cleaned")))?;
            }
            return Ok(false);
        };
        let path = place.path(new.base_offset, "log.cleaned");
        if place.disk.open(&path, false, 0).at(&path)?.len() != new.size_bytes {
            return Err(Error::Corrupt {
                path,
                offset: new.base_offset,
                why: "not of the size it was said to be",
            });
        }
        for sealed in found {
            sealed.segment.retire(&self.segments)?;
        }
        if let Err(error) = rename_all(&place, new.base_offset, ".cleaned", ".swap") {
            // Without its log it is no swap; the next start would remove them too.
            for suffix in SUFFIXES {
                let _ = remove(&place, place.path(new.base_offset, &format!("{suffix}.swap")));
            }
            return Err(error);
        }
        self.swap = Some(Swap { old: old.to_vec(), new });
        self.finish_swap(now_ms)?;
        Ok(true)
    }

    /// Carries a swap through. Can be repeated after an error.
    pub(crate) fn finish_swap(&mut self, now_ms: i64) -> Result<(), Error> {
        let Some(Swap { old, new }) = self.swap.take() else { return Ok(()) };
        let done = self.carry_through(&old, new, now_ms);
        if done.is_err() {
            self.swap = Some(Swap { old, new });
        }
        done
    }

    fn carry_through(&mut self, old: &[i64], new: CleanedSegment, now_ms: i64) -> Result<(), Error> {
        let place = Arc::clone(&self.place);
        place.sync_dir()?;
        for base in old.iter().skip(1) {
            self.doom(*base, now_ms)?;
        }
        place.sync_dir()?;
        rename_all(&place, new.base_offset, ".swap", "")?;
        place.sync_dir()?;

        let interval = self.config.index_interval_bytes;
        let cleaned = Arc::new(Segment::sealed(&place, new.base_offset, new.size_bytes, interval));
        // This process wrote it.
        cleaned.proof.trust_from(0);
        let segments = Arc::make_mut(&mut self.segments);
        segments.retain(|segment| !old.contains(&segment.base));
        let at = segments.partition_point(|segment| segment.base < new.base_offset);
        segments.insert(at, cleaned);
        // Positions in what is gone say nothing any more.
        if let (true, Some(next)) = (old.contains(&self.synced.segment), segments.get(at + 1)) {
            self.synced = Mark { segment: next.base, position: 0, ..self.synced };
        }
        Ok(())
    }

    /// Takes a segment's files out of the log's names: `.deleted`, to be unlinked when nobody can want them
    /// any more. What is missing is passed over, so that it can be repeated.
    pub(crate) fn doom(&mut self, base: i64, now_ms: i64) -> Result<(), Error> {
        let due_ms = now_ms.saturating_add(self.config.file_delete_delay_ms);
        rename_all(&self.place, base, "", ".deleted")?;
        for suffix in SUFFIXES {
            self.doomed.push(Doomed { due_ms, path: self.place.path(base, &format!("{suffix}.deleted")) });
        }
        Ok(())
    }

    /// The files that are due to be unlinked, to be given to [`Unlink::run`] without the partition's lock.
    pub fn take_due(&mut self, now_ms: i64) -> Unlink {
        let due = self.doomed.extract_if(.., |doomed| doomed.due_ms <= now_ms);
        Unlink { place: Arc::clone(&self.place), paths: due.map(|doomed| doomed.path).collect() }
    }

    /// When the next files are due to be unlinked, if there are any.
    pub fn next_due(&self) -> Option<i64> {
        self.doomed.iter().map(|doomed| doomed.due_ms).min()
    }
}

/// Files of deleted segments whose time has come.
pub struct Unlink {
    place: Arc<Place>,
    paths: Vec<PathBuf>,
}

impl Unlink {
    /// Unlinks them. What cannot be unlinked is left to the next start.
    pub fn run(self) -> Result<(), Error> {
        self.paths.into_iter().try_for_each(|path| remove(&self.place, path))
    }
}

/// Renames a segment's files from one suffix to another, the log last. Those that are missing are passed
/// over.
fn rename_all(place: &Place, base: i64, from: &str, to: &str) -> Result<(), Error> {
    for suffix in SUFFIXES {
        let from = place.path(base, &format!("{suffix}{from}"));
        match place.disk.rename(&from, &place.path(base, &format!("{suffix}{to}"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.at(&from)?,
        }
    }
    Ok(())
}

fn remove(place: &Place, path: PathBuf) -> Result<(), Error> {
    match place.disk.remove(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.at(&path),
    }
}

/// At a start: carries a decided swap through and removes what is left of others. True if names have changed.
pub(crate) fn resume(place: &Place, entries: &[Entry]) -> Result<bool, Error> {
    let with = |suffix: &'static str| {
        let stems = entries.iter().filter_map(move |entry| entry.name.strip_suffix(suffix));
        stems.filter(|stem| stem.len() == 20).filter_map(|stem| stem.parse::<i64>().ok())
    };
    let logs: BTreeSet<i64> = with(".log").collect();
    let decided: BTreeSet<i64> = with(".log.swap").collect();
    for base in &decided {
        let next = end_of(place, *base)?;
        tracing::info!(dir = %place.dir.display(), base, next, "carrying on with a swap");
        // A last one that was cleaned to nothing may be taken for unswapped: harmless, it is older news.
        for replaced in logs.range(base + 1..next.max(base + 1)) {
            for suffix in SUFFIXES {
                remove(place, place.path(*replaced, suffix))?;
            }
        }
        rename_all(place, *base, ".swap", "")?;
    }
    let stray: Vec<&Entry> = entries.iter().filter(|entry| entry.name.ends_with(".swap")).collect();
    for entry in &stray {
        remove(place, place.dir.join(&entry.name))?;
    }
    if !stray.is_empty() {
        place.sync_dir()?;
    }
    Ok(!stray.is_empty())
}

/// The offset after the last batch of a `.log.swap`.
fn end_of(place: &Place, base: i64) -> Result<i64, Error> {
    let path = place.path(base, "log.swap");
    let file = place.disk.open(&path, false, 0).at(&path)?;
    let bytes = usize::try_from(file.len()).map_err(io::Error::other);
    let bytes = bytes.and_then(|len| file.read(0, len)).at(&path)?;
    let (mut next, mut whole) = (base, 0);
    for (header, batch) in record::batches(&bytes) {
        next = header.next_offset();
        whole += batch.len();
    }
    if whole < bytes.len() {
        return Err(Error::Corrupt { path, offset: next, why: "what was cleaned is not a log" });
    }
    Ok(next)
}
