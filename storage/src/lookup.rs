//! Finding records by time, as ListOffsets asks: exact to the record, outside the partition's lock.

use std::sync::Arc;

use crate::batch::HEADER_LEN;
use crate::error::Error;
use crate::log::Log;
use crate::proof::Step;
use crate::record::Stamps;
use crate::segment::{Found, Segment};

/// A snapshot of a log, to find records by their time in. That reads the records of a batch, which may be
/// many times as many bytes as the batch: not where sockets wait.
pub struct ByTime {
    segments: Arc<Vec<Arc<Segment>>>,
    start: i64,
}

impl Log {
    /// The log as it is now, to search by time.
    pub fn by_time(&self) -> ByTime {
        ByTime { segments: Arc::clone(&self.segments), start: self.start }
    }
}

impl ByTime {
    /// The first record at or after the log's start, below `up_to`, that is not older than `timestamp`: its
    /// own timestamp and its offset.
    pub fn offset_for_timestamp(&self, timestamp: i64, up_to: i64) -> Result<Option<(i64, i64)>, Error> {
        for segment in self.segments.iter().filter(|segment| segment.base < up_to) {
            let max = segment.with_indexes(|indexes| indexes.max())?;
            if max.is_none_or(|(max, _)| max < timestamp) {
                continue;
            }
            let from = segment.with_indexes(|indexes| indexes.time_floor(timestamp))?.max(self.start);
            if let Some(found) = self.first_not_older(segment, timestamp, from)? {
                return Ok(Some(found).filter(|(_, offset)| *offset < up_to));
            }
        }
        Ok(None)
    }

    /// The newest timestamp there is, and the offset of the first record that has it.
    pub fn max_timestamp(&self) -> Result<Option<(i64, i64)>, Error> {
        let mut newest: Option<(i64, i64, &Arc<Segment>)> = None;
        for segment in self.segments.iter() {
            if let Some((timestamp, offset)) = segment.with_indexes(|indexes| indexes.max())?
                && newest.is_none_or(|(other, ..)| timestamp > other)
            {
                newest = Some((timestamp, offset, segment));
            }
        }
        let Some((timestamp, offset, segment)) = newest else { return Ok(None) };
        self.first_not_older(segment, timestamp, offset.max(self.start))
    }

    /// The first record that is not older than `timestamp`, from the batch of offset `from` on.
    fn first_not_older(
        &self,
        segment: &Segment,
        timestamp: i64,
        from: i64,
    ) -> Result<Option<(i64, i64)>, Error> {
        for step in segment.survey(from)? {
            // What is bad has no records.
            let Step::Good(found) = step? else { continue };
            if found.header.last_offset() >= from
                && found.header.max_timestamp >= timestamp
                && let Some(record) = self.first_in(segment, &found, timestamp)?
            {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn first_in(
        &self,
        segment: &Segment,
        found: &Found,
        timestamp: i64,
    ) -> Result<Option<(i64, i64)>, Error> {
        let corrupt = |_| Error::Corrupt {
            path: segment.path("log"),
            offset: found.header.base_offset,
            why: "the records of the batch cannot be read",
        };
        let batch = segment.read(found.position, found.header.total_len())?;
        for stamp in Stamps::of(&found.header, batch.slice(HEADER_LEN..)).map_err(corrupt)? {
            let (time, offset) = stamp.map_err(corrupt)?;
            if time >= timestamp && offset >= self.start {
                return Ok(Some((time, offset)));
            }
        }
        Ok(None)
    }
}
