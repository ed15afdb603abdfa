//! DescribeGroups, ListGroups and the figures for metrics: looking at groups without touching them. Pure.

use std::collections::BTreeMap;

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_groups::{DescribedGroup, DescribedGroupMember};
use braid_protocol::api::list_groups::{ListGroupsRequest, ListedGroup};

use super::ConsumerDescribed;
use super::classic::{Classic, State};
use super::consumer::Phase;
use super::group::{Group, Kind};
use super::member::Member;
use super::protocols::CONSUMER;
use crate::cluster::Image;
use crate::metrics::{GROUP_LABEL_MAX, GroupRoom, GroupStat};

/// From this version an unknown group is an error, and no longer a dead group (KIP-1043).
const GROUP_ID_NOT_FOUND: i16 = 6;
/// Kafka's names for the kinds of groups.
const CLASSIC_TYPE: &str = "classic";
const CONSUMER_TYPE: &str = "consumer";

/// How many KIP-848 groups there are, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerStats {
    /// Groups without members.
    pub empty: usize,
    /// Groups whose members shall soon own something else.
    pub assigning: usize,
    /// Groups whose members give up and get partitions.
    pub reconciling: usize,
    /// Groups at work.
    pub stable: usize,
}

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
    /// KIP-848 groups.
    pub consumer: ConsumerStats,
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
        let ConsumerStats { empty, assigning, reconciling, stable } = self.consumer;
        let consumer = empty + assigning + reconciling + stable;
        self.empty + self.preparing_rebalance + self.completing_rebalance + self.stable + consumer
    }

    /// Groups that have members.
    fn active(&self) -> usize {
        self.groups() - self.empty - self.consumer.empty
    }

    pub(super) fn count(&mut self, group: &Group) {
        self.offsets += group.offsets.committed();
        self.members += group.member_count();
        let state = match &group.kind {
            Kind::Empty => &mut self.empty,
            Kind::Classic(classic) => match classic.state {
                State::Empty => &mut self.empty,
                State::PreparingRebalance { .. } => &mut self.preparing_rebalance,
                State::CompletingRebalance => &mut self.completing_rebalance,
                State::Stable => &mut self.stable,
            },
            Kind::Consumer(consumers) => match consumers.phase() {
                Phase::Empty => &mut self.consumer.empty,
                Phase::Assigning => &mut self.consumer.assigning,
                Phase::Reconciling => &mut self.consumer.reconciling,
                Phase::Stable => &mut self.consumer.stable,
            },
        };
        *state += 1;
    }
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Stats) {
        self.empty += other.empty;
        self.preparing_rebalance += other.preparing_rebalance;
        self.completing_rebalance += other.completing_rebalance;
        self.stable += other.stable;
        self.consumer.empty += other.consumer.empty;
        self.consumer.assigning += other.consumer.assigning;
        self.consumer.reconciling += other.consumer.reconciling;
        self.consumer.stable += other.consumer.stable;
        self.members += other.members;
        self.offsets += other.offsets;
        self.skipped_records += other.skipped_records;
    }
}

impl Classic {
    /// State, members and, while it is stable, what they read.
    fn describe(&self, group_id: String) -> DescribedGroup {
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
}

impl Group {
    fn member_count(&self) -> usize {
        match &self.kind {
            Kind::Empty => 0,
            Kind::Classic(classic) => classic.members.len(),
            Kind::Consumer(consumers) => consumers.member_count(),
        }
    }

    /// Its members, counted, and what it has committed: whole topics, as long as there is room.
    fn figures(&self, group_id: &str, room: &mut usize) -> GroupStat {
        let mut offsets = Vec::new();
        for (topic, partitions) in self.offsets.topics() {
            let committed = || partitions.iter().filter_map(|(p, kept)| Some((*p, kept.committed.as_ref()?)));
            let count = committed().count();
            if count <= *room {
                *room -= count;
                offsets.extend(committed().map(|(p, value)| (topic.clone(), p, value.offset)));
            }
        }
        GroupStat { group: group_id.to_owned(), members: self.member_count(), offsets }
    }

