//! Classic and KIP-848 members in one group, and the group's way from one kind to the other and back.

use braid_protocol::api::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use braid_protocol::data::consumer::{ConsumerProtocolAssignment, TopicPartition};

use super::clients::{Client, World};
use super::*;

/// A stable classic group of two, of which each reads two partitions of t.
fn classic_pair() -> World {
    pair(|_| None, GroupConfig::default())
}

/// The same, of members with these instance ids and by these rules.
fn pair(instance: fn(&str) -> Option<String>, config: GroupConfig) -> World {
    let mut world = World::new(&[("t", 4)]);
    world.sim = Sim::with(config);
    let tickets = ["a", "b"].map(|name| {
        let mut join = joins(&world, "", name, &[]);
        join.request.group_instance_id = instance(name);
        world.sim.ask(Input::Join(join))
    });
    world.sim.advance(2 * DELAY);
    for ticket in tickets {
        assert_eq!(world.sim.joined(ticket).unwrap().error_code, ErrorCode::NONE);
    }
    let mut leader = sync("a", 1, &["a", "b"]);
    for (n, assignment) in leader.assignments.iter_mut().enumerate() {
        let partitions = vec![2 * n as i32, 2 * n as i32 + 1];
        let assigned_partitions = vec![TopicPartition { topic: "t".into(), partitions }];
        assignment.assignment =
            ConsumerProtocolAssignment { assigned_partitions, ..Default::default() }.write(1);
    }
    let follower = world.sim.ask(Input::Sync(sync("b", 1, &[])));
    let leader = world.sim.ask(Input::Sync(leader));
    for ticket in [follower, leader] {
        assert_eq!(world.sim.synced(ticket).unwrap().error_code, ErrorCode::NONE);
    }
    world
}

/// JoinGroup of a cooperative consumer of t that owns these partitions.
fn joins(world: &World, member: &str, name: &str, owned: &[i32]) -> Join {
    let mut join = join(member, name, &["cooperative-sticky"]);
    let owned_partitions = vec![TopicPartition { topic: "t".into(), partitions: owned.to_vec() }];
    let subscription =
        ConsumerProtocolSubscription { topics: vec!["t".into()], owned_partitions, ..Default::default() };
    join.request.protocols[0].metadata = subscription.write(1);
    join.topics = world.image.clone();
    join
}

fn rejoin(world: &mut World, member: &str, owned: &[i32]) -> i32 {
    let join = joins(world, member, "", owned);
    let ticket = world.sim.ask(Input::Join(join));
    let joined = world.sim.joined(ticket).unwrap();
    assert_eq!((joined.error_code, joined.leader.as_str()), (ErrorCode::NONE, ""));
    joined.generation_id
}

fn assigned(world: &mut World, member: &str, generation: i32) -> Vec<i32> {
    let ticket = world.sim.ask(Input::Sync(sync(member, generation, &[])));
    let synced = world.sim.synced(ticket).unwrap();
    assert_eq!(synced.error_code, ErrorCode::NONE);
    let (_, assignment) = ConsumerProtocolAssignment::read(&synced.assignment).unwrap();
    assignment.assigned_partitions.into_iter().flat_map(|t| t.partitions).collect()
}

fn new_member(world: &mut World, id: &str) -> usize {
    world.clients.push(Client::new(id, "t"));
    world.beat(world.clients.len() - 1, true);
    world.clients.len() - 1
}

