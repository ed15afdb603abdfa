//! Dynamic members: how a group comes to be, changes, and survives a restart.

use super::*;

#[test]
fn the_life_of_a_group() {
    let mut sim = Sim::new();
    let (a, b) = (sim.join("a"), sim.join("b"));
    assert_eq!(sim.state(), "PreparingRebalance");
    sim.advance(2 * DELAY);
    let (a, b) = (sim.joined(a).unwrap(), sim.joined(b).unwrap());
    assert_eq!((a.generation_id, a.leader.as_str(), a.protocol_name.as_deref()), (1, "a", Some("range")));
    assert_eq!(a.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(a.members.iter().map(|m| m.member_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(
        (b.generation_id, b.leader.as_str(), b.members.len()),
        (1, "a", 0),
        "only the leader sees all"
    );

    let follower = sim.ask(Input::Sync(sync("b", 1, &[])));
    assert_eq!(sim.synced(follower), None, "a follower waits for the leader");
    let leader = sim.ask(Input::Sync(sync("a", 1, &["a", "b"])));
    assert_eq!(sim.synced(leader).unwrap().assignment.as_ref(), b"a");
    assert_eq!(sim.synced(follower).unwrap().assignment.as_ref(), b"b");
    assert_eq!((sim.beat("a", 1), sim.beat("b", 1)), (ErrorCode::NONE, ErrorCode::NONE));
    assert_eq!(sim.commit("b", 1, 41), ErrorCode::NONE);

    assert_eq!(sim.leave("b", None).members[0].error_code, ErrorCode::NONE);
    assert_eq!(sim.beat("a", 1), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(sim.commit("a", 1, 42), ErrorCode::NONE, "a last commit before joining again");
    let again = sim.ask(Input::Join(join("a", "", &["range"])));
    let again = sim.joined(again).expect("all that are left have joined");
    assert_eq!((again.generation_id, again.members.len()), (2, 1));
    assert_eq!(sim.commit("a", 2, 43), ErrorCode::REBALANCE_IN_PROGRESS, "not before the assignment");
    sim.sync_all(&["a"], 2);

    sim.restart();
    assert_eq!(sim.state(), "Stable");
    assert_eq!(sim.beat("a", 2), ErrorCode::NONE, "nobody has to join again after a restart");
    assert_eq!(sim.committed(), 42);
    assert_eq!(sim.leave("a", None).members[0].error_code, ErrorCode::NONE);
    assert_eq!(sim.state(), "Empty");
    sim.restart();
    assert_eq!((sim.state(), sim.committed()), ("Empty".into(), 42));
}

#[test]
fn sessions_go_on_after_a_restart() {
    let mut sim = Sim::stable(&["a", "b"]);
    sim.now += 1_000_000; // the broker was away for longer than any session
    sim.restart();
    sim.advance(Millis::from(SESSION) - 1);
    assert_eq!(sim.beat("a", 1), ErrorCode::NONE);
    sim.advance(1);
    assert_eq!(sim.beat("a", 1), ErrorCode::REBALANCE_IN_PROGRESS, "b was not heard of since the start");
    assert_eq!(sim.beat("b", 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn the_first_rebalance_waits_for_those_who_are_still_coming() {
    let mut sim = Sim::new();
    let a = sim.join("a");
    sim.advance(DELAY - 1);
    let b = sim.join("b"); // prolongs the delay once
    sim.advance(1);
    assert_eq!(sim.joined(a), None);
    sim.advance(DELAY - 1);
    assert_eq!(sim.joined(a), None);
    sim.advance(1);
    assert_eq!(sim.joined(a).unwrap().members.len(), 2);
    assert_eq!(sim.joined(b).unwrap().generation_id, 1);
}

#[test]
fn the_initial_delay_ends_with_the_rebalance_timeout() {
    let mut sim = Sim::new();
    let first = sim.join("m0");
    for n in 1..=40 {
        sim.advance(DELAY / 2);
        sim.join(&format!("m{n}"));
        let over = sim.now - START >= Millis::from(REBALANCE);
        assert_eq!(sim.answers.contains_key(&first), over, "after {} ms", sim.now - START);
    }
}

#[test]
fn without_a_delay_the_first_member_starts_at_once() {
    let config = GroupConfig { initial_rebalance_delay_ms: 0, ..Default::default() };
    let mut sim = Sim::with(config);
    let a = sim.join("a");
    sim.advance(0);
    assert_eq!(sim.joined(a).unwrap().generation_id, 1);
}

#[test]
fn from_version_4_a_member_comes_twice() {
    let mut sim = Sim::new();
    let first = sim.ask(Input::Join(Join { version: 4, ..join("", "a", &["range"]) }));
    let first = sim.joined(first).unwrap();
    assert_eq!((first.error_code, first.member_id.as_str()), (ErrorCode::MEMBER_ID_REQUIRED, "a"));
    let second = sim.ask(Input::Join(Join { version: 4, ..join("a", "unused", &["range"]) }));
    sim.advance(2 * DELAY);
    assert_eq!(sim.joined(second).unwrap().member_id, "a");
}

#[test]
fn an_id_that_is_not_used_lapses_and_leaves_nothing_behind() {
    let mut sim = Sim::new();
    sim.ask(Input::Join(Join { version: 4, ..join("", "a", &["range"]) }));
    assert_eq!(sim.state(), "Empty");
    sim.advance(Millis::from(SESSION));
    assert_eq!(sim.machine.stats().groups(), 0);
    let late = sim.ask(Input::Join(Join { version: 4, ..join("a", "", &["range"]) }));
    assert_eq!(sim.joined(late).unwrap().error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_rebalance_waits_for_an_id_that_was_handed_out() {
    let mut sim = Sim::stable(&["a"]);
    sim.ask(Input::Join(Join { version: 4, ..join("", "b", &["range"]) }));
    let a = sim.ask(Input::Join(join("a", "", &["range"])));
    assert_eq!(sim.joined(a), None, "b is about to come");
    assert_eq!(sim.leave("b", None).members[0].error_code, ErrorCode::NONE);
    assert_eq!(sim.joined(a).unwrap().members.len(), 1, "b has changed its mind");
}

#[test]
fn who_does_not_rejoin_in_time_is_out() {
    let mut sim = Sim::stable(&["a", "b", "c"]);
    let d = sim.join("d");
    let c = sim.ask(Input::Join(join("c", "", &["range"])));
    for _ in 0..Millis::from(REBALANCE) / 5_000 {
        assert_eq!(sim.joined(d), None);
        assert_eq!(sim.beat("a", 1), ErrorCode::REBALANCE_IN_PROGRESS);
        assert_eq!(sim.beat("b", 1), ErrorCode::REBALANCE_IN_PROGRESS);
        sim.advance(5_000);
    }
    let (c, d) = (sim.joined(c).unwrap(), sim.joined(d).unwrap());
    assert_eq!(
        (c.generation_id, c.leader.as_str(), d.leader.as_str()),
        (2, "c", "c"),
        "the old leader is gone"
    );
    assert_eq!(sim.beat("a", 2), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_silent_member_is_dropped_and_the_rest_assigned_anew() {
    let mut sim = Sim::stable(&["a", "b"]);
    sim.advance(6_000);
    assert_eq!(sim.beat("a", 1), ErrorCode::NONE);
    sim.advance(3_999);
    assert_eq!(sim.beat("a", 1), ErrorCode::NONE);
    sim.advance(1);
    assert_eq!(sim.beat("a", 1), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_member_that_joins_but_never_syncs_is_dropped_at_the_rebalance_timeout() {
    let mut sim = Sim::new();
    let (_, _) = (sim.join("a"), sim.join("b"));
    sim.advance(2 * DELAY);
    let leader = sim.ask(Input::Sync(sync("a", 1, &["a", "b"])));
    assert_eq!(sim.synced(leader).unwrap().error_code, ErrorCode::NONE);
    assert_eq!(sim.state(), "Stable");
    let mut beats = Vec::new();
    for _ in 0..Millis::from(REBALANCE) / 5_000 {
        sim.advance(5_000);
        beats.push((sim.beat("a", 1), sim.beat("b", 1)));
    }
    assert_eq!(beats.pop(), Some((ErrorCode::REBALANCE_IN_PROGRESS, ErrorCode::UNKNOWN_MEMBER_ID)));
    assert!(beats.iter().all(|b| *b == (ErrorCode::NONE, ErrorCode::NONE)), "heartbeats do not help");
}

#[test]
fn followers_that_wait_hear_of_it_when_the_leader_never_syncs() {
    let mut sim = Sim::new();
    let (_, _) = (sim.join("a"), sim.join("b"));
    sim.advance(2 * DELAY);
    let follower = sim.ask(Input::Sync(sync("b", 1, &[])));
    sim.advance(Millis::from(SESSION));
    assert_eq!(sim.synced(follower).unwrap().error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    let b = sim.ask(Input::Join(join("b", "", &["range"])));
    assert_eq!(sim.joined(b).unwrap().leader, "b");
}

#[test]
fn a_new_member_that_waits_five_minutes_is_given_up() {
    let mut sim = Sim::stable(&["a"]);
    // the old member is alive, never rejoins, and has a very long rebalance timeout
    let mut patient = join("a", "", &["range"]);
    patient.request.rebalance_timeout_ms = 3_600_000;
    sim.ask(Input::Join(patient));
    sim.sync_all(&["a"], 2);
    let b = sim.join("b");
    for _ in 0..60 {
        assert_eq!(sim.joined(b), None);
        assert_eq!(sim.beat("a", 2), ErrorCode::REBALANCE_IN_PROGRESS);
        sim.advance(5_000);
    }
    assert_eq!(sim.joined(b).unwrap().error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn the_protocol_is_the_one_most_members_want_and_all_can_speak() {
    let mut sim = Sim::new();
    let wants: [&[&str]; 3] = [&["sticky", "range", "x"], &["range", "sticky"], &["y", "range", "sticky"]];
    let names = ["a", "b", "c"];
    let tickets: Vec<_> =
        names.iter().zip(wants).map(|(n, w)| sim.ask(Input::Join(join("", n, w)))).collect();
    sim.advance(2 * DELAY);
    for ticket in tickets {
        assert_eq!(sim.joined(ticket).unwrap().protocol_name.as_deref(), Some("range"));
    }
}

#[test]
fn news_from_a_member_starts_a_rebalance_and_no_news_does_not() {
    let mut sim = Sim::stable(&["a", "b"]);
    let b = sim.ask(Input::Join(join("b", "", &["range"])));
    let b = sim.joined(b).expect("it missed the answer");
    assert_eq!((b.generation_id, b.error_code), (1, ErrorCode::NONE));
    assert_eq!(sim.state(), "Stable");
    let b = sim.ask(Input::Join(join("b", "", &["range", "sticky"])));
    assert_eq!((sim.joined(b), sim.state()), (None, "PreparingRebalance".into()));
    let a = sim.ask(Input::Join(join("a", "", &["range"])));
    assert_eq!(sim.joined(a).unwrap().generation_id, 2);
    let a = sim.ask(Input::Join(join("a", "", &["range"])));
    assert_eq!(sim.joined(a).unwrap().members.len(), 2, "the leader missed the answer, too");
    sim.sync_all(&["a", "b"], 2);
    let a = sim.ask(Input::Join(join("a", "", &["range"])));
    assert_eq!((sim.joined(a), sim.state()), (None, "PreparingRebalance".into()), "a leader may ask for one");
}

#[test]
fn a_join_during_the_assignment_cancels_it() {
    let mut sim = Sim::new();
    let (_, _) = (sim.join("a"), sim.join("b"));
    sim.advance(2 * DELAY);
    let b = sim.ask(Input::Sync(sync("b", 1, &[])));
    let c = sim.join("c");
    assert_eq!(sim.synced(b).unwrap().error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    let a = sim.ask(Input::Sync(sync("a", 1, &["a", "b"])));
    assert_eq!(sim.synced(a).unwrap().error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(sim.joined(c), None);
}

#[test]
fn version_0_rebalances_within_the_session_timeout() {
    let mut sim = Sim::new();
    for name in ["a", "b"] {
        let mut join = Join { version: 0, ..join("", name, &["range"]) };
        join.request.rebalance_timeout_ms = -1;
        sim.ask(Input::Join(join));
    }
    sim.advance(2 * DELAY);
    sim.sync_all(&["a", "b"], 1);
    let a = sim.ask(Input::Join(join("a", "", &["range"])));
    let b = sim.machine.group("g").unwrap().deadline().unwrap();
    assert_eq!(b, sim.now + Millis::from(SESSION));
    sim.advance(Millis::from(SESSION));
    assert_eq!(sim.joined(a).unwrap().generation_id, 2);
}

#[test]
fn a_log_that_fails_leaves_the_group_where_it_was() {
    let mut sim = Sim::new();
    let (_, _) = (sim.join("a"), sim.join("b"));
    sim.advance(2 * DELAY);
    sim.broken = true;
    let b = sim.ask(Input::Sync(sync("b", 1, &[])));
    let a = sim.ask(Input::Sync(sync("a", 1, &["a", "b"])));
    assert_eq!(sim.refused, [a, b]);
    assert_eq!((sim.state(), sim.committed()), ("CompletingRebalance".into(), -1));
    sim.broken = false;
    sim.sync_all(&["a", "b"], 1);
    sim.broken = true;
    let commit = sim.ask(Input::Commit(commit("a", 1, 5)));
    assert!(sim.refused.contains(&commit));
    assert_eq!(sim.committed(), -1);
    for name in ["a", "b"] {
        let members = vec![MemberIdentity { member_id: name.into(), ..Default::default() }];
        sim.ask(Input::Leave(LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() }));
    }
    assert_eq!(sim.state(), "PreparingRebalance", "that nobody is left could not be written down");
    sim.broken = false;
    sim.advance(Millis::from(REBALANCE));
    assert_eq!(sim.state(), "Empty");
}

#[test]
fn a_group_larger_than_allowed_since_the_start_makes_itself_smaller() {
    // group.max.size may be lowered while the broker is down. The groups that it read back stayed as they
    // were, for as long as all their members did.
    let names = ["a", "b", "c"];
    let mut sim = Sim::stable(&names);
    sim.config.members_max = 2;
    sim.restart();
    assert_eq!(sim.state(), "PreparingRebalance");
    let tickets = names.map(|name| sim.ask(Input::Join(join(name, "", &["range"]))));
    let late = sim.joined(tickets[2]).unwrap();
    assert_eq!(late.error_code, ErrorCode::GROUP_MAX_SIZE_REACHED);
    sim.advance(SESSION.into()); // of the one that is not let in
    for ticket in [tickets[0], tickets[1]] {
        let joined = sim.joined(ticket).unwrap();
        assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::NONE, 2));
    }
    sim.sync_all(&["a", "b"], 2);
    sim.restart();
    assert_eq!(sim.state(), "Stable");
}
