//! One `.log` file and its indexes, shared with readers by `Arc`.
//!
//! The newest segment has its file open for writing; a sealed one is opened when it is read, and stays open:
//! slices of it may be sent to clients from the file. Indexes of a sealed segment are loaded when
//! they are needed, and made from the log if they are missing or lie.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::batch::Header;
use crate::checkpoint;
use crate::disk::{Disk, File};
use crate::error::{At, Error};
use crate::index::{Floor, Indexes, Table};
use crate::open_files::OpenFiles;
use crate::proof::{Hints, Hole, Proof, Step, Survey};
use crate::recent::Recent;
use crate::txn_index::TxnIndex;
use crate::walk::Walk;

/// What all segments of a log share.
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    /// How many places with bad bytes were found so far.
    pub(crate) quarantined: AtomicU64,
    /// The log was deleted, or is about to be: its folder has another name, or none.
    pub(crate) deleted: AtomicBool,
}

impl Place {
    /// `<dir>/<offset, 20 digits>.<suffix>`.
    pub(crate) fn path(&self, offset: i64, suffix: &str) -> PathBuf {
        self.dir.join(format!("{offset:020}.{suffix}"))
    }

    /// Makes the names in the folder survive a power cut.
    pub(crate) fn sync_dir(&self) -> Result<(), Error> {
        self.disk.sync_dir(&self.dir).at(&self.dir)
    }
}

pub(crate) struct Segment {
    /// No offset in it is smaller.
    pub(crate) base: i64,
    place: Arc<Place>,
    size: AtomicU64,
    content: Mutex<Content>,
    indexes: Mutex<Option<Indexes>>,
    /// The aborted transactions; none until somebody asks. Taken before the lock of the indexes.
    pub(crate) txns: Mutex<Option<TxnIndex>>,
    /// Its files have lost their names, or are about to: what is needed of them is held.
    retired: AtomicBool,
    /// Bytes between index entries, should they have to be made again.
    interval: u32,
    pub(crate) proof: Proof,
    pub(crate) recent: Mutex<Recent>,
}

enum Content {
    /// Still written to, or not synced yet.
    Open(Arc<dyn File>),
    /// Complete; open once somebody has read.
    Sealed(Option<Arc<dyn File>>),
}

/// A batch and where it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) position: u64,
}

impl Found {
    pub(crate) fn end(&self) -> u64 {
        self.position + self.header.total_len() as u64
    }
}

impl Segment {
    /// A segment that exists and is complete. Nothing is known of what is in it.
    pub(crate) fn sealed(place: &Arc<Place>, base: i64, size: u64, interval: u32) -> Segment {
        let content = Mutex::new(Content::Sealed(None));
        let (place, size) = (Arc::clone(place), AtomicU64::new(size));
        let (indexes, txns, retired) = (Mutex::new(None), Mutex::new(None), AtomicBool::new(false));
        let proof = Proof::from(size.load(Ordering::Relaxed));
        Segment {
            base,
            place,
            size,
            content,
            indexes,
            txns,
            retired,
            interval,
            proof,
            recent: Mutex::default(),
        }
    }

    /// A segment that is written to: an existing one, or else a new one.
    pub(crate) fn open(
        place: &Arc<Place>,
        base: i64,
        capacity: u64,
        interval: u32,
    ) -> Result<Segment, Error> {
        let path = place.path(base, "log");
        let file = place.disk.open(&path, true, capacity).at(&path)?;
        let segment = Segment::sealed(place, base, file.len(), interval);
        *segment.content.lock() = Content::Open(file);
        Ok(segment)
    }

