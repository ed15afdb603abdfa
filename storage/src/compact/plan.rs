//! What there is to clean in a log, and whether it is worth it.

use std::ops::Range;
use std::sync::Arc;

use crate::compact::txns::LastBatches;
use crate::config::LogConfig;
use crate::error::Error;
use crate::log::Log;
use crate::segment::{Place, Segment};
use crate::swap::SealedSegment;

/// A topic's settings, as far as cleaning cares. Defaults are Kafka's.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanRules {
    /// `min.cleanable.dirty.ratio`: what part must be new to be worth a round.
    pub min_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: younger records are left alone.
    pub min_lag_ms: i64,
    /// `max.compaction.lag.ms`: the longest time that a record waits for a round.
    pub max_lag_ms: i64,
    /// `delete.retention.ms`: how long a tombstone stays after it was first cleaned.
    pub delete_retention_ms: i64,
}

impl Default for CleanRules {
    fn default() -> CleanRules {
        CleanRules {
            min_dirty_ratio: 0.5,
            min_lag_ms: 0,
            max_lag_ms: i64::MAX,
            delete_retention_ms: 86_400_000,
        }
    }
}

/// What cleaning has to know of a log: taken under the partition's lock, used without it.
pub struct LogView {
    pub(super) place: Arc<Place>,
    pub(super) config: LogConfig,
    /// Those that may be cleaned, oldest first.
    sealed: Vec<SealedSegment>,
    /// All there are, also the one that is written to.
    pub(super) segments: Arc<Vec<Arc<Segment>>>,
    pub(super) last_batches: LastBatches,
    start: i64,
    end: i64,
}

impl Log {
    /// A look at the log for [`Plan::new`]. What is not below the last stable offset, given the high
    /// watermark, will not be cleaned, nor what lies above the recovery point on disk.
    pub fn view_to_clean(&self, high_watermark: i64) -> LogView {
        let stable = self.last_stable_offset(high_watermark);
        LogView {
            place: Arc::clone(&self.place),
            config: self.config.clone(),
            sealed: self.cleanable(stable),
            segments: Arc::clone(&self.segments),
            last_batches: LastBatches::of(&self.producers.snapshot()),
            start: self.start,
            end: self.end.offset,
        }
    }
}

/// A round of cleaning that could be.
pub struct Plan {
    pub(super) view: LogView,
    pub(super) rules: CleanRules,
    /// Below, everything was cleaned before.
    pub(super) first_dirty: i64,
    /// Where a round ends at the latest: where a segment begins, if anything is dirty.
    pub(super) limit: i64,
    clean_bytes: u64,
    dirty_bytes: u64,
    overdue: bool,
}

impl Plan {
    /// `first_dirty`: from the cleaner's checkpoint, if that knows the log; what does not lie within the log
    /// is not believed. May read indexes and a few headers.
    pub fn new(
        mut view: LogView,
        rules: CleanRules,
        first_dirty: Option<i64>,
        now_ms: i64,
    ) -> Result<Plan, Error> {
        let known = first_dirty.filter(|offset| (view.start..=view.end).contains(offset));
        let first_dirty = known.unwrap_or(view.start);
        if rules.min_lag_ms > 0 {
            let newest = now_ms.saturating_sub(rules.min_lag_ms);
            let dirty = view.sealed.partition_point(|sealed| sealed.next_offset() <= first_dirty);
            let mut old = dirty;
            for sealed in view.sealed.iter().skip(dirty) {
                if sealed.largest_timestamp()?.is_some_and(|timestamp| timestamp > newest) {
                    break;
                }
                old += 1;
            }
            view.sealed.truncate(old);
        }
        let limit = view.sealed.last().map_or(first_dirty, SealedSegment::next_offset).max(first_dirty);
        let overdue = rules.max_lag_ms < i64::MAX && {
            let due = now_ms.saturating_sub(rules.max_lag_ms);
            oldest_dirty(&view.sealed, first_dirty)?.is_some_and(|timestamp| timestamp < due)
        };
        let (mut clean_bytes, mut dirty_bytes) = (0, 0);
        for sealed in &view.sealed {
            let is_clean = sealed.next_offset() <= first_dirty;
            *(if is_clean { &mut clean_bytes } else { &mut dirty_bytes }) += sealed.size_bytes();
        }
        Ok(Plan { view, rules, first_dirty, limit, clean_bytes, dirty_bytes, overdue })
    }

