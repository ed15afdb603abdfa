//! Every message in every version: round trip, each truncation, hostile bytes, and an independent codec
//! wherever it knows the version.
//!
//! Values are sampled from random bytes, so that proptest can shrink them: fewer and smaller bytes make
//! shorter arrays and smaller numbers. See [`golden`] for bytes written by hand.

mod golden;
mod sample;
mod wire;

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as independent;
use kafka_protocol::protocol::{Decodable, Encodable, Message};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

pub(crate) use self::sample::{Entropy, Sample};
use crate::data::consumer_group::*;
use crate::wire::{Malformed, Version, Wire};

/// A message that the tests can make up and compare.
trait Sampled: Wire + Sample + Clone + Debug + PartialEq {}
impl<T: Wire + Sample + Clone + Debug + PartialEq> Sampled for T {}

/// Run `check` on made-up values.
fn with_samples<T: Sampled>(v: Version, cases: u32, check: impl Fn(&T)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let bytes = proptest::collection::vec(any::<u8>(), 0..2048);
    let outcome = TestRunner::new(config).run(&bytes, |bytes| {
        check(&T::sample(&mut Entropy::new(&bytes), v));
        Ok(())
    });
    if let Err(e) = outcome {
        panic!("{} v{}: {e}", std::any::type_name::<T>(), v.number);
    }
}

fn round_trip<T: Sampled>(v: Version) {
    with_samples::<T>(v, 24, |value| {
        assert_eq!(&T::from_bytes(&value.to_bytes(v), v).unwrap(), value);
    });
}

fn every_truncation_is_refused<T: Sampled>(v: Version) {
    with_samples::<T>(v, 3, |value| {
        let bytes = value.to_bytes(v);
        for n in 0..bytes.len() {
            let cut = T::from_bytes(&bytes.slice(..n), v);
            assert!(cut.is_err(), "{n} of {} bytes read as {cut:?}", bytes.len());
        }
        let longer: Bytes = [&bytes[..], &[0]].concat().into();
        assert_eq!(T::from_bytes(&longer, v), Err(Malformed::invalid(1)));
    });
}

/// Bytes from nowhere, and good bytes with something wrong: no panic, little memory, and what can be read can
/// be written and read again.
fn hostile_bytes_do_no_harm<T: Sampled>(v: Version) {
    let survive = |bytes: Vec<u8>| {
        let bytes = Bytes::from(bytes);
        if let Ok(value) = T::from_bytes(&bytes, v) {
            assert!(value.heap() <= 64 * bytes.len() + 64, "{} from {} bytes", value.heap(), bytes.len());
            assert_eq!(T::from_bytes(&value.to_bytes(v), v).as_ref(), Ok(&value));
        }
    };
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let noise = proptest::collection::vec(prop_oneof![any::<u8>(), 0..4u8], 0..64);
    let outcome = TestRunner::new(config).run(&noise, |bytes| {
        survive(bytes);
        Ok(())
    });
    outcome.unwrap();
    with_samples::<T>(v, 2, |value| {
        let good = value.to_bytes(v).to_vec();
        for at in 0..good.len().min(600) {
            for wrong in [1, 0x80, 0xff].map(|bits| good[at] ^ bits) {
                let mut bytes = good.clone();
                bytes[at] = wrong;
                survive(bytes);
            }
            for length in
                [&b"\xff\xff\xff\xff\x0f"[..], b"\x7f\xff\xff\xff", b"\xff\xff\xff\xfe", b"\x7f\xff"]
            {
                let mut bytes = good.clone();
                bytes.splice(at..(at + length.len()).min(good.len()), length.iter().copied());
                survive(bytes);
            }
        }
    });
}

/// Ours written, theirs read and written: the same bytes. It only ever sees good bytes, because it gives up
/// the process on a bad length.
fn bytes_match<T: Sampled, Theirs: Message + Encodable + Decodable>(v: Version) {
    if v.number < Theirs::VERSIONS.min || v.number > Theirs::VERSIONS.max {
        return;
    }
    with_samples::<T>(v, 24, |value| {
        let ours = value.to_bytes(v);
        let mut left = ours.clone();
        let theirs = Theirs::decode(&mut left, v.number).expect("they read what we wrote");
        assert!(left.is_empty(), "they left {} bytes", left.len());
        let mut back = BytesMut::new();
        theirs.encode(&mut back, v.number).expect("they write what they read");
        assert_eq!(ours, back.freeze());
    });
}