    /// One line of the list, if the filters let it through. An empty filter lets all through.
    pub(super) fn listed(&self, group_id: &str, request: &ListGroupsRequest) -> Option<ListedGroup> {
        let lets = |filter: &[String], what: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(what))
        };
        let (state, kind, protocol_type) = match &self.kind {
            Kind::Empty => (State::Empty.name(), CLASSIC_TYPE, None),
            Kind::Classic(classic) => (classic.state.name(), CLASSIC_TYPE, classic.protocol_type.as_deref()),
            Kind::Consumer(consumers) => (consumers.phase().name(), CONSUMER_TYPE, Some(CONSUMER)),
        };
        (lets(&request.states_filter, state) && lets(&request.types_filter, kind)).then(|| ListedGroup {
            group_id: group_id.to_owned(),
            protocol_type: protocol_type.unwrap_or_default().to_owned(),
            group_state: state.to_owned(),
            group_type: kind.to_owned(),
        })
    }
}

/// How much metrics want to know of the groups of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupsRoom {
    /// The most groups with members.
    pub active: usize,
    /// The most groups without.
    pub empty: usize,
    /// The most offsets of all these groups.
    pub offsets: usize,
}

/// Divides the room among partitions with these figures: groups with members come first, then the partitions
/// in their order.
pub(super) fn share(room: GroupRoom, partitions: &[Stats]) -> Vec<GroupsRoom> {
    let mut rooms = vec![GroupsRoom::default(); partitions.len()];
    let GroupRoom { mut groups, mut offsets } = room;
    let mut take = |wanted: usize| {
        let taken = wanted.min(groups);
        groups -= taken;
        taken
    };
    rooms.iter_mut().zip(partitions).for_each(|(room, stats)| room.active = take(stats.active()));
    for (room, stats) in rooms.iter_mut().zip(partitions) {
        room.empty = take(stats.groups() - stats.active());
        if room.active + room.empty > 0 {
            room.offsets = stats.offsets.min(offsets);
            offsets -= room.offsets;
        }
    }
    rooms
}

/// Figures of these groups, as far as there is room. What is left out costs no more than a look at it.
pub(super) fn figures(groups: &BTreeMap<String, Group>, room: GroupsRoom) -> Vec<GroupStat> {
    let GroupsRoom { active, empty, mut offsets } = room;
    let mut found = Vec::new();
    for (has_members, max) in [(true, active), (false, empty)] {
        let wanted = groups
            .iter()
            .filter(|(id, group)| id.len() <= GROUP_LABEL_MAX && (group.member_count() > 0) == has_members);
        found.extend(wanted.take(max).map(|(id, group)| group.figures(id, &mut offsets)));
    }
    found
}

/// DescribeGroups, of one group. One that is not there, or of the other kind, is dead.
pub(super) fn describe(group: Option<&Group>, group_id: String, version: i16) -> DescribedGroup {
    let why = match group.map(|group| &group.kind) {
        Some(Kind::Empty) => return Classic::default().describe(group_id),
        Some(Kind::Classic(classic)) => return classic.describe(group_id),
        Some(Kind::Consumer(_)) => "is not a classic group",
        None => "not found",
    };
    let dead = DescribedGroup { group_id, group_state: "Dead".to_owned(), ..Default::default() };
    match version {
        ..GROUP_ID_NOT_FOUND => dead,
        _ => DescribedGroup {
            error_message: Some(format!("Group {} {why}.", dead.group_id)),
            error_code: ErrorCode::GROUP_ID_NOT_FOUND,
            ..dead
        },
    }
}

/// ConsumerGroupDescribe, of one group.
pub(super) fn describe_consumers(
    group: Option<&Group>,
    group_id: String,
    topics: &Image,
) -> ConsumerDescribed {
    let why = match group.map(|group| &group.kind) {
        Some(Kind::Consumer(consumers)) => return consumers.describe(group_id, topics),
        Some(Kind::Empty | Kind::Classic(_)) => "is not a consumer group",
        None => "not found",
    };
    ConsumerDescribed {
        error_code: ErrorCode::GROUP_ID_NOT_FOUND,
        error_message: Some(format!("Group {group_id} {why}.")),
        group_id,
        ..Default::default()
    }
}
