//! Offsets that are committed within transactions: when they count, and what becomes of them.

use braid_protocol::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use super::clients::World;
use super::*;

const DAY: Millis = 24 * 3_600_000;

/// The same commit, within the transaction of this producer.
pub(super) fn within(id: i64, commit: Commit) -> Commit {
    Commit { txn: Some(TxnProducer { id, epoch: 0, guard: None }), version: 3, ..commit }
}

pub(super) fn marker(producer_id: i64, commit: bool) -> TxnMarker {
    TxnMarker { producer_id, producer_epoch: 0, coordinator_epoch: 0, commit }
}

impl Sim {
    /// A producer that names no member commits this offset for t-0.
    fn txn(&mut self, id: i64, offset: i64) -> ErrorCode {
        self.commit_as(within(id, commit("", -1, offset)))
    }

    fn end(&mut self, id: i64, commit: bool) {
        let ticket = self.ask(Input::EndTxn(marker(id, commit)));
        assert_eq!(self.answers.remove(&ticket), Some(Reply::Done(ErrorCode::NONE)));
    }

    /// What somebody who wants stable offsets is told, of t-0 or of all.
    fn stable_offsets(&mut self, all: bool) -> Vec<(i64, ErrorCode)> {
        let t0 =
            OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
        let topics = (!all).then(|| vec![t0]);
        let request = OffsetFetchRequestGroup { group_id: "g".into(), topics, ..Default::default() };
        let ticket = self.ask(Input::Fetch { request, require_stable: true });
        let Some(Reply::Fetch(response)) = self.answers.remove(&ticket) else { panic!() };
        let partitions = response.topics.iter().flat_map(|t| &t.partitions);
        partitions.map(|p| (p.committed_offset, p.error_code)).collect()
    }
}

#[test]
fn an_offset_counts_when_its_transaction_commits() {
    let mut sim = Sim::new();
    assert_eq!(sim.txn(1, 5), ErrorCode::NONE);
    assert_eq!((sim.committed(), sim.fetch(None), sim.state()), (-1, vec![], "Empty".into()));
    sim.end(1, true);
    assert_eq!(sim.committed(), 5);
    sim.txn(1, 6);
    assert_eq!(sim.committed(), 5, "not yet");
    sim.end(1, false);
    assert_eq!(sim.committed(), 5, "aborted");
    assert_eq!(sim.machine.stats().offsets, 1);
}

#[test]
fn of_an_aborted_transaction_nothing_is_left() {
    let mut sim = Sim::new();
    sim.txn(1, 5);
    sim.end(1, false);
    assert_eq!((sim.committed(), sim.state()), (-1, "Dead".into()));
    assert_eq!(sim.machine, sim.rebuilt_and_woken());
}

#[test]
fn who_wants_stable_offsets_is_told_that_one_may_change() {
    const UNSTABLE: (i64, ErrorCode) = (-1, ErrorCode::UNSTABLE_OFFSET_COMMIT);
    let mut sim = Sim::new();
    sim.txn(1, 5);
    assert_eq!(sim.stable_offsets(false), [UNSTABLE]);
    assert_eq!(sim.stable_offsets(true), [], "nothing was ever committed");
    sim.commit("", -1, 4);
    assert_eq!((sim.stable_offsets(false), sim.stable_offsets(true)), (vec![UNSTABLE], vec![UNSTABLE]));
    assert_eq!(sim.committed(), 4, "others see what counts");
    sim.txn(2, 6);
    sim.end(1, true);
    assert_eq!(sim.stable_offsets(false), [UNSTABLE], "there is another transaction");
    sim.end(2, true);
    assert_eq!(sim.stable_offsets(false), [(6, ErrorCode::NONE)]);
}

#[test]
fn the_last_commit_in_the_log_wins_whenever_the_markers_come() {
    let mut sim = Sim::new();
    sim.txn(1, 1);
    sim.commit("", -1, 2);
    sim.end(1, true);
    assert_eq!(sim.committed(), 2, "the plain commit was later");

    for (first, second) in [(1, 2), (2, 1)] {
        sim.txn(1, 10);
        sim.txn(2, 20);
        sim.end(first, true);
        sim.end(second, true);
        assert_eq!(sim.committed(), 20, "{first} before {second}");
    }

    sim.txn(1, 10);
    sim.txn(2, 21);
    sim.txn(1, 11);
    sim.end(1, true);
    sim.end(2, true);
    assert_eq!(sim.committed(), 11, "it committed again after the other");

    sim.txn(1, 12);
    sim.txn(2, 22);
    sim.end(2, false);
    sim.end(1, true);
    assert_eq!(sim.committed(), 12, "what was aborted overtakes nobody");
}

