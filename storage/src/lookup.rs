//! Finding records by time, as ListOffsets asks: exact to the record.

use std::sync::Arc;

use crate::error::Error;
use crate::log::Log;
use crate::proof::Step;
use crate::record;
use crate::segment::{Found, Segment};

impl Log {
    /// The first record at or after the log's start, below `up_to`, that is not older than `timestamp`: its
    /// own timestamp and its offset.
    pub fn offset_for_timestamp(&self, timestamp: i64, up_to: i64) -> Result<Option<(i64, i64)>, Error> {
        for segment in self.segments.iter().filter(|segment| segment.base < up_to) {
            let max = segment.with_indexes(|indexes| indexes.max())?;
            if max.is_none_or(|(max, _)| max < timestamp) {
                continue;
            }
            let from = segment.with_indexes(|indexes| indexes.time_floor(timestamp))?.max(self.start);
            if let Some(found) = first_not_older(segment, timestamp, from, self.start)? {
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
        first_not_older(segment, timestamp, offset.max(self.start), self.start)
    }
}

/// The first record that is not older than `timestamp`, from the batch of offset `from` on, at `start` or
/// later.
fn first_not_older(
    segment: &Segment,
    timestamp: i64,
    from: i64,
    start: i64,
) -> Result<Option<(i64, i64)>, Error> {
    for step in segment.survey(from)? {
        // What is bad has no records.
        let Step::Good(found) = step? else { continue };
        if found.header.last_offset() >= from
            && found.header.max_timestamp >= timestamp
            && let Some(record) = first_in(segment, &found, timestamp, start)?
        {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn first_in(
    segment: &Segment,
    found: &Found,
    timestamp: i64,
    start: i64,
) -> Result<Option<(i64, i64)>, Error> {
    let corrupt = |_| Error::Corrupt {
        path: segment.path("log"),
        offset: found.header.base_offset,
        why: "the records of the batch cannot be read",
    };
    let batch = segment.read(found.position, found.header.total_len())?;
    for record in record::records(&batch).map_err(corrupt)? {
        let record = record.map_err(corrupt)?;
        if record.timestamp >= timestamp && record.offset >= start {
            return Ok(Some((record.timestamp, record.offset)));
        }
    }
    Ok(None)
}
