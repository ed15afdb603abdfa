//! Consumer groups: who reads what, and how far they have come. The face of the group coordinator.
//!
//! Every group lives in one partition of `__consumer_offsets`, chosen by a hash of its id. Each partition has
//! one [`Groups`] machine and one task that drives it (see [`crate::machine`]); [`Coordinator`] finds the
//! right one.
//!
//! The files: `groups` is the machine; `group` one group, `classic` and `consumer` (KIP-848) its kinds;
//! `turn` a decision under way; `member`, `protocols`, `join`, `sync` and `leave` the rest of a classic
//! group; `offsets`, `offset_delete` and `describe` what can be asked of a group of any kind; `committed`
//! its offsets, also within transactions; `durable` and `record` what the log keeps of it.

mod classic;
mod committed;
mod consumer;
mod describe;
mod durable;
mod face;
#[expect(clippy::module_inception, reason = "one of the groups that this module is about")]
mod group;
mod groups;
mod join;
mod leave;
mod member;
mod offset_delete;
mod offsets;
mod protocols;
mod record;
mod sync;
#[cfg(test)]
mod tests;
mod turn;

use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_protocol::api::consumer_group_describe::DescribedGroup as ConsumerDescribed;
use braid_protocol::api::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use braid_protocol::api::describe_groups::DescribedGroup;
use braid_protocol::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use braid_protocol::api::join_group::JoinGroupResponse;
use braid_protocol::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use braid_protocol::api::list_groups::{ListGroupsRequest, ListedGroup};
use braid_protocol::api::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use braid_protocol::api::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use braid_protocol::api::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup};
use braid_protocol::api::sync_group::{SyncGroupRequest, SyncGroupResponse};

pub use braid_storage::TxnGuard;
pub use consumer::{Beat, Patterns};
pub use describe::{ConsumerStats, GroupsRoom, Stats};
pub use face::Coordinator;
pub use groups::Groups;
pub use join::Join;
pub use record::Record;

use crate::cluster::Image;
use crate::config::MigrationPolicy;
use crate::machine::Millis;
use crate::metrics::GroupStat;
pub use crate::topic::Marker as TxnMarker;

/// Text in records has 16 bits for its length.
const TEXT_MAX: usize = i16::MAX as usize;

