//! ConsumerGroupHeartbeat: what a member says, and what it hears. Pure.
//!
//! A heartbeat that brings no news in a settled group costs a lookup. Any other is answered by making the
//! next plan: who is in the group, what it reads, who shall own what, and how far the sender can go there.

use std::collections::BTreeSet;
use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_protocol::api::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest as Request, ConsumerGroupHeartbeatResponse as Response,
    TopicPartitions,
};

use super::assign::ASSIGNORS;
use super::patterns::Patterns;
use super::plan::{Current, Many, Member, Partition, Plan, Resolved, State, grouped};
use super::{Consumers, Refused};
use crate::cluster::Image;
use crate::group::turn::Turn;
use crate::group::{GroupConfig, TEXT_MAX};

/// The epochs that say something else than how far the sender is.
const JOINING: i32 = 0;
const LEAVING: i32 = -1;
const AWAY: i32 = -2;

/// A ConsumerGroupHeartbeat request and what the connection knows about its sender.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beat {
    /// The request.
    pub request: Request,
    /// Its version: in the first one the member may come without an id.
    pub version: i16,
    /// The client id of the request's header.
    pub client_id: String,
    /// The client's address, as Kafka shows it: `/127.0.0.1`.
    pub client_host: String,
    /// The id to give if the sender has none.
    pub new_member_id: String,
    /// The cluster as it is now.
    pub topics: Arc<Image>,
}

impl Beat {
    pub(in crate::group) fn joins(&self) -> bool {
        self.request.member_epoch == JOINING
    }

    /// What is wrong with it before any group is asked.
    pub(in crate::group) fn check(&self, config: &GroupConfig) -> Result<(), Refused> {
        let r = &self.request;
        let empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
        let owns_something = r.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty());
        let names = r.subscribed_topic_names.iter().flatten();
        let kept: usize = names.clone().chain(&r.subscribed_topic_regex).map(String::len).sum();
        let ids = [&r.group_id, &r.member_id, &self.client_id, &self.new_member_id];
        let optional = r.instance_id.iter().chain(&r.rack_id).chain(&r.subscribed_topic_regex);
        let too_long = ids.into_iter().chain(optional).chain(names).any(|t| t.len() > TEXT_MAX);
        let wrong = if r.group_id.is_empty() {
            "GroupId can't be empty."
        } else if empty(&r.instance_id) {
            "InstanceId can't be empty."
        } else if empty(&r.rack_id) {
            "RackId can't be empty."
        } else if r.member_id.is_empty() && (self.version > 0 || r.member_epoch != JOINING) {
            "MemberId can't be empty."
        } else if r.member_epoch == JOINING && r.rebalance_timeout_ms == -1 {
            "RebalanceTimeoutMs must be provided in first request."
        } else if r.member_epoch == JOINING && owns_something {
            "TopicPartitions must be empty when (re-)joining."
        } else if r.member_epoch == JOINING
            && r.subscribed_topic_names.is_none()
            && r.subscribed_topic_regex.is_none()
        {
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."
        } else if r.member_epoch == AWAY && r.instance_id.is_none() {
            "InstanceId can't be null."
        } else if r.member_epoch < AWAY {
            "MemberEpoch is invalid."
        } else if too_long || kept > config.member_max_bytes {
            "The names in the request are too long."
        } else {
            return self.check_assignor();
        };
        Err((ErrorCode::INVALID_REQUEST, wrong.to_owned()))
    }

    fn check_assignor(&self) -> Result<(), Refused> {
        match &self.request.server_assignor {
            Some(name) if !ASSIGNORS.contains(&name.as_str()) => {
                let known = ASSIGNORS.join(", ");
                let why = format!("ServerAssignor {name} is not supported. Supported assignors: {known}.");
                Err((ErrorCode::UNSUPPORTED_ASSIGNOR, why))
            }
            _ => Ok(()),
        }
    }

    /// The id that its sender has, or is given.
    pub(in crate::group) fn member_id(&self) -> &str {
        if self.request.member_id.is_empty() { &self.new_member_id } else { &self.request.member_id }
    }

    /// What the member says it owns.
    fn owned(&self) -> Option<BTreeSet<Partition>> {
        let topics = self.request.topic_partitions.as_ref()?;
        Some(topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.topic_id, *p))).collect())
    }

    /// Whether it says nothing but that its sender is alive.
    fn is_bare(&self) -> bool {
        let r = &self.request;
        r.subscribed_topic_names.is_none()
            && r.subscribed_topic_regex.is_none()
            && r.server_assignor.is_none()
            && r.topic_partitions.is_none()
            && r.rebalance_timeout_ms == -1
    }

    /// Whether it says everything, as after a lost answer: then it is told everything.
    fn is_full(&self) -> bool {
        let r = &self.request;
        let subscribes = r.subscribed_topic_names.is_some() || r.subscribed_topic_regex.is_some();
        subscribes && r.topic_partitions.is_some() && r.rebalance_timeout_ms != -1
    }

    /// The member that sends this, if it was `was` before. What the request leaves out stays; an expression
    /// that somebody uses already is known to be one.
    fn member(&self, was: &Member, used: &Many<Resolved>, patterns: &Patterns) -> Result<Member, Refused> {
        let r = &self.request;
        let mut names = r.subscribed_topic_names.clone().unwrap_or_else(|| was.names.clone());
        names.sort_unstable();
        names.dedup();
        let known = |regex: &String| {
            regex.is_empty() || was.regex.as_ref() == Some(regex) || used.contains_key(regex)
        };
        if let Some(new) = r.subscribed_topic_regex.as_ref().filter(|regex| !known(regex)) {
            patterns.check(new).map_err(|e| {
                let why = format!("SubscribedTopicRegex `{new}` is not a valid regular expression: {e}.");
                (ErrorCode::INVALID_REGULAR_EXPRESSION, why)
            })?;
        }
        let regex = r.subscribed_topic_regex.as_ref().or(was.regex.as_ref());
        Ok(Member {
            instance_id: r.instance_id.clone().or_else(|| was.instance_id.clone()),
            rack_id: r.rack_id.clone().or_else(|| was.rack_id.clone()),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            names,
            regex: regex.filter(|r| !r.is_empty()).cloned(),
            rebalance_timeout_ms: match r.rebalance_timeout_ms {
                ..0 => was.rebalance_timeout_ms,
                given => given,
            },
            assignor: r.server_assignor.clone().or_else(|| was.assignor.clone()),
            classic: None,
        })
    }
}

