//! The rules of KIP-848 groups, one by one.

use std::collections::BTreeSet;

use braid_protocol::api::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;

use super::clients::{Client, Partition, World};
use super::laws::Dice;
use super::*;
use crate::machine::COMPILED;

#[test]
fn one_member_gets_everything_at_once() {
    let mut world = World::new(&[("t", 3)]);
    let a = world.joined("a", "t");
    assert_eq!((world.clients[a].epoch, world.clients[a].holds().len()), (1, 3));
    world.act(a);
    world.beat(a, true); // says what it owns
    let response = world.ask(world.clients[a].request()).unwrap();
    assert_eq!((response.assignment, response.heartbeat_interval_ms), (None, 5_000));
}

#[test]
fn a_partition_moves_only_when_its_owner_has_let_go() {
    let mut world = World::new(&[("t", 4)]);
    let a = world.joined("a", "t");
    world.act(a);
    world.beat(a, true);
    let b = world.joined("b", "t");
    assert_eq!((world.clients[b].epoch, world.clients[b].holds().len()), (2, 0), "nothing is free yet");
    world.beat(a, true);
    assert_eq!(world.clients[a].epoch, 1, "it stays behind until it has let go");
    world.beat(b, true);
    assert_eq!(world.clients[b].holds().len(), 0);
    world.act(a);
    world.beat(a, true);
    world.beat(b, true);
    assert_eq!((world.clients[a].epoch, world.clients[b].holds().len()), (2, 2));
}

