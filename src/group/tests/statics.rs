//! Static members (KIP-345): known by an instance id, they may be away for a session without a rebalance.

use super::*;

fn static_join(member: &str, instance: &str, name: &str, version: i16) -> Join {
    let mut join = Join { version, ..join(member, name, &["range"]) };
    join.request.group_instance_id = Some(instance.into());
    join
}

/// Static members i and j, stable, i leading.
fn stable() -> Sim {
    let mut sim = Sim::new();
    sim.ask(Input::Join(static_join("", "i", "i-1", 5)));
    sim.ask(Input::Join(static_join("", "j", "j-1", 5)));
    sim.advance(2 * DELAY);
    sim.sync_all(&["i-1", "j-1"], 1);
    sim
}

fn beat(sim: &mut Sim, member: &str, instance: &str, generation: i32) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: "g".into(),
        member_id: member.into(),
        generation_id: generation,
        group_instance_id: Some(instance.into()),
    };
    let ticket = sim.ask(Input::Heartbeat(request));
    let Some(Reply::Heartbeat(response)) = sim.answers.remove(&ticket) else { panic!() };
    response.error_code
}

#[test]
fn a_follower_comes_back_without_a_rebalance_and_its_old_self_is_fenced() {
    let mut sim = stable();
    let back = sim.ask(Input::Join(static_join("", "j", "j-2", 5)));
    let back = sim.joined(back).expect("at once");
    assert_eq!((back.error_code, back.generation_id), (ErrorCode::NONE, 1));
    assert_eq!((back.member_id.as_str(), back.leader.as_str()), ("j-2", "i-1"));
    assert_eq!(sim.state(), "Stable");
    assert_eq!(beat(&mut sim, "j-1", "j", 1), ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(beat(&mut sim, "j-2", "j", 1), ErrorCode::NONE);
    let synced = sim.ask(Input::Sync(sync("j-2", 1, &[])));
    assert_eq!(sim.synced(synced).unwrap().assignment.as_ref(), b"j-1", "it keeps what it had");
    sim.restart();
    assert_eq!(beat(&mut sim, "j-2", "j", 1), ErrorCode::NONE, "its new name was written down");
}

#[test]
fn a_leader_that_comes_back_skips_the_assignment_or_believes_it_does_not_lead() {
    let mut sim = stable();
    let new = sim.ask(Input::Join(static_join("", "i", "i-2", 9)));
    let new = sim.joined(new).unwrap();
    assert_eq!((new.leader.as_str(), new.skip_assignment), ("i-2", true));
    assert_eq!(new.members.iter().map(|m| m.member_id.as_str()).collect::<Vec<_>>(), ["i-2", "j-1"]);
    let old = sim.ask(Input::Join(static_join("", "i", "i-3", 8)));
    let old = sim.joined(old).unwrap();
    assert_eq!((old.leader.as_str(), old.skip_assignment, old.members.len()), ("i-2", false, 0));
    assert_eq!(sim.state(), "Stable");
    let group = sim.machine.group("g").and_then(classic).unwrap();
    assert_eq!(group.leader.as_deref(), Some("i-3"));
}

#[test]
fn other_topics_or_another_protocol_need_a_rebalance() {
    let mut sim = stable();
    let mut other = static_join("", "j", "j-2", 5);
    other.request.protocols[0].metadata = reads(&["t", "u"]);
    let ticket = sim.ask(Input::Join(other));
    assert_eq!((sim.joined(ticket), sim.state()), (None, "PreparingRebalance".into()));
    // a connector's metadata is not ours to read
    let mut sim = Sim::new();
    let connect = |name: &str, metadata: &'static [u8]| {
        let mut join = static_join("", "c", name, 5);
        join.request.protocol_type = "connect".into();
        join.request.protocols[0].metadata = Bytes::from_static(metadata);
        join
    };
    sim.ask(Input::Join(connect("c-1", b"\x01")));
    sim.advance(2 * DELAY);
    sim.sync_all(&["c-1"], 1);
    let back = sim.ask(Input::Join(connect("c-2", b"\x02")));
    assert!(sim.joined(back).is_some());
    assert_eq!(sim.state(), "Stable");
}

#[test]
fn coming_back_during_a_rebalance_takes_the_place_of_the_old_self() {
    let mut sim = Sim::new();
    let old = sim.ask(Input::Join(static_join("", "i", "i-1", 5)));
    let new = sim.ask(Input::Join(static_join("", "i", "i-2", 5)));
    assert_eq!(sim.joined(old).unwrap().error_code, ErrorCode::FENCED_INSTANCE_ID);
    sim.advance(2 * DELAY);
    let new = sim.joined(new).unwrap();
    assert_eq!((new.member_id.as_str(), new.leader.as_str(), new.members.len()), ("i-2", "i-2", 1));
    // while the assignment is made, too: the leader knows the old id only
    let third = sim.ask(Input::Join(static_join("", "i", "i-3", 5)));
    assert_eq!(sim.joined(third).unwrap().generation_id, 2);
}

