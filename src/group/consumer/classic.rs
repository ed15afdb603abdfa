//! Members of a KIP-848 group that still speak the classic protocol. Pure.
//!
//! To them the member epoch is the generation, and nobody leads: JoinGroup moves them towards their target,
//! SyncGroup tells what they own, and Heartbeat sends them to join again whenever there is more to do.

use std::collections::BTreeSet;
use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_protocol::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use braid_protocol::api::join_group::JoinGroupResponse;
use braid_protocol::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use braid_protocol::api::sync_group::{SyncGroupRequest, SyncGroupResponse};
use braid_protocol::data::Data;
use braid_protocol::data::consumer::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};
use bytes::Bytes;

use super::Consumers;
use super::plan::{Classic, Current, Member, Partition, Plan, State, grouped};
use crate::cluster::Image;
use crate::group::join::{Join, MEMBER_ID_REQUIRED, refused};
use crate::group::leave;
use crate::group::protocols::CONSUMER;
use crate::group::turn::Turn;

impl Consumers {
    /// JoinGroup. Never parked: the answer is how far the member can go now.
    pub(in crate::group) fn join(&mut self, turn: &mut Turn<'_>, join: &Join) -> JoinGroupResponse {
        self.latest = join.topics.clone();
        self.try_join(turn, join).unwrap_or_else(|code| match code {
            ErrorCode::MEMBER_ID_REQUIRED => refused(&join.new_member_id, code),
            code => refused(&join.request.member_id, code),
        })
    }