    /// Is it time, by Kafka's rules: enough is dirty, or something has been for too long? A round that is not
    /// due does no harm; it also removes tombstones and markers whose horizon has passed.
    pub fn is_due(&self) -> bool {
        self.dirty_bytes > 0 && (self.overdue || self.dirty_ratio() > self.rules.min_dirty_ratio)
    }

    /// Has a dirty record waited for longer than `max.compaction.lag.ms`?
    pub fn is_overdue(&self) -> bool {
        self.overdue
    }

    /// Dirty bytes out of all that may be cleaned; of several logs, the dirtiest comes first.
    pub fn dirty_ratio(&self) -> f64 {
        match self.clean_bytes + self.dirty_bytes {
            0 => 0.0,
            all => self.dirty_bytes as f64 / all as f64,
        }
    }

    /// Where the part begins that was not cleaned yet.
    pub fn first_dirty_offset(&self) -> i64 {
        self.first_dirty
    }

    /// The segments with something below `end`.
    pub(super) fn sealed_below(&self, end: i64) -> &[SealedSegment] {
        let count = self.view.sealed.partition_point(|sealed| sealed.base_offset() < end);
        self.view.sealed.get(..count).unwrap_or_default()
    }

    /// Those of them that were not cleaned to their end.
    pub(super) fn dirty(&self) -> impl Iterator<Item = &SealedSegment> {
        self.view.sealed.iter().filter(|sealed| sealed.next_offset() > self.first_dirty)
    }

    /// Which neighbours become one segment: together no larger than a segment may be, nor their indexes, nor
    /// the range of their offsets.
    pub(super) fn groups(&self, end: i64) -> Result<Vec<Range<usize>>, Error> {
        let bytes_max = self.view.config.segment_bytes.min(i32::MAX as u64);
        let index_max = u64::from(self.view.config.index_max_bytes);
        let mut groups: Vec<Range<usize>> = Vec::new();
        let (mut base, mut sum) = (0, [0; 3]);
        for (n, sealed) in self.sealed_below(end).iter().enumerate() {
            let indexes = sealed
                .segment
                .with_indexes(|indexes| [indexes.offsets.len() as u64, indexes.times.len() as u64])?;
            let [offsets, times] = indexes;
            let more = [sum[0] + sealed.size_bytes(), sum[1] + offsets, sum[2] + times];
            let fits = more[0] <= bytes_max
                && more[1].max(more[2]) <= index_max
                && sealed.next_offset() - base <= i64::from(i32::MAX);
            match groups.last_mut() {
                Some(group) if fits => {
                    group.end = n + 1;
                    sum = more;
                }
                _ => {
                    groups.push(n..n + 1);
                    base = sealed.base_offset();
                    sum = [sealed.size_bytes(), offsets, times];
                }
            }
        }
        Ok(groups)
    }
}

/// The oldest of the timestamps with which the dirty part of each segment begins.
fn oldest_dirty(sealed: &[SealedSegment], first_dirty: i64) -> Result<Option<i64>, Error> {
    let mut oldest: Option<i64> = None;
    for sealed in sealed.iter().filter(|sealed| sealed.next_offset() > first_dirty) {
        let first = sealed.segment.locate(first_dirty)?;
        let timestamp = first.map(|found| found.header.max_timestamp).filter(|timestamp| *timestamp > 0);
        oldest = oldest.into_iter().chain(timestamp).min();
    }
    Ok(oldest)
}
