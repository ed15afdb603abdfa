//! How long offsets are kept, and how groups end.

use braid_protocol::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use super::*;

const WEEK: Millis = 10_080 * 60_000;
const CHECK: Millis = 600_000;

fn delete(sim: &mut Sim) -> ErrorCode {
    let ticket = sim.ask(Input::Delete { group_id: "g".into() });
    match sim.answers.remove(&ticket) {
        Some(Reply::Done(code)) => code,
        other => panic!("{other:?}"),
    }
}

/// Time passes and these members stay alive.
fn live_on(sim: &mut Sim, members: &[&str], by: Millis) {
    for _ in 0..by / 9_000 {
        sim.advance(9_000);
        members.iter().for_each(|m| assert_eq!(sim.beat(m, 1), ErrorCode::NONE));
    }
}

#[test]
fn a_consumer_of_its_own_is_forgotten_a_week_after_its_last_commit() {
    let mut sim = Sim::new();
    sim.commit("", -1, 1);
    sim.advance(WEEK - 1);
    assert_eq!(sim.committed(), 1);
    sim.commit("", -1, 2);
    sim.advance(WEEK - 1);
    assert_eq!(sim.committed(), 2);
    sim.advance(CHECK);
    assert_eq!(sim.committed(), -1);
    assert_eq!((sim.machine.stats().groups(), sim.rebuilt().stats().groups()), (0, 0));
}

#[test]
fn a_group_is_forgotten_a_week_after_its_last_member_left() {
    let mut sim = Sim::stable(&["a"]);
    sim.commit("a", 1, 1);
    live_on(&mut sim, &["a"], WEEK + 2 * CHECK);
    assert_eq!(sim.committed(), 1, "as long as someone reads the topic it is kept");
    sim.leave("a", None);
    sim.advance(WEEK - CHECK);
    assert_eq!(sim.committed(), 1);
    sim.restart();
    sim.advance(2 * CHECK);
    assert_eq!((sim.committed(), sim.state()), (-1, "Dead".into()));
    let last = Record::Group { group: "g".into(), value: None };
    assert_eq!(sim.log.last(), Some(&line(&last)));
    assert_eq!(sim.rebuilt().stats().groups(), 0);
}

#[test]
fn members_keep_only_the_topics_they_read() {
    let mut sim = Sim::stable(&["a"]);
    let mut other = commit("a", 1, 5);
    other.request.topics[0].name = "old".into();
    sim.commit_as(other);
    sim.commit("a", 1, 6);
    live_on(&mut sim, &["a"], WEEK + CHECK);
    assert_eq!(sim.fetch(None), [("t".into(), 0, 6)]);
}

#[test]
fn a_client_of_old_may_say_how_long() {
    let mut sim = Sim::new();
    let mut short = commit("", -1, 5);
    short.request.retention_time_ms = 1_000;
    sim.commit_as(short);
    sim.restart();
    assert_eq!(sim.committed(), 5);
    sim.advance(CHECK);
    assert_eq!(sim.committed(), -1);
}

#[test]
fn what_a_live_member_reads_is_kept_for_longer_than_it_said() {
    // A client of OffsetCommit v2 to v4 says how long, and a consumer that is idle for longer came back to
    // nothing: the time that was said counted while the offset was in use, too.
    let mut sim = Sim::stable(&["a"]);
    let mut short = commit("a", 1, 5);
    short.request.retention_time_ms = 1_000;
    sim.commit_as(short.clone());
    short.request.topics[0].name = "old".into();
    sim.commit_as(short);
    live_on(&mut sim, &["a"], 2 * CHECK);
    assert_eq!(sim.fetch(None), [("t".into(), 0, 5)], "nobody reads the other topic");
    sim.leave("a", None);
    sim.advance(CHECK);
    assert_eq!(sim.committed(), -1);
}

#[test]
fn a_subscription_without_what_its_version_has_is_read_all_the_same() {
    // kafka-go writes version 1 and leaves the owned partitions out. So nobody knew what its groups read:
    // OffsetDelete refused every topic, and what they had stopped reading never expired.
    let mut one = join("", "a", &["range"]);
    one.request.protocols[0].metadata =
        Bytes::from_static(b"\x00\x01\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x00");
    let mut sim = Sim::new();
    sim.ask(Input::Join(one));
    sim.advance(2 * DELAY);
    sim.sync_all(&["a"], 1);
    let mut other = commit("a", 1, 5);
    other.request.topics[0].name = "old".into();
    sim.commit_as(other);
    sim.commit("a", 1, 6);
    live_on(&mut sim, &["a"], WEEK + CHECK);
    assert_eq!(sim.fetch(None), [("t".into(), 0, 6)]);
}