#[test]
fn the_first_new_member_turns_a_classic_group_at_work() {
    let mut world = classic_pair();
    let c = new_member(&mut world, "c");
    assert_eq!(world.sim.machine.stats().consumer.reconciling, 1);
    assert!(world.clients[c].holds().is_empty(), "nothing is free yet");
    for member in ["a", "b"] {
        assert_eq!(world.sim.beat(member, 1), ErrorCode::REBALANCE_IN_PROGRESS);
    }
    // who owns too much is told to give up, and comes again
    let generation = rejoin(&mut world, "a", &[0, 1]);
    let kept = assigned(&mut world, "a", generation);
    let other = rejoin(&mut world, "b", &[2, 3]);
    let others = assigned(&mut world, "b", other);
    assert_eq!(kept.len() + others.len(), 3, "one of four is to move: {kept:?} {others:?}");
    world.beat(c, true);
    assert!(world.clients[c].holds().is_empty(), "it is not released yet");
    let (member, left, at) = if kept.len() == 1 { ("a", kept, generation) } else { ("b", others, other) };
    assert_eq!(world.sim.beat(member, at), ErrorCode::REBALANCE_IN_PROGRESS);
    let generation = rejoin(&mut world, member, &left);
    assert_eq!(assigned(&mut world, member, generation), left);
    world.beat(c, true);
    assert_eq!(world.clients[c].holds().len(), 1);
    assert_eq!(world.sim.beat(member, generation), ErrorCode::NONE);
    assert_eq!(world.sim.machine.stats().consumer.stable, 1);
    assert_eq!(world.sim.rebuilt().group("g").unwrap().consumers().map(|c| &c.plan), world.plan());
}

#[test]
fn when_the_last_new_member_leaves_the_group_is_classic_and_gathers() {
    let mut world = classic_pair();
    let c = new_member(&mut world, "c");
    world.leave(c);
    assert!(world.plan().is_none());
    world.sim.advance(0);
    assert_eq!(world.sim.state(), "PreparingRebalance");
    assert_eq!(world.sim.beat("a", 2), ErrorCode::REBALANCE_IN_PROGRESS);
    let tickets = ["a", "b"].map(|m| {
        let join = joins(&world, m, "", &[]);
        world.sim.ask(Input::Join(join))
    });
    let joined = tickets.map(|ticket| world.sim.joined(ticket).unwrap());
    assert!(joined.iter().all(|j| j.error_code.is_ok() && j.generation_id == 3 && !j.leader.is_empty()));
    assert_eq!(world.sim.rebuilt().group("g").and_then(classic).map(|g| g.members.len()), Some(2));
}

#[test]
fn empty_groups_change_hands_both_ways() {
    let mut world = World::new(&[("t", 4)]);
    world.sim.commit("", -1, 5);
    let c = new_member(&mut world, "c");
    assert_eq!((world.clients[c].holds().len(), world.sim.committed()), (4, 5), "offsets stay");
    world.leave(c);
    let ticket = world.sim.join("a");
    world.sim.advance(2 * DELAY);
    assert_eq!(world.sim.joined(ticket).unwrap().error_code, ErrorCode::NONE);
    assert_eq!((world.sim.state().as_str(), world.sim.committed()), ("CompletingRebalance", 5));
}

/// A KIP-848 group without members, and a log that fails from now on.
fn empty_and_broken() -> World {
    let mut world = World::new(&[("t", 4)]);
    let c = new_member(&mut world, "c");
    world.leave(c);
    world.sim.broken = true;
    world
}

#[test]
fn an_empty_group_whose_records_could_not_be_removed_is_again_what_they_say() {
    let mut world = empty_and_broken();
    let mut join = join("", "a", &["range"]);
    join.version = 9;
    let ticket = world.sim.ask(Input::Join(join));
    assert_eq!(world.sim.refused, [ticket]);
    assert_eq!(world.sim.state(), "Empty");
    world.sim.broken = false;
    world.sim.advance(Millis::from(SESSION));
    assert_eq!(world.sim.machine.stats().consumer.empty, 1, "the member id was never used");
    assert_eq!(world.sim.rebuilt().group("g").unwrap().consumers().map(|c| &c.plan), world.plan());
}

// The log failed as a classic member joined, and again as it left: the group was of both kinds at once, and
// the end of that rebalance removed the KIP-848 members that had joined in the meantime.
#[test]
fn a_member_that_joins_after_the_log_has_failed_twice_stays() {
    let mut world = empty_and_broken();
    world.sim.join("a");
    world.sim.advance(2 * DELAY);
    assert_eq!(world.sim.state(), "CompletingRebalance");
    let members = vec![MemberIdentity { member_id: "a".into(), ..Default::default() }];
    world.sim.ask(Input::Leave(LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() }));
    world.sim.broken = false;
    let d = new_member(&mut world, "d");
    world.sim.advance(DELAY);
    assert_eq!((world.clients[d].holds().len(), world.sim.machine.stats().consumer.stable), (4, 1));
    assert_eq!(world.sim.rebuilt().group("g").unwrap().consumers().map(|c| &c.plan), world.plan());
}

