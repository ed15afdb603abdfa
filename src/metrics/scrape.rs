//! States asked for at each scrape: partitions, the controller's counts, and what is so by construction.

use std::sync::Arc;

use super::groups::{GroupRoom, GroupStat};
use super::page::{Family, Kind, Labels, Page};

/// One partition, as it is now.
#[derive(Clone, Debug)]
pub struct PartitionStat {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number.
    pub partition: i32,
    /// What is known of its log; none while the partition is offline.
    pub log: Option<LogStat>,
}

/// A log, as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStat {
    /// Bytes of its segments.
    pub size: u64,
    /// The first offset it has.
    pub start: i64,
    /// The offset its next record gets.
    pub end: i64,
    /// The offset after the last record that consumers may see.
    pub watermark: i64,
    /// How many segments it has.
    pub segments: usize,
    /// Stretches of bad bytes that were found in it.
    pub quarantined: u64,
}

/// Declares the counts: field, name of the family, what it is.
macro_rules! counts {
    ($($field:ident = $name:literal, $help:literal;)*) => {
        /// What there is at a moment, besides partitions.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $(#[doc = $help] pub $field: usize,)* }

        impl Counts {
            fn write(&self, page: &mut Page) {
                $(page.one($name, Kind::Gauge, $help, self.$field);)*
            }
        }
    };
}

counts! {
    active_controllers = "kafka_controller_kafkacontroller_activecontrollercount",
        "Whether this broker decides on the metadata: 1 or 0.";
    active_brokers = "kafka_controller_kafkacontroller_activebrokercount", "Brokers that work.";
    topics = "kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.";
    partitions = "kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.";
    offline_partitions = "kafka_controller_kafkacontroller_offlinepartitionscount",
        "Partitions without a leader.";
    leaders = "kafka_server_replicamanager_leadercount", "Partitions this broker leads.";
    replicas = "kafka_server_replicamanager_partitioncount", "Partitions this broker has a copy of.";
    offline_replicas = "kafka_server_replicamanager_offlinereplicacount",
        "Copies that cannot be used: their folder failed, or their log could not be opened.";
    at_min_isr = "kafka_server_replicamanager_atminisrpartitioncount",
        "Partitions with just as many copies in sync as min.insync.replicas asks of one broker.";
    producer_ids = "kafka_server_replicamanager_produceridcount",
        "Producers remembered, over all partitions.";
    offline_log_dirs = "kafka_log_logmanager_offlinelogdirectorycount", "Folders of log.dirs that failed.";
    memory_used = "braid_memory_used_bytes",
        "Memory that requests and their answers take, what every connection may hold left out.";
    memory_limit = "braid_memory_limit_bytes", "What requests and their answers may take.";
    memory_closed = "braid_memory_connections_closed",
        "Connections closed since the start because others waited for the memory that they held.";
    groups = "kafka_coordinator_group_groupmetadatamanager_numgroups", "Groups of consumers.";
    offsets = "kafka_coordinator_group_groupmetadatamanager_numoffsets", "Offsets committed by groups.";
    groups_stable = "kafka_coordinator_group_groupmetadatamanager_numgroupsstable", "Groups at rest.";
    groups_preparing = "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance",
        "Groups that wait for members to join.";
    groups_completing = "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance",
        "Groups that wait for their leader's assignment.";
    groups_empty = "kafka_coordinator_group_groupmetadatamanager_numgroupsempty", "Groups without members.";
    brokers = "kafka_brokers", "Brokers of the cluster.";
}

