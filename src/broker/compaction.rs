//! Compaction: one log after the other, the most overdue and then the dirtiest first, without holding its
//! lock while it is read and written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use braid_protocol::ErrorCode;
use braid_storage::checkpoint::{self, Offsets};
use braid_storage::compact::{CLEANER_OFFSETS, CleanRules, Cleaned, Cleaner, Plan};
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::Broker;
use crate::config::TopicConfig;
use crate::topic::{Fault, LogDir, Partition, Topic};

/// What is remembered between two rounds.
#[derive(Default)]
pub(super) struct Cleaning {
    /// When tombstones or markers of a log may go, in ms since the epoch, though nothing new was written.
    horizons: Mutex<BTreeMap<(String, i32), i64>>,
    /// Logs with bad bytes in them; left alone until the broker is started again.
    uncleanable: Mutex<BTreeSet<(String, i32)>>,
    /// Set when the broker goes down: a round under way ends where it is.
    stopped: AtomicBool,
}

/// Up to where logs have been cleaned, by the folder they lie in.
type ByFolder = BTreeMap<Arc<Path>, Offsets>;

/// A log that is to be cleaned.
struct Due {
    topic: Arc<Topic>,
    partition: Arc<Partition>,
    plan: Plan,
}

impl Broker {
    /// Cleans every compacted log that is dirty enough. Blocks on the disk for as long as it takes.
    pub fn clean(&self) {
        let now = self.clock.now();
        let compacted: Vec<Arc<Topic>> =
            self.topics.all().into_iter().filter(|topic| topic.config().cleanup_policy.compact).collect();
        if !self.config.log_cleaner_enable || compacted.is_empty() {
            return;
        }
        // Only what lies below the recovery points on disk can be cleaned.
        if let Err(error) = self.dirs.checkpoint(&self.topics.partitions(), false) {
            error!(%error, "compaction waits where recovery points could not be written");
        }
        let mut offsets = self.cleaned_offsets();
        let mut due: Vec<Due> = compacted.iter().flat_map(|topic| self.due(topic, &offsets, now)).collect();
        due.sort_by(|a, b| {
            let urgency = |d: &Due| (d.plan.is_overdue(), d.plan.dirty_ratio());
            urgency(b).partial_cmp(&urgency(a)).unwrap_or(std::cmp::Ordering::Equal)
        });
        for due in due {
            if self.cleaning.stopped.load(Ordering::Relaxed) {
                return;
            }
            match self.clean_one(&due, now) {
                Ok(Some(cleaned)) => self.keep(&due.partition, cleaned, &mut offsets),
                Ok(None) => {}
                Err(error) => {
                    let (topic, partition) = (&due.topic.name, due.partition.index());
                    error!(%topic, partition, %error, "a log could not be compacted");
                    due.partition.judge(&error);
                    if error.code() == ErrorCode::CORRUPT_MESSAGE {
                        // Bad bytes do not mend themselves: once said is enough.
                        self.cleaning.uncleanable.lock().insert(due.partition.key());
                    }
                }
            }
        }
    }

    /// How far the logs of each folder have been cleaned.
    fn cleaned_offsets(&self) -> ByFolder {
        let of = |dir: &LogDir| {
            let read = checkpoint::read_offsets(&*self.disk, &dir.path().join(CLEANER_OFFSETS));
            let offsets = read.unwrap_or_else(|error| {
                warn!(%error, "compaction begins at the start of every log");
                None
            });
            (dir.path().into(), offsets.unwrap_or_default())
        };
        self.dirs.usable().map(of).collect()
    }

    /// Ends a round of compaction at the next occasion.
    pub fn stop_cleaning(&self) {
        self.cleaning.stopped.store(true, Ordering::Relaxed);
    }

