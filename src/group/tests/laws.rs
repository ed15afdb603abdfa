//! The laws of every machine, held against random lives of groups. A failure names its seed.

use braid_protocol::api::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;

use super::transactions::{marker, within};
use super::*;
use crate::group::classic::Logged;
use crate::group::committed::Offsets;
use crate::group::consumer::Plan;
use crate::group::member::Member;
use crate::group::turn::Turn;

const SEEDS: u64 = 600;
const STEPS: usize = 120;

/// A small generator of its own, so that a seed means the same forever (splitmix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub(super) fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A member of a KIP-848 group comes, goes, or is lost.
fn beat(dice: &mut Dice, group_id: String) -> Input {
    Input::ConsumerHeartbeat(Beat {
        request: ConsumerGroupHeartbeatRequest {
            group_id,
            member_id: dice.pick(&["x", "y"]).into(),
            member_epoch: [0, 0, -1, 1, 2][dice.below(5) as usize],
            rebalance_timeout_ms: 5_000,
            subscribed_topic_names: Some(vec!["t".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        },
        version: 1,
        topics: clients::World::new(&[("t", 3)]).image,
        ..Default::default()
    })
}

/// What a client may ask, sensible or not. Half of the time it uses what the group really knows.
fn question(dice: &mut Dice, sim: &Sim, step: usize) -> Input {
    let group_id = dice.pick(&["g", "h", "i"]).to_owned();
    let known = sim.machine.group(&group_id);
    let generation = known.map_or(-1, |g| classic(g).map_or(0, |c| c.generation));
    let known = known.and_then(classic);
    let members: Vec<&str> =
        known.iter().flat_map(|g| g.members.keys().chain(g.pending.keys())).map(|s| &**s).collect();
    let member =
        if members.is_empty() || dice.below(5) == 0 { dice.pick(&["", "who"]) } else { dice.pick(&members) };
    let generation = generation - i32::from(dice.below(8) == 0);
    let generation = if dice.below(8) == 0 { -1 } else { generation };
    let instance =
        known.and_then(|g| g.members.get(member)?.instance_id.clone()).filter(|_| dice.below(4) > 0);
    match dice.below(19) {
        18 => Input::EndTxn(marker(dice.below(3) as i64, dice.below(3) > 0)),
        16 => beat(dice, group_id),
        0..=4 => {
            let name = format!("m{step}");
            let protocols: &[&str] = if dice.below(3) == 0 { &["sticky", "range"] } else { &["range"] };
            let mut join = join(if dice.below(4) == 0 { "" } else { member }, &name, protocols);
            join.version = dice.below(10) as i16;
            join.request.group_id = group_id;
            join.request.rebalance_timeout_ms = 5_000 * (dice.below(5) as i32);
            join.request.group_instance_id = instance;
            if join.request.member_id.is_empty() && dice.below(3) == 0 {
                join.request.group_instance_id = Some(dice.pick(&["s1", "s2", "s3"]).into());
            }
            Input::Join(join)
        }
        5..=8 => {
            // the leader takes its time, so followers ask again
            let leader = known.and_then(|g| g.leader.as_deref()).filter(|_| dice.below(4) == 0);
            let mut sync = sync(leader.unwrap_or(member), generation, &members);
            sync.group_id = group_id;
            Input::Sync(sync)
        }
        9..=10 => Input::Heartbeat(HeartbeatRequest {
            group_id,
            member_id: member.into(),
            generation_id: generation,
            group_instance_id: instance,
        }),
        11 => {
            let count = 1 + dice.below(2) as usize;
            let one = |id: &&str| MemberIdentity { member_id: (*id).into(), ..Default::default() };
            let mut leaving: Vec<_> = members.iter().take(count).map(one).collect();
            leaving
                .extend([one(&member), MemberIdentity { group_instance_id: instance, ..Default::default() }]);
            Input::Leave(LeaveGroupRequest { group_id, members: leaving, ..Default::default() })
        }
        12..=13 | 17 => {
            let mut commit = commit(member, generation, step as i64);
            if dice.below(2) == 0 {
                commit = within(dice.below(3) as i64, commit);
            }
            commit.request.group_id = group_id;
            commit.request.topics[0].name = dice.pick(&["t", "u"]).into();
            Input::Commit(commit)
        }
        14 => match dice.below(3) {
            0 => Input::Delete { group_id },
            1 => Input::ForgetTopic { topic: dice.pick(&["t", "u"]).into() },
            _ => Input::Describe { group_id, version: 5 },
        },
        _ => {
            let request = OffsetFetchRequestGroup { group_id, ..Default::default() };
            Input::Fetch { request, require_stable: dice.below(2) == 0 }
        }
    }
}

/// What must outlive a crash, as text. A group that is rebalancing has only its offsets written down.
fn durable(groups: &Groups, of: impl Fn(&str) -> bool) -> Vec<String> {
    let recorded = |g: &Group| classic(g).is_some_and(|c| c.logged == Logged::Group);
    let known = groups.iter().filter(|(id, g)| of(id) && (recorded(g) || !g.offsets.is_empty()));
    let lines = known.map(|(id, g)| {
        let settled = classic(g).filter(|_| recorded(g) && is_settled(groups, id));
        format!("{id} {:?} {}", g.offsets, settled.map(state).unwrap_or_default())
    });
    lines.collect()
}

/// What a stable or empty classic group is, as text.
fn state(g: &Classic) -> String {
    let protocol = g.protocol.as_deref().unwrap_or_default();
    let member = |(id, m): (&String, &Member)| {
        let timeouts = (m.session_timeout, m.rebalance_timeout);
        format!("{id} {:?} {timeouts:?} {:?} {:?}", m.instance_id, m.metadata(protocol), m.assignment)
    };
    let members: Vec<_> = g.members.iter().map(member).collect();
    let rest = (&g.state, g.generation, &g.protocol_type, &g.protocol, &g.leader, g.state_since, members);
    format!("{rest:?}")
}

fn is_settled(groups: &Groups, id: &str) -> bool {
    let settled = |c: &Classic| matches!(c.state.name(), "Empty" | "Stable");
    groups.group(id).is_some_and(|g| classic(g).is_none_or(settled))
}

/// The plan of the KIP-848 group that it is, or that the log still holds records of.
fn plan(group: &Group) -> Option<&Plan> {
    match &group.kind {
        Kind::Consumer(consumers) => Some(&consumers.plan),
        Kind::Classic(classic) => match &classic.logged {
            Logged::Consumers(consumers) => Some(&consumers.plan),
            Logged::Nothing | Logged::Group => None,
        },
        Kind::Empty => None,
    }
}

/// One life: what was asked, what came of it. `watch` sees every step.
fn live(seed: u64, mut watch: impl FnMut(&Sim)) -> Sim {
    let mut dice = Dice(seed);
    let config = GroupConfig { members_max: 5, offsets_retention_ms: 300_000, ..Default::default() };
    let mut sim = Sim::with(GroupConfig { offsets_retention_check_interval_ms: 60_000, ..config });
    for step in 0..STEPS {
        sim.broken = seed.is_multiple_of(3) && dice.below(8) == 0;
        match dice.below(6) {
            0 => {
                let by = [1, 500, 3_000, 3_000, 6_000, 9_000, 11_000, 70_000][dice.below(8) as usize];
                sim.advance(by);
            }
            _ => {
                let input = question(&mut dice, &sim, step);
                sim.ask(input);
            }
        }
        watch(&sim);
    }
    sim.broken = false;
    sim
}

#[test]
fn replaying_the_records_rebuilds_the_durable_state() {
    let (mut settled, mut steps, mut new) = (0, 0, 0);
    for seed in 0..SEEDS {
        live(seed, |sim| {
            steps += 1;
            if steps % 7 != 0 {
                return; // a rebuild is slow, and what went wrong stays wrong
            }
            let rebuilt = sim.rebuilt();
            let of = |id: &str| is_settled(&sim.machine, id);
            let has_members = |g: &Group| classic(g).is_some_and(|c| !c.members.is_empty());
            settled += sim.machine.iter().filter(|(id, g)| of(id) && has_members(g)).count();
            assert_eq!(durable(&sim.machine, of), durable(&rebuilt, of), "seed {seed}");
            assert_eq!(offsets(&sim.machine), offsets(&rebuilt), "seed {seed}");
            let plans = |g: &Groups| -> Vec<_> {
                g.iter().filter_map(|(id, g)| Some((id.clone(), plan(g)?.clone()))).collect()
            };
            assert_eq!(plans(&sim.machine), plans(&rebuilt), "seed {seed}");
            new += plans(&rebuilt).len();
        });
    }
    assert!(new > 500, "the lives have too few KIP-848 groups: {new}");
    assert!(settled > 500, "the lives are too wild to say anything: {settled}");
}

/// All that groups have committed, and what is pending.
fn offsets(groups: &Groups) -> Vec<(String, Offsets)> {
    let some = groups.iter().filter(|(_, g)| !g.offsets.is_empty());
    some.map(|(id, g)| (id.clone(), g.offsets.clone())).collect()
}

/// What Kafka's cleaner leaves: below the first open transaction the last record of each key, and nothing
/// that was aborted. Markers stay as long as it takes.
fn compacted(log: &[Line]) -> Vec<Line> {
    let ended = |at: usize, producer: &TxnProducer| {
        log[at..].iter().find_map(|line| match line {
            Line::Marker(marker) if marker.producer_id == producer.id => Some(marker.commit),
            _ => None,
        })
    };
    let fate = |at: usize| match &log[at] {
        Line::Data(Some(producer), ..) => ended(at, producer),
        _ => Some(true),
    };
    let end = (0..log.len()).find(|at| fate(*at).is_none()).unwrap_or(log.len());
    let mut last = BTreeMap::new();
    for (at, line) in log[..end].iter().enumerate().filter(|(at, _)| fate(*at) == Some(true)) {
        if let Line::Data(_, key, _) = line {
            last.insert(key.clone(), at);
        }
    }
    let stays = |at: usize, line: &Line| match line {
        Line::Data(_, key, _) if at < end => last.get(key) == Some(&at),
        _ => true,
    };
    log.iter().enumerate().filter(|(at, line)| stays(*at, line)).map(|(_, line)| line.clone()).collect()
}

#[test]
fn a_compacted_log_tells_of_the_same_offsets() {
    let (mut dropped, mut pending) = (0, 0);
    for seed in 0..SEEDS {
        let mut steps = 0;
        live(seed, |sim| {
            steps += 1;
            if steps % 13 != 0 {
                return;
            }
            let compacted = compacted(&sim.log);
            dropped += sim.log.len() - compacted.len();
            let told = offsets(&sim.replayed(&compacted));
            assert_eq!(told, offsets(&sim.machine), "seed {seed}");
            pending += told.iter().filter(|(_, o)| o.iter().any(|(_, _, kept)| kept.is_pending())).count();
        });
    }
    assert!(dropped > 5_000 && pending > 500, "too quiet: {dropped} dropped, {pending} pending");
}

#[test]
fn every_ticket_is_answered_exactly_once() {
    let mut parked = 0;
    for seed in 0..SEEDS {
        let mut sim = live(seed, |_| {});
        parked += sim.asked as usize - sim.answers.len() - sim.refused.len();
        sim.advance(400_000); // by now every rebalance and every session has ended
        let unanswered = |t: &Ticket| !sim.answers.contains_key(t) && !sim.refused.contains(t);
        let unanswered: Vec<Ticket> = (1..=sim.asked).filter(unanswered).collect();
        assert_eq!((unanswered, &sim.twice), (vec![], &vec![]), "seed {seed}");
    }
    assert!(parked > 100, "only {parked} had to wait");
}

#[test]
fn a_wake_before_the_deadline_does_nothing() {
    for seed in 0..SEEDS {
        live(seed, |sim| {
            let mut early = sim.machine.clone();
            let mut effects = Effects::default();
            // a member whose session has not begun is due since ever
            let Some(before) = early.deadline().unwrap().checked_sub(1) else { return };
            early.wake(before, &mut effects);
            assert!(effects.records.is_empty() && effects.replies.is_empty(), "seed {seed}");
            assert_eq!(early, sim.machine, "seed {seed}");
        });
    }
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    for seed in 0..SEEDS {
        let (one, two) = (live(seed, |_| {}), live(seed, |_| {}));
        assert_eq!((&one.log, &one.answers), (&two.log, &two.answers), "seed {seed}");
    }
}

#[test]
fn the_index_of_deadlines_is_never_late() {
    let (mut early, mut exact) = (0, 0);
    for seed in 0..SEEDS {
        live(seed, |sim| {
            for (id, group) in sim.machine.iter() {
                let (due, deadline) = (group.due, group.deadline());
                let late = deadline.is_some_and(|t| due.is_none_or(|due| due > t));
                assert!(!late, "group {id}: {due:?}, not {deadline:?}, seed {seed}");
                assert!(!group.is_idle(), "group {id} should be gone, seed {seed}");
                early += usize::from(due != deadline);
                exact += usize::from(due == deadline);
            }
        });
    }
    assert!(early > 500 && exact > early, "{early} early, {exact} exact");
}

#[test]
fn a_group_that_is_woken_too_early_does_nothing() {
    for seed in 0..SEEDS {
        live(seed, |sim| {
            for (id, group) in sim.machine.iter() {
                let deadline = group.deadline();
                let now = deadline.map_or(Some(sim.now), |t| t.checked_sub(1));
                let (mut woken, mut effects) = (group.clone(), Effects::default());
                let Some(now) = now else { continue };
                woken.wake(&mut Turn { now, config: &sim.config, group_id: id, out: &mut effects });
                assert!(effects.records.is_empty() && effects.replies.is_empty(), "group {id}, seed {seed}");
                let members = |g: &Group| classic(g).map(|c| c.members.clone());
                assert_eq!((woken.deadline(), members(&woken)), (deadline, members(group)));
            }
        });
    }
}

// Every heartbeat and every commit looked for the deadline of the whole group: n members cost n times n.
#[test]
fn a_heartbeat_leaves_the_group_due_when_it_was() {
    let mut sim = Sim::stable(&["a", "b"]);
    let due = |sim: &Sim| sim.machine.group("g").unwrap().due.unwrap();
    let was = due(&sim);
    assert_eq!(was, sim.now + Millis::from(SESSION));
    sim.advance(4_000);
    for member in ["a", "b"] {
        assert_eq!(sim.beat(member, 1), ErrorCode::NONE);
        assert_eq!(sim.commit(member, 1, 5), ErrorCode::NONE);
    }
    assert_eq!(due(&sim), was, "nobody looked at both");
    sim.advance(6_000);
    assert_eq!((sim.now, due(&sim)), (was, was + 4_000), "and when it is woken it finds out");
    assert_eq!(sim.state(), "Stable");
}
