//! KIP-848 groups: the server decides who reads what, and each member moves there at its own pace.
//!
//! The files: `plan` is what a crash must keep, and how one plan becomes the next; `record` how that looks in
//! the log; `heartbeat` what a member says and hears; `topics` what the group reads, `patterns` the regular
//! expressions in it; `assign` who shall own what; `reconcile` how a member gets there; `classic` members
//! that speak the old protocol, and `migrate` how a group changes from one kind to the other; `offsets` who
//! may commit; `describe` what others see.

mod assign;
mod classic;
mod describe;
mod heartbeat;
mod migrate;
mod offsets;
mod patterns;
mod plan;
mod reconcile;
mod record;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use braid_protocol::ErrorCode;
use tracing::{Level, info};

pub(super) use describe::Phase;
pub use heartbeat::Beat;
pub(super) use heartbeat::refused;
pub use patterns::Patterns;
pub(super) use plan::Change;
pub(super) use plan::Plan;
use plan::{Member, State};

use super::Record;
use super::turn::Turn;
use crate::cluster::Image;
use crate::machine::Millis;

/// An error, and a message for the client.
pub(super) type Refused = (ErrorCode, String);

/// One group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Consumers {
    pub(super) plan: Plan,
    /// Of members; one that was just replayed has none yet.
    sessions: BTreeMap<String, Session>,
    /// The cluster as the plan takes it into account.
    seen: Option<Arc<Image>>,
    /// The cluster as somebody last knew it.
    latest: Arc<Image>,
}

/// When a member is given up.
#[derive(Clone, Debug, Default, PartialEq)]
struct Session {
    /// Unless it is heard of before.
    expires: Millis,
    /// Unless it has given up its partitions by then or, if it is a classic member, has joined again or
    /// synced.
    act_by: Option<Millis>,
}

impl Consumers {
    pub(super) fn replay(&mut self, change: Change) {
        if let Change::Member(id, None) = &change {
            self.sessions.remove(id);
        }
        self.plan.apply(change);
    }

    /// The topics that its members read.
    pub(super) fn subscribed_topics(&self) -> BTreeSet<String> {
        self.plan.topics().into_iter().map(str::to_owned).collect()
    }

    /// The patterns that members subscribe to.
    pub(super) fn regexes(&self) -> impl Iterator<Item = &str> {
        self.plan.members.values().filter_map(|member| member.regex.as_deref())
    }