/// A heartbeat that went wrong.
pub(in crate::group) fn refused((error_code, why): Refused) -> Response {
    Response { error_code, error_message: Some(why), ..Default::default() }
}

fn unknown(what: &str, name: &str) -> Refused {
    (ErrorCode::UNKNOWN_MEMBER_ID, format!("{what} {name} is not a member of the group."))
}

impl Consumers {
    /// Hears a member; `plan` is where the group starts from.
    pub(in crate::group) fn beat(
        &mut self,
        turn: &mut Turn<'_>,
        beat: &Beat,
        plan: Option<Plan>,
    ) -> Result<Response, Refused> {
        self.latest = beat.topics.clone();
        match beat.request.member_epoch {
            LEAVING | AWAY => self.leave(turn, beat),
            _ if plan.is_none() && self.is_quiet(beat) => Ok(self.still_here(turn, beat)),
            _ => self.apply_heartbeat(turn, beat, plan.unwrap_or_else(|| self.plan.clone())),
        }
    }

    /// Whether this brings no news, and there is none for the sender.
    fn is_quiet(&self, beat: &Beat) -> bool {
        let (plan, r) = (&self.plan, &beat.request);
        let at_rest = |current: &Current| current.epoch == r.member_epoch && plan.is_settled(current);
        beat.is_bare()
            && plan.target_epoch == plan.state.epoch
            && self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &beat.topics))
            && plan.current_of(&r.member_id).is_some_and(at_rest)
            && plan.members.get(&r.member_id).is_some_and(|m| {
                let same_name = r.instance_id.is_none() || r.instance_id == m.instance_id;
                m.classic.is_none() && same_name && r.rack_id.is_none()
            })
    }

    fn still_here(&mut self, turn: &Turn<'_>, beat: &Beat) -> Response {
        let (id, epoch) = (&beat.request.member_id, beat.request.member_epoch);
        if let Some(member) = self.plan.members.get(id).cloned() {
            self.heard(turn, id, &member, None);
        }
        self.answer(turn, id, epoch)
    }

    fn answer(&self, turn: &Turn<'_>, id: &str, epoch: i32) -> Response {
        Response {
            member_id: Some(id.to_owned()),
            member_epoch: epoch,
            heartbeat_interval_ms: self.heartbeat_interval(turn),
            ..Default::default()
        }
    }

    fn apply_heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        beat: &Beat,
        mut plan: Plan,
    ) -> Result<Response, Refused> {
        let id = beat.member_id();
        let owned = beat.owned();
        let joins = beat.joins();
        let was = if joins {
            plan.admit(turn.config, beat)?
        } else {
            plan.check_epoch(beat, owned.as_ref())?;
            plan.members.get(id).cloned().unwrap_or_default()
        };
        let member = Arc::new(beat.member(&was, &plan.regexes, &turn.config.patterns)?);
        // as in Kafka, another assignor counts from the next epoch on
        let changed = !plan.members.contains_key(id)
            || (&was.names, &was.regex) != (&member.names, &member.regex)
            || plan.state.epoch == 0;
        if plan.members.get(id).is_none_or(|known| *known != member) {
            plan.members.insert(id.to_owned(), member.clone());
        }
        plan.current.entry(id.to_owned()).or_default();
        self.update_target_assignment(turn, &mut plan, id, owned.as_ref(), changed);
        let current = plan.current.get(id).cloned().unwrap_or_default();
        let before = self.plan.current_of(id);
        let mut response = self.answer(turn, id, current.epoch);
        if joins || beat.is_full() || before.is_none_or(|before| before.assigned != current.assigned) {
            response.assignment = Some(assignment(&current));
        }
        let act_by = (current.state == State::Unrevoked).then(|| {
            let known = self.sessions.get(id).and_then(|s| s.act_by);
            let fresh = || turn.now.saturating_add(i64::from(member.rebalance_timeout_ms.max(0)));
            known.filter(|_| before == Some(&*current)).unwrap_or_else(fresh)
        });
        self.heard(turn, id, &member, act_by);
        self.persist(turn, &plan, "replaced");
        Ok(response)
    }

    /// Brings a plan up to the cluster, the plan's targets up to its epoch, and one member as near to its
    /// target as it can come.
    pub(super) fn update_target_assignment(
        &mut self,
        turn: &Turn<'_>,
        plan: &mut Plan,
        id: &str,
        owned: Option<&BTreeSet<Partition>>,
        changed: bool,
    ) {
        let seen = self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &self.latest));
        if changed || !seen {
            plan.look_at((&self.latest, &turn.config.patterns), turn.now, changed, seen);
        }
        // what is not written down yet has to be looked at again
        if plan.state == self.plan.state && plan.regexes == self.plan.regexes {
            self.seen = Some(self.latest.clone());
        }
        if plan.target_epoch != plan.state.epoch {
            plan.compute_target_assignment(&self.latest);
        }
        plan.reconcile(id, owned);
    }

    fn leave(&mut self, turn: &mut Turn<'_>, beat: &Beat) -> Result<Response, Refused> {
        let r = &beat.request;
        let id = r.member_id.as_str();
        let member = self.plan.sender(id, r.instance_id.as_deref())?.clone();
        let mut next = if r.member_epoch == AWAY { self.plan.clone() } else { self.plan.without([id]) };
        if r.member_epoch == AWAY {
            let kept = self.plan.current_of(id).cloned().unwrap_or_default();
            let away = Current {
                epoch: AWAY,
                state: State::Stable,
                revoking: Default::default(),
                previous: kept.previous,
                assigned: kept.assigned,
            };
            next.current.insert(id.to_owned(), Arc::new(away));
            self.heard(turn, id, &member, None);
        }
        self.persist(turn, &next, "left");
        let member_id = Some(id.to_owned());
        Ok(Response { member_id, member_epoch: r.member_epoch, ..Default::default() })
    }
}