/// The tests of one message in all its versions.
macro_rules! checks {
    ($versions:expr, $version:expr, $Ours:ty $(, $Theirs:ty)?) => {
        use crate::tests;

        #[test]
        fn round_trip() {
            $versions.map($version).for_each(tests::round_trip::<$Ours>);
        }

        #[test]
        fn every_truncation_is_refused() {
            $versions.map($version).for_each(tests::every_truncation_is_refused::<$Ours>);
        }

        #[test]
        fn hostile_bytes_do_no_harm() {
            $versions.map($version).for_each(tests::hostile_bytes_do_no_harm::<$Ours>);
        }

        $( #[test]
        fn bytes_match_an_independent_codec() {
            $versions.map($version).for_each(tests::bytes_match::<$Ours, $Theirs>);
        } )?
    };
}

macro_rules! apis {
    ($($api:ident::$Api:ident $Request:ident $Response:ident)*) => { $(
        mod $api {
            use crate::api::$api::{$Api, $Request, $Response};
            use crate::message::Api;
            use crate::tests::independent;

            mod request {
                use super::*;
                checks! { $Api::VERSIONS, $Api::version, $Request, independent::$Request }
            }

            mod response {
                use super::*;
                checks! { $Api::VERSIONS, $Api::version, $Response, independent::$Response }
            }

            #[test]
            fn key_and_versions_match_an_independent_codec() {
                let theirs = independent::ApiKey::$Api;
                assert_eq!(theirs as i16, $Api::KEY);
                for number in theirs.valid_versions().min..=theirs.valid_versions().max {
                    let flexible = theirs.request_header_version(number) == 2;
                    assert_eq!(flexible, number >= $Api::FLEXIBLE, "v{number}");
                }
            }
        }
    )* };
}

apis! {
    add_offsets_to_txn::AddOffsetsToTxn AddOffsetsToTxnRequest AddOffsetsToTxnResponse
    add_partitions_to_txn::AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse
    alter_configs::AlterConfigs AlterConfigsRequest AlterConfigsResponse
    alter_partition_reassignments::AlterPartitionReassignments
        AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse
    alter_replica_log_dirs::AlterReplicaLogDirs AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse
    api_versions::ApiVersions ApiVersionsRequest ApiVersionsResponse
    create_acls::CreateAcls CreateAclsRequest CreateAclsResponse
    consumer_group_describe::ConsumerGroupDescribe
        ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse
    consumer_group_heartbeat::ConsumerGroupHeartbeat
        ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse
    create_partitions::CreatePartitions CreatePartitionsRequest CreatePartitionsResponse
    create_topics::CreateTopics CreateTopicsRequest CreateTopicsResponse
    delete_acls::DeleteAcls DeleteAclsRequest DeleteAclsResponse
    delete_groups::DeleteGroups DeleteGroupsRequest DeleteGroupsResponse
    delete_records::DeleteRecords DeleteRecordsRequest DeleteRecordsResponse
    delete_topics::DeleteTopics DeleteTopicsRequest DeleteTopicsResponse
    describe_acls::DescribeAcls DescribeAclsRequest DescribeAclsResponse
    describe_client_quotas::DescribeClientQuotas DescribeClientQuotasRequest DescribeClientQuotasResponse
    describe_cluster::DescribeCluster DescribeClusterRequest DescribeClusterResponse
    describe_configs::DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse
    describe_groups::DescribeGroups DescribeGroupsRequest DescribeGroupsResponse
    describe_log_dirs::DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse
    describe_producers::DescribeProducers DescribeProducersRequest DescribeProducersResponse
    describe_quorum::DescribeQuorum DescribeQuorumRequest DescribeQuorumResponse
    describe_topic_partitions::DescribeTopicPartitions
        DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse
    describe_transactions::DescribeTransactions
        DescribeTransactionsRequest DescribeTransactionsResponse
    describe_user_scram_credentials::DescribeUserScramCredentials
        DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse
    elect_leaders::ElectLeaders ElectLeadersRequest ElectLeadersResponse
    end_txn::EndTxn EndTxnRequest EndTxnResponse
    fetch::Fetch FetchRequest FetchResponse
    find_coordinator::FindCoordinator FindCoordinatorRequest FindCoordinatorResponse
    heartbeat::Heartbeat HeartbeatRequest HeartbeatResponse
    incremental_alter_configs::IncrementalAlterConfigs
        IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse
    init_producer_id::InitProducerId InitProducerIdRequest InitProducerIdResponse
    join_group::JoinGroup JoinGroupRequest JoinGroupResponse
    leave_group::LeaveGroup LeaveGroupRequest LeaveGroupResponse
    list_config_resources::ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse
    list_groups::ListGroups ListGroupsRequest ListGroupsResponse
    list_offsets::ListOffsets ListOffsetsRequest ListOffsetsResponse
    list_partition_reassignments::ListPartitionReassignments
        ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse
    list_transactions::ListTransactions ListTransactionsRequest ListTransactionsResponse
    metadata::Metadata MetadataRequest MetadataResponse
    offset_commit::OffsetCommit OffsetCommitRequest OffsetCommitResponse
    offset_delete::OffsetDelete OffsetDeleteRequest OffsetDeleteResponse
    offset_fetch::OffsetFetch OffsetFetchRequest OffsetFetchResponse
    offset_for_leader_epoch::OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse
    produce::Produce ProduceRequest ProduceResponse
    sync_group::SyncGroup SyncGroupRequest SyncGroupResponse
    txn_offset_commit::TxnOffsetCommit TxnOffsetCommitRequest TxnOffsetCommitResponse
    update_features::UpdateFeatures UpdateFeaturesRequest UpdateFeaturesResponse
    write_txn_markers::WriteTxnMarkers WriteTxnMarkersRequest WriteTxnMarkersResponse
}

