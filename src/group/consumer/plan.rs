//! What of a KIP-848 group outlives a crash, as a value, and the changes that lead from one such value to the
//! next. Pure.
//!
//! A decision is made on a copy; what differs is written down. So each map here is one kind of record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use braid_protocol::Uuid;
use bytes::Bytes;

/// A partition: the topic's id, and its number.
pub(super) type Partition = (Uuid, i32);

/// The durable state of a group. The default is a group that is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::group) struct Plan {
    pub(super) state: Epoch,
    pub(super) members: Many<Member>,
    /// The group epoch that the targets were made for.
    pub(super) target_epoch: i32,
    pub(super) targets: Many<BTreeSet<Partition>>,
    pub(super) current: Many<Current>,
    /// By the expression.
    pub(super) regexes: Many<Resolved>,
}

/// Values by name; shared, so that a copy of the plan costs little.
pub(super) type Many<V> = BTreeMap<String, Arc<V>>;

/// The group epoch: it grows with every change of what the group shall read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epoch {
    /// 0 before the first.
    pub epoch: i32,
    /// Of the topics that the group reads.
    pub hash: i64,
}

/// What a member wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Member {
    /// Its name, if it is static (KIP-345).
    pub instance_id: Option<String>,
    /// Where it is.
    pub rack_id: Option<String>,
    /// The client id of its requests.
    pub client_id: String,
    /// Its address, as Kafka shows it.
    pub client_host: String,
    /// The topics it reads, sorted.
    pub names: Vec<String>,
    /// And those whose whole name matches this.
    pub regex: Option<String>,
    /// How long it may take to give up partitions, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// The assignor that it would like.
    pub assignor: Option<String>,
    /// Set if it speaks the classic protocol.
    pub classic: Option<Classic>,
}

/// What a member that speaks the classic protocol said in JoinGroup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Classic {
    /// In milliseconds.
    pub session_timeout_ms: i32,
    /// Name and metadata, most wanted first.
    pub protocols: Vec<(String, Bytes)>,
}

/// Where a member is on its way to its target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum State {
    /// It has all it shall have.
    #[default]
    Stable = 1,
    /// It must give up partitions first.
    Unrevoked = 2,
    /// It waits for partitions that others must give up.
    Unreleased = 3,
}

/// What a member owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Current {
    /// What it must say in its heartbeats; -2 for a static member that will be back.
    pub epoch: i32,
    /// What it may still say if it has not heard of the newest.
    pub previous: i32,
    /// Where it is on its way.
    pub state: State,
    /// What it owns, and the epoch that it got each partition in.
    pub assigned: BTreeMap<Partition, i32>,
    /// What it must give up; until then it may still have it.
    pub revoking: BTreeMap<Partition, i32>,
}

/// What a regular expression stands for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// Names of topics, sorted.
    pub topics: Vec<String>,
    /// When that was found, in milliseconds.
    pub at: i64,
}

/// One step from a plan to the next. `None` takes the entry away.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Of the group's epoch.
    Epoch(Option<Epoch>),
    /// Of what a member wants.
    Member(String, Option<Arc<Member>>),
    /// Of the epoch that the targets were made for.
    TargetEpoch(Option<i32>),
    /// Of what a member shall own.
    Target(String, Option<Arc<BTreeSet<Partition>>>),
    /// Of what a member owns.
    Current(String, Option<Arc<Current>>),
    /// Of what a regular expression stands for.
    Regex(String, Option<Arc<Resolved>>),
}

impl Change {
    /// The member that may have to act sooner because of this.
    pub(in crate::group) fn hurries(&self) -> Option<&str> {
        match self {
            Change::Member(id, _) | Change::Current(id, _) => Some(id),
            _ => None,
        }
    }
}

impl Plan {
    pub(in crate::group) fn is_blank(&self) -> bool {
        *self == Plan::default()
    }

    #[cfg(test)]
    pub(in crate::group) fn epoch(&self) -> i32 {
        self.state.epoch
    }

