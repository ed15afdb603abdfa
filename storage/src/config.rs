//! A topic's settings, as far as its logs care.

/// A topic's settings, as far as its logs care. Defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: the largest segment.
    pub segment_bytes: u64,
    /// `segment.ms`: the longest time that a segment is written to.
    pub segment_ms: i64,
    /// How much earlier than that: drawn below `segment.jitter.ms` by the caller, so that the logs of a topic
    /// do not all roll at once.
    pub segment_jitter_ms: i64,
    /// Does `cleanup.policy` say `delete`? Otherwise only what lies below the log's start is deleted.
    pub delete: bool,
    /// `retention.ms`: how long records are kept; -1 forever.
    pub retention_ms: i64,
    /// `retention.bytes`: the size above which the oldest segments go; -1 for no limit.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`: how long the files of a deleted segment stay.
    pub file_delete_delay_ms: i64,
    /// `index.interval.bytes`: bytes between index entries.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: the largest index file.
    pub index_max_bytes: u32,
    /// `producer.id.expiration.ms`: how long an idle producer is remembered.
    pub producer_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            delete: true,
            retention_ms: 604_800_000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            index_interval_bytes: 4096,
            index_max_bytes: 10 << 20,
            producer_expiration_ms: 86_400_000,
        }
    }
}