#[test]
fn a_group_of_others_than_consumers_stays_as_it_is() {
    let mut world = World::new(&[("t", 4)]);
    let mut connect = join("", "a", &["x"]);
    connect.request.protocol_type = "connect".into();
    world.sim.ask(Input::Join(connect));
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "c".into(),
        rebalance_timeout_ms: REBALANCE,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    assert_eq!(world.ask(request).unwrap().error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(world.sim.state(), "PreparingRebalance");
}

#[test]
fn who_waits_for_a_rebalance_hears_that_the_group_has_turned() {
    let mut world = World::new(&[("t", 4)]);
    let join = joins(&world, "", "a", &[]);
    let ticket = world.sim.ask(Input::Join(join));
    let c = new_member(&mut world, "c");
    assert_eq!(world.sim.joined(ticket).unwrap().error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    let generation = rejoin(&mut world, "a", &[]);
    assert_eq!(assigned(&mut world, "a", generation).len(), 2);
    assert_eq!(world.clients[c].holds().len(), 2);
}

// @platformatic/kafka names its epoch in OffsetFetch as a classic member too, and late: Kafka answered
// ILLEGAL_GENERATION, which makes it join again, and we STALE_MEMBER_EPOCH, which it does not expect.
#[test]
fn a_classic_member_of_an_old_epoch_is_told_so_in_its_own_terms() {
    let mut world = classic_pair();
    new_member(&mut world, "c");
    let generation = rejoin(&mut world, "a", &[0, 1]);
    assert_eq!(world.sim.fetch_as("a", generation), ErrorCode::NONE);
    assert_eq!(world.sim.fetch_as("a", generation - 1), ErrorCode::ILLEGAL_GENERATION);
}

/// Static members that begin with these ids: i-a has the id a, and so on.
fn static_pair() -> World {
    pair(|name| Some(format!("i-{name}")), GroupConfig::default())
}

fn static_member(world: &mut World, id: &str, instance: &str) -> usize {
    let mut client = Client::new(id, "t");
    client.instance = Some(instance.into());
    world.clients.push(client);
    world.beat(world.clients.len() - 1, true);
    world.clients.len() - 1
}

fn classic_beat(world: &mut World, member: &str, instance: &str, generation: i32) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: "g".into(),
        member_id: member.into(),
        generation_id: generation,
        group_instance_id: Some(instance.into()),
    };
    let ticket = world.sim.ask(Input::Heartbeat(request));
    match world.sim.answers.remove(&ticket) {
        Some(Reply::Heartbeat(response)) => response.error_code,
        other => panic!("{other:?}"),
    }
}

// A rolling bounce of static members from the old protocol to the new one was stuck: a static classic member
// does not leave when it stops, and its successor heard UNRELEASED_INSTANCE_ID until the session had ended.
// Kafka asks for the leave only if both speak the new protocol.
#[test]
fn static_members_are_upgraded_one_by_one() {
    let mut world = static_pair();
    let c = static_member(&mut world, "c", "i-a");
    assert!(!world.clients[c].dead, "the first one turns the group");
    assert_eq!(world.clients[c].holds(), [0, 1].map(|p| (world.id("t"), p)).into(), "it has what a had");
    assert_eq!(classic_beat(&mut world, "a", "i-a", 1), ErrorCode::FENCED_INSTANCE_ID);
    world.act(c);
    let d = static_member(&mut world, "d", "i-b");
    assert!(!world.clients[d].dead, "and so does the second");
    world.act(d);
    world.settle();
    assert_eq!([c, d].map(|n| world.clients[n].owned.len()), [2, 2]);
    assert_eq!(world.sim.machine.stats().consumer.stable, 1);
    let mut strange = Client::new("e", "t");
    strange.instance = Some("i-a".into());
    assert_eq!(world.code(strange.request()), ErrorCode::UNRELEASED_INSTANCE_ID, "this one must leave first");
}

