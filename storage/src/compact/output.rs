//! The `.cleaned` files of one segment: written through a small buffer, indexed, synced. They become the
//! segment's when the log says so (`swap.rs`).

use std::io::IoSlice;
use std::sync::Arc;

use crate::batch::Header;
use crate::checkpoint;
use crate::disk::File;
use crate::error::{At, Error};
use crate::index::Indexes;
use crate::segment::{Place, Segment};
use crate::swap::{CleanedSegment, SealedSegment};
use crate::txn_index::AbortedTxn;

const BUFFER: usize = 256 << 10;

pub(super) struct Output {
    place: Arc<Place>,
    base: i64,
    interval: u32,
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    /// Bytes written and buffered.
    size: u64,
    indexes: Indexes,
}

impl Output {
    /// Begins with nothing, whatever an earlier attempt left there.
    pub(super) fn create(
        place: &Arc<Place>,
        base: i64,
        capacity: u64,
        interval: u32,
    ) -> Result<Output, Error> {
        let file = checkpoint::fresh(&*place.disk, &place.path(base, "log.cleaned"), capacity)?;
        let (place, indexes) = (Arc::clone(place), Indexes::new(base));
        Ok(Output { place, base, interval, file, buffer: Vec::new(), size: 0, indexes })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a batch in one or two pieces.
    pub(super) fn push(&mut self, header: &Header, pieces: [&[u8]; 2]) -> Result<(), Error> {
        self.indexes.append(header, self.size, self.interval);
        for piece in pieces {
            self.buffer.extend_from_slice(piece);
            self.size += piece.len() as u64;
        }
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let at = self.size - self.buffer.len() as u64;
        let path = self.place.path(self.base, "log.cleaned");
        self.file.append(at, &mut [IoSlice::new(&self.buffer)]).at(&path)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest and the indexes, and syncs all of it. `is_open`: does there have to be an entry for
    /// the aborted transaction of this producer and marker, if there was one? `all`: the log's segments.
    pub(super) fn finish(
        mut self,
        all: &[Arc<Segment>],
        old: &[SealedSegment],
        is_open: impl Fn(i64, i64) -> bool,
    ) -> Result<CleanedSegment, Error> {
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        let path = self.place.path(self.base, "log.cleaned");
        // Gives back what was reserved.
        self.file.set_len(self.size).at(&path)?;
        self.file.sync().at(&path)?;
        self.indexes.finish();
        self.write("index.cleaned", self.indexes.offsets.unsaved().1)?;
        self.write("timeindex.cleaned", self.indexes.times.unsaved().1)?;
        if let Some(entries) = txn_entries(all, old, is_open)? {
            self.write("txnindex.cleaned", &entries)?;
        }
        Ok(CleanedSegment { base_offset: self.base, size_bytes: self.size })
    }

    fn write(&self, suffix: &str, contents: &[u8]) -> Result<(), Error> {
        let path = self.place.path(self.base, suffix);
        let file = checkpoint::fresh(&*self.place.disk, &path, 0)?;
        if !contents.is_empty() {
            file.append(0, &mut [IoSlice::new(contents)]).at(&path)?;
        }
        file.sync().at(&path)
    }
}

/// What stays of the old segments' indexes of aborted transactions; `None` if none has such a file.
fn txn_entries(
    all: &[Arc<Segment>],
    old: &[SealedSegment],
    is_open: impl Fn(i64, i64) -> bool,
) -> Result<Option<Vec<u8>>, Error> {
    let mut kept: Option<Vec<u8>> = None;
    for sealed in old {
        sealed.segment.with_txns(all, |index| {
            if index.has_file {
                let kept = kept.get_or_insert_default();
                let stays = |txn: &AbortedTxn| is_open(txn.producer_id, txn.last_offset);
                index.entries().filter(stays).for_each(|txn| txn.write(kept));
            }
        })?;
    }
    Ok(kept)
}