#[test]
fn a_group_can_be_deleted_when_nobody_is_in_it() {
    let mut sim = Sim::stable(&["a"]);
    sim.commit("a", 1, 5);
    assert_eq!(delete(&mut sim), ErrorCode::NON_EMPTY_GROUP);
    sim.leave("a", None);
    assert_eq!(delete(&mut sim), ErrorCode::NONE);
    assert_eq!((sim.committed(), delete(&mut sim)), (-1, ErrorCode::GROUP_ID_NOT_FOUND));
    assert_eq!(sim.rebuilt().stats().groups(), 0);
}

#[test]
fn who_holds_an_id_and_does_not_come_is_no_member() {
    // The id that a consumer is given before it joins (KIP-394) kept an empty group from being deleted, until
    // a session timeout after its client was gone.
    let mut sim = Sim::new();
    sim.commit("", -1, 5);
    let hand_out = |sim: &mut Sim| {
        let ticket = sim.ask(Input::Join(Join { version: 4, ..join("", "a", &["range"]) }));
        assert_eq!(sim.joined(ticket).unwrap().error_code, ErrorCode::MEMBER_ID_REQUIRED);
    };
    hand_out(&mut sim);
    let partitions = vec![OffsetDeleteRequestPartition::default()];
    let topic = OffsetDeleteRequestTopic { name: "t".into(), partitions };
    let request = OffsetDeleteRequest { group_id: "g".into(), topics: vec![topic] };
    let ticket = sim.ask(Input::DeleteOffsets(request));
    let Some(Reply::DeleteOffsets(told)) = sim.answers.remove(&ticket) else { panic!() };
    assert_eq!((told.error_code, sim.committed()), (ErrorCode::NONE, -1));
    assert_eq!((delete(&mut sim), sim.state()), (ErrorCode::NONE, "Dead".into()));
    hand_out(&mut sim);
    let late = sim.ask(Input::Join(Join { version: 4, ..join("a", "", &["range"]) }));
    sim.advance(DELAY);
    assert_eq!(sim.joined(late).unwrap().error_code, ErrorCode::NONE);
    assert_eq!(delete(&mut sim), ErrorCode::NON_EMPTY_GROUP);
}

#[test]
fn offsets_of_a_deleted_topic_are_forgotten() {
    let mut sim = Sim::stable(&["a"]);
    let mut other = commit("a", 1, 5);
    other.request.topics[0].name = "gone".into();
    sim.commit_as(other);
    sim.commit("a", 1, 6);
    sim.ask(Input::ForgetTopic { topic: "gone".into() });
    assert_eq!(sim.fetch(None), [("t".into(), 0, 6)]);
    sim.ask(Input::ForgetTopic { topic: "t".into() });
    assert_eq!((sim.fetch(None), sim.state()), (vec![], "Stable".into()));
    // With the last offset of an empty group went the group, at once; Kafka keeps it until it next looks for
    // what has expired.
    sim.commit("a", 1, 7);
    sim.leave("a", None);
    sim.ask(Input::ForgetTopic { topic: "t".into() });
    assert_eq!((sim.fetch(None), sim.state()), (vec![], "Empty".into()));
    sim.advance(CHECK);
    assert_eq!(sim.state(), "Dead");
}

#[test]
fn records_that_cannot_be_read_are_passed_over() {
    let mut sim = Sim::new();
    sim.commit("", -1, 5);
    let Line::Data(_, offset, _) = sim.log[0].clone() else { panic!() };
    for (key, value) in [
        (Bytes::from_static(&[0, 3, 0, 1, b'g']), Some(Bytes::from_static(b"a KIP-848 group"))),
        (Bytes::from_static(b"\0"), None),
        (offset, Some(Bytes::from_static(&[0, 3, 9]))),
    ] {
        sim.log.push(Line::Data(None, key, value));
    }
    sim.restart();
    assert_eq!((sim.committed(), sim.machine.stats().skipped_records), (5, 3));
}
