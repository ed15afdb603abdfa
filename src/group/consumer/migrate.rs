//! From a classic group to a KIP-848 group and back, while it is at work. Pure.
//!
//! The first member that speaks the new protocol turns a classic group of consumers into a new one, where the
//! others stay as classic members and keep what they own. When the last one that speaks it is gone, the group
//! is classic again, without a leader, and so begins a rebalance. The policy may forbid either, and so may
//! the number of members.
//! Not done: what assignors left in the user data of subscriptions is not looked at.

use std::collections::BTreeSet;
use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_protocol::api::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse as Response;
use braid_protocol::data::Data;
use braid_protocol::data::consumer::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use braid_protocol::data::offsets::{GroupMetadataValue, MemberMetadata};
use bytes::Bytes;

use super::classic::{assignment, consumer, partitions};
use super::plan::{Classic, Current, Epoch, Member, Partition, Plan, State};
use super::{Beat, Consumers, Refused};
use crate::cluster::Image;
use crate::group::classic;
use crate::group::member;
use crate::group::protocols::CONSUMER;
use crate::group::turn::Turn;
use crate::group::{GroupConfig, Record};
use crate::machine::Millis;

/// The plan that a classic group goes on with, or why it cannot. An empty one always can.
fn upgraded(group: &classic::Classic, turn: &Turn<'_>, topics: &Image) -> Result<Plan, Refused> {
    let refused = || {
        let why = format!("Group {} is not a consumer group.", turn.group_id);
        (ErrorCode::GROUP_ID_NOT_FOUND, why)
    };
    let epoch = group.generation;
    let mut plan = Plan { state: Epoch { epoch, hash: 0 }, target_epoch: epoch, ..Plan::default() };
    if group.members.is_empty() {
        return Ok(plan);
    }
    if !turn.config.migration.upgrades() || group.members.len() > turn.config.consumer_members_max {
        return Err(refused());
    }
    let mut taken = BTreeSet::new();
    for (name, was) in &group.members {
        let (member, claimed) =
            converted(group, was, topics).filter(|_| group.has_consumers()).ok_or_else(refused)?;
        let owned: BTreeSet<Partition> = claimed.into_iter().filter(|p| taken.insert(*p)).collect();
        let assigned = owned.iter().map(|p| (*p, epoch)).collect();
        let state = State::Stable;
        let current = Current { epoch, previous: epoch, state, assigned, ..Current::default() };
        plan.members.insert(name.clone(), Arc::new(member));
        plan.current.insert(name.clone(), Arc::new(current));
        plan.targets.insert(name.clone(), Arc::new(owned));
    }
    Ok(plan)
}

impl Plan {
    /// Whether only classic members are left, and may and can go on as a classic group. If not, they stay
    /// together as they are.
    pub(super) fn turns_classic(&self, config: &GroupConfig) -> bool {
        let classic_only = !self.members.is_empty() && self.members.values().all(|m| m.classic.is_some());
        classic_only && config.migration.downgrades() && self.members.len() <= config.members_max
    }
}

impl classic::Classic {
    /// The first member that speaks the new protocol joins a classic group.
    pub(in crate::group) fn upgrade(
        &mut self,
        turn: &mut Turn<'_>,
        beat: &Beat,
    ) -> Result<Response, Refused> {
        let plan = upgraded(self, turn, &beat.topics)?;
        let tombstone = Record::Group { group: turn.group_id.to_owned(), value: None };
        let had = turn.out.records.len();
        let response = Consumers::default().beat(turn, beat, Some(plan))?;
        // first the one group ends, then the other begins
        turn.out.records.insert(had, tombstone);
        self.release_all(turn);
        Ok(response)
    }
}

/// A classic consumer, and what it may believe to own: what it was last given or, in the middle of a
/// rebalance, what it said when it joined.
fn converted(
    group: &classic::Classic,
    was: &member::Member,
    topics: &Image,
) -> Option<(Member, BTreeSet<Partition>)> {
    let elected = group.protocol.as_deref().map(|p| was.metadata(p)).filter(|m| !m.is_empty());
    let metadata = elected.or_else(|| was.protocols.first().map(|(_, m)| m.clone()))?;
    let (_, subscription) = ConsumerProtocolSubscription::read(&metadata).ok()?;
    let given = ConsumerProtocolAssignment::read(&was.assignment).ok().map(|(_, a)| a.assigned_partitions);
    let owned = partitions(given.as_deref().unwrap_or(&subscription.owned_partitions), topics);
    let classic = Classic {
        session_timeout_ms: i32::try_from(was.session_timeout).unwrap_or(i32::MAX),
        protocols: was.protocols.clone(),
    };
    let member = Member {
        instance_id: was.instance_id.clone(),
        client_id: was.client_id.clone(),
        client_host: was.client_host.clone(),
        rebalance_timeout_ms: i32::try_from(was.rebalance_timeout).unwrap_or(i32::MAX),
        ..consumer(subscription, classic)
    };
    Some((member, owned))
}

/// The classic group that a group goes on as when all its members are classic.
pub(super) fn downgraded(plan: &Plan, epoch: i32, topics: &Image, now: Millis) -> GroupMetadataValue {
    let protocols = |m: &Member| m.classic.as_ref().map(|c| c.protocols.clone()).unwrap_or_default();
    let speaks = |m: &Member, name: &str| protocols(m).iter().any(|(n, _)| n == name);
    let first = plan.members.values().next().map(|m| protocols(m)).unwrap_or_default();
    let common = first.into_iter().map(|(n, _)| n).find(|n| plan.members.values().all(|m| speaks(m, n)));
    let member = |(id, m): (&String, &Arc<Member>)| {
        let said = protocols(m).into_iter().find(|(n, _)| common.as_ref() == Some(n));
        let subscription = said.map(|(_, metadata)| metadata).unwrap_or_default();
        let owned = plan.current_of(id).map(|c| c.assigned.keys().copied().collect()).unwrap_or_default();
        // right after a start the names may be unknown: nothing said is better than nothing owned
        let assignment = match topics.topic_count() {
            0 => Bytes::new(),
            _ => assignment(&owned, topics, &subscription),
        };
        MemberMetadata {
            member_id: id.clone(),
            group_instance_id: m.instance_id.clone(),
            client_id: m.client_id.clone(),
            client_host: m.client_host.clone(),
            rebalance_timeout: m.rebalance_timeout_ms,
            session_timeout: m.classic.as_ref().map_or(0, |c| c.session_timeout_ms),
            assignment,
            subscription,
        }
    };
    GroupMetadataValue {
        protocol_type: CONSUMER.to_owned(),
        generation: epoch,
        members: plan.members.iter().map(member).collect(),
        protocol: common,
        leader: None,
        current_state_timestamp: now,
    }
}
