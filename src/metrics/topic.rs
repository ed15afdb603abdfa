//! Counters of each topic: `kafka_server_brokertopicmetrics_*_total{topic}`.
//!
//! Clients create topics, so only the oldest have series of their own, as many as fit; what the others count
//! is added up in one series, whose value never falls: a topic that gets a series of its own, or is deleted,
//! leaves there what it had counted until then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::page::{Kind, Labels, Page};

/// The label of those without series of their own. No topic can have this name.
const OTHERS: &str = "(others)";

/// A figure that only grows. To count is one atomic addition.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// That many more.
    pub fn inc_by(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares the counters of a topic: field, its name in Kafka, what it counts.
macro_rules! topic_counters {
    ($($field:ident = $name:literal, $help:literal;)*) => {
        /// The counters of one topic.
        #[derive(Debug, Default)]
        pub struct TopicMetrics {
            $(#[doc = $help] pub $field: Counter,)*
            order: u64,
        }

        impl TopicMetrics {
            fn starting(order: u64) -> TopicMetrics {
                TopicMetrics { order, ..TopicMetrics::default() }
            }

            fn add(&self, other: &TopicMetrics) {
                $(self.$field.inc_by(other.$field.get());)*
            }
        }

        /// Name, help and value of each counter.
        const FAMILIES: &[(&str, &str, fn(&TopicMetrics) -> u64)] = &[$(
            (
                concat!("kafka_server_brokertopicmetrics_", $name, "_total"),
                $help,
                |metrics| metrics.$field.get(),
            ),
        )*];
    };
}

topic_counters! {
    messages_in = "messagesin", "Records appended.";
    bytes_in = "bytesin", "Bytes of record batches appended.";
    bytes_out = "bytesout", "Bytes of record batches sent to consumers.";
    produce_requests = "totalproducerequests", "Partitions of Produce requests.";
    fetch_requests = "totalfetchrequests", "Partitions of Fetch requests.";
    failed_produce_requests = "failedproducerequests",
        "Partitions of Produce requests answered with an error.";
    failed_fetch_requests = "failedfetchrequests", "Partitions of Fetch requests answered with an error.";
    bytes_rejected = "bytesrejected", "Bytes of record batches refused as too large.";
    invalid_crc = "invalidmessagecrcrecords", "Record batches refused for their checksum.";
    no_key = "nokeycompactedtopicrecords",
        "Record batches refused for a record without a key, which a compacted topic does not take.";
    invalid_sequence = "invalidoffsetorsequencerecords",
        "Record batches refused for their offsets or sequences.";
}

impl TopicMetrics {
    /// Numbers topics in the order in which they became known: the first ones have series of their own.
    pub fn order(&self) -> u64 {
        self.order
    }
}

/// The counters of all topics.
#[derive(Default)]
pub(super) struct Topics {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_name: HashMap<String, Entry>,
    next: u64,
    /// What topics had counted when they left the series of the others.
    left: TopicMetrics,
}

struct Entry {
    metrics: Arc<TopicMetrics>,
    /// Whether a page has shown it among the others.
    among_others: bool,
}

impl Topics {
    pub(super) fn get(&self, topic: &str) -> Arc<TopicMetrics> {
        if let Some(entry) = self.known.read().by_name.get(topic) {
            return entry.metrics.clone();
        }
        let mut known = self.known.write();
        let Known { by_name, next, .. } = &mut *known;
        let entry = by_name.entry(topic.to_owned()).or_insert_with(|| {
            *next += 1;
            Entry { metrics: Arc::new(TopicMetrics::starting(*next)), among_others: false }
        });
        entry.metrics.clone()
    }

    pub(super) fn forget(&self, topic: &str) {
        let mut known = self.known.write();
        if let Some(entry) = known.by_name.remove(topic).filter(|entry| entry.among_others) {
            known.left.add(&entry.metrics);
        }
    }

    /// Writes the counters: at most `max` topics have series of their own.
    pub(super) fn write(&self, page: &mut Page, max: usize) {
        let (shown, others) = self.known.write().divide(max);
        for (name, help, of) in FAMILIES {
            let mut family = page.family(name, Kind::Counter, help);
            shown.iter().for_each(|(labels, metrics)| family.add(labels, of(metrics)));
            if let Some(others) = &others {
                family.add(&Labels::of(&[("topic", OTHERS)]), of(others));
            }
        }
    }
}

impl Known {
    /// The topics with series of their own, and all others added up, once there have been any.
    fn divide(&mut self, max: usize) -> (Vec<(Labels, Arc<TopicMetrics>)>, Option<TopicMetrics>) {
        let Known { by_name, left, .. } = self;
        let mut all: Vec<(&String, &mut Entry)> = by_name.iter_mut().collect();
        all.sort_unstable_by_key(|(_, entry)| entry.metrics.order);
        let rest = all.split_off(max.min(all.len()));
        let one = |(name, entry): (&String, &mut Entry)| {
            if std::mem::take(&mut entry.among_others) {
                left.add(&entry.metrics);
            }
            (Labels::of(&[("topic", name)]), entry.metrics.clone())
        };
        let shown = all.into_iter().map(one).collect();
        let others = TopicMetrics::default();
        others.add(left);
        let is_used = !rest.is_empty() || FAMILIES.iter().any(|(_, _, of)| of(left) > 0);
        for (_, entry) in rest {
            entry.among_others = true;
            others.add(&entry.metrics);
        }
        (shown, is_used.then_some(others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(topics: &Topics, max: usize) -> Vec<String> {
        let mut page = Page::default();
        topics.write(&mut page, max);
        let prefix = "kafka_server_brokertopicmetrics_messagesin_total{topic=";
        let text = page.behind(String::new());
        text.lines().filter_map(|line| line.strip_prefix(prefix).map(str::to_owned)).collect()
    }

    // 5,000 topics that a client had made were 55,000 series of counters.
    #[test]
    fn topics_beyond_the_limit_are_one_series_that_never_falls() {
        let topics = Topics::default();
        for (name, count) in [("b", 1), ("a", 2), ("c", 4), ("d", 8)] {
            topics.get(name).messages_in.inc_by(count);
        }
        assert_eq!(lines(&topics, 2), ["\"b\"} 1", "\"a\"} 2", "\"(others)\"} 12"]);
        topics.get("d").messages_in.inc();
        topics.forget("b");
        assert_eq!(lines(&topics, 2), ["\"a\"} 2", "\"c\"} 4", "\"(others)\"} 13"], "c has left 4");
        topics.forget("d");
        topics.get("c").messages_in.inc();
        assert_eq!(lines(&topics, 2), ["\"a\"} 2", "\"c\"} 5", "\"(others)\"} 13"]);
        assert_eq!(lines(&Topics::default(), 2), Vec::<String>::new());
    }
}