    /// The partitions of a topic that are worth a round.
    fn due(&self, topic: &Arc<Topic>, offsets: &ByFolder, now: i64) -> Vec<Due> {
        let mut due = Vec::new();
        for partition in topic.partitions().iter() {
            let stable = partition.last_stable_offset();
            let Ok(view) = partition.look(|log| log.view_to_clean(stable)) else { continue };
            let key = partition.key();
            if self.cleaning.uncleanable.lock().contains(&key) {
                continue;
            }
            let horizon_passed =
                self.cleaning.horizons.lock().get(&key).is_some_and(|horizon| *horizon <= now);
            let cleaned = offsets.get(partition.home()).and_then(|offsets| offsets.get(&key).copied());
            match Plan::new(view, rules(&topic.config()), cleaned, now) {
                Ok(plan) if plan.is_due() || horizon_passed => {
                    due.push(Due { topic: topic.clone(), partition: partition.clone(), plan });
                }
                Ok(_) => {}
                Err(error) => {
                    error!(topic = %topic.name, partition = partition.index(), %error, "cannot be compacted");
                }
            }
        }
        due
    }

    fn clean_one(&self, due: &Due, now: i64) -> Result<Option<Cleaned>, Fault> {
        let pace = Pace::new(self.live().log_cleaner_io_max_bytes_per_second);
        let go_on = |bytes| pace.wait(bytes) && !self.cleaning.stopped.load(Ordering::Relaxed);
        let map_bytes = usize::try_from(self.live().log_cleaner_dedupe_buffer_size).unwrap_or(usize::MAX);
        let mut cleaner = Cleaner::new(map_bytes, go_on);
        let cleaned = cleaner.clean(&due.plan, now, |old, new| {
            // If it was closed, nothing was replaced.
            match due.partition.replace(old, new, now) {
                Err(Fault::Storage(error)) => Err(error),
                replaced => Ok(replaced.unwrap_or(false)),
            }
        })?;
        if let Some(cleaned) = &cleaned {
            info!(
                topic = %due.topic.name,
                partition = due.partition.index(),
                bytes_before = cleaned.bytes_before,
                bytes_after = cleaned.bytes_after,
                records_before = cleaned.records_before,
                records_after = cleaned.records_after,
                "log compacted"
            );
        }
        Ok(cleaned)
    }

    /// Remembers how far a log was cleaned.
    fn keep(&self, partition: &Partition, cleaned: Cleaned, offsets: &mut ByFolder) {
        let mut horizons = self.cleaning.horizons.lock();
        match cleaned.next_horizon_ms {
            Some(horizon) => horizons.insert(partition.key(), horizon),
            None => horizons.remove(&partition.key()),
        };
        drop(horizons);
        let offsets = offsets.entry(partition.home().clone()).or_default();
        offsets.insert(partition.key(), cleaned.next_dirty_offset);
        let path = partition.home().join(CLEANER_OFFSETS);
        if let Err(error) = checkpoint::write_offsets(&*self.disk, &path, offsets) {
            warn!(%error, "the next round of compaction will read more than it had to");
        }
    }
}

fn rules(topic: &TopicConfig) -> CleanRules {
    CleanRules {
        min_dirty_ratio: topic.min_cleanable_dirty_ratio,
        min_lag_ms: topic.min_compaction_lag_ms,
        max_lag_ms: topic.max_compaction_lag_ms,
        delete_retention_ms: topic.delete_retention_ms,
    }
}

/// Keeps to `log.cleaner.io.max.bytes.per.second`.
struct Pace {
    begin: Instant,
    bytes_per_second: f64,
    done: std::cell::Cell<u64>,
}

impl Pace {
    /// Longer than this the cleaner does not sleep at a time, so that a shutdown need not wait for it.
    const NAP: Duration = Duration::from_millis(200);

    fn new(bytes_per_second: f64) -> Pace {
        Pace { begin: Instant::now(), bytes_per_second, done: std::cell::Cell::new(0) }
    }

    /// Counts bytes read and written; sleeps if they came too fast.
    fn wait(&self, bytes: u64) -> bool {
        self.done.set(self.done.get() + bytes);
        let due = self.done.get() as f64 / self.bytes_per_second - self.begin.elapsed().as_secs_f64();
        if due > 0.0 {
            std::thread::sleep(Duration::from_secs_f64(due.min(Self::NAP.as_secs_f64())));
        }
        true
    }
}