    /// A segment that begins the log, or goes on with it. There may be an empty file of its name, of an
    /// attempt before.
    pub(crate) fn create(
        place: &Arc<Place>,
        base: i64,
        capacity: u64,
        interval: u32,
    ) -> Result<Segment, Error> {
        let segment = Segment::open(place, base, capacity, interval)?;
        segment.set_indexes(Indexes::new(base));
        segment.no_txns();
        Ok(segment)
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn path(&self, suffix: &str) -> PathBuf {
        self.place.path(self.base, suffix)
    }

    /// The file of a segment that is not sealed.
    pub(crate) fn file(&self) -> Option<Arc<dyn File>> {
        match &*self.content.lock() {
            Content::Open(file) => Some(Arc::clone(file)),
            Content::Sealed(_) => None,
        }
    }

    /// Opens the file of a sealed segment again: what came after it is gone.
    pub(crate) fn reopen(&self, capacity: u64) -> Result<(), Error> {
        if self.file().is_none() {
            let path = self.path("log");
            let file = self.place.disk.open(&path, false, capacity).at(&path)?;
            *self.content.lock() = Content::Open(file);
        }
        Ok(())
    }

    /// The beginning of the last batch that is indexed.
    pub(crate) fn floor_of_end(&self) -> Result<u64, Error> {
        Ok(self.trusted(|indexes| indexes.floor_position(u64::MAX))?.position)
    }

    /// Closes the file of a segment that will not be written to again and is synced.
    pub(crate) fn release(&self) {
        if !self.is_retired() {
            *self.content.lock() = Content::Sealed(None);
        }
    }

    /// There is no file of aborted transactions, so there are none.
    pub(crate) fn no_txns(&self) {
        *self.txns.lock() = Some(TxnIndex::default());
    }

    /// Holds on to the contents, so that readers who have the segment go on when its files lose their names:
    /// from now on it asks nothing of them. Called under the partition's lock; `all` are the log's segments.
    pub(crate) fn retire(&self, all: &[Arc<Segment>]) -> Result<(), Error> {
        self.with_txns(all, |_| ())?;
        let _indexes = self.indexes.lock();
        if let Content::Sealed(slot) = &mut *self.content.lock() {
            self.opened(slot)?;
        }
        self.retired.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// The file of a sealed segment.
    fn opened<'a>(&self, slot: &'a mut Option<Arc<dyn File>>) -> Result<&'a Arc<dyn File>, Error> {
        match slot {
            Some(file) => Ok(file),
            None => {
                let path = self.path("log");
                Ok(slot.insert(self.place.disk.open(&path, false, self.size()).at(&path)?))
            }
        }
    }

    pub(crate) fn read(&self, at: u64, len: usize) -> Result<Bytes, Error> {
        let mut content = self.content.lock();
        let file = match &mut *content {
            Content::Open(file) => file,
            Content::Sealed(slot) => self.opened(slot)?,
        };
        let bytes = file.read(at, len).at_with(|| self.path("log"));
        if !self.place.disk.open_files().is_none_or(OpenFiles::may_keep) {
            self.let_go(&mut content);
        }
        bytes
    }

    /// Closes the file of a sealed segment, which is opened again when it is next read.
    pub(crate) fn close_if_sealed(&self) {
        self.let_go(&mut self.content.lock());
    }

    fn let_go(&self, content: &mut Content) {
        if let Content::Sealed(slot) = content
            && !self.is_retired()
        {
            *slot = None;
        }
    }

    /// Writes a batch behind the last. `file` is this segment's; only the log calls this, one call at a time.
    pub(crate) fn append(
        &self,
        file: &dyn File,
        header: &Header,
        body: &[u8],
        interval: u32,
    ) -> Result<(), Error> {
        let position = self.size();
        let start = header.encode();
        file.append(position, &mut [IoSlice::new(&start), IoSlice::new(body)])
            .at_with(|| self.path("log"))?;
        let mut slot = self.indexes.lock();
        if let Some(indexes) = &mut *slot {
            indexes.append(header, position, interval);
        }
        self.recent.lock().push(header.base_offset, position);
        // Under the lock, so that indexes made again miss nothing.
        self.size.store(position + header.total_len() as u64, Ordering::Release);
        Ok(())
    }