impl Plan {
    /// The member that a request speaks for.
    pub(super) fn sender(&self, id: &str, instance: Option<&str>) -> Result<&Arc<Member>, Refused> {
        let Some(instance) = instance else {
            return self.members.get(id).ok_or_else(|| unknown("Member", id));
        };
        match self.instance(instance) {
            None => Err(unknown("Instance", instance)),
            Some((known, _)) if known != id => {
                Err((ErrorCode::FENCED_INSTANCE_ID, format!("Instance {instance} is another member now.")))
            }
            Some((_, member)) => Ok(member),
        }
    }

    /// A member joins, or joins again. A static one takes over what its predecessor had: at once if that
    /// speaks the classic protocol, which knows no other way to come back, else only if it has left.
    fn admit(&mut self, config: &GroupConfig, beat: &Beat) -> Result<Arc<Member>, Refused> {
        let id = beat.member_id();
        let predecessor = beat.request.instance_id.as_deref().and_then(|instance| self.instance(instance));
        let predecessor = predecessor.map(|(old, member)| (old.clone(), member.clone()));
        match predecessor {
            Some((old, was)) if old != id => {
                if was.classic.is_none() && self.current_of(&old).is_some_and(|c| c.epoch != AWAY) {
                    let instance = was.instance_id.as_deref().unwrap_or_default();
                    let why = format!("Instance {instance} is still member {old}, which has not left.");
                    return Err((ErrorCode::UNRELEASED_INSTANCE_ID, why));
                }
                self.rename(&old, id);
                Ok(was)
            }
            _ => match self.members.get(id) {
                Some(was) => Ok(was.clone()),
                None if self.members.len() >= config.consumer_members_max => {
                    let max = config.consumer_members_max;
                    let why =
                        format!("The consumer group has reached its maximum capacity of {max} members.");
                    Err((ErrorCode::GROUP_MAX_SIZE_REACHED, why))
                }
                None => Ok(Arc::default()),
            },
        }
    }

