//! A round of cleaning: fill the map, then write what stays and have it swapped in, group by group.

use bytes::Bytes;

use crate::batch::{HEADER_LEN, Header, Invalid};
use crate::compact::filter::{Fate, Filter};
use crate::compact::map::OffsetMap;
use crate::compact::output::Output;
use crate::compact::plan::Plan;
use crate::compact::txns::{Aborted, Markers};
use crate::error::Error;
use crate::record::{DECOMPRESSED_MAX, walk};
use crate::segment::{Found, Segment};
use crate::swap::{CleanedSegment, SealedSegment};

/// Cleans one log after the other.
pub struct Cleaner<T> {
    map_bytes: usize,
    pace: T,
}

/// What a round has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Bytes of the segments that were read to be replaced.
    pub bytes_before: u64,
    /// Bytes of those in their place.
    pub bytes_after: u64,
    /// Records in the former.
    pub records_before: u64,
    /// Records in the latter.
    pub records_after: u64,
    /// Where the next round begins: for the checkpoint.
    pub next_dirty_offset: i64,
    /// The first time, in ms since the epoch, at which a further round would remove a tombstone or a marker,
    /// even if nothing is written until then.
    pub next_horizon_ms: Option<i64>,
}

impl<T: FnMut(u64) -> bool> Cleaner<T> {
    /// `map_bytes`: the most memory for keys, 24 bytes each and a tenth to spare
    /// (`log.cleaner.dedupe.buffer.size` divided by the cleaner's threads). `pace` is told how many bytes
    /// were read or written; it may sleep (`log.cleaner.io.max.bytes.per.second`), and false ends the round.
    pub fn new(map_bytes: usize, pace: T) -> Cleaner<T> {
        Cleaner { map_bytes, pace }
    }

    /// Runs a round; `None` if it was ended early by `pace` or by `swap`. `swap` is to call `Log::replace`
    /// under the partition's lock; no lock is needed besides. `Error::Corrupt` if the log is: it should not
    /// be cleaned again before somebody has looked at it.
    pub fn clean(
        &mut self,
        plan: &Plan,
        now_ms: i64,
        mut swap: impl FnMut(&[i64], CleanedSegment) -> Result<bool, Error>,
    ) -> Result<Option<Cleaned>, Error> {
        let found = Aborted::find(&plan.view.segments, plan.first_dirty, plan.limit, &mut self.pace)?;
        let Some(aborted) = found else { return Ok(None) };
        let Some((map, end)) = self.fill(plan, &aborted)? else { return Ok(None) };
        let mut filter = Filter {
            map,
            end,
            aborted,
            markers: Markers::default(),
            last_batches: &plan.view.last_batches,
            now_ms,
            horizon_ms: now_ms.saturating_add(plan.rules.delete_retention_ms),
            next_horizon_ms: None,
        };
        let mut cleaned = Cleaned { next_dirty_offset: end, ..Cleaned::default() };
        let sealed = plan.sealed_below(end);
        for group in plan.groups(end)? {
            let old = sealed.get(group).unwrap_or_default();
            let Some(new) = self.write(plan, &mut filter, old, &mut cleaned)? else { return Ok(None) };
            let bases: Vec<i64> = old.iter().map(SealedSegment::base_offset).collect();
            if !swap(&bases, new)? {
                return Ok(None);
            }
        }
        cleaned.next_horizon_ms = filter.next_horizon_ms;
        Ok(Some(cleaned))
    }