#[test]
fn a_static_member_is_not_dropped_for_missing_a_rebalance_but_with_its_session() {
    let mut sim = stable();
    let a = sim.join("a");
    let mut j = static_join("j-1", "j", "", 5);
    j.request.rebalance_timeout_ms = 1_000;
    let mut i = static_join("i-1", "i", "", 5);
    i.request.rebalance_timeout_ms = 1_000;
    sim.ask(Input::Join(j));
    sim.advance(9_000);
    assert_eq!(sim.joined(a), None, "i is still within its session");
    sim.advance(1_000);
    assert_eq!(sim.joined(a).unwrap().generation_id, 2, "i is out with its session: all others have joined");
    let late = sim.ask(Input::Join(i));
    assert_eq!(sim.joined(late).unwrap().error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn an_administrator_removes_an_instance_by_its_name() {
    let mut sim = stable();
    assert_eq!(sim.leave("", Some("nobody")).members[0].error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(sim.leave("i-1", Some("j")).members[0].error_code, ErrorCode::FENCED_INSTANCE_ID);
    let left = sim.leave("", Some("j"));
    assert_eq!(left.members[0].error_code, ErrorCode::NONE);
    assert_eq!(left.members[0].group_instance_id.as_deref(), Some("j"));
    assert_eq!(beat(&mut sim, "i-1", "i", 1), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn many_leave_at_once_with_one_rebalance() {
    let mut sim = stable();
    let one = |member: &str| MemberIdentity { member_id: member.into(), ..Default::default() };
    let members = vec![one("i-1"), one("who"), one("j-1")];
    let request = LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() };
    let before = sim.log.len();
    let ticket = sim.ask(Input::Leave(request));
    let Some(Reply::Leave(response)) = sim.answers.remove(&ticket) else { panic!() };
    let codes: Vec<_> = response.members.iter().map(|m| m.error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::NONE]);
    assert_eq!((sim.state(), sim.log.len()), ("Empty".into(), before + 1));
}

#[test]
fn when_its_new_name_cannot_be_written_down_the_old_self_stays() {
    let mut sim = stable();
    sim.broken = true;
    let back = sim.ask(Input::Join(static_join("", "j", "j-2", 5)));
    assert_eq!(sim.refused, [back]);
    assert_eq!(beat(&mut sim, "j-1", "j", 1), ErrorCode::NONE);
    assert_eq!(beat(&mut sim, "j-2", "j", 1), ErrorCode::FENCED_INSTANCE_ID);
}

#[test]
fn a_rebalance_that_nobody_joins_waits_for_the_sessions_without_spinning() {
    let mut sim = Sim::new();
    let impatient = |mut join: Join| {
        join.request.rebalance_timeout_ms = 1;
        Input::Join(join)
    };
    sim.ask(impatient(static_join("", "i", "i-1", 5)));
    sim.advance(DELAY);
    sim.sync_all(&["i-1"], 1);
    sim.ask(impatient(join("", "guest", &["range"])));
    sim.leave("guest", None);
    let (begun, mut wakes) = (sim.now, 0);
    while sim.state() == "PreparingRebalance" && wakes < 1_000 {
        sim.now = sim.machine.deadline().unwrap().max(sim.now);
        let mut effects = Effects::default();
        let now = sim.now;
        sim.machine.wake(now, &mut effects);
        sim.apply(effects);
        wakes += 1;
    }
    assert_eq!((sim.state().as_str(), sim.now - begun), ("Empty", Millis::from(SESSION)));
    assert!((5..20).contains(&wakes), "{wakes}");
}

#[test]
fn static_members_change_their_protocol_in_two_rounds() {
    // The way that Kafka's documentation describes: first all restart with both assignors, then with the new
    // one alone. Who came back to the stable group was remembered with the elected one only, so in the second
    // round the first had nothing in common with the others, and was refused forever.
    let mut sim = stable();
    let come_back = |sim: &mut Sim, instance: &str, name: &str, protocols: &[&str]| {
        let mut back = Join { version: 5, ..join("", name, protocols) };
        back.request.group_instance_id = Some(instance.into());
        sim.ask(Input::Join(back))
    };
    for (instance, name) in [("i", "i-2"), ("j", "j-2")] {
        let back = come_back(&mut sim, instance, name, &["range", "sticky"]);
        assert_eq!(sim.joined(back).unwrap().protocol_name.as_deref(), Some("range"));
        assert_eq!(sim.state(), "Stable");
    }
    let back = come_back(&mut sim, "i", "i-3", &["sticky"]);
    assert_eq!((sim.joined(back), sim.state()), (None, "PreparingRebalance".into()));
    let mut again = Join { version: 5, ..join("j-2", "", &["range", "sticky"]) };
    again.request.group_instance_id = Some("j".into());
    let again = sim.ask(Input::Join(again));
    for ticket in [back, again] {
        let joined = sim.joined(ticket).unwrap();
        assert_eq!((joined.error_code, joined.protocol_name.as_deref()), (ErrorCode::NONE, Some("sticky")));
    }
    sim.sync_all(&["i-3", "j-2"], 2);
    let back = come_back(&mut sim, "j", "j-3", &["sticky"]);
    assert_eq!(sim.joined(back).unwrap().error_code, ErrorCode::NONE);
    assert_eq!(sim.state(), "Stable");
}
