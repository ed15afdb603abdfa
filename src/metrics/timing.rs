//! How long things take: counted into buckets as they happen, without a lock; quantiles are worked out when
//! somebody asks.
//!
//! A bucket is an eighth of a power of two wide, so a quantile is right within 6 percent. Quantiles are those
//! of the last minute or two in which anything happened, as a dashboard wants them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::page::{Family, Labels};
use super::recent::Recent;

/// Each power of two is divided into this many buckets.
const STEPS: u64 = 8;
const STEP_BITS: u32 = STEPS.ilog2();
/// The last bucket takes whatever is longer than half an hour.
const BUCKETS: usize = 240;
/// Quantiles reach back this long at least, and twice as long at most.
const WINDOW: Duration = Duration::from_secs(60);

/// The quantiles of Kafka's percentiles.
const QUANTILES: [(&str, f64); 6] =
    [("0.50", 0.5), ("0.75", 0.75), ("0.95", 0.95), ("0.98", 0.98), ("0.99", 0.99), ("0.999", 0.999)];

type Counts = [u64; BUCKETS];

/// Durations of one kind.
pub(super) struct Timing {
    buckets: [AtomicU64; BUCKETS],
    recent: Mutex<Box<Recent<Counts>>>,
}

impl Timing {
    pub(super) fn new() -> Timing {
        let recent = Mutex::new(Box::new(Recent::new(WINDOW, [0; BUCKETS])));
        Timing { buckets: [const { AtomicU64::new(0) }; BUCKETS], recent }
    }

    /// Counts one: an atomic addition.
    pub(super) fn record(&self, took: Duration) {
        let us = took.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(took.subsec_micros()));
        if let Some(bucket) = self.buckets.get(bucket(us)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes quantiles, sum and count, in milliseconds as Kafka has them.
    pub(super) fn write(&self, family: &mut Family<'_>, labels: &Labels) {
        let counts: Counts = std::array::from_fn(|i| self.buckets.get(i).map_or(0, load));
        let mut recent = self.recent.lock();
        // While nothing happens, the last quantiles stay.
        if counts != *recent.newest() {
            recent.mark(Instant::now(), &counts);
        }
        let (_, before) = recent.oldest();
        let window: Counts = std::array::from_fn(|i| at(&counts, i).saturating_sub(at(before, i)));
        drop(recent);
        for (name, q) in QUANTILES {
            family.add(&labels.and("quantile", name), quantile(&window, q) / 1e3);
        }
        let sum: f64 = counts.iter().enumerate().map(|(i, n)| *n as f64 * middle(i)).sum();
        family.add_as("_sum", labels, sum / 1e3);
        family.add_as("_count", labels, counts.iter().sum::<u64>());
    }
}

fn load(bucket: &AtomicU64) -> u64 {
    bucket.load(Ordering::Relaxed)
}

fn at(counts: &Counts, i: usize) -> u64 {
    counts.get(i).copied().unwrap_or_default()
}

/// The bucket of this many microseconds.
fn bucket(us: u64) -> usize {
    if us < STEPS {
        return us as usize;
    }
    let shift = us.ilog2() - STEP_BITS;
    let bucket = u64::from(shift + 1) * STEPS + (us >> shift) % STEPS;
    (bucket as usize).min(BUCKETS - 1)
}

/// The microseconds in the middle of a bucket.
fn middle(bucket: usize) -> f64 {
    let (octave, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    match octave {
        0 => step as f64,
        _ => ((STEPS + step) << (octave - 1)) as f64 + ((1_u64 << (octave - 1)) - 1) as f64 / 2.0,
    }
}

/// The quantile in microseconds; not a number if there is nothing.
fn quantile(counts: &Counts, q: f64) -> f64 {
    let rank = (q * counts.iter().sum::<u64>() as f64).ceil().max(1.0) as u64;
    let mut below = 0;
    for (i, n) in counts.iter().enumerate() {
        below += n;
        if below >= rank {
            return middle(i);
        }
    }
    f64::NAN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_narrow_and_none_is_left_out() {
        let mut last = 0;
        for us in 0..10_000 {
            let at = bucket(us);
            assert!(at == last || at == last + 1, "{us} is in bucket {at} behind {last}");
            last = at;
        }
        for us in (0..10_000).chain((0..32).flat_map(|n| [(1 << n) - 1, 1 << n, (1 << n) + 1])) {
            let wrong = (middle(bucket(us)) - us as f64).abs() / (us as f64).max(1.0);
            assert!(wrong <= 0.0625, "{us} counts as {}", middle(bucket(us)));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_ranks() {
        let mut counts = [0; BUCKETS];
        assert!(quantile(&counts, 0.5).is_nan());
        for us in 1..=7 {
            counts[bucket(us)] += 1;
        }
        counts[bucket(1_000_000)] += 1;
        assert_eq!(quantile(&counts, 0.5), 4.0);
        assert_eq!(quantile(&counts, 0.0), 1.0);
        assert!((quantile(&counts, 0.99) / 1e6 - 1.0).abs() < 0.07);
    }

    #[test]
    fn durations_are_told_in_milliseconds() {
        let timing = Timing::new();
        timing.record(Duration::from_millis(3));
        timing.record(Duration::from_nanos(10));
        timing.record(Duration::MAX);
        let mut page = super::super::page::Page::default();
        timing.write(&mut page.family("t", super::super::page::Kind::Summary, "T."), &Labels::none());
        let text = page.behind(String::new());
        let value = |series: &str| -> f64 {
            let line = text.lines().find_map(|l| l.strip_prefix(series)).unwrap();
            line.trim().parse().unwrap()
        };
        assert_eq!(value("t_count"), 3.0);
        assert!((value("t{quantile=\"0.50\"}") / 3.0 - 1.0).abs() < 0.07);
        assert!(value("t{quantile=\"0.999\"}") > 1.8e6);
    }
}
