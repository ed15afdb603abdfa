//! How far groups have come, under the names of kafka_exporter, so that none is needed beside the broker.

use super::page::{Kind, Labels, Page};
use super::scrape::Scrape;

/// Groups with a longer id have no series: Kafka's own limit for the names of topics, near enough.
pub const GROUP_LABEL_MAX: usize = 255;

/// Clients name groups, so a page has room for a number of them only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupRoom {
    /// Groups, those with members first.
    pub groups: usize,
    /// Offsets committed by them, all partitions of a topic or none.
    pub offsets: usize,
}

/// One group, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStat {
    /// Its id.
    pub group: String,
    /// How many members it has.
    pub members: usize,
    /// What it has committed, as far as there is room: topic, partition, offset; in the order of topics.
    pub offsets: Vec<(String, i32, i64)>,
}

/// A committed offset and, if the partition is there, how far that is from the newest record.
struct Place<'a> {
    topic: &'a str,
    labels: Labels,
    offset: i64,
    lag: Option<i64>,
}

/// Writes members of these groups, and the offsets and lag of those that have committed any.
pub(super) fn write(groups: &[GroupStat], scrape: &dyn Scrape, page: &mut Page) {
    let label = |group: &GroupStat| Labels::of(&[("consumergroup", &group.group)]);
    let all: Vec<(Labels, Vec<Place<'_>>)> =
        groups.iter().map(|group| (label(group), places(group, &label(group), scrape))).collect();

    let mut members = page.family("kafka_consumergroup_members", Kind::Gauge, "Members of a group.");
    groups.iter().zip(&all).for_each(|(group, (labels, _))| members.add(labels, group.members));
    let name = "kafka_consumergroup_current_offset";
    let mut offsets = page.family(name, Kind::Gauge, "What a group has committed.");
    all.iter().flat_map(|(_, places)| places).for_each(|place| offsets.add(&place.labels, place.offset));
    let help = "Records that a group has not committed.";
    let mut lags = page.family("kafka_consumergroup_lag", Kind::Gauge, help);
    for place in all.iter().flat_map(|(_, places)| places) {
        place.lag.into_iter().for_each(|lag| lags.add(&place.labels, lag));
    }
    sums(&all, page);
}

/// What one group has committed, with its lag.
fn places<'a>(group: &'a GroupStat, labels: &Labels, scrape: &dyn Scrape) -> Vec<Place<'a>> {
    let one = |(topic, partition, offset): &'a (String, i32, i64)| Place {
        topic,
        labels: labels.and("topic", topic).and("partition", &partition.to_string()),
        offset: *offset,
        lag: scrape.watermark(topic, *partition).map(|end| end.saturating_sub(*offset).max(0)),
    };
    group.offsets.iter().map(one).collect()
}

/// The same, all partitions of a topic together. The names end like a part of a summary.
fn sums(all: &[(Labels, Vec<Place<'_>>)], page: &mut Page) {
    let mut topics = Vec::new();
    for (group, places) in all {
        for places in places.chunk_by(|a, b| a.topic == b.topic) {
            let Some(first) = places.first() else { continue };
            topics.push((group.and("topic", first.topic), places));
        }
    }
    let name = "kafka_consumergroup_current_offset_sum";
    let help = "What a group has committed, all partitions of a topic.";
    let mut offsets = page.family(name, Kind::Untyped, help);
    for (labels, places) in &topics {
        offsets.add(labels, places.iter().map(|place| place.offset).sum::<i64>());
    }
    let help = "Records that a group has not committed, all partitions of a topic.";
    let mut lags = page.family("kafka_consumergroup_lag_sum", Kind::Untyped, help);
    for (labels, places) in &topics {
        lags.add(labels, places.iter().filter_map(|place| place.lag).sum::<i64>());
    }
}