    #[cfg(test)]
    pub(super) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The next moment at which something is due.
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.plan.members.keys().filter_map(|id| self.deadline_of(id)).min()
    }

    /// The moment at which this member is given up or, if it was just replayed, its session begins.
    pub(super) fn deadline_of(&self, id: &str) -> Option<Millis> {
        self.plan.members.get(id)?;
        let Some(session) = self.sessions.get(id) else { return Some(Millis::MIN) };
        let acts = match (self.must_act(id), session.act_by) {
            (true, None) => Millis::MIN,
            (false, _) => Millis::MAX,
            (true, Some(by)) => by,
        };
        Some(session.expires.min(acts))
    }

    /// Whether a member is given up if it does not do something.
    fn must_act(&self, id: &str) -> bool {
        let classic = self.plan.members.get(id).is_some_and(|m| m.classic.is_some());
        match (classic, self.sessions.get(id)) {
            (true, session) => session.is_some_and(|s| s.act_by.is_some()),
            (false, _) => self.plan.current_of(id).is_some_and(|c| c.state == State::Unrevoked),
        }
    }

    /// Begins the sessions of members that were replayed, and gives up those that were not heard of.
    pub(super) fn wake(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let members = &self.plan.members;
        self.sessions.retain(|id, _| members.contains_key(id));
        let new = members.iter().filter(|(id, _)| !self.sessions.contains_key(*id)).map(|(id, member)| {
            let expires = now.saturating_add(self.session_timeout(turn, member));
            (id.clone(), Session { expires, act_by: None })
        });
        let new: Vec<_> = new.collect();
        self.sessions.extend(new);
        let acting: Vec<String> = members.keys().filter(|id| self.must_act(id)).cloned().collect();
        for id in acting {
            let by = self.act_by(&id, now);
            if let Some(session) = self.sessions.get_mut(&id) {
                session.act_by.get_or_insert(by);
            }
        }
        let late = |id: &&String| {
            let session = self.sessions.get(*id);
            let acts = self.must_act(id);
            session.is_some_and(|s| s.expires <= now || (acts && s.act_by.is_some_and(|t| t <= now)))
        };
        let gone: Vec<String> = members.keys().filter(late).cloned().collect();
        if !gone.is_empty() {
            let reason = "was not heard of, or did not give up its partitions, in time";
            self.persist(turn, &self.plan.without(gone.iter().map(String::as_str)), reason);
        }
    }

    /// Until when a member must do its next step, from now.
    fn act_by(&self, id: &str, now: Millis) -> Millis {
        let timeout = self.plan.members.get(id).map_or(0, |m| m.rebalance_timeout_ms);
        now.saturating_add(Millis::from(timeout.max(0)))
    }

    /// A member was heard of. What it said decides whether it must act, and by when.
    fn heard(&mut self, turn: &Turn<'_>, id: &str, member: &Member, act_by: Option<Millis>) {
        let expires = turn.now.saturating_add(self.session_timeout(turn, member));
        self.sessions.insert(id.to_owned(), Session { expires, act_by });
    }

    /// Decides that this is the plan from now on, or that the group goes on as a classic one.
    /// The reason is logged with members that are removed.
    fn persist(&self, turn: &mut Turn<'_>, next: &Plan, reason: &str) {
        self.log_changes(turn, next, reason);
        if next.turns_classic(turn.config) {
            let value = migrate::downgraded(next, self.plan.state.epoch, &self.latest, turn.now);
            self.write(turn, &Plan::default());
            turn.out.records.push(Record::Group { group: turn.group_id.to_owned(), value: Some(value) });
        } else {
            self.write(turn, next);
        }
    }

    /// Logs which members join and which are removed, and the epoch.
    fn log_changes(&self, turn: &Turn<'_>, next: &Plan, reason: &str) {
        if !tracing::enabled!(Level::INFO) {
            return;
        }
        let group = turn.group_id;
        fn missing<'a>(one: &'a Plan, other: &Plan) -> impl Iterator<Item = (&'a String, &'a Arc<Member>)> {
            one.members.iter().filter(|(id, _)| !other.members.contains_key(*id))
        }
        for (id, member) in missing(next, &self.plan) {
            info!(group, member = id, client = member.client_id, "member joined");
        }
        for (id, member) in missing(&self.plan, next) {
            info!(group, member = id, client = member.client_id, reason, "member removed");
        }
        let (epoch, members) = (next.state.epoch, next.members.len());
        if epoch != self.plan.state.epoch && epoch != 0 {
            info!(group, epoch, members, "group epoch bumped");
        }
    }

    /// Decides that nothing is left of the group.
    pub(super) fn write_tombstones(&self, turn: &mut Turn<'_>) {
        self.write(turn, &Plan::default());
    }

    /// How long a member may be silent: a classic one by what it said, the others by the group's config.
    fn session_timeout(&self, turn: &Turn<'_>, member: &Member) -> Millis {
        let said = member.classic.as_ref().map(|c| Millis::from(c.session_timeout_ms));
        let set = || self.config(turn, "consumer.session.timeout.ms").map(Millis::from);
        said.or_else(set).unwrap_or(turn.config.consumer_session_timeout_ms)
    }

    /// How often a member is to beat.
    fn heartbeat_interval(&self, turn: &Turn<'_>) -> i32 {
        let set = self.config(turn, "consumer.heartbeat.interval.ms");
        set.unwrap_or(turn.config.consumer_heartbeat_interval_ms)
    }

    /// A config of this group, if it is set.
    fn config(&self, turn: &Turn<'_>, name: &str) -> Option<i32> {
        self.latest.group_configs(turn.group_id)?.get(name)?.parse().ok()
    }

    fn write(&self, turn: &mut Turn<'_>, next: &Plan) {
        let group = turn.group_id;
        let record = |change| Record::Consumer { group: group.to_owned(), change };
        turn.out.records.extend(self.plan.changes(next).into_iter().map(record));
    }
}
