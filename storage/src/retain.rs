//! Retention: which of the oldest segments to delete, and why; and their deletion.
//!
//! Whole segments go, from the oldest on, as long as one of Kafka's three rules holds, in its order: it lies
//! below the log's start (DeleteRecords); without it the log is still as large as `retention.bytes`; its
//! largest timestamp is longer ago than `retention.ms`. So a record from the future keeps its segment and all
//! behind it. Nothing goes beyond the high watermark. If even the segment that is written to is over age or
//! size, it is sealed and goes too.
//!
//! Other than in Kafka, records without timestamps never expire by time: there is no file time to use.

use std::sync::Arc;

use crate::config::LogConfig;
use crate::error::Error;
use crate::log::Log;

/// What is known of a segment without a look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where the next one begins; for the last, the log's end.
    pub next_offset: i64,
    /// Bytes of its `.log`.
    pub size_bytes: u64,
}

/// How many segments go, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Because they lie below the log's start.
    pub by_start: usize,
    /// Because the log is too large.
    pub by_size: usize,
    /// Because they are too old.
    pub by_time: usize,
}

impl Deleted {
    /// All together.
    pub fn segments(&self) -> usize {
        self.by_start + self.by_size + self.by_time
    }
}

/// How many of the oldest segments are to be deleted. `segments`: oldest first, the one that is written to
/// last. `largest_timestamp` tells that of the segment of this number, and is asked only where it matters.
/// Pure.
pub fn expired<E>(
    segments: &[Candidate],
    start_offset: i64,
    watermark: i64,
    config: &LogConfig,
    now_ms: i64,
    largest_timestamp: impl Fn(usize) -> Result<Option<i64>, E>,
) -> Result<Deleted, E> {
    let mut deleted = Deleted::default();
    let Some((active, sealed)) = segments.split_last() else { return Ok(deleted) };
    deleted.by_start = sealed.iter().take_while(|segment| segment.next_offset <= start_offset).count();
    if !config.delete {
        return Ok(deleted);
    }
    // An empty segment that is written to is what a log without records looks like.
    let candidates = if active.size_bytes == 0 { sealed } else { segments };
    let mut rest = candidates
        .iter()
        .enumerate()
        .skip(deleted.by_start)
        .take_while(|(_, segment)| segment.next_offset <= watermark)
        .peekable();

    let mut total: u64 = segments.iter().skip(deleted.by_start).map(|segment| segment.size_bytes).sum();
    if let Ok(limit) = u64::try_from(config.retention_bytes) {
        let mut too_large = |(_, segment): &(usize, &Candidate)| match total.checked_sub(segment.size_bytes) {
            Some(left) if left >= limit => {
                total = left;
                true
            }
            _ => false,
        };
        while rest.next_if(&mut too_large).is_some() {
            deleted.by_size += 1;
        }
    }
    if config.retention_ms >= 0 {
        for (n, segment) in rest {
            // What compaction has emptied has nothing to wait for.
            let old = match largest_timestamp(n)? {
                Some(timestamp) => now_ms.saturating_sub(timestamp) > config.retention_ms,
                None => segment.size_bytes == 0,
            };
            if !old {
                break;
            }
            deleted.by_time += 1;
        }
    }
    Ok(deleted)
}

impl Log {
    /// Deletes what the settings no longer keep, and moves the start offset to what is left. Nothing at or
    /// above `watermark` goes. The files only lose their names: see [`Log::take_due`]. After an error it can
    /// be repeated.
    pub fn retain(&mut self, watermark: i64, now_ms: i64) -> Result<Deleted, Error> {
        self.finish_swap(now_ms)?;
        let deleted = self.expired(watermark, now_ms)?;
        let count = deleted.segments();
        if count == 0 {
            return Ok(deleted);
        }
        if count == self.segments.len() {
            self.roll(now_ms)?;
        }
        let doomed: Vec<_> = self.segments.iter().take(count).cloned().collect();
        for segment in &doomed {
            segment.retire(&self.segments)?;
        }
        for segment in &doomed {
            self.doom(segment.base, now_ms)?;
        }
        self.place.sync_dir()?;
        Arc::make_mut(&mut self.segments).drain(..count);
        self.advance_start(self.first_base_offset());
        Ok(deleted)
    }