    /// A static member is back under another id.
    pub(super) fn rename(&mut self, old: &str, id: &str) {
        if let Some(member) = self.members.remove(old) {
            self.members.insert(id.to_owned(), member);
        }
        if let Some(target) = self.targets.remove(old) {
            self.targets.insert(id.to_owned(), target);
        }
        if let Some(current) = self.current.remove(old) {
            let back = Current { epoch: JOINING, previous: JOINING, ..Current::clone(&current) };
            self.current.insert(id.to_owned(), Arc::new(back));
        }
    }

    /// The epoch that the sender names must be its own, or the one before if it missed an answer and claims
    /// nothing that it does not own.
    fn check_epoch(&self, beat: &Beat, owned: Option<&BTreeSet<Partition>>) -> Result<(), Refused> {
        let r = &beat.request;
        let member = self.sender(&r.member_id, r.instance_id.as_deref())?;
        let current = self.current_of(&r.member_id).ok_or_else(|| unknown("Member", &r.member_id))?;
        let mine = |owned: &BTreeSet<Partition>| owned.iter().all(|p| current.assigned.contains_key(p));
        let missed_one = r.member_epoch == current.previous && owned.is_some_and(mine);
        if member.classic.is_none() && (r.member_epoch == current.epoch || missed_one) {
            return Ok(());
        }
        let why = format!(
            "The member is at epoch {}, not {}; it must abandon all its partitions and rejoin.",
            current.epoch, r.member_epoch
        );
        Err((ErrorCode::FENCED_MEMBER_EPOCH, why))
    }
}

fn assignment(current: &Current) -> Assignment {
    let one = |(topic_id, partitions)| TopicPartitions { topic_id, partitions };
    Assignment { topic_partitions: grouped(current.assigned.keys().copied()).into_iter().map(one).collect() }
}
