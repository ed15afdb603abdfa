//! The messages of each API: one file per API, all its versions in one struct.
//!
//! Names are those of Kafka's own schemas, fields in snake case. Where a field is missing in a version it
//! reads as its default, which is what Kafka's schema says, except that an `Option` starts as null where not
//! noted.

// Records.
pub mod fetch;
pub mod list_offsets;
pub mod offset_for_leader_epoch;
pub mod produce;

// The cluster and what it speaks.
pub mod api_versions;
pub mod describe_cluster;
pub mod describe_topic_partitions;
pub mod metadata;

// Producers and groups.
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod describe_groups;
pub mod find_coordinator;
pub mod heartbeat;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod offset_commit;
pub mod offset_fetch;
pub mod sync_group;

// Transactions.
pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod describe_transactions;
pub mod end_txn;
pub mod list_transactions;
pub mod txn_offset_commit;
pub mod write_txn_markers;

// Administration.
pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_client_quotas;
pub mod describe_configs;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_user_scram_credentials;
pub mod elect_leaders;
pub mod incremental_alter_configs;
pub mod list_config_resources;
pub mod list_partition_reassignments;
pub mod offset_delete;
pub mod update_features;