#[test]
fn who_does_not_let_go_in_time_is_out() {
    let mut world = World::new(&[("t", 4)]);
    let a = world.joined("a", "t");
    world.act(a);
    world.beat(a, true);
    let b = world.joined("b", "t");
    for _ in 0..12 {
        world.beat(a, true); // alive, but it acts on nothing
        world.beat(b, true);
        assert!(world.clients[b].holds().is_empty());
        world.sim.advance(5_000);
    }
    world.beat(b, true);
    assert_eq!(world.clients[b].holds().len(), 4);
    let request = ConsumerGroupHeartbeatRequest { member_epoch: 1, ..world.clients[a].request() };
    assert_eq!(world.code(request), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_silent_member_is_out_after_its_session() {
    let mut world = World::new(&[("t", 2)]);
    world.joined("a", "t");
    let b = world.joined("b", "t");
    world.sim.advance(44_000);
    world.beat(b, true);
    assert!(world.clients[b].holds().is_empty());
    world.sim.advance(2_000);
    world.beat(b, true);
    assert_eq!(world.clients[b].holds().len(), 2);
}

#[test]
fn wrong_epochs_are_fenced_and_a_missed_answer_is_not() {
    let mut world = World::new(&[("t", 2)]);
    let a = world.joined("a", "t");
    let at = |world: &World, member_epoch| ConsumerGroupHeartbeatRequest {
        member_epoch,
        ..world.clients[a].request()
    };
    assert_eq!(world.code(at(&world, 5)), ErrorCode::FENCED_MEMBER_EPOCH);
    world.act(a);
    world.beat(a, true);
    world.subscribe(a, "t u");
    world.beat(a, false);
    assert_eq!(world.clients[a].epoch, 1);
    world.beat(a, true);
    assert_eq!(world.clients[a].epoch, 2, "the epoch before, and nothing claimed that is not its own");
    assert_eq!(world.code(at(&world, 1)), ErrorCode::FENCED_MEMBER_EPOCH, "it does not say what it owns");
    let strange = ConsumerGroupHeartbeatRequest { member_id: "z".into(), ..at(&world, 2) };
    assert_eq!(world.code(strange), ErrorCode::UNKNOWN_MEMBER_ID);
    let nowhere = ConsumerGroupHeartbeatRequest { group_id: "h".into(), ..at(&world, 2) };
    assert_eq!(world.code(nowhere), ErrorCode::GROUP_ID_NOT_FOUND);
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut world = World::new(&[("t", 4)]);
    let mut client = Client::new("a", "t");
    client.instance = Some("i".into());
    world.clients.push(client);
    world.beat(0, true);
    world.act(0);
    let had = world.clients[0].owned.clone();
    let mut second = Client::new("b", "t");
    second.instance = Some("i".into());
    assert_eq!(world.code(second.request()), ErrorCode::UNRELEASED_INSTANCE_ID);
    world.leave(0);
    world.clients.push(second);
    world.beat(1, true);
    assert_eq!((world.clients[1].holds(), world.clients[1].epoch), (had, 1), "and no new epoch");
    let old = ConsumerGroupHeartbeatRequest { member_epoch: 1, ..world.clients[0].request() };
    assert_eq!(world.code(old), ErrorCode::FENCED_INSTANCE_ID);
}

#[test]
fn requests_that_make_no_sense_are_refused_with_words() {
    let mut world = World::new(&[("t", 1)]);
    let good = || Client::new("a", "t").request();
    type Request = ConsumerGroupHeartbeatRequest;
    let bad: [(Request, ErrorCode, &str); 8] = [
        (Request { group_id: "".into(), ..good() }, ErrorCode::INVALID_REQUEST, "GroupId"),
        (Request { member_id: "".into(), ..good() }, ErrorCode::INVALID_REQUEST, "MemberId"),
        (Request { rebalance_timeout_ms: -1, ..good() }, ErrorCode::INVALID_REQUEST, "RebalanceTimeoutMs"),
        (Request { topic_partitions: None, ..good() }, ErrorCode::INVALID_REQUEST, "TopicPartitions"),
        (Request { member_epoch: -2, ..good() }, ErrorCode::INVALID_REQUEST, "InstanceId"),
        (Request { member_epoch: -3, ..good() }, ErrorCode::INVALID_REQUEST, "MemberEpoch"),
        (Request { server_assignor: Some("x".into()), ..good() }, ErrorCode::UNSUPPORTED_ASSIGNOR, "uniform"),
        (
            Request { subscribed_topic_regex: Some("(".into()), ..good() },
            ErrorCode::INVALID_REGULAR_EXPRESSION,
            "(",
        ),
    ];
    for (request, code, word) in bad {
        let response = world.ask(request).unwrap();
        assert_eq!(response.error_code, code, "{word}");
        assert!(response.error_message.unwrap().contains(word));
    }
    assert!(world.sim.machine.group("g").is_none(), "nothing of it was kept");
}

#[test]
fn an_expression_finds_topics_that_come_later_and_matches_whole_names() {
    let mut world = World::new(&[("t", 1), ("tt", 1), ("at", 1)]);
    let a = world.joined("a", "~t+");
    assert_eq!(world.clients[a].holds().len(), 2);
    world.create("ttt", 3);
    world.beat(a, true);
    assert_eq!((world.clients[a].holds().len(), world.clients[a].epoch), (5, 2));
}

#[test]
fn commits_and_fetches_name_an_epoch() {
    let mut world = World::new(&[("t", 2)]);
    let a = world.joined("a", "t");
    let mut try_commit = |epoch, version| {
        let commit = Commit { version, ..commit("a", epoch, 7) };
        world.sim.commit_as(commit)
    };
    assert_eq!(try_commit(1, 9), ErrorCode::NONE);
    assert_eq!(try_commit(2, 9), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(try_commit(1, 8), ErrorCode::UNSUPPORTED_VERSION);
    world.subscribe(a, "t u");
    world.beat(a, true);
    assert_eq!(world.clients[a].epoch, 2);
    let late = Commit { version: 9, ..commit("a", 1, 8) };
    assert_eq!(world.sim.commit_as(late), ErrorCode::NONE, "it has had the partition since epoch 1");
    let zombie = Commit { version: 9, ..commit("a", 0, 9) };
    assert_eq!(world.sim.commit_as(zombie), ErrorCode::STALE_MEMBER_EPOCH);
    let stranger = Commit { version: 9, ..commit("z", 1, 9) };
    assert_eq!(world.sim.commit_as(stranger), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.sim.committed(), 8);
    assert_eq!(world.sim.fetch_as("a", 2), ErrorCode::NONE);
    assert_eq!(world.sim.fetch_as("a", 1), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(world.sim.fetch_as("z", 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn uniform_moves_no_more_than_it_must() {
    for seed in 0..500 {
        let mut dice = Dice(seed);
        let mut world = World::new(&[("t", 1 + dice.below(30) as i32)]);
        let count = 1 + dice.below(8) as usize;
        for n in 0..count {
            world.joined(&format!("m{n}"), "t");
        }
        world.settle();
        let before: Vec<BTreeSet<Partition>> = world.clients.iter().map(|c| c.owned.clone()).collect();
        match dice.below(3) {
            0 => world.clients.push(Client::new("new", "t")),
            1 => world.leave(dice.below(count as u64) as usize),
            _ => world.grow("t"),
        }
        world.settle();
        let alive = || world.clients.iter().filter(|c| !c.dead);
        let (total, members) = (world.readable().len(), alive().count());
        if members == 0 {
            continue;
        }
        let (each, extra) = (total / members, total % members);
        let stayed = || world.clients.iter().zip(&before).filter(|(c, _)| !c.dead);
        let kept: usize = stayed().map(|(c, was)| c.owned.intersection(was).count()).sum();
        let more = stayed().filter(|(_, was)| was.len() > each).count();
        let best: usize = stayed().map(|(_, was)| was.len().min(each)).sum::<usize>() + more.min(extra);
        assert_eq!(kept, best, "seed {seed}");
        assert!(alive().all(|c| (each..=each + 1).contains(&c.owned.len())), "seed {seed}");
    }
}

#[test]
fn range_gives_neighbours_and_the_same_run_of_every_topic() {
    let mut world = World::new(&[("t", 5), ("u", 5)]);
    for id in ["a", "b"] {
        let mut client = Client::new(id, "t u");
        client.assignor = Some("range".into());
        world.clients.push(client);
    }
    world.settle();
    let numbers = |n: usize, topic: &str| -> Vec<i32> {
        let id = world.id(topic);
        world.clients[n].owned.iter().filter(|(t, _)| *t == id).map(|(_, p)| *p).collect()
    };
    for topic in ["t", "u"] {
        assert_eq!((numbers(0, topic), numbers(1, topic)), (vec![0, 1, 2], vec![3, 4]));
    }
}

#[test]
fn describing_listing_and_deleting() {
    let mut world = World::new(&[("t", 2)]);
    let a = world.joined("a", "t");
    let ask = |sim: &mut Sim, input| {
        let ticket = sim.ask(input);
        sim.answers.remove(&ticket).unwrap()
    };
    let describe = || Input::ConsumerDescribe { group_id: "g".into(), topics: world.image.clone() };
    let Reply::ConsumerDescribe(described) = ask(&mut world.sim, describe()) else { panic!() };
    assert_eq!((described.group_state.as_str(), described.group_epoch), ("Stable", 1));
    let member = &described.members[0];
    assert_eq!((member.member_type, member.assignment.topic_partitions[0].topic_name.as_str()), (1, "t"));
    assert_eq!(member.assignment, member.target_assignment);
    let Reply::List(listed) = ask(&mut world.sim, Input::List(ListGroupsRequest::default())) else {
        panic!()
    };
    let expected = ("consumer", "Stable", "consumer");
    let one = &listed[0];
    assert_eq!((one.group_type.as_str(), one.group_state.as_str(), one.protocol_type.as_str()), expected);
    assert_eq!(world.sim.machine.stats().consumer.stable, 1);
    let classic = ask(&mut world.sim, Input::Describe { group_id: "g".into(), version: 6 });
    let Reply::Describe(classic) = classic else { panic!() };
    assert_eq!(classic.error_message.unwrap(), "Group g is not a classic group.");
    let delete = || Input::Delete { group_id: "g".into() };
    assert_eq!(ask(&mut world.sim, delete()), Reply::Done(ErrorCode::NON_EMPTY_GROUP));
    world.leave(a);
    assert_eq!(ask(&mut world.sim, delete()), Reply::Done(ErrorCode::NONE));
    assert!(world.sim.machine.group("g").is_none() && world.sim.rebuilt().group("g").is_none());
}

// The sessions of members that had left were let go of only when the group was woken, which a member in good
// health put off forever: a group of many short lives grew without end.
#[test]
fn sessions_end_with_their_members() {
    let mut world = World::new(&[("t", 2)]);
    let a = world.joined("a", "t");
    for n in 0..20 {
        let guest = world.joined(&format!("guest{n}"), "t");
        world.leave(guest);
        world.sim.advance(1_000);
        world.beat(a, true);
    }
    assert_eq!(world.sim.machine.group("g").unwrap().consumers().unwrap().session_count(), 1);
}

// Every join compiled the expression of every member again, whether or not they had the same one: a group of
// a thousand kept the broker busy with a million of them.
#[test]
fn an_expression_is_compiled_once_for_all_who_use_it() {
    let mut world = World::new(&[("t", 8)]);
    world.joined("a", "~t+");
    world.settle();
    let before = COMPILED.get();
    for id in ["b", "c", "d", "e"] {
        world.joined(id, "~t+");
    }
    world.settle();
    assert_eq!(COMPILED.get(), before, "known already, and the topics are the same");
    world.create("tt", 1);
    world.settle();
    assert_eq!(COMPILED.get(), before, "only the new topic is held against it");
    assert_eq!(world.clients.iter().map(|c| c.owned.len()).sum::<usize>(), 9);
}

// A member that asked for another assignor began a new epoch, so that everybody had to move at once; so did a
// classic member that came back with the new protocol. In Kafka only what is read does.
#[test]
fn another_assignor_counts_from_the_next_epoch_on() {
    let mut world = World::new(&[("t", 3), ("u", 3)]);
    let (a, b) = (world.joined("a", "t u"), world.joined("b", "t u"));
    world.settle();
    let before = (world.plan().unwrap().epoch(), [a, b].map(|n| world.clients[n].owned.clone()));
    for n in [a, b] {
        world.clients[n].assignor = Some("range".into());
        world.subscribe(n, "t u");
    }
    world.settle();
    assert_eq!((world.plan().unwrap().epoch(), [a, b].map(|n| world.clients[n].owned.clone())), before);
    world.grow("u");
    world.settle();
    let runs = [("t", 0..2, 2..3), ("u", 0..2, 2..4)].map(|(topic, first, second)| {
        let run = |part: std::ops::Range<i32>| part.map(|p| (world.id(topic), p)).collect::<Vec<_>>();
        [run(first), run(second)]
    });
    let [[t0, t1], [u0, u1]] = runs;
    assert_eq!(world.clients[a].owned, t0.into_iter().chain(u0).collect());
    assert_eq!(world.clients[b].owned, t1.into_iter().chain(u1).collect());
}

// A static member that was replaced heard FENCED_INSTANCE_ID for its commit. Kafka looks at the member id
// alone.
#[test]
fn a_commit_is_known_by_its_member_id() {
    let mut world = World::new(&[("t", 1)]);
    for (n, id) in ["a", "b"].into_iter().enumerate() {
        let mut client = Client::new(id, "t");
        client.instance = Some("i".into());
        world.clients.push(client);
        world.beat(n, true);
        let mut commit = Commit { version: 9, ..commit(id, 1, 7) };
        commit.request.group_instance_id = Some("i".into());
        assert_eq!(world.sim.commit_as(commit.clone()), ErrorCode::NONE);
        if n == 0 {
            world.leave(0);
            continue;
        }
        commit.request.member_id = "a".into();
        assert_eq!(world.sim.commit_as(commit), ErrorCode::UNKNOWN_MEMBER_ID);
    }
}