// The way back was stuck too: a static member that is downgraded heard UNRELEASED_INSTANCE_ID while its
// predecessor's session lasted, an error that JoinGroup does not have. Kafka replaces the old one at once,
// and the group is classic again with the last one.
#[test]
fn static_members_are_downgraded_one_by_one() {
    let mut world = World::new(&[("t", 4)]);
    let (c, d) = (static_member(&mut world, "c", "i-a"), static_member(&mut world, "d", "i-b"));
    world.settle();
    let back = |world: &mut World, name: &str, instance: &str| {
        let mut join = joins(world, "", name, &[]);
        join.request.group_instance_id = Some(instance.into());
        world.sim.ask(Input::Join(join))
    };
    let had = world.clients[c].owned.iter().map(|(_, p)| *p).collect::<Vec<_>>();
    let ticket = back(&mut world, "a", "i-a");
    let joined = world.sim.joined(ticket).unwrap();
    assert_eq!((joined.error_code, joined.member_id.as_str()), (ErrorCode::NONE, "a"));
    assert_eq!(assigned(&mut world, "a", joined.generation_id), had);
    assert_eq!(world.code(world.clients[c].request()), ErrorCode::FENCED_INSTANCE_ID);
    let ticket = back(&mut world, "b", "i-b");
    assert_eq!(world.sim.joined(ticket).unwrap().error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(world.plan().is_none(), "the last one turns the group");
    assert_eq!(world.code(world.clients[d].request()), ErrorCode::GROUP_ID_NOT_FOUND);
    world.sim.advance(0);
    let tickets = [back(&mut world, "a2", "i-a"), back(&mut world, "b2", "i-b")];
    let joined = tickets.map(|ticket| world.sim.joined(ticket).unwrap());
    assert!(joined.iter().all(|j| j.error_code.is_ok() && !j.leader.is_empty()), "{joined:?}");
}

// group.consumer.migration.policy was read and not obeyed, and neither way looked at the limit of the other
// kind of group.
#[test]
fn a_group_goes_no_way_that_policy_or_size_forbid() {
    let config = |migration, members_max, consumer_members_max| GroupConfig {
        migration,
        members_max,
        consumer_members_max,
        ..GroupConfig::default()
    };
    type Policy = MigrationPolicy;
    for (policy, most, up, down) in [
        (Policy::Bidirectional, 10, true, true),
        (Policy::Upgrade, 10, true, false),
        (Policy::Downgrade, 10, false, true),
        (Policy::Disabled, 10, false, false),
        (Policy::Bidirectional, 1, false, false),
    ] {
        let mut world = pair(|_| None, config(policy, 10, most));
        let c = new_member(&mut world, "c");
        assert_eq!((!world.clients[c].dead, world.plan().is_some()), (up, up), "{policy}: up");
        if !up {
            assert_eq!(world.sim.beat("a", 1), ErrorCode::NONE, "{policy}: nothing has happened");
        }
        let mut world = World::new(&[("t", 4)]);
        world.sim = Sim::with(config(policy, most, 10));
        let c = new_member(&mut world, "c");
        let generations = ["a", "b"].map(|name| {
            let join = joins(&world, "", name, &[]);
            let ticket = world.sim.ask(Input::Join(join));
            world.sim.joined(ticket).unwrap().generation_id
        });
        world.leave(c);
        assert_eq!(world.plan().is_none(), down, "{policy}: down");
        if !down {
            assert_eq!(world.sim.beat("a", generations[0]), ErrorCode::REBALANCE_IN_PROGRESS);
            let shares = ["a", "b"].map(|name| {
                let generation = rejoin(&mut world, name, &[]);
                assigned(&mut world, name, generation)
            });
            assert_eq!(shares.concat().len(), 4, "{policy}: they go on as before");
            assert_eq!(world.sim.rebuilt().group("g").unwrap().consumers().map(|c| &c.plan), world.plan());
        }
    }
}