#[test]
fn what_is_forgotten_does_not_come_back_with_the_marker() {
    let forget: [fn() -> Input; 3] = [
        || Input::Delete { group_id: "g".into() },
        || Input::ForgetTopic { topic: "t".into() },
        || {
            let partition = OffsetDeleteRequestPartition { partition_index: 0 };
            let topic = OffsetDeleteRequestTopic { name: "t".into(), partitions: vec![partition] };
            Input::DeleteOffsets(OffsetDeleteRequest { group_id: "g".into(), topics: vec![topic] })
        },
    ];
    for (n, forget) in forget.iter().enumerate() {
        for committed in [false, true] {
            let mut sim = Sim::new();
            if committed {
                sim.commit("", -1, 4);
            }
            sim.txn(1, 5);
            sim.ask(forget());
            assert_eq!(sim.stable_offsets(false), [(-1, ErrorCode::NONE)], "{n}");
            sim.txn(2, 6);
            sim.end(1, true);
            assert_eq!(sim.committed(), -1, "{n}");
            sim.end(2, true);
            assert_eq!(sim.committed(), 6, "what came after counts, {n}");
            assert_eq!(sim.machine, sim.rebuilt_and_woken(), "{n}");
        }
    }
}

#[test]
fn while_a_transaction_is_open_nothing_expires() {
    let mut sim = Sim::new();
    sim.commit("", -1, 4);
    sim.txn(1, 5);
    let mut other = within(1, commit("", -1, 9));
    other.request.topics[0].name = "u".into();
    sim.commit_as(other);
    sim.advance(30 * DAY);
    assert_eq!((sim.committed(), sim.state()), (4, "Empty".into()));
    sim.end(1, false);
    sim.advance(DAY);
    assert_eq!((sim.committed(), sim.state()), (-1, "Dead".into()));
}

#[test]
fn an_old_offset_expires_alone_while_another_is_pending() {
    let mut sim = Sim::new();
    let mut old = commit("", -1, 4);
    old.request.topics[0].name = "old".into();
    sim.commit_as(old);
    sim.txn(1, 5);
    sim.advance(8 * DAY);
    assert_eq!((sim.fetch(None), sim.state()), (vec![], "Empty".into()), "the group is still needed");
    sim.end(1, true);
    assert_eq!(sim.committed(), 5);
}

