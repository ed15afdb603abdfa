//! The broker's settings, each once. Names, types and meanings are Kafka's; where a default differs, its
//! words say so.

use std::path::PathBuf;

use super::listener::{Listener, ProtocolMap};
use super::setting::Scope::{Fixed, Live};
use super::setting::{Setting, dotted, settings};
use super::source::Given;
use super::value::Valid::{Any, AtLeast, Between, BetweenOrAny, Ratio, Unlimited};
use super::value::{
    CleanupPolicy, CompressionType, Durability, LogFormat, MigrationPolicy, TimestampType, Value,
};

settings! {
/// How a broker is set up: one field for each setting, named after it with `_` for `.`.
BrokerConfig, BROKER, given: Given;

// Where it listens.
listeners: Vec<Listener>, Fixed("PLAINTEXT://localhost:9092"), Any,
    "Where clients connect, as NAME://host:port separated by commas; no host means all interfaces. \
     Kafka's default is all interfaces.";
advertised_listeners: Option<Vec<Listener>>, Fixed(""), Any,
    "The addresses told to clients, if they differ from listeners; needed behind a container or a load \
     balancer.";
listener_security_protocol_map: ProtocolMap, Fixed(""), Any,
    "Which protocol each listener name stands for, as NAME:PROTOCOL; only PLAINTEXT can be opened. \
     A name that is itself a protocol needs no entry.";
controller_listener_names: Vec<String>, Fixed(""), Any,
    "Listeners of these names belong to a Kafka controller, which this broker has no need of: they are not \
     opened.";
http_listeners: Vec<Listener>, Fixed("HTTP://localhost:8081"), Any,
    "Where /metrics and /healthz are served, as HTTP://host:port; empty switches them off. Not in Kafka.";
node_id: i32, Fixed("1"), AtLeast(0), "The number of this broker; broker.id is read as the same.";
broker_rack: Option<String>, Fixed(""), Any, "The rack of this broker, as told to clients.";

// Limits. Kafka has most of them unlimited.
socket_request_max_bytes: i32, Fixed("104857600"), AtLeast(1),
    "The largest request; a larger one closes its connection.";
socket_listen_backlog_size: i32, Fixed("50"), AtLeast(1),
    "Connections the system holds until they are accepted.";
connections_max_idle_ms: i64, Fixed("600000"), AtLeast(1),
    "A connection without a request for this long is closed.";
max_connections: i32, Live("20000"), AtLeast(1),
    "Connections at a time, all clients together. Kafka has no limit by default.";
max_connections_per_ip: i32, Live("2000"), AtLeast(1),
    "Connections at a time from one address. Kafka has no limit by default.";
queued_max_request_bytes: i64, Fixed("-1"), AtLeast(-1),
    "Bytes of requests in memory at a time; beyond it, sockets are not read until there is room. \
     -1 means a quarter of the memory; in Kafka it means no limit.";
queued_max_requests: i32, Fixed("500"), AtLeast(1),
    "Requests of one connection taken up before their answers have left.";
fetch_max_bytes: i32, Fixed("57671680"), AtLeast(1024), "The most record bytes in the answer to one Fetch.";
max_request_partition_size_limit: i32, Fixed("2000"), AtLeast(1),
    "The most partitions in one DescribeTopicPartitions.";
max_incremental_fetch_session_cache_slots: i32, Fixed("1000"), AtLeast(0),
    "Fetch sessions remembered at a time (KIP-227).";

// Topics.
num_partitions: i32, Fixed("1"), AtLeast(1), "Partitions of a topic that is created without saying how many.";
default_replication_factor: i16, Fixed("1"), AtLeast(1),
    "Copies of a topic that is created without saying how many; never more than there are brokers.";
min_insync_replicas: i32, Live("1"), AtLeast(1),
    "Copies that must be in sync for acks=all; never more than there are brokers.";
auto_create_topics_enable: bool, Fixed("true"), Any,
    "Whether a topic comes into being when a client first asks for it.";
delete_topic_enable: bool, Fixed("true"), Any, "Whether topics can be deleted.";
message_max_bytes: i32, Live("1048588"), AtLeast(0),
    "The largest record batch, as compressed by the producer.";
compression_type: CompressionType, Live("producer"), Any,
    "Stored, no effect in this version: batches are kept as the producer sent them.";
compression_gzip_level: i32, Live("-1"), BetweenOrAny(1, 9),
    "Stored, no effect while batches are kept as the producer sent them.";
compression_lz4_level: i32, Live("9"), Between(1, 17),
    "Stored, no effect while batches are kept as the producer sent them.";
compression_zstd_level: i32, Live("3"), Between(-131_072, 22),
    "Stored, no effect while batches are kept as the producer sent them.";
unclean_leader_election_enable: bool, Live("false"), Any,
    "No effect with one broker: there is nobody else to elect.";

// Accepted and stored for Kafka's sake: clients and tools alter them while a broker runs.
num_network_threads: i32, Live("3"), AtLeast(1), "Stored, no effect: there is one thread for each processor.";
num_io_threads: i32, Live("8"), AtLeast(1), "Stored, no effect: there is one thread for each processor.";
background_threads: i32, Live("10"), AtLeast(1),
    "Stored, no effect: there is one thread for each processor.";
num_replica_fetchers: i32, Live("1"), AtLeast(1), "Stored, no effect: nothing is replicated.";
leader_replication_throttled_rate: i64, Live("9223372036854775807"), AtLeast(0),
    "Stored, no effect: nothing is replicated.";
follower_replication_throttled_rate: i64, Live("9223372036854775807"), AtLeast(0),
    "Stored, no effect: nothing is replicated.";
replica_alter_log_dirs_io_max_bytes_per_second: i64, Live("9223372036854775807"), AtLeast(0),
    "Stored, no effect: partitions stay in their folders.";
log_cleaner_threads: i32, Live("1"), AtLeast(0), "Stored, no effect: one log is compacted at a time.";
log_cleaner_io_buffer_size: i32, Live("524288"), AtLeast(0),
    "Stored, no effect: compaction sizes its own buffers.";
log_cleaner_io_buffer_load_factor: f64, Live("0.9"), AtLeast(0),
    "Stored, no effect: compaction sizes its own buffers.";

// The log on disk.
log_dirs: Vec<PathBuf>, Fixed("./data"), Any,
    "The folder that holds the topics; log.dir is read as the same. Kafka allows several, separated by \
     commas, and its default is /tmp/kafka-logs.";
braid_durability: Durability, Live("synced"), Any,
    "When acks=all is answered: synced, after the batch is on stable storage; written, when it is in the \
     page cache, \
     as in Kafka on one node. Not in Kafka.";
log_segment_bytes: i32, Live("1073741824"), AtLeast(14), "The size at which a new segment begins.";
log_roll_ms: Option<i64>, Live(""), AtLeast(1),
    "The age at which a new segment begins; stronger than log.roll.hours.";
log_roll_hours: i32, Fixed("168"), AtLeast(1), "The age at which a new segment begins, in hours.";
log_roll_jitter_ms: Option<i64>, Live(""), AtLeast(0), "The most to take off log.roll.ms at random.";
log_roll_jitter_hours: i32, Fixed("0"), AtLeast(0),
    "The most to take off log.roll.hours at random, in hours.";
log_retention_ms: Option<i64>, Live(""), Unlimited,
    "How long records are kept at least; -1 forever; stronger than log.retention.minutes.";
log_retention_minutes: Option<i32>, Fixed(""), Unlimited,
    "How long records are kept, in minutes; stronger than log.retention.hours.";
log_retention_hours: i32, Fixed("168"), Unlimited, "How long records are kept, in hours.";
log_retention_bytes: i64, Live("-1"), Any,
    "The size of a partition above which its oldest segments go; below 0 for no limit.";
log_retention_check_interval_ms: i64, Fixed("300000"), AtLeast(1), "How often old segments are looked for.";
log_cleanup_policy: CleanupPolicy, Live("delete"), Any,
    "What becomes of old records: delete, compact, or both; empty: they are kept forever.";
log_cleaner_enable: bool, Fixed("true"), Any, "Whether topics that should be compacted are.";
log_cleaner_dedupe_buffer_size: i64, Live("134217728"), AtLeast(1048576),
    "Memory for the keys of one round of compaction, 24 bytes each; more keys take more rounds.";
log_cleaner_io_max_bytes_per_second: f64, Live("1.7976931348623157E308"), AtLeast(1),
    "How fast compaction may read and write.";
log_cleaner_backoff_ms: i64, Live("15000"), AtLeast(0),
    "How long compaction rests when there is nothing to compact.";
log_cleaner_delete_retention_ms: i64, Live("86400000"), AtLeast(0),
    "How long a compacted topic keeps the mark of a deleted key.";
log_cleaner_min_compaction_lag_ms: i64, Live("0"), AtLeast(0),
    "The youngest record that compaction may touch.";
log_cleaner_max_compaction_lag_ms: i64, Live("9223372036854775807"), AtLeast(1),
    "The age at which a record must be compacted.";
log_cleaner_min_cleanable_ratio: f64, Live("0.5"), Ratio,
    "The part of a log that must be new before compaction is worth it.";
log_flush_interval_messages: i64, Live("9223372036854775807"), AtLeast(1),
    "Records after which a log is synced, for what braid.durability=written leaves unsynced.";
log_flush_interval_ms: Option<i64>, Live(""), AtLeast(0),
    "Time after which a log is synced, for what braid.durability=written leaves unsynced.";
log_flush_scheduler_interval_ms: i64, Fixed("9223372036854775807"), AtLeast(0),
    "How often logs that are due are synced; log.flush.interval.ms when that is not given.";
log_flush_offset_checkpoint_interval_ms: i32, Fixed("60000"), AtLeast(0),
    "How often recovery points are written down.";
log_flush_start_offset_checkpoint_interval_ms: i32, Fixed("60000"), AtLeast(0),
    "Accepted for Kafka's sake: start offsets are written down with the recovery points, and before \
     DeleteRecords is answered.";
log_segment_delete_delay_ms: i64, Live("60000"), AtLeast(0), "How long a deleted segment's file remains.";
log_index_size_max_bytes: i32, Live("10485760"), AtLeast(4),
    "The largest offset index; a full one begins a new segment.";
log_index_interval_bytes: i32, Live("4096"), AtLeast(0),
    "Bytes of log between two entries of the offset index.";
log_message_timestamp_type: TimestampType, Live("CreateTime"), Any,
    "Whose clock stamps records: the producer's or the broker's.";
log_message_timestamp_before_max_ms: i64, Live("9223372036854775807"), AtLeast(0),
    "How far a producer's timestamp may lie in the past.";
log_message_timestamp_after_max_ms: i64, Live("3600000"), AtLeast(0),
    "How far a producer's timestamp may lie in the future.";
log_preallocate: bool, Live("false"), Any,
    "Accepted for Kafka's sake; space is reserved as the broker sees fit.";
num_recovery_threads_per_data_dir: i32, Live("2"), AtLeast(1),
    "Logs recovered at a time after a crash, in each folder; altered while the broker runs it has no effect.";

// Groups.
group_initial_rebalance_delay_ms: i32, Fixed("0"), AtLeast(0),
    "How long the first rebalance of an empty group waits for more members. Kafka's default is 3000; \
     a broker that starts at once should not keep its first consumer waiting.";
group_min_session_timeout_ms: i32, Fixed("6000"), AtLeast(1),
    "The shortest session timeout a member may ask for.";
group_max_session_timeout_ms: i32, Fixed("1800000"), AtLeast(1),
    "The longest session timeout a member may ask for.";
group_max_size: i32, Fixed("1000"), AtLeast(1),
    "The most members of a classic group. Kafka has no limit by default.";
group_consumer_session_timeout_ms: i32, Fixed("45000"), AtLeast(1),
    "A KIP-848 member silent for this long is out.";
group_consumer_min_session_timeout_ms: i32, Fixed("45000"), AtLeast(1),
    "The shortest such timeout a group may set.";
group_consumer_max_session_timeout_ms: i32, Fixed("60000"), AtLeast(1),
    "The longest such timeout a group may set.";
group_consumer_heartbeat_interval_ms: i32, Fixed("5000"), AtLeast(1),
    "How often KIP-848 members are told to beat.";
group_consumer_min_heartbeat_interval_ms: i32, Fixed("5000"), AtLeast(1),
    "The shortest such interval a group may set.";
group_consumer_max_heartbeat_interval_ms: i32, Fixed("15000"), AtLeast(1),
    "The longest such interval a group may set.";
group_consumer_max_size: i32, Fixed("1000"), AtLeast(1),
    "The most members of a KIP-848 group. Kafka has no limit by default.";
group_consumer_migration_policy: MigrationPolicy, Fixed("bidirectional"), Any,
    "Whether a group at work follows its members from the classic protocol to that of KIP-848 (upgrade), \
     back (downgrade), both ways (bidirectional) or neither (disabled).";
offsets_topic_num_partitions: i32, Fixed("50"), AtLeast(1),
    "Partitions of __consumer_offsets; not to be changed once it exists.";
offsets_topic_segment_bytes: i32, Fixed("104857600"), AtLeast(1),
    "The size of a segment of __consumer_offsets.";
offsets_retention_minutes: i32, Fixed("10080"), AtLeast(1),
    "How long the offsets of an empty group are kept.";
offsets_retention_check_interval_ms: i64, Fixed("600000"), AtLeast(1),
    "How often offsets that are too old are looked for.";
offset_metadata_max_bytes: i32, Fixed("4096"), AtLeast(0),
    "The longest text that may come with a committed offset.";
offsets_commit_timeout_ms: i32, Fixed("5000"), AtLeast(1),
    "How long a commit waits to be durable. Accepted; no effect in this version.";

// Producers and transactions.
producer_id_expiration_ms: i32, Live("86400000"), AtLeast(1),
    "How long a producer that went silent is remembered.";
transaction_max_timeout_ms: i32, Fixed("900000"), AtLeast(1),
    "The longest transaction timeout a producer may ask for.";
transactional_id_expiration_ms: i32, Fixed("604800000"), AtLeast(1),
    "How long an unused transactional id is remembered.";
transaction_state_log_num_partitions: i32, Fixed("50"), AtLeast(1),
    "Partitions of __transaction_state, when it is first made.";
transaction_abort_timed_out_transaction_cleanup_interval_ms: i32, Fixed("10000"), AtLeast(1),
    "How often transactions past their timeout are looked for. Accepted, and not needed: each is \
     aborted when its time comes.";
transaction_partition_verification_enable: bool, Live("true"), Any,
    "Whether a transactional write is refused if its partition was not added to the transaction (KIP-890). \
     Accepted; it always is.";

// The program.
braid_log_format: LogFormat, Fixed("text"), Any,
    "How the broker's own log lines look on stderr: text or json. Not in Kafka.";
braid_metrics_groups_max: i32, Fixed("1000"), AtLeast(0),
    "Groups with series of their own in /metrics, those with members first; the others are counted in \
     braid_metrics_groups_omitted. Not in Kafka.";
braid_metrics_partitions_max: i32, Fixed("4000"), AtLeast(0),
    "Partitions with series of their own in /metrics, those of the topics known longest first; also the most \
     topics, and the most partitions of groups. Not in Kafka.";
}
