//! ConsumerGroupDescribe, and a KIP-848 group's line in the list of groups. Pure.

use braid_protocol::api::consumer_group_describe::{
    Assignment, DescribedGroup, Member as Described, TopicPartitions,
};

use super::Consumers;
use super::plan::{Partition, grouped};
use crate::cluster::Image;

/// What a group is doing. Dead is the name of a group that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::group) enum Phase {
    /// No members.
    Empty,
    /// The targets are behind the group's epoch.
    Assigning,
    /// Members are on their way to their targets.
    Reconciling,
    /// Every member has what it shall have.
    Stable,
}

impl Phase {
    /// Kafka's name.
    pub(in crate::group) fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::Assigning => "Assigning",
            Phase::Reconciling => "Reconciling",
            Phase::Stable => "Stable",
        }
    }
}

impl Consumers {
    pub(in crate::group) fn member_count(&self) -> usize {
        self.plan.members.len()
    }

    pub(in crate::group) fn phase(&self) -> Phase {
        let plan = &self.plan;
        if plan.members.is_empty() {
            Phase::Empty
        } else if plan.state.epoch > plan.target_epoch {
            Phase::Assigning
        } else if plan.current.values().all(|c| plan.is_settled(c)) {
            Phase::Stable
        } else {
            Phase::Reconciling
        }
    }

    /// The group and its members. Topics that are gone are left out.
    pub(in crate::group) fn describe(&self, group_id: String, topics: &Image) -> DescribedGroup {
        let plan = &self.plan;
        let members = plan.members.iter().map(|(id, m)| {
            let current = plan.current_of(id);
            let target = plan.targets.get(id);
            Described {
                member_id: id.clone(),
                instance_id: m.instance_id.clone(),
                rack_id: m.rack_id.clone(),
                member_epoch: current.map_or(0, |c| c.epoch),
                client_id: m.client_id.clone(),
                client_host: m.client_host.clone(),
                subscribed_topic_names: m.names.clone(),
                subscribed_topic_regex: m.regex.clone(),
                assignment: named(current.into_iter().flat_map(|c| c.assigned.keys().copied()), topics),
                target_assignment: named(target.into_iter().flat_map(|t| t.iter().copied()), topics),
                member_type: if m.classic.is_some() { 0 } else { 1 },
            }
        });
        DescribedGroup {
            group_id,
            group_state: self.phase().name().to_owned(),
            group_epoch: plan.state.epoch,
            assignment_epoch: plan.target_epoch,
            assignor_name: plan.assignor().to_owned(),
            members: members.collect(),
            ..Default::default()
        }
    }
}

fn named(partitions: impl Iterator<Item = Partition>, topics: &Image) -> Assignment {
    let one = |(topic_id, partitions)| {
        let topic_name = topics.topic_by_id(topic_id)?.name.to_string();
        Some(TopicPartitions { topic_id, topic_name, partitions })
    };
    Assignment { topic_partitions: grouped(partitions).into_iter().filter_map(one).collect() }
}