    fn expired(&self, watermark: i64, now_ms: i64) -> Result<Deleted, Error> {
        let ends = self.segments.iter().skip(1).map(|segment| segment.base).chain([self.end.offset]);
        let candidates: Vec<Candidate> = self
            .segments
            .iter()
            .zip(ends)
            .map(|(segment, next_offset)| Candidate { next_offset, size_bytes: segment.size() })
            .collect();
        expired(&candidates, self.start, watermark, &self.config, now_ms, |n| {
            self.segments.get(n).map_or(Ok(None), |segment| segment.largest_timestamp())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 100 * DAY;

    /// Segments of 10 offsets and 100 bytes each, with these ages in days; the last is written to.
    fn decide(ages: &[i64], start: i64, watermark: i64, config: LogConfig) -> (usize, usize, usize) {
        let segments: Vec<Candidate> =
            (1..=ages.len() as i64).map(|n| Candidate { next_offset: n * 10, size_bytes: 100 }).collect();
        let time = |n: usize| Ok::<_, Error>(Some(NOW - ages[n] * DAY).filter(|_| ages[n] != i64::MAX / DAY));
        let deleted = expired(&segments, start, watermark, &config, NOW, time).unwrap();
        (deleted.by_start, deleted.by_size, deleted.by_time)
    }

    fn keep(retention_days: i64, retention_bytes: i64) -> LogConfig {
        let retention_ms = if retention_days < 0 { -1 } else { retention_days * DAY };
        LogConfig { retention_ms, retention_bytes, ..LogConfig::default() }
    }

    #[test]
    fn old_segments_go_and_one_that_is_not_old_protects_those_behind() {
        assert_eq!(decide(&[9, 8, 7, 1], 0, 40, keep(7, -1)), (0, 0, 2), "older than, not as old as");
        assert_eq!(decide(&[9, 8, -50, 9, 1], 0, 50, keep(7, -1)), (0, 0, 2), "the future blocks");
        assert_eq!(decide(&[i64::MAX / DAY, 9], 0, 20, keep(7, -1)), (0, 0, 0), "no timestamp, no age");
        assert_eq!(decide(&[9, 9], 0, 20, keep(-1, -1)), (0, 0, 0), "forever");
    }

    #[test]
    fn the_segment_that_is_written_to_goes_when_all_of_it_is_old() {
        assert_eq!(decide(&[9, 9], 0, 20, keep(7, -1)), (0, 0, 2));
        assert_eq!(decide(&[1], 0, 10, keep(0, -1)), (0, 0, 1));
        assert_eq!(decide(&[], 0, 0, keep(0, 0)), (0, 0, 0));
    }

    #[test]
    fn a_log_keeps_at_least_its_size_limit() {
        assert_eq!(decide(&[0; 5], 0, 50, keep(-1, 299)), (0, 2, 0));
        assert_eq!(decide(&[0; 5], 0, 50, keep(-1, 300)), (0, 2, 0));
        assert_eq!(decide(&[0; 5], 0, 50, keep(-1, 301)), (0, 1, 0));
        assert_eq!(decide(&[0; 5], 0, 50, keep(-1, 0)), (0, 5, 0));
        assert_eq!(decide(&[0; 5], 20, 50, keep(-1, 200)), (2, 1, 0), "what has gone does not count");
        assert_eq!(decide(&[9, 9, 9, 0], 0, 40, keep(7, 300)), (0, 1, 2), "then by age");
    }

    #[test]
    fn what_lies_below_the_start_goes_whatever_the_policy() {
        let compact = LogConfig { delete: false, ..keep(0, 0) };
        assert_eq!(decide(&[9; 4], 29, 40, compact.clone()), (2, 0, 0));
        assert_eq!(decide(&[9; 4], 40, 40, compact.clone()), (3, 0, 0), "never the one written to");
        assert_eq!(decide(&[9; 4], 0, 40, compact), (0, 0, 0));
    }

    #[test]
    fn nothing_goes_beyond_the_watermark() {
        assert_eq!(decide(&[9; 4], 0, 29, keep(7, -1)), (0, 0, 2));
        assert_eq!(decide(&[9; 4], 0, 30, keep(-1, 0)), (0, 3, 0));
    }

    #[test]
    fn empty_segments_go_unless_they_are_all_there_is() {
        let sizes = |sizes: &[u64]| {
            let segments: Vec<_> =
                sizes.iter().map(|size| Candidate { next_offset: 10, size_bytes: *size }).collect();
            let deleted = expired(&segments, 0, 10, &keep(7, 0), NOW, |_| Ok::<_, Error>(None)).unwrap();
            deleted.segments()
        };
        assert_eq!(sizes(&[0]), 0);
        assert_eq!(sizes(&[0, 0]), 1);
    }
}
