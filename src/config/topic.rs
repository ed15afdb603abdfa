//! A topic's settings, each once. Most follow a setting of the broker until the topic overrides them.

use std::collections::BTreeMap;

use super::broker::BrokerConfig;
use super::setting::Scope::{Like, Own};
use super::setting::{Setting, dotted, settings};
use super::value::Valid::{Any, AtLeast, Between, BetweenOrAny, Only, Ratio, Replicas};
use super::value::{CleanupPolicy, CompressionType, Durability, TimestampType, Value};

settings! {
/// How one topic is set up: its own overrides over the broker's settings.
TopicConfig, TOPIC;

cleanup_policy: CleanupPolicy, Like(&["log.cleanup.policy"]), Any,
    "What becomes of old records: delete, compact, or both; empty: they are kept forever.";
retention_ms: i64, Like(&["log.retention.ms", "log.retention.minutes", "log.retention.hours"]), AtLeast(-1),
    "How long records are kept at least; -1 forever.";
retention_bytes: i64, Like(&["log.retention.bytes"]), Any,
    "The size of a partition above which its oldest segments go; below 0 for no limit.";
segment_bytes: i32, Like(&["log.segment.bytes"]), AtLeast(14), "The size at which a new segment begins.";
segment_ms: i64, Like(&["log.roll.ms", "log.roll.hours"]), AtLeast(1),
    "The age at which a new segment begins.";
segment_jitter_ms: i64, Like(&["log.roll.jitter.ms", "log.roll.jitter.hours"]), AtLeast(0),
    "The most to take off segment.ms at random.";
segment_index_bytes: i32, Like(&["log.index.size.max.bytes"]), AtLeast(4),
    "The largest offset index; a full one begins a new segment.";
index_interval_bytes: i32, Like(&["log.index.interval.bytes"]), AtLeast(0),
    "Bytes of log between two entries of the offset index.";
max_message_bytes: i32, Like(&["message.max.bytes"]), AtLeast(0),
    "The largest record batch, as compressed by the producer.";
compression_type: CompressionType, Like(&["compression.type"]), Any,
    "Stored, no effect in this version: batches are kept as the producer sent them.";
message_timestamp_type: TimestampType, Like(&["log.message.timestamp.type"]), Any,
    "Whose clock stamps records: the producer's or the broker's.";
message_timestamp_before_max_ms: i64, Like(&["log.message.timestamp.before.max.ms"]), AtLeast(0),
    "How far a producer's timestamp may lie in the past.";
message_timestamp_after_max_ms: i64, Like(&["log.message.timestamp.after.max.ms"]), AtLeast(0),
    "How far a producer's timestamp may lie in the future.";
min_insync_replicas: i32, Like(&["min.insync.replicas"]), AtLeast(1),
    "Copies that must be in sync for acks=all; never more than there are brokers.";
braid_durability: Durability, Like(&["braid.durability"]), Any,
    "When acks=all is answered: synced, after the batch is on stable storage; written, when it is in the \
     page cache. \
     Not in Kafka.";
delete_retention_ms: i64, Like(&["log.cleaner.delete.retention.ms"]), AtLeast(0),
    "How long a compacted topic keeps the mark of a deleted key.";
min_compaction_lag_ms: i64, Like(&["log.cleaner.min.compaction.lag.ms"]), AtLeast(0),
    "The youngest record that compaction may touch.";
max_compaction_lag_ms: i64, Like(&["log.cleaner.max.compaction.lag.ms"]), AtLeast(1),
    "The age at which a record must be compacted.";
min_cleanable_dirty_ratio: f64, Like(&["log.cleaner.min.cleanable.ratio"]), Ratio,
    "The part of a log that must be new before compaction is worth it.";
flush_messages: i64, Like(&["log.flush.interval.messages"]), AtLeast(1),
    "Records after which the log is synced, for what durability written leaves unsynced.";
flush_ms: i64, Like(&["log.flush.interval.ms", "log.flush.scheduler.interval.ms"]), AtLeast(0),
    "Time after which the log is synced, for what durability written leaves unsynced.";
file_delete_delay_ms: i64, Like(&["log.segment.delete.delay.ms"]), AtLeast(0),
    "How long a deleted segment's file remains.";

// Accepted and stored for Kafka's sake.
preallocate: bool, Like(&["log.preallocate"]), Any,
    "Stored, no effect: space is reserved as the broker sees fit.";
unclean_leader_election_enable: bool, Like(&["unclean.leader.election.enable"]), Any,
    "Stored, no effect with one broker.";
compression_gzip_level: i32, Like(&["compression.gzip.level"]), BetweenOrAny(1, 9),
    "Stored, no effect while batches are kept as the producer sent them.";
compression_lz4_level: i32, Like(&["compression.lz4.level"]), Between(1, 17),
    "Stored, no effect while batches are kept as the producer sent them.";
compression_zstd_level: i32, Like(&["compression.zstd.level"]), Between(-131_072, 22),
    "Stored, no effect while batches are kept as the producer sent them.";
leader_replication_throttled_replicas: Vec<String>, Own(""), Replicas,
    "Stored, no effect: nothing is replicated.";
follower_replication_throttled_replicas: Vec<String>, Own(""), Replicas,
    "Stored, no effect: nothing is replicated.";
remote_storage_enable: bool, Own("false"), Only("false"), "Tiered storage; not possible in this version.";
local_retention_ms: i64, Own("-2"), AtLeast(-2), "Stored, no effect without tiered storage.";
local_retention_bytes: i64, Own("-2"), AtLeast(-2), "Stored, no effect without tiered storage.";
remote_log_copy_disable: bool, Own("false"), Any, "Stored, no effect without tiered storage.";
remote_log_delete_on_disable: bool, Own("false"), Any, "Stored, no effect without tiered storage.";
message_downconversion_enable: bool, Own("true"), Any,
    "Stored, no effect: old record formats are gone since Kafka 4.";
}