/// What is so by construction in a cluster of one broker: name, kind, value, what it is.
const CONSTANTS: &[(&str, Kind, i32, &str)] = &[
    ("kafka_server_kafkaserver_brokerstate", Kind::Gauge, 3, "Always 3, running: otherwise nobody answers."),
    (
        "kafka_server_replicamanager_underreplicatedpartitions",
        Kind::Gauge,
        0,
        "Partitions with a copy behind.",
    ),
    (
        "kafka_server_replicamanager_underminisrpartitioncount",
        Kind::Gauge,
        0,
        "Partitions with fewer copies in sync than min.insync.replicas.",
    ),
    ("kafka_server_replicamanager_isrshrinks_total", Kind::Counter, 0, "Copies that fell behind."),
    ("kafka_server_replicamanager_isrexpands_total", Kind::Counter, 0, "Copies that caught up."),
    ("kafka_controller_kafkacontroller_fencedbrokercount", Kind::Gauge, 0, "Brokers known that do not work."),
    (
        "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
        Kind::Gauge,
        0,
        "Partitions led by another than the first of their replicas.",
    ),
    (
        "kafka_controller_controllerstats_uncleanleaderelections_total",
        Kind::Counter,
        0,
        "Leaders elected that may lack records.",
    ),
    (
        "kafka_server_brokertopicmetrics_replicationbytesin_total",
        Kind::Counter,
        0,
        "Bytes copied from others.",
    ),
    (
        "kafka_server_brokertopicmetrics_replicationbytesout_total",
        Kind::Counter,
        0,
        "Bytes copied by others.",
    ),
    (
        "kafka_server_brokertopicmetrics_producemessageconversions_total",
        Kind::Counter,
        0,
        "Records converted from old formats; they are refused.",
    ),
    (
        "kafka_server_brokertopicmetrics_fetchmessageconversions_total",
        Kind::Counter,
        0,
        "Records converted to old formats; nobody can ask for them.",
    ),
    (
        "kafka_coordinator_group_groupmetadatamanager_numgroupsdead",
        Kind::Gauge,
        0,
        "Groups about to be forgotten; that takes no time here.",
    ),
];

/// How many series a page has at most. Clients name topics and groups, so there is no other limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesLimits {
    /// `braid.metrics.groups.max`: groups with series of their own.
    pub groups: usize,
    /// `braid.metrics.partitions.max`: partitions with series of their own; the same number of topics, and
    /// of partitions of groups.
    pub partitions: usize,
}

/// The source of states. Called at each scrape, on a thread where blocking is allowed.
pub trait Scrape: Send + Sync {
    /// The number of this broker.
    fn node_id(&self) -> i32;
    /// The address that clients are given, if it is always the same.
    fn address(&self) -> String;
    /// How long a page may be.
    fn limits(&self) -> SeriesLimits;
    /// The partitions of the topics known longest, at most this many.
    fn partitions(&self, max: usize) -> Vec<PartitionStat>;
    /// The offset after the newest record of a partition that consumers may see, unless it is offline.
    fn watermark(&self, topic: &str, partition: i32) -> Option<i64>;
    /// Groups, and what they have committed, as far as there is room.
    fn groups(&self, room: GroupRoom) -> Vec<GroupStat>;
    /// Everything else.
    fn counts(&self) -> Counts;
}

/// Writes all states of a broker.
pub(super) fn write(scrape: &dyn Scrape, page: &mut Page) {
    let SeriesLimits { groups, partitions } = scrape.limits();
    let groups = scrape.groups(GroupRoom { groups, offsets: partitions });
    let partitions = scrape.partitions(partitions);
    let counts = scrape.counts();
    counts.write(page);
    omitted(&counts, &partitions, &groups, page);
    for (name, kind, value, help) in CONSTANTS {
        page.one(name, *kind, help, value);
    }
    let maxlag = "kafka_server_replicafetchermanager_maxlag";
    let none = Labels::of(&[("clientid", "Replica")]);
    page.family(maxlag, Kind::Gauge, "How far copies are behind.").add(&none, 0);
    let id = scrape.node_id();
    let broker = Labels::of(&[("address", &scrape.address()), ("id", &id.to_string())]);
    page.family("kafka_broker_info", Kind::Gauge, "Always 1; the labels say which broker.").add(&broker, 1);
    Partitions { all: &partitions, labels: partitions.iter().map(labels).collect() }.write(id, page);
    topics(&partitions, page);
    super::groups::write(&groups, scrape, page);
}