    /// The first pass: the last offset of each key of the dirty part, as far as they fit, and where that is.
    fn fill(&mut self, plan: &Plan, aborted: &Aborted) -> Result<Option<(OffsetMap, i64)>, Error> {
        let records = plan.limit.saturating_sub(plan.first_dirty);
        let mut map = OffsetMap::new(self.map_bytes, u64::try_from(records).unwrap_or(0));
        for sealed in plan.dirty() {
            let segment = &*sealed.segment;
            if !segment.insist(&mut self.pace)? {
                return Ok(None);
            }
            let Some(first) = segment.locate(plan.first_dirty)? else { continue };
            for found in segment.walk(first.position, segment.size(), true) {
                let Found { header, position } = found?;
                if !(self.pace)(header.total_len() as u64) {
                    return Ok(None);
                }
                if header.is_control() || header.records_count == 0 || aborted.contains(&header) {
                    continue;
                }
                // Ends between batches, unless one alone has more keys than fit.
                if map.room() < count(&header) && header.base_offset > plan.first_dirty {
                    return Ok(Some((map, header.base_offset)));
                }
                let batch = segment.read(position, header.total_len())?;
                let full = put_all(&mut map, &header, &batch, plan.first_dirty);
                if let Some(end) = full.map_err(|why| corrupt(segment, &header, why))? {
                    return Ok(Some((map, end)));
                }
            }
        }
        Ok(Some((map, plan.limit)))
    }

    /// The second pass over one group: writes what stays.
    fn write(
        &mut self,
        plan: &Plan,
        filter: &mut Filter<'_>,
        old: &[SealedSegment],
        cleaned: &mut Cleaned,
    ) -> Result<Option<CleanedSegment>, Error> {
        let Some(first) = old.first() else { return Ok(None) };
        let mut left: u64 = old.iter().map(SealedSegment::size_bytes).sum();
        cleaned.bytes_before += left;
        let interval = plan.view.config.index_interval_bytes;
        let mut output = Output::create(&plan.view.place, first.base_offset(), left, interval)?;
        for segment in old.iter().map(|sealed| &*sealed.segment) {
            if !segment.insist(&mut self.pace)? {
                return Ok(None);
            }
            for found in segment.walk(0, segment.size(), true) {
                let Found { header, position } = found?;
                let batch = segment.read(position, header.total_len())?;
                left = left.saturating_sub(batch.len() as u64);
                let before = output.size();
                let fate = filter.fate(&header, &batch).map_err(|why| corrupt(segment, &header, why))?;
                cleaned.records_before += count(&header);
                match fate {
                    Fate::Drop => {}
                    // A horizon, or another encoder, can make a batch longer. All that follow must still fit.
                    Fate::Become(new, body)
                        if new.total_len() <= batch.len()
                            || before + new.total_len() as u64 + left <= i32::MAX as u64 =>
                    {
                        output.push(&new, [&new.encode(), &body])?;
                        cleaned.records_after += count(&new);
                    }
                    Fate::Copy | Fate::Become(..) => {
                        output.push(&header, [&batch, &[]])?;
                        cleaned.records_after += count(&header);
                    }
                }
                if !(self.pace)(batch.len() as u64 + output.size() - before) {
                    return Ok(None);
                }
            }
        }
        let aborts = &filter.markers.aborts;
        let new = output.finish(&plan.view.segments, old, |producer, marker| {
            marker >= filter.end || aborts.contains(&(producer, marker))
        })?;
        cleaned.bytes_after += new.size_bytes;
        Ok(Some(new))
    }
}

/// Notes the keys of a batch. If the table is full before its end: the first offset that is not noted.
fn put_all(map: &mut OffsetMap, header: &Header, batch: &Bytes, from: i64) -> Result<Option<i64>, Invalid> {
    let mut full = None;
    let body = batch.slice(HEADER_LEN..);
    walk(header, &body, DECOMPRESSED_MAX, |parts| {
        let offset = header.base_offset.saturating_add(i64::from(parts.offset_delta));
        let key = parts.key.filter(|_| offset >= from && full.is_none());
        if key.is_some_and(|key| !map.put(key, offset)) {
            full = Some(offset);
        }
        Ok(())
    })
    .map_err(|flaw| flaw.0)?;
    Ok(full)
}

fn count(header: &Header) -> u64 {
    u64::try_from(header.records_count).unwrap_or(0)
}

fn corrupt(segment: &Segment, header: &Header, _: Invalid) -> Error {
    let why = "the records of the batch cannot be read";
    Error::Corrupt { path: segment.path("log"), offset: header.base_offset, why }
}
