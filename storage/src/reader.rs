//! Reading a log: whole batches, uncopied, outside the partition's lock.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;
use crate::log::Mark;
use crate::record::batches;
use crate::segment::Segment;
use crate::txn_index::AbortedTxn;

/// Some whole batches, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The batches: a slice of the segment's map. The first may begin before the offset that was asked for.
    pub bytes: Bytes,
    /// Base offset of the first batch; what was asked for if there is none.
    pub base_offset: i64,
}

/// A snapshot of a log, to read from one offset on.
pub struct Reader {
    segments: Arc<Vec<Arc<Segment>>>,
    offset: i64,
    up_to: i64,
    /// An offset whose position is known; no smaller than `up_to`.
    known: Mark,
}

impl Reader {
    pub(crate) fn new(segments: Arc<Vec<Arc<Segment>>>, offset: i64, up_to: i64, known: Mark) -> Reader {
        Reader { segments, offset, up_to, known }
    }

    /// Reads up to `max_bytes` of whole batches from one segment; with `at_least_one`, one batch even if it
    /// is larger. Empty at the end. May touch the disk. Bad bytes end what is read; when they come first, it
    /// is `Error::Corrupt`.
    pub fn read(&self, max_bytes: usize, at_least_one: bool) -> Result<Slice, Error> {
        let nothing = Slice { bytes: Bytes::new(), base_offset: self.offset };
        if self.offset >= self.up_to {
            return Ok(nothing);
        }
        let first = self.segments.partition_point(|segment| segment.base <= self.offset).saturating_sub(1);
        // Compaction may have left nothing at or behind the offset in its segment.
        for segment in self.segments.iter().skip(first).take_while(|segment| segment.base < self.up_to) {
            let end = self.end_in(segment)?;
            let recent = segment.recent.lock().cut(self.offset, max_bytes as u64, end);
            if let Some(piece) = recent {
                let cut =
                    if piece.cut == piece.position && at_least_one { piece.first_end } else { piece.cut };
                let bytes = segment.read(piece.position, (cut - piece.position) as usize)?;
                return Ok(Slice { bytes, base_offset: piece.base_offset });
            }
            let Some(found) = segment.locate(self.offset)?.filter(|found| found.position < end) else {
                continue;
            };
            let limit = found.position.saturating_add(max_bytes as u64);
            let mut cut = segment.cut(found.position, limit, end)?;
            if cut == found.position && at_least_one {
                cut = found.end();
            }
            let cut = segment.proven(found.position, cut)?;
            let bytes = segment.read(found.position, (cut - found.position) as usize)?;
            return Ok(Slice { bytes, base_offset: found.header.base_offset });
        }
        Ok(nothing)
    }

    /// The aborted transactions with records in what was read, in the order of their markers: what a
    /// `read_committed` consumer must leave out. May touch the disk.
    pub fn aborted(&self, slice: &Slice) -> Result<Vec<AbortedTxn>, Error> {
        let mut found = Vec::new();
        let Some((last, _)) = batches(&slice.bytes).last() else { return Ok(found) };
        let first = self.segments.partition_point(|segment| segment.base <= self.offset).saturating_sub(1);
        for segment in self.segments.iter().skip(first) {
            let all = &self.segments;
            if segment.with_txns(all, |index| index.collect(self.offset, last.next_offset(), &mut found))? {
                break;
            }
        }
        Ok(found)
    }

    /// Where reading ends in this segment.
    fn end_in(&self, segment: &Segment) -> Result<u64, Error> {
        if segment.base < self.known.segment && self.up_to >= self.known.segment {
            return Ok(segment.size());
        }
        if segment.base == self.known.segment && self.up_to == self.known.offset {
            return Ok(self.known.position);
        }
        Ok(segment.locate(self.up_to)?.map_or(segment.size(), |found| found.position))
    }
}