impl TopicConfig {
    /// The settings of a topic with these overrides. An override that does not pass
    /// [`validate_topic_configs`] counts as absent: it can only come from a disk that an older version wrote.
    pub fn of(broker: &BrokerConfig, overrides: &BTreeMap<String, String>) -> Self {
        let text = |setting: &'static Setting| match overrides.get(setting.name) {
            Some(text) if setting.check(text).is_ok() => text.clone(),
            _ => broker.topic_default(setting),
        };
        Self::read(text).expect("what the broker's settings allow, a topic's allow too")
    }
}

/// The row of a topic setting, if there is one of this name.
pub fn topic_setting(name: &str) -> Option<&'static Setting> {
    TOPIC.iter().find(|s| s.name == name)
}

/// Checks a topic's overrides as CreateTopics and IncrementalAlterConfigs need it.
///
/// The error is the first key that is wrong and a sentence for the client, to go with INVALID_CONFIG (40).
pub fn validate_topic_configs(
    broker: &BrokerConfig,
    overrides: &BTreeMap<String, String>,
) -> Result<(), (String, String)> {
    for (name, value) in overrides {
        let wrong = |why: String| (name.clone(), why);
        let Some(setting) = topic_setting(name) else {
            return Err(wrong(match name.as_str() {
                "message.format.version" | "message.timestamp.difference.max.ms" => {
                    format!("topic config {name} was removed in Kafka 4.0")
                }
                _ => format!("unknown topic config {name}"),
            }));
        };
        setting.check(value).map_err(|wanted| {
            wrong(format!("invalid value {value} for configuration {name}: must be {wanted}"))
        })?;
    }
    // What is not overridden counts as it follows the broker. Who overrides neither is not to blame.
    let topic = TopicConfig::of(broker, overrides);
    let (low, high) = (topic.min_compaction_lag_ms, topic.max_compaction_lag_ms);
    let (min, max) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
    if low <= high || !(overrides.contains_key(min) || overrides.contains_key(max)) {
        return Ok(());
    }
    let why = format!("invalid value {high} for configuration {max}: must be at least {min}, which is {low}");
    Err((max.to_owned(), why))
}