/// The rules for groups, each with the name of its setting.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: Millis,
    /// `group.min.session.timeout.ms`
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max_ms: i32,
    /// `group.max.size`: members of one group; as many more may hold an id that they have not used yet.
    pub members_max: usize,
    /// Groups of one partition of `__consumer_offsets`; above it no new ones begin.
    pub groups_max: usize,
    /// Bytes of protocol names, metadata and ids that one member may have the broker remember.
    pub member_max_bytes: usize,
    /// The same of all members of one classic group together. What is stable has to fit into one record of
    /// the log, which is far less; until then it is only in memory.
    pub group_max_bytes: usize,
    /// `group.consumer.session.timeout.ms`
    pub consumer_session_timeout_ms: Millis,
    /// `group.consumer.heartbeat.interval.ms`
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`: members of one KIP-848 group.
    pub consumer_members_max: usize,
    /// `group.consumer.migration.policy`
    pub migration: MigrationPolicy,
    /// What all machines know of the patterns that groups subscribe to.
    pub patterns: Patterns,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: usize,
    /// Bytes of all records that one commit may want. What the log takes is far less, but to find that out
    /// they have to be in memory: a request names its group once, and each of its records does too.
    pub commit_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds
    pub offsets_retention_ms: Millis,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: Millis,
}

impl Default for GroupConfig {
    /// Kafka's defaults, and finite limits where Kafka has none.
    fn default() -> Self {
        GroupConfig {
            initial_rebalance_delay_ms: 3_000,
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            members_max: 1_000,
            groups_max: 10_000,
            // A consumer of a thousand topics with long names needs more than 64 KiB.
            member_max_bytes: 1 << 20,
            group_max_bytes: 16 << 20,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            consumer_members_max: 1_000,
            migration: MigrationPolicy::Bidirectional,
            patterns: Patterns::default(),
            offset_metadata_max_bytes: 4_096,
            commit_max_bytes: 64 << 20,
            offsets_retention_ms: 10_080 * 60_000,
            offsets_retention_check_interval_ms: 600_000,
        }
    }
}

/// Who commits offsets within a transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TxnProducer {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The leave to begin the transaction in the group's partition, unless it has begun there.
    pub guard: Option<TxnGuard>,
}

/// An OffsetCommit or TxnOffsetCommit request. Topics have names here: the API layer maps ids to names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// The request.
    pub request: OffsetCommitRequest,
    /// Its version, if it is an OffsetCommit: what a group that is not there is answered differs.
    pub version: i16,
    /// Who commits within a transaction, if it is a TxnOffsetCommit.
    pub txn: Option<TxnProducer>,
}

impl Commit {
    /// Size of the records that it wants, or more.
    fn kept_bytes(&self) -> usize {
        const NUMBERS: usize = 64;
        let names = self.request.group_id.len() + NUMBERS;
        let partitions = self.request.topics.iter().flat_map(|t| {
            let own = names + t.name.len();
            t.partitions.iter().map(move |p| own + p.committed_metadata.as_ref().map_or(0, String::len))
        });
        partitions.sum()
    }

    /// Whether it says nothing of who in the group commits.
    fn names_nobody(&self) -> bool {
        let request = &self.request;
        request.generation_id_or_member_epoch < 0
            && request.member_id.is_empty()
            && request.group_instance_id.is_none()
    }
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// JoinGroup. Answered when the rebalance is over.
    Join(Join),
    /// SyncGroup. Answered when the leader has decided.
    Sync(SyncGroupRequest),
    /// Heartbeat.
    Heartbeat(HeartbeatRequest),
    /// ConsumerGroupHeartbeat.
    ConsumerHeartbeat(Beat),
    /// LeaveGroup. The API layer puts the one member of versions below 3 into the list.
    Leave(LeaveGroupRequest),
    /// OffsetCommit, or TxnOffsetCommit.
    Commit(Commit),
    /// The end of a transaction in which offsets may have been committed.
    EndTxn(TxnMarker),
    /// OffsetFetch, for one group.
    Fetch {
        /// What is asked of the group.
        request: OffsetFetchRequestGroup,
        /// UNSTABLE_OFFSET_COMMIT for what a transaction may yet change.
        require_stable: bool,
    },
    /// DescribeGroups, for one group.
    Describe {
        /// The group.
        group_id: String,
        /// The request's version: what a group that is not there is answered differs.
        version: i16,
    },
    /// ConsumerGroupDescribe, for one group.
    ConsumerDescribe {
        /// The group.
        group_id: String,
        /// The cluster as it is now: it has the topics' names.
        topics: Arc<Image>,
    },
    /// ListGroups, for one partition's groups.
    List(ListGroupsRequest),
    /// DeleteGroups, for one group: NON_EMPTY_GROUP while it has members.
    Delete {
        /// The group.
        group_id: String,
    },
    /// OffsetDelete.
    DeleteOffsets(OffsetDeleteRequest),
    /// A topic was deleted: what was committed for it is forgotten.
    ForgetTopic {
        /// The topic's name.
        topic: String,
    },
    /// Figures for metrics.
    Stats,
    /// What groups have committed, for metrics, as far as there is room.
    Committed(GroupsRoom),
}

macro_rules! replies {
    ($($(#[$doc:meta])* $Name:ident($Response:ty)),* $(,)?) => {
        /// What is answered.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Reply {
            $($(#[$doc])* $Name($Response),)*
            /// To [`Input::List`].
            List(Vec<ListedGroup>),
            /// To [`Input::Delete`], [`Input::ForgetTopic`] and [`Input::EndTxn`].
            Done(ErrorCode),
            /// To [`Input::Stats`].
            Stats(Stats),
            /// To [`Input::Committed`].
            Committed(Vec<GroupStat>),
        }
        $(impl From<$Response> for Reply {
            fn from(response: $Response) -> Reply {
                Reply::$Name(response)
            }
        })*
    };
}

replies! {
    /// To [`Input::Join`].
    Join(JoinGroupResponse),
    /// To [`Input::Sync`].
    Sync(SyncGroupResponse),
    /// To [`Input::Heartbeat`].
    Heartbeat(HeartbeatResponse),
    /// To [`Input::ConsumerHeartbeat`].
    ConsumerHeartbeat(ConsumerGroupHeartbeatResponse),
    /// To [`Input::ConsumerDescribe`].
    ConsumerDescribe(ConsumerDescribed),
    /// To [`Input::Leave`].
    Leave(LeaveGroupResponse),
    /// To [`Input::Commit`].
    Commit(OffsetCommitResponse),
    /// To [`Input::Fetch`].
    Fetch(OffsetFetchResponseGroup),
    /// To [`Input::DeleteOffsets`].
    DeleteOffsets(OffsetDeleteResponse),
    /// To [`Input::Describe`].
    Describe(DescribedGroup),
}
