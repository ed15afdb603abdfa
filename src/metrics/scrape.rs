//! States asked for at each scrape: partitions, groups, the controller's counts.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use prometheus::Error;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// One partition, as it is now.
#[derive(Clone, Debug)]
pub struct PartitionStat {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number.
    pub partition: i32,
    /// Bytes of its segments.
    pub size: u64,
    /// The first offset it has.
    pub start: i64,
    /// The offset its next record gets.
    pub end: i64,
    /// How many segments it has.
    pub segments: usize,
}

/// Declares the counts: field, name of the family, what it is.
macro_rules! counts {
    ($($field:ident = $name:literal, $help:literal;)*) => {
        /// What there is at a moment, besides partitions.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $(#[doc = $help] pub $field: usize,)* }

        const COUNTS: &[(&str, &str)] = &[$(($name, $help)),*];

        impl Counts {
            fn values(&self) -> Vec<usize> { vec![$(self.$field),*] }
        }
    };
}

counts! {
    active_controllers = "kafka_controller_kafkacontroller_activecontrollercount",
        "Whether this broker decides on the metadata: 1 or 0.";
    active_brokers = "kafka_controller_kafkacontroller_activebrokercount", "Brokers that work.";
    fenced_brokers = "kafka_controller_kafkacontroller_fencedbrokercount",
        "Brokers that are known and do not work.";
    topics = "kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.";
    partitions = "kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.";
    offline_partitions = "kafka_controller_kafkacontroller_offlinepartitionscount",
        "Partitions without a leader.";
    leaders = "kafka_server_replicamanager_leadercount", "Partitions this broker leads.";
    replicas = "kafka_server_replicamanager_partitioncount", "Partitions this broker has a copy of.";
    offline_replicas = "kafka_server_replicamanager_offlinereplicacount", "Copies on folders that failed.";
    under_replicated = "kafka_server_replicamanager_underreplicatedpartitions",
        "Partitions with a copy behind.";
    under_min_isr = "kafka_server_replicamanager_underminisrpartitioncount",
        "Partitions with fewer copies in sync than min.insync.replicas.";
    producer_ids = "kafka_server_replicamanager_produceridcount",
        "Producers remembered, over all partitions.";
    offline_log_dirs = "kafka_log_logmanager_offlinelogdirectorycount", "Folders of log.dirs that failed.";
    fetch_sessions = "kafka_server_fetchsessioncache_numincrementalfetchsessions",
        "Fetch sessions remembered.";
    groups = "kafka_coordinator_group_groupmetadatamanager_numgroups", "Groups of consumers.";
    offsets = "kafka_coordinator_group_groupmetadatamanager_numoffsets", "Offsets committed by groups.";
    groups_stable = "kafka_coordinator_group_groupmetadatamanager_numgroupsstable", "Groups at rest.";
    groups_preparing = "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance",
        "Groups that wait for members to join.";
    groups_completing = "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance",
        "Groups that wait for their leader's assignment.";
    groups_empty = "kafka_coordinator_group_groupmetadatamanager_numgroupsempty", "Groups without members.";
    groups_dead = "kafka_coordinator_group_groupmetadatamanager_numgroupsdead",
        "Groups about to be forgotten.";
}

/// Whoever knows the state. Called at each scrape, on a thread where blocking is allowed.
pub trait Scrape: Send + Sync {
    /// Every partition this broker has.
    fn partitions(&self) -> Vec<PartitionStat>;
    /// Everything else.
    fn counts(&self) -> Counts;
}

const SIZE: (&str, &str) = ("kafka_log_log_size", "Bytes of a partition's segments.");
const START: (&str, &str) = ("kafka_log_log_logstartoffset", "The first offset of a partition.");
const END: (&str, &str) = ("kafka_log_log_logendoffset", "The offset a partition's next record gets.");
const SEGMENTS: (&str, &str) = ("kafka_log_log_numlogsegments", "Segments of a partition.");

/// The collector that asks a [`Scrape`], as long as it lives.
pub(super) struct Collected {
    scrape: Weak<dyn Scrape>,
    partitions: [Desc; 4],
    counts: Vec<Desc>,
}

impl Collected {
    pub(super) fn new(scrape: Weak<dyn Scrape>) -> Result<Self, Error> {
        let of = |(name, help)| describe(name, help, &["topic", "partition"]);
        Ok(Self {
            scrape,
            partitions: [of(SIZE)?, of(START)?, of(END)?, of(SEGMENTS)?],
            counts: COUNTS.iter().map(|(name, help)| describe(name, help, &[])).collect::<Result<_, _>>()?,
        })
    }
}

/// Describes a family that is put together at each scrape.
pub(super) fn describe(name: &str, help: &str, labels: &[&str]) -> Result<Desc, Error> {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
}

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        self.partitions.iter().chain(&self.counts).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(scrape) = self.scrape.upgrade() else { return Vec::new() };
        let [size, start, end, segments] = &self.partitions;
        let [mut size, mut start, mut end, mut segments] = [size, start, end, segments].map(Family::gauge);
        for stat in scrape.partitions() {
            let partition = stat.partition.to_string();
            let labels = [("partition", partition.as_str()), ("topic", &*stat.topic)];
            size.add(&labels, stat.size as f64);
            start.add(&labels, stat.start as f64);
            end.add(&labels, stat.end as f64);
            segments.add(&labels, stat.segments as f64);
        }
        let mut families = vec![size.done(), start.done(), end.done(), segments.done()];
        for (desc, value) in self.counts.iter().zip(scrape.counts().values()) {
            families.push(Family::gauge(desc).with(value as f64));
        }
        families
    }
}

/// A family that is put together at each scrape.
pub(super) struct Family {
    family: MetricFamily,
    metrics: Vec<Metric>,
}

impl Family {
    /// An empty family of gauges.
    pub(super) fn gauge(desc: &Desc) -> Self {
        Self::of(desc, MetricType::GAUGE)
    }

    /// An empty family of counters.
    pub(super) fn counter(desc: &Desc) -> Self {
        Self::of(desc, MetricType::COUNTER)
    }

    fn of(desc: &Desc, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(desc.fq_name.clone());
        family.set_help(desc.help.clone());
        family.set_field_type(kind);
        Self { family, metrics: Vec::new() }
    }

    /// Adds a value with these labels.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let label = |(name, text): &(&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*text).to_owned());
            pair
        };
        let mut metric = Metric::from_label(labels.iter().map(label).collect());
        if self.family.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    /// The family with this one value.
    pub(super) fn with(mut self, value: f64) -> MetricFamily {
        self.add(&[], value);
        self.done()
    }

    /// The family as it is.
    pub(super) fn done(mut self) -> MetricFamily {
        self.family.set_metric(self.metrics);
        self.family
    }
}