/// What stands in records and opaque bytes goes through the same tests.
macro_rules! data {
    ($($name:ident: $Ours:path $(, $Theirs:ident)?;)*) => { $(
        mod $name {
            use crate::data::Data;
            use crate::wire::Version;
            use $Ours as Ours;

            fn version(number: i16) -> Version {
                Version::new(number, number >= Ours::FLEXIBLE)
            }

            checks! { Ours::VERSIONS, version, Ours $(, crate::tests::independent::$Theirs)? }
        }
    )* };
}

data! {
    subscription: crate::data::consumer::ConsumerProtocolSubscription, ConsumerProtocolSubscription;
    assignment: crate::data::consumer::ConsumerProtocolAssignment, ConsumerProtocolAssignment;
    offset_commit_key: crate::data::offsets::OffsetCommitKey;
    offset_commit_value: crate::data::offsets::OffsetCommitValue;
    group_metadata_key: crate::data::offsets::GroupMetadataKey;
    group_metadata_value: crate::data::offsets::GroupMetadataValue;
    transaction_log_key: crate::data::transactions::TransactionLogKey;
    transaction_log_value: crate::data::transactions::TransactionLogValue;
    consumer_group_metadata_key: super::ConsumerGroupMetadataKey;
    consumer_group_metadata_value: super::ConsumerGroupMetadataValue;
    consumer_group_member_metadata_key: super::ConsumerGroupMemberMetadataKey;
    consumer_group_member_metadata_value: super::ConsumerGroupMemberMetadataValue;
    consumer_group_target_assignment_metadata_key: super::ConsumerGroupTargetAssignmentMetadataKey;
    consumer_group_target_assignment_metadata_value: super::ConsumerGroupTargetAssignmentMetadataValue;
    consumer_group_target_assignment_member_key: super::ConsumerGroupTargetAssignmentMemberKey;
    consumer_group_target_assignment_member_value: super::ConsumerGroupTargetAssignmentMemberValue;
    consumer_group_current_member_assignment_key: super::ConsumerGroupCurrentMemberAssignmentKey;
    consumer_group_current_member_assignment_value: super::ConsumerGroupCurrentMemberAssignmentValue;
    consumer_group_regular_expression_key: super::ConsumerGroupRegularExpressionKey;
    consumer_group_regular_expression_value: super::ConsumerGroupRegularExpressionValue;
}
