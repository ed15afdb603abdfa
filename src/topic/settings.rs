//! What a topic's config means for its partitions and their logs.

use braid_storage::{LogConfig, Rules, TimestampType};

use super::partition::Partition;
use crate::config::{self, BrokerConfig, Durability, TopicConfig};

/// A compressed batch may become this many times the largest message, and at least [`DECOMPRESSED_MIN`].
const DECOMPRESSED_TIMES: usize = 100;
const DECOMPRESSED_MIN: usize = 100 << 20;

/// What a partition needs to know of its topic's config.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a batch must be like.
    pub rules: Rules,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// `flush.messages`: records that may lie unsynced under `written`.
    pub flush_messages: i64,
    /// `flush.ms`: how long a record may lie unsynced under `written`.
    pub flush_ms: i64,
}

/// Makes an open partition use another config of its topic.
pub fn configure(partition: &Partition, topic: &TopicConfig, broker: &BrokerConfig) {
    // One that is offline uses it when it is opened again.
    let _ = partition.configure(settings(topic), log_config(topic, broker));
}

pub(super) fn settings(topic: &TopicConfig) -> Settings {
    Settings {
        rules: rules(topic),
        durability: topic.braid_durability,
        flush_messages: topic.flush_messages,
        flush_ms: topic.flush_ms,
    }
}

pub(super) fn log_config(topic: &TopicConfig, broker: &BrokerConfig) -> LogConfig {
    LogConfig {
        segment_bytes: topic.segment_bytes.max(0) as u64,
        segment_ms: topic.segment_ms,
        segment_jitter_ms: draw(topic.segment_jitter_ms.min(topic.segment_ms)),
        delete: topic.cleanup_policy.delete,
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        index_interval_bytes: topic.index_interval_bytes.max(0) as u32,
        index_max_bytes: topic.segment_index_bytes.max(0) as u32,
        producer_expiration_ms: i64::from(broker.producer_id_expiration_ms),
    }
}

/// A number from 0 to below `limit`, different each time.
fn draw(limit: i64) -> i64 {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    // A uuid's upper two bits there are fixed.
    u64::try_from(limit).ok().and_then(|limit| (low & (u64::MAX >> 2)).checked_rem(limit)).unwrap_or(0) as i64
}

fn rules(topic: &TopicConfig) -> Rules {
    let max_message_bytes = topic.max_message_bytes.max(0) as usize;
    Rules {
        max_message_bytes,
        segment_bytes: topic.segment_bytes.max(0) as usize,
        compacted: topic.cleanup_policy.compact,
        timestamp_type: match topic.message_timestamp_type {
            config::TimestampType::CreateTime => TimestampType::CreateTime,
            config::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
        },
        before_max_ms: topic.message_timestamp_before_max_ms,
        after_max_ms: topic.message_timestamp_after_max_ms,
        max_decompressed_bytes: max_message_bytes.saturating_mul(DECOMPRESSED_TIMES).max(DECOMPRESSED_MIN),
        max_decompressed_record_bytes: i32::MAX as usize,
        zstd_allowed: true,
    }
}
