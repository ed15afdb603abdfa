//! Counters of each topic: `kafka_server_brokertopicmetrics_*_total{topic}`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus::{Error, IntCounter, IntCounterVec, Registry};

/// Declares the counters of a topic: field, name in Kafka, what it counts.
macro_rules! topic_counters {
    ($($field:ident = $name:literal, $help:literal;)*) => {
        /// The counters of one topic. To count is one atomic addition.
        #[derive(Debug)]
        pub struct TopicMetrics {
            $(#[doc = $help] pub $field: IntCounter,)*
        }

        struct Families { $($field: IntCounterVec,)* }

        impl Families {
            fn new(registry: &Registry) -> Result<Self, Error> {
                let family = |name, help| super::counter(name, help, &["topic"], registry);
                let name = |name| format!("kafka_server_brokertopicmetrics_{name}_total");
                Ok(Self { $($field: family(&name($name), $help)?,)* })
            }

            fn of(&self, topic: &str) -> TopicMetrics {
                TopicMetrics { $($field: self.$field.with_label_values(&[topic]),)* }
            }

            fn forget(&self, topic: &str) {
                // An error only says that the topic had no such series.
                $(let _ = self.$field.remove_label_values(&[topic]);)*
            }
        }
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

/// The counters of all topics.
pub(super) struct Topics {
    families: Families,
    known: RwLock<HashMap<String, Arc<TopicMetrics>>>,
}

impl Topics {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self { families: Families::new(registry)?, known: RwLock::default() })
    }

    pub(super) fn get(&self, topic: &str) -> Arc<TopicMetrics> {
        if let Some(metrics) = self.known.read().get(topic) {
            return metrics.clone();
        }
        let mut known = self.known.write();
        known.entry(topic.to_owned()).or_insert_with(|| Arc::new(self.families.of(topic))).clone()
    }

    pub(super) fn forget(&self, topic: &str) {
        let mut known = self.known.write();
        known.remove(topic);
        self.families.forget(topic);
    }
}