    fn try_join(&mut self, turn: &mut Turn<'_>, join: &Join) -> Result<JoinGroupResponse, ErrorCode> {
        let r = &join.request;
        let (member, owned) = self.classic_member(join)?;
        let mut plan = self.plan.clone();
        let instance = r.group_instance_id.as_deref();
        let id = match (r.member_id.as_str(), instance) {
            ("", None) if join.version >= MEMBER_ID_REQUIRED => return Err(ErrorCode::MEMBER_ID_REQUIRED),
            ("", _) => join.new_member_id.as_str(),
            (id, None) => id,
            (id, Some(_)) => plan.sender(id, instance).map(|_| id).map_err(|(code, _)| code)?,
        };
        plan.replace_static(id, instance);
        let was = plan.members.get(id).cloned();
        if was.is_none() && plan.members.len() >= turn.config.consumer_members_max {
            return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        let changed = was.as_ref().is_none_or(|was| was.names != member.names || was.regex != member.regex);
        let protocol =
            member.classic.as_ref().and_then(|c| c.protocols.first()).map(|(name, _)| name.clone());
        let member = was.filter(|was| **was == member).unwrap_or_else(|| Arc::new(member));
        plan.members.insert(id.to_owned(), member.clone());
        plan.current.entry(id.to_owned()).or_default();
        if plan.turns_classic(turn.config) {
            // a classic group from now on, where this member joins again
            self.persist(turn, &plan, "replaced");
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.update_target_assignment(turn, &mut plan, id, Some(&owned), changed);
        self.heard(turn, id, &member, Some(by(turn, &member)));
        self.persist(turn, &plan, "replaced");
        Ok(JoinGroupResponse {
            generation_id: plan.current_of(id).map_or(0, |c| c.epoch),
            protocol_type: Some(CONSUMER.to_owned()),
            protocol_name: protocol,
            member_id: id.to_owned(),
            ..Default::default()
        })
    }

    /// What the sender wants and owns, if it is a consumer that can be in this group.
    fn classic_member(&self, join: &Join) -> Result<(Member, BTreeSet<Partition>), ErrorCode> {
        let r = &join.request;
        let wrong = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
        let first = r.protocols.first().filter(|_| r.protocol_type == CONSUMER).ok_or(wrong)?;
        let speaks = |m: &Arc<Member>| {
            let theirs = m.classic.iter().flat_map(|c| &c.protocols);
            m.classic.is_none()
                || theirs.into_iter().any(|(name, _)| r.protocols.iter().any(|p| p.name == *name))
        };
        let others = self.plan.members.iter().filter(|(id, _)| **id != r.member_id);
        if !others.map(|(_, m)| m).all(speaks) {
            return Err(wrong);
        }
        let (_, subscription) = ConsumerProtocolSubscription::read(&first.metadata).map_err(|_| wrong)?;
        let owned = partitions(&subscription.owned_partitions, &join.topics);
        let protocols =
            r.protocols.iter().map(|p| (p.name.clone(), Bytes::copy_from_slice(&p.metadata))).collect();
        let rebalance_timeout =
            if r.rebalance_timeout_ms < 0 { r.session_timeout_ms } else { r.rebalance_timeout_ms };
        let member = consumer(subscription, Classic { session_timeout_ms: r.session_timeout_ms, protocols });
        let member = Member {
            instance_id: r.group_instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            rebalance_timeout_ms: rebalance_timeout,
            ..member
        };
        Ok((member, owned))
    }

    /// SyncGroup: what the member owns.
    pub(in crate::group) fn sync(&mut self, turn: &Turn<'_>, r: &SyncGroupRequest) -> SyncGroupResponse {
        self.try_sync(turn, r)
            .unwrap_or_else(|error_code| SyncGroupResponse { error_code, ..Default::default() })
    }

    fn try_sync(&mut self, turn: &Turn<'_>, r: &SyncGroupRequest) -> Result<SyncGroupResponse, ErrorCode> {
        let (id, instance) = (r.member_id.as_str(), r.group_instance_id.as_deref());
        let (member, current) = self.in_generation(id, instance, r.generation_id)?;
        let classic = member.classic.as_ref().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let (name, metadata) = classic.protocols.first().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if r.protocol_type.as_ref().is_some_and(|t| t != CONSUMER)
            || r.protocol_name.as_ref().is_some_and(|n| n != name)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let behind = self.plan.state.epoch > current.epoch && current.state != State::Unrevoked;
        // after a start the names of topics come with the next JoinGroup
        let nameless = self.latest.topic_count() == 0 && !current.assigned.is_empty();
        if behind || nameless {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        let response = SyncGroupResponse {
            protocol_type: Some(CONSUMER.to_owned()),
            protocol_name: Some(name.clone()),
            assignment: assignment(&current.assigned.keys().copied().collect(), &self.latest, metadata),
            ..Default::default()
        };
        self.heard(turn, id, &member, None);
        Ok(response)
    }

    /// Heartbeat: whether the member shall join again.
    pub(in crate::group) fn heartbeat(&mut self, turn: &Turn<'_>, r: &HeartbeatRequest) -> HeartbeatResponse {
        let (id, instance) = (r.member_id.as_str(), r.group_instance_id.as_deref());
        let error_code = match self.in_generation(id, instance, r.generation_id) {
            Err(code) => code,
            Ok((member, current)) => {
                let shall_join = current.epoch < self.plan.state.epoch
                    || match current.state {
                        State::Stable => false,
                        State::Unrevoked => true,
                        State::Unreleased => !self.plan.waits_for_others(id),
                    };
                let known = self.sessions.get(id).and_then(|s| s.act_by);
                let act_by = known.or_else(|| shall_join.then(|| by(turn, &member)));
                self.heard(turn, id, &member, act_by);
                if shall_join { ErrorCode::REBALANCE_IN_PROGRESS } else { ErrorCode::NONE }
            }
        };
        HeartbeatResponse { error_code, ..Default::default() }
    }

    /// LeaveGroup; also how an administrator removes members of either protocol.
    pub(in crate::group) fn leave_classic(
        &mut self,
        turn: &mut Turn<'_>,
        request: LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let mut gone = BTreeSet::new();
        let answers = request.members.into_iter().map(|one| {
            let found = match one.group_instance_id.as_deref() {
                Some(instance) if one.member_id.is_empty() => {
                    self.plan.instance(instance).map(|(id, _)| id.clone()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
                }
                instance => match self.plan.sender(&one.member_id, instance) {
                    Ok(_) => Ok(one.member_id.clone()),
                    Err((code, _)) => Err(code),
                },
            };
            let code = match found {
                Ok(id) => match gone.insert(id) {
                    true => ErrorCode::NONE,
                    false => ErrorCode::UNKNOWN_MEMBER_ID,
                },
                Err(code) => code,
            };
            leave::answered(one, code)
        });
        let response = LeaveGroupResponse { members: answers.collect(), ..Default::default() };
        if !gone.is_empty() {
            self.persist(turn, &self.plan.without(gone.iter().map(String::as_str)), "left");
        }
        response
    }

    /// A classic member, and the generation that it believes it is in.
    fn in_generation(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(Arc<Member>, Arc<Current>), ErrorCode> {
        let member = self.plan.sender(id, instance).map_err(|(code, _)| code)?;
        let current = self.plan.current.get(id).filter(|_| member.classic.is_some());
        let current = current.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        match current.epoch == generation {
            true => Ok((member.clone(), current.clone())),
            false => Err(ErrorCode::ILLEGAL_GENERATION),
        }
    }
}

impl Plan {
    /// A static member that comes without its id takes over what its predecessor had, whatever that speaks
    /// and whether it has left: from now on it is fenced.
    fn replace_static(&mut self, id: &str, instance: Option<&str>) {
        let Some((old, _)) = instance.and_then(|i| self.instance(i)) else { return };
        if old != id {
            let old = old.clone();
            self.rename(&old, id);
        }
    }
}

fn by(turn: &Turn<'_>, member: &Member) -> i64 {
    turn.now.saturating_add(i64::from(member.rebalance_timeout_ms.max(0)))
}

/// A member as its subscription tells.
pub(super) fn consumer(subscription: ConsumerProtocolSubscription, classic: Classic) -> Member {
    let mut names = subscription.topics;
    names.sort_unstable();
    names.dedup();
    Member { names, rack_id: subscription.rack_id, classic: Some(classic), ..Member::default() }
}

/// Names to ids. Topics that are not there are passed over.
pub(super) fn partitions(topics: &[TopicPartition], image: &Image) -> BTreeSet<Partition> {
    let known = topics.iter().filter_map(|t| image.topic(&t.topic).map(|known| (known.id, &t.partitions)));
    known.flat_map(|(id, partitions)| partitions.iter().map(move |p| (id, *p))).collect()
}

/// Ids to names, in the version of the member's subscription.
pub(super) fn assignment(owned: &BTreeSet<Partition>, image: &Image, subscription: &Bytes) -> Bytes {
    let newest = *ConsumerProtocolAssignment::VERSIONS.end();
    let version = ConsumerProtocolSubscription::read(subscription).map_or(0, |(v, _)| v.min(newest));
    let one = |(id, partitions)| {
        let topic = image.topic_by_id(id)?.name.to_string();
        Some(TopicPartition { topic, partitions })
    };
    let assigned_partitions = grouped(owned.iter().copied()).into_iter().filter_map(one).collect();
    ConsumerProtocolAssignment { assigned_partitions, ..Default::default() }.write(version)
}