#[test]
fn who_may_commit_within_a_transaction() {
    let mut sim = Sim::new();
    let named = |member: &str, generation| within(1, commit(member, generation, 7));
    assert_eq!(sim.commit_as(named("a", 1)), ErrorCode::ILLEGAL_GENERATION, "no such group");
    assert_eq!(sim.txn(1, 1), ErrorCode::NONE);
    assert_eq!(sim.commit_as(named("a", 1)), ErrorCode::UNKNOWN_MEMBER_ID);
    sim.end(1, false);

    sim.join("a");
    assert_eq!(sim.txn(1, 1), ErrorCode::NONE, "a commit without a member is not checked, as before KIP-447");
    sim.advance(2 * DELAY);
    assert_eq!(sim.commit_as(named("a", 1)), ErrorCode::NONE, "also while the leader assigns");
    sim.sync_all(&["a"], 1);
    assert_eq!(sim.commit_as(named("a", 0)), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(sim.commit_as(named("a", -1)), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(sim.commit_as(named("who", 1)), ErrorCode::UNKNOWN_MEMBER_ID);
    let mut instance = named("a", 1);
    instance.request.group_instance_id = Some("i".into());
    assert_eq!(sim.commit_as(instance), ErrorCode::UNKNOWN_MEMBER_ID);
    sim.end(1, true);
    assert_eq!(sim.committed(), 7);
}

#[test]
fn a_static_member_that_was_replaced_is_fenced() {
    let mut sim = Sim::new();
    let mut first = join("", "i-1", &["range"]);
    first.version = 5;
    first.request.group_instance_id = Some("i".into());
    let mut second = first.clone();
    second.new_member_id = "i-2".into();
    sim.ask(Input::Join(first));
    sim.advance(2 * DELAY);
    sim.sync_all(&["i-1"], 1);
    sim.ask(Input::Join(second));
    let mut zombie = within(1, commit("i-1", 1, 7));
    zombie.request.group_instance_id = Some("i".into());
    assert_eq!(sim.commit_as(zombie), ErrorCode::FENCED_INSTANCE_ID);
}

#[test]
fn producers_know_no_member_epochs() {
    let mut world = World::new(&[("t", 2)]);
    world.joined("a", "t");
    let named = |member: &str, epoch| within(1, commit(member, epoch, 7));
    assert_eq!(world.sim.commit_as(named("", -1)), ErrorCode::NONE);
    assert_eq!(world.sim.commit_as(named("z", 1)), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.sim.commit_as(named("a", 2)), ErrorCode::ILLEGAL_GENERATION);
    let before = world.sim.log.len();
    let mut stale = named("a", 0);
    let mut wordy = stale.request.topics[0].partitions[0].clone();
    wordy.committed_metadata = Some("x".repeat(5_000));
    stale.request.topics[0].partitions.insert(0, wordy);
    let ticket = world.sim.ask(Input::Commit(stale));
    let Some(Reply::Commit(response)) = world.sim.answers.remove(&ticket) else { panic!() };
    let codes = response.topics[0].partitions.iter().map(|p| p.error_code);
    assert!(codes.eq([ErrorCode::ILLEGAL_GENERATION; 2]), "one stale partition spoils the whole");
    assert_eq!(world.sim.log.len(), before);
    assert_eq!(world.sim.commit_as(named("a", 1)), ErrorCode::NONE);
    world.sim.end(1, true);
    assert_eq!(world.sim.committed(), 7);
}

#[test]
fn too_much_metadata_is_refused_and_the_rest_committed() {
    let mut sim = Sim::new();
    let mut wordy = within(1, commit("", -1, 7));
    let mut other = wordy.request.topics[0].partitions[0].clone();
    other.partition_index = 1;
    other.committed_metadata = Some("x".repeat(5_000));
    wordy.request.topics[0].partitions.push(other);
    let ticket = sim.ask(Input::Commit(wordy));
    let Some(Reply::Commit(response)) = sim.answers.remove(&ticket) else { panic!() };
    let codes = response.topics[0].partitions.iter().map(|p| p.error_code);
    assert!(codes.eq([ErrorCode::NONE, ErrorCode::OFFSET_METADATA_TOO_LARGE]));
    sim.end(1, true);
    assert_eq!(sim.fetch(None), [("t".into(), 0, 7)]);
}

#[test]
fn a_commit_of_a_producer_is_no_heartbeat() {
    let mut sim = Sim::stable(&["a"]);
    sim.advance(Millis::from(SESSION) - 1);
    assert_eq!(sim.commit_as(within(1, commit("a", 1, 7))), ErrorCode::NONE);
    sim.advance(1);
    assert_eq!(sim.state(), "Empty");
}

#[test]
fn a_marker_may_come_again_or_for_nothing() {
    let mut sim = Sim::new();
    sim.end(1, true);
    assert_eq!(sim.log, [Line::Marker(marker(1, true))], "the partition must know all the same");
    sim.txn(1, 5);
    sim.end(1, true);
    sim.commit("", -1, 6);
    sim.end(1, true);
    sim.end(1, false);
    assert_eq!(sim.committed(), 6);
}

#[test]
fn a_restart_at_any_point_changes_nothing() {
    let steps: [fn(&mut Sim); 11] = [
        |sim| assert_eq!(sim.commit("", -1, 1), ErrorCode::NONE),
        |sim| assert_eq!(sim.txn(1, 2), ErrorCode::NONE),
        |sim| assert_eq!(sim.txn(2, 3), ErrorCode::NONE),
        |sim| assert_eq!(sim.commit("", -1, 4), ErrorCode::NONE),
        |sim| assert_eq!(sim.txn(3, 5), ErrorCode::NONE),
        |sim| sim.end(2, true),
        |sim| assert_eq!(sim.txn(1, 6), ErrorCode::NONE),
        |sim| sim.end(3, true),
        |sim| assert_eq!(sim.txn(2, 7), ErrorCode::NONE),
        |sim| sim.end(1, true),
        |sim| sim.end(2, false),
    ];
    let expected = [1, 1, 1, 4, 4, 4, 4, 5, 5, 6, 6];
    for restart in 0..steps.len() {
        let mut sim = Sim::new();
        for (n, step) in steps.iter().enumerate() {
            step(&mut sim);
            if n == restart {
                let before = sim.machine.clone();
                sim.restart();
                assert_eq!(sim.machine, before, "after step {n}");
            }
            assert_eq!(sim.committed(), expected[n], "step {n}, restart after {restart}");
        }
    }
}
