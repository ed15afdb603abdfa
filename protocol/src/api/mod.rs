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

/// Hands the list of all APIs to a macro, as `module Api, ...` in the order of their keys. What is made for
/// each of them is derived from it: the table of the broker, the grammar of requests.
#[macro_export]
macro_rules! apis {
    ($then:ident) => {
        $then! {
            produce Produce,
            fetch Fetch,
            list_offsets ListOffsets,
            metadata Metadata,
            offset_commit OffsetCommit,
            offset_fetch OffsetFetch,
            find_coordinator FindCoordinator,
            join_group JoinGroup,
            heartbeat Heartbeat,
            leave_group LeaveGroup,
            sync_group SyncGroup,
            describe_groups DescribeGroups,
            list_groups ListGroups,
            api_versions ApiVersions,
            create_topics CreateTopics,
            delete_topics DeleteTopics,
            delete_records DeleteRecords,
            init_producer_id InitProducerId,
            offset_for_leader_epoch OffsetForLeaderEpoch,
            add_partitions_to_txn AddPartitionsToTxn,
            add_offsets_to_txn AddOffsetsToTxn,
            end_txn EndTxn,
            write_txn_markers WriteTxnMarkers,
            txn_offset_commit TxnOffsetCommit,
            describe_acls DescribeAcls,
            create_acls CreateAcls,
            delete_acls DeleteAcls,
            describe_configs DescribeConfigs,
            alter_configs AlterConfigs,
            alter_replica_log_dirs AlterReplicaLogDirs,
            describe_log_dirs DescribeLogDirs,
            create_partitions CreatePartitions,
            delete_groups DeleteGroups,
            elect_leaders ElectLeaders,
            incremental_alter_configs IncrementalAlterConfigs,
            alter_partition_reassignments AlterPartitionReassignments,
            list_partition_reassignments ListPartitionReassignments,
            offset_delete OffsetDelete,
            describe_client_quotas DescribeClientQuotas,
            describe_user_scram_credentials DescribeUserScramCredentials,
            describe_quorum DescribeQuorum,
            update_features UpdateFeatures,
            describe_cluster DescribeCluster,
            describe_producers DescribeProducers,
            describe_transactions DescribeTransactions,
            list_transactions ListTransactions,
            consumer_group_heartbeat ConsumerGroupHeartbeat,
            consumer_group_describe ConsumerGroupDescribe,
            list_config_resources ListConfigResources,
            describe_topic_partitions DescribeTopicPartitions,
        }
    };
}