    /// Whether it has no members.
    pub(in crate::group) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The steps that make `next` of this plan.
    pub(in crate::group) fn changes(&self, next: &Plan) -> Vec<Change> {
        let mut steps = Vec::new();
        step(&mut steps, &self.current, &next.current, Change::Current, |c| c.is_none());
        step(&mut steps, &self.targets, &next.targets, Change::Target, |c| c.is_none());
        step(&mut steps, &self.members, &next.members, Change::Member, |_| true);
        step(&mut steps, &self.regexes, &next.regexes, Change::Regex, |_| true);
        if self.state != next.state {
            steps.push(Change::Epoch(Some(next.state).filter(|e| e.epoch != 0)));
        }
        step(&mut steps, &self.targets, &next.targets, Change::Target, |c| c.is_some());
        if self.target_epoch != next.target_epoch {
            steps.push(Change::TargetEpoch(Some(next.target_epoch).filter(|e| *e != 0)));
        }
        step(&mut steps, &self.current, &next.current, Change::Current, |c| c.is_some());
        steps
    }

    /// Takes one step.
    pub(in crate::group) fn apply(&mut self, change: Change) {
        match change {
            Change::Epoch(state) => self.state = state.unwrap_or_default(),
            Change::Member(id, value) => put(&mut self.members, id, value),
            Change::TargetEpoch(epoch) => self.target_epoch = epoch.unwrap_or_default(),
            Change::Target(id, value) => put(&mut self.targets, id, value),
            Change::Current(id, value) => put(&mut self.current, id, value),
            Change::Regex(regex, value) => put(&mut self.regexes, regex, value),
        }
    }

    /// The plan without these members. What they should own is anybody's from the next assignment on.
    pub(super) fn without<'a>(&self, gone: impl IntoIterator<Item = &'a str>) -> Plan {
        let mut next = self.clone();
        for id in gone {
            next.members.remove(id);
            next.targets.remove(id);
            next.current.remove(id);
        }
        next.drop_regexes();
        next.bump_group_epoch();
        next
    }

    pub(super) fn drop_regexes(&mut self) {
        let used: BTreeSet<&str> = self.members.values().filter_map(|m| m.regex.as_deref()).collect();
        self.regexes.retain(|regex, _| used.contains(regex.as_str()));
    }

    pub(super) fn bump_group_epoch(&mut self) {
        self.state.epoch = self.state.epoch.saturating_add(1);
    }

    pub(super) fn current_of(&self, id: &str) -> Option<&Current> {
        self.current.get(id).map(AsRef::as_ref)
    }

    /// The topics that a member reads.
    pub(super) fn topics_of<'a>(&'a self, member: &'a Member) -> BTreeSet<&'a str> {
        let found = member.regex.as_ref().and_then(|r| self.regexes.get(r)).map(|r| r.topics.iter());
        member.names.iter().chain(found.into_iter().flatten()).map(String::as_str).collect()
    }

    /// The topics that anybody reads.
    pub(in crate::group) fn topics(&self) -> BTreeSet<&str> {
        self.members.values().flat_map(|m| self.topics_of(m)).collect()
    }

    /// The member of this instance id.
    pub(super) fn instance(&self, instance: &str) -> Option<(&String, &Arc<Member>)> {
        self.members.iter().find(|(_, m)| m.instance_id.as_deref() == Some(instance))
    }

    /// Whether a member owns all that it shall own.
    pub(super) fn is_settled(&self, current: &Current) -> bool {
        current.state == State::Stable && current.epoch == self.target_epoch
    }
}

fn put<V>(map: &mut Many<V>, name: String, value: Option<Arc<V>>) {
    match value {
        Some(value) => {
            map.insert(name, value);
        }
        None => {
            map.remove(&name);
        }
    }
}

/// The steps between two maps that pass.
fn step<V: PartialEq>(
    steps: &mut Vec<Change>,
    before: &Many<V>,
    after: &Many<V>,
    change: impl Fn(String, Option<Arc<V>>) -> Change,
    passes: impl Fn(&Option<Arc<V>>) -> bool,
) {
    let gone = before.keys().filter(|k| !after.contains_key(*k)).map(|k| (k, None));
    let same = |k: &String, v: &Arc<V>| before.get(k).is_some_and(|was| Arc::ptr_eq(was, v) || was == v);
    let new = after.iter().filter(|(k, v)| !same(k, v)).map(|(k, v)| (k, Some(v.clone())));
    let passed = gone.chain(new).filter(|(_, v)| passes(v));
    steps.extend(passed.map(|(name, value)| change(name.clone(), value)));
}

/// Partitions by topic.
pub(super) fn grouped(partitions: impl Iterator<Item = Partition>) -> BTreeMap<Uuid, Vec<i32>> {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(partition);
    }
    topics
}