/// How much is there without a series of its own.
fn omitted(counts: &Counts, partitions: &[PartitionStat], groups: &[GroupStat], page: &mut Page) {
    let mut gauge = |name: &str, help: &str, all: usize, shown: usize| {
        let name = format!("braid_metrics_{name}_omitted");
        page.one(&name, Kind::Gauge, help, all.saturating_sub(shown));
    };
    let help = "Partitions without series of their own, see braid.metrics.partitions.max.";
    gauge("partitions", help, counts.replicas, partitions.len());
    let help = "Groups without series of their own, see braid.metrics.groups.max.";
    gauge("groups", help, counts.groups, groups.len());
    let help = "Offsets committed by groups that have no series, see braid.metrics.partitions.max.";
    gauge("offsets", help, counts.offsets, groups.iter().map(|group| group.offsets.len()).sum());
}

fn labels(stat: &PartitionStat) -> Labels {
    Labels::of(&[("partition", &stat.partition.to_string()), ("topic", &stat.topic)])
}

/// All partitions, and the labels that all their families share.
struct Partitions<'a> {
    all: &'a [PartitionStat],
    labels: Vec<Labels>,
}

impl Partitions<'_> {
    fn write(&self, node_id: i32, page: &mut Page) {
        let gauge = Kind::Gauge;
        let mut log = |name: &str, kind, help: &str, of: fn(&LogStat) -> i64| {
            let mut family = page.family(name, kind, help);
            let open = self.all.iter().zip(&self.labels).filter_map(|(p, labels)| Some((p.log?, labels)));
            open.for_each(|(log, labels)| family.add(labels, of(&log)));
        };
        log("kafka_log_log_size", gauge, "Bytes of a partition's segments.", |l| signed(l.size));
        log("kafka_log_log_logstartoffset", gauge, "The first offset of a partition.", |l| l.start);
        log("kafka_log_log_logendoffset", gauge, "The offset a partition's next record gets.", |l| l.end);
        log("kafka_log_log_numlogsegments", gauge, "Segments of a partition.", |l| signed(l.segments as u64));
        let bad = "Stretches of bad bytes found in a partition since the start; they are not served.";
        log("braid_log_quarantined_total", Kind::Counter, bad, |l| signed(l.quarantined));
        let newest = "The offset after the newest record that consumers may see.";
        log("kafka_topic_partition_current_offset", gauge, newest, |l| l.watermark);
        log("kafka_topic_partition_oldest_offset", gauge, "The first offset of a partition.", |l| l.start);

        let mut each = |name: &str, help: &str, of: &dyn Fn(bool) -> i32| {
            let mut family: Family<'_> = page.family(name, gauge, help);
            let all = self.all.iter().zip(&self.labels);
            all.for_each(|(partition, labels)| family.add(labels, of(partition.log.is_some())));
        };
        let online = |online: bool| i32::from(online);
        each("kafka_cluster_partition_replicascount", "Copies of a partition.", &|_| 1);
        each("kafka_cluster_partition_insyncreplicascount", "Copies in sync.", &online);
        each("kafka_cluster_partition_atminisr", "Whether one copy less would be too few.", &online);
        each("kafka_cluster_partition_underminisr", "Whether too few copies are in sync.", &|_| 0);
        let leader = "The broker that leads a partition; -1 if none does.";
        each("kafka_topic_partition_leader", leader, &|on| if on { node_id } else { -1 });
        each("kafka_topic_partition_leader_is_preferred", "Whether its first replica leads it.", &online);
        each("kafka_topic_partition_replicas", "Copies of a partition.", &|_| 1);
        each("kafka_topic_partition_in_sync_replica", "Copies in sync.", &online);
        each("kafka_topic_partition_under_replicated_partition", "Whether a copy is behind.", &|_| 0);
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// How many partitions each topic has.
fn topics(partitions: &[PartitionStat], page: &mut Page) {
    let mut family = page.family("kafka_topic_partitions", Kind::Gauge, "Partitions of a topic.");
    for topic in partitions.chunk_by(|a, b| a.topic == b.topic) {
        if let Some(first) = topic.first() {
            family.add(&Labels::of(&[("topic", &first.topic)]), topic.len());
        }
    }
}
