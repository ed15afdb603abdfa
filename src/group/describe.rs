//! DescribeGroups, ListGroups and the figures for metrics: looking at groups without touching them. Pure.

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_groups::{DescribedGroup, DescribedGroupMember};
use braid_protocol::api::list_groups::{ListGroupsRequest, ListedGroup};

use super::classic::{Group, Member, State};

/// From this version an unknown group is an error, and no longer a dead group (KIP-1043).
const GROUP_ID_NOT_FOUND: i16 = 6;
/// Kafka's name for the groups in this folder.
const GROUP_TYPE: &str = "classic";

/// How many groups there are, by state, and how many offsets they have committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups without members.
    pub empty: usize,
    /// Groups that wait for members to join.
    pub preparing_rebalance: usize,
    /// Groups that wait for their leader.
    pub completing_rebalance: usize,
    /// Groups at work.
    pub stable: usize,
    /// Members of all groups.
    pub members: usize,
    /// Committed offsets.
    pub offsets: usize,
    /// Records of other kinds, or unreadable ones, that were passed over at start-up.
    pub skipped_records: usize,
}

impl Stats {
    /// All groups.
    pub fn groups(&self) -> usize {
        self.empty + self.preparing_rebalance + self.completing_rebalance + self.stable
    }

    pub(super) fn count(&mut self, group: &Group) {
        let state = match group.state {
            State::Empty => &mut self.empty,
            State::PreparingRebalance { .. } => &mut self.preparing_rebalance,
            State::CompletingRebalance => &mut self.completing_rebalance,
            State::Stable => &mut self.stable,
        };
        *state += 1;
        self.members += group.members.len();
        self.offsets += group.offsets.len();
    }
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Stats) {
        self.empty += other.empty;
        self.preparing_rebalance += other.preparing_rebalance;
        self.completing_rebalance += other.completing_rebalance;
        self.stable += other.stable;
        self.members += other.members;
        self.offsets += other.offsets;
        self.skipped_records += other.skipped_records;
    }
}

impl Group {
    /// State, members and, while it is stable, what they read.
    pub(super) fn describe(&self, group_id: String) -> DescribedGroup {
        let protocol = self.protocol.as_deref().filter(|_| self.state == State::Stable);
        let member = |(id, m): (&String, &Member)| DescribedGroupMember {
            member_id: id.clone(),
            group_instance_id: m.instance_id.clone(),
            client_id: m.client_id.clone(),
            client_host: m.client_host.clone(),
            member_metadata: protocol.map(|p| m.metadata(p)).unwrap_or_default(),
            member_assignment: protocol.map(|_| m.assignment.clone()).unwrap_or_default(),
        };
        DescribedGroup {
            group_id,
            group_state: self.state.name().to_owned(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: protocol.unwrap_or_default().to_owned(),
            members: self.members.iter().map(member).collect(),
            ..Default::default()
        }
    }

    /// One line of the list, if the filters let it through. An empty filter lets all through.
    pub(super) fn listed(&self, group_id: &str, request: &ListGroupsRequest) -> Option<ListedGroup> {
        let lets = |filter: &[String], what: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(what))
        };
        let passes =
            lets(&request.states_filter, self.state.name()) && lets(&request.types_filter, GROUP_TYPE);
        passes.then(|| ListedGroup {
            group_id: group_id.to_owned(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            group_state: self.state.name().to_owned(),
            group_type: GROUP_TYPE.to_owned(),
        })
    }
}

/// What is said of a group that is not there.
pub(super) fn nobody(group_id: String, version: i16) -> DescribedGroup {
    let dead = DescribedGroup { group_id, group_state: "Dead".to_owned(), ..Default::default() };
    match version {
        ..GROUP_ID_NOT_FOUND => dead,
        _ => DescribedGroup {
            error_message: Some(format!("Group {} not found.", dead.group_id)),
            error_code: ErrorCode::GROUP_ID_NOT_FOUND,
            ..dead
        },
    }
}