    /// The batches from `position` to `end`, with their CRC checked or not. For what this process knows to be
    /// good, and for those who stop at the first flaw; who serves takes a [`Survey`].
    pub(crate) fn walk(&self, position: u64, end: u64, check_crc: bool) -> Walk<'_> {
        Walk::new(self, position, end, check_crc)
    }

    /// What is in the segment from the last index entry on that does not lie behind `offset`: proven batches,
    /// and holes where the bytes are bad.
    pub(crate) fn survey(&self, offset: i64) -> Result<Survey<'_>, Error> {
        let floor = self.trusted(|indexes| indexes.floor(offset))?;
        Ok(Survey::new(self, floor, Hints::OfSegment))
    }

    /// The first batch whose last offset is not smaller than `offset`; `Error::Corrupt` if that may lie where
    /// the bytes are bad.
    pub(crate) fn locate(&self, offset: i64) -> Result<Option<Found>, Error> {
        let mut before: Option<Hole> = None;
        for step in self.survey(offset)? {
            match (step?, before.take()) {
                (Step::Bad(hole), _) => before = Some(hole),
                (Step::Good(found), _) if found.header.last_offset() < offset => {}
                (Step::Good(found), Some(hole)) if offset < found.header.base_offset => {
                    return Err(hole.error(self));
                }
                (Step::Good(found), _) => return Ok(Some(found)),
            }
        }
        before.map_or(Ok(None), |hole| Err(hole.error(self)))
    }

    /// Where the last whole batch ends that begins at `from` or later and ends at `limit` or before; `from`
    /// if the first is too large. `end` bounds what may be looked at. Only what is [`Segment::proven`] may be
    /// served.
    pub(crate) fn cut(&self, from: u64, limit: u64, end: u64) -> Result<u64, Error> {
        if limit >= end {
            return Ok(end);
        }
        let mut cut = self.trusted(|indexes| indexes.floor_position(limit))?.position.max(from);
        for found in self.walk(cut, end, false) {
            match found {
                Ok(found) if found.end() <= limit => cut = found.end(),
                Ok(_) | Err(Error::Corrupt { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(cut)
    }

    /// How far the batches between two positions are good; the first of them must be.
    pub(crate) fn proven(&self, from: u64, to: u64) -> Result<u64, Error> {
        if self.proof.until(from) >= to {
            return Ok(to);
        }
        let mut good = from;
        for step in Survey::new(self, Floor { position: from, offset: None }, Hints::OfSegment) {
            match step? {
                Step::Good(found) if found.end() <= to => good = found.end(),
                _ => break,
            }
            if good == to {
                break;
            }
        }
        Ok(good)
    }

    /// An error unless all that is in it is good. `pace` is told how many bytes had to be checked for that;
    /// false if it ended the check.
    pub(crate) fn insist(&self, mut pace: impl FnMut(u64) -> bool) -> Result<bool, Error> {
        let known = self.proof.until(0);
        if known >= self.size() {
            return Ok(true);
        }
        for step in Survey::new(self, Floor::default(), Hints::OfSegment) {
            match step? {
                Step::Bad(hole) => return Err(hole.error(self)),
                Step::Good(found) if found.position < known => {}
                Step::Good(found) if pace(found.header.total_len() as u64) => {}
                Step::Good(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Runs `ask` on the indexes, which are loaded or made first if need be.
    pub(crate) fn with_indexes<T>(&self, ask: impl FnOnce(&mut Indexes) -> T) -> Result<T, Error> {
        let mut slot = self.indexes.lock();
        let indexes = match &mut *slot {
            Some(indexes) => indexes,
            None => slot.insert(match self.load_indexes() {
                Some(indexes) => indexes,
                None => self.make_indexes(None)?,
            }),
        };
        Ok(ask(indexes))
    }

    /// The largest timestamp in it; none if it is empty or its records have none.
    pub(crate) fn largest_timestamp(&self) -> Result<Option<i64>, Error> {
        self.with_indexes(|indexes| indexes.max().map(|(timestamp, _)| timestamp))
    }

    /// Puts indexes in place that were made while recovering.
    pub(crate) fn set_indexes(&self, indexes: Indexes) {
        *self.indexes.lock() = Some(indexes);
    }

    /// An answer of the index that the log confirms. If it does not, either of them is bad: the indexes are
    /// made again, unless it turns out to be the log.
    fn trusted(&self, ask: impl Fn(&Indexes) -> Floor) -> Result<Floor, Error> {
        let floor = self.with_indexes(|indexes| ask(indexes))?;
        let Some(offset) = floor.offset else { return Ok(floor) };
        let header = self.walk(floor.position, self.size(), false).next().and_then(Result::ok);
        // Kafka may have appended several batches with one entry, which then names the last offset of all;
        // and before 2.0 it named the first offset of the batch.
        let confirmed = header.is_some_and(|found| (self.base..=offset).contains(&found.header.base_offset));
        if confirmed || self.proof.hole(floor.position).is_some() {
            return Ok(floor);
        }
        let mut slot = self.indexes.lock();
        let mut made = self.make_indexes(slot.as_ref())?;
        if self.proof.hole(floor.position).is_some() {
            return Ok(floor);
        }
        let path = self.path("index");
        tracing::warn!(path = %path.display(), "the index does not match the log: rebuilding it");
        if !self.is_retired() {
            self.write_indexes(&mut made, true)?;
        }
        Ok(ask(slot.insert(made)))
    }

    fn load_indexes(&self) -> Option<Indexes> {
        if self.is_retired() {
            return None;
        }
        let load = |suffix| {
            let file = self.place.disk.open(&self.path(suffix), false, 0).ok()?;
            file.read(0, usize::try_from(file.len()).ok()?).ok()
        };
        Indexes::load(self.base, self.size(), load("index")?, load("timeindex")?)
    }

    /// Indexes of what lies below `recovery_point`, as far as the files have them, and the batch to go on
    /// with.
    pub(crate) fn resume(&self, recovery_point: i64) -> Option<(Indexes, Found)> {
        let mut indexes = self.load_indexes()?;
        let floor = indexes.truncate_to(recovery_point)?;
        let found = self.walk(floor.position, self.size(), true).next()?.ok()?;
        (found.header.last_offset() == floor.offset?).then_some((indexes, found))
    }

    /// Indexes of what is good in the log. `old`: those that are to be replaced.
    fn make_indexes(&self, old: Option<&Indexes>) -> Result<Indexes, Error> {
        let mut indexes = Indexes::new(self.base);
        for step in Survey::new(self, Floor::default(), Hints::Given(old)) {
            if let Step::Good(found) = step? {
                indexes.append(&found.header, found.position, self.interval);
            }
        }
        Ok(indexes)
    }

    /// Writes what the index files lack. With `seal` the final time entry too, and empty files as well.
    /// Returns the files written to, not synced.
    pub(crate) fn save_indexes(&self, seal: bool) -> Result<Vec<Arc<dyn File>>, Error> {
        let mut slot = self.indexes.lock();
        match &mut *slot {
            Some(indexes) => self.write_indexes(indexes, seal),
            None => Ok(Vec::new()),
        }
    }

    /// The index files could not be synced: they are to be replaced when they are next saved.
    pub(crate) fn indexes_lost(&self) {
        if let Some(indexes) = &mut *self.indexes.lock() {
            indexes.offsets.lost();
            indexes.times.lost();
        }
    }

    fn write_indexes(&self, indexes: &mut Indexes, seal: bool) -> Result<Vec<Arc<dyn File>>, Error> {
        if seal {
            indexes.finish();
        }
        let mut files = Vec::new();
        files.extend(self.write_table(&mut indexes.offsets, "index", seal)?);
        files.extend(self.write_table(&mut indexes.times, "timeindex", seal)?);
        Ok(files)
    }

    fn write_table<const N: usize>(
        &self,
        table: &mut Table<N>,
        suffix: &str,
        also_empty: bool,
    ) -> Result<Option<Arc<dyn File>>, Error> {
        let path = self.path(suffix);
        let file = match table.unsaved() {
            (None, []) if !also_empty => return Ok(None),
            // A file with other contents may be mapped: it is replaced, not overwritten.
            (None, all) => checkpoint::replace(&*self.place.disk, &path, all)?,
            (Some(_), []) => return Ok(None),
            (Some(at), more) => self.append_to(&path, at, more)?,
        };
        table.saved();
        Ok(Some(file))
    }

    /// Adds to a file of which `at` bytes count.
    pub(crate) fn append_to(&self, path: &Path, at: u64, more: &[u8]) -> Result<Arc<dyn File>, Error> {
        let file = self.place.disk.open(path, true, 0).at(path)?;
        file.append(at, &mut [IoSlice::new(more)]).at(path)?;
        Ok(file)
    }

    /// Cuts everything from `position` on. Nobody may be reading there.
    pub(crate) fn truncate_at(&self, position: u64) -> Result<(), Error> {
        if let Some(file) = self.file() {
            file.set_len(position).at(&self.path("log"))?;
        }
        self.size.store(position, Ordering::Release);
        self.proof.trust_from(position);
        Ok(())
    }

    /// Bytes were found to be bad, for the first time.
    pub(crate) fn quarantined(&self, hole: &Hole) {
        self.place.quarantined.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            path = %self.path("log").display(), position = hole.position, bytes = hole.end - hole.position,
            offset = hole.offset, why = hole.why,
            "bad bytes: they will not be served, but what is before and behind them"
        );
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.place.disk
    }
}
