//! Every refusal, each with the code that Kafka gives.

use super::*;

fn join_error(sim: &mut Sim, join: Join) -> ErrorCode {
    let ticket = sim.ask(Input::Join(join));
    sim.joined(ticket).expect("refused at once").error_code
}

fn sync_error(sim: &mut Sim, request: SyncGroupRequest) -> ErrorCode {
    let ticket = sim.ask(Input::Sync(request));
    sim.synced(ticket).expect("refused at once").error_code
}

#[test]
fn joins_that_cannot_be() {
    type Change<'a> = &'a dyn Fn(&mut JoinGroupRequest);
    let mut sim = Sim::new();
    let with = |change: Change<'_>| {
        let mut join = join("", "a", &["range"]);
        change(&mut join.request);
        join
    };
    let cases: [(Change<'_>, ErrorCode); 9] = [
        (&|r| r.group_id.clear(), ErrorCode::INVALID_GROUP_ID),
        (&|r| r.session_timeout_ms = 5_999, ErrorCode::INVALID_SESSION_TIMEOUT),
        (&|r| r.session_timeout_ms = 1_800_001, ErrorCode::INVALID_SESSION_TIMEOUT),
        (&|r| r.member_id = "who".into(), ErrorCode::UNKNOWN_MEMBER_ID),
        (&|r| r.protocols.clear(), ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        (&|r| r.protocol_type.clear(), ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        (&|r| r.protocols[0].metadata = vec![0; 2 << 20].into(), ErrorCode::INVALID_REQUEST),
        (&|r| r.group_instance_id = Some("i".repeat(40_000)), ErrorCode::INVALID_REQUEST),
        (&|r| r.group_id = "g".repeat(40_000), ErrorCode::INVALID_GROUP_ID),
    ];
    for (n, (change, code)) in cases.into_iter().enumerate() {
        assert_eq!(join_error(&mut sim, with(change)), code, "case {n}");
    }
    assert_eq!(sim.machine.stats().groups(), 0, "none of them left a group behind");
}

#[test]
fn joins_that_a_group_refuses() {
    let mut sim = Sim::stable(&["a", "b"]);
    assert_eq!(join_error(&mut sim, join("who", "", &["range"])), ErrorCode::UNKNOWN_MEMBER_ID);
    let mut other_type = join("", "c", &["range"]);
    other_type.request.protocol_type = "connect".into();
    assert_eq!(join_error(&mut sim, other_type), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(join_error(&mut sim, join("", "c", &["sticky"])), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let mut instance = join("a", "", &["range"]);
    instance.request.group_instance_id = Some("i".into());
    assert_eq!(join_error(&mut sim, instance), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(sim.state(), "Stable");
}

#[test]
fn a_full_group_lets_nobody_in() {
    let mut sim = Sim::with(GroupConfig { members_max: 2, ..Default::default() });
    let (_, _) = (sim.join("a"), sim.join("b"));
    assert_eq!(join_error(&mut sim, join("", "c", &["range"])), ErrorCode::GROUP_MAX_SIZE_REACHED);
    sim.advance(2 * DELAY);
    sim.sync_all(&["a", "b"], 1);
    assert_eq!(join_error(&mut sim, join("", "c", &["range"])), ErrorCode::GROUP_MAX_SIZE_REACHED);
    sim.ask(Input::Join(join("b", "", &["range", "x"])));
    assert_eq!(sim.state(), "PreparingRebalance", "who is in may join again");
}

#[test]
fn ids_that_were_handed_out_are_limited_too() {
    let mut sim = Sim::with(GroupConfig { members_max: 2, ..Default::default() });
    let mut first = |name: &str| join_error(&mut sim, Join { version: 9, ..join("", name, &["range"]) });
    assert_eq!(first("a"), ErrorCode::MEMBER_ID_REQUIRED);
    assert_eq!(first("b"), ErrorCode::MEMBER_ID_REQUIRED);
    assert_eq!(first("c"), ErrorCode::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn too_many_groups_begin_no_more() {
    let mut sim = Sim::with(GroupConfig { groups_max: 1, ..Default::default() });
    assert_eq!(sim.commit("", -1, 1), ErrorCode::NONE);
    let mut other = commit("", -1, 1);
    other.request.group_id = "h".into();
    assert_eq!(sim.commit_as(other), ErrorCode::GROUP_MAX_SIZE_REACHED);
    let mut other = join("", "a", &["range"]);
    other.request.group_id = "h".into();
    assert_eq!(join_error(&mut sim, other), ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!(sim.commit("", -1, 2), ErrorCode::NONE, "those that exist go on");
}

// Each member may bring a megabyte and a group may have a thousand: one group in the making was a gigabyte.
#[test]
fn members_together_may_not_say_too_much() {
    let mut sim = Sim::with(GroupConfig { group_max_bytes: 500, ..Default::default() });
    let large = |name: &str| {
        let mut large = join("", name, &["range"]);
        large.request.protocols[0].metadata = vec![7; 300].into();
        large
    };
    sim.ask(Input::Join(large("a")));
    assert_eq!(join_error(&mut sim, large("b")), ErrorCode::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn syncs_that_are_refused() {
    let mut sim = Sim::new();
    assert_eq!(sync_error(&mut sim, sync("a", 1, &[])), ErrorCode::UNKNOWN_MEMBER_ID);
    let nameless = SyncGroupRequest { group_id: String::new(), ..sync("a", 1, &[]) };
    assert_eq!(sync_error(&mut sim, nameless), ErrorCode::INVALID_GROUP_ID);
    let mut sim = Sim::stable(&["a", "b"]);
    assert_eq!(sync_error(&mut sim, sync("who", 1, &[])), ErrorCode::UNKNOWN_MEMBER_ID);
    for generation in [0, 2, -1] {
        assert_eq!(sync_error(&mut sim, sync("a", generation, &[])), ErrorCode::ILLEGAL_GENERATION);
    }
    let connect = SyncGroupRequest { protocol_type: Some("connect".into()), ..sync("a", 1, &[]) };
    assert_eq!(sync_error(&mut sim, connect), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let sticky = SyncGroupRequest { protocol_name: Some("sticky".into()), ..sync("a", 1, &[]) };
    assert_eq!(sync_error(&mut sim, sticky), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let right = SyncGroupRequest {
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..sync("a", 1, &[])
    };
    assert_eq!(sync_error(&mut sim, right), ErrorCode::NONE);
    sim.join("c");
    assert_eq!(sync_error(&mut sim, sync("a", 1, &[])), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn heartbeats_in_every_state() {
    let mut sim = Sim::new();
    assert_eq!(sim.beat("a", 1), ErrorCode::UNKNOWN_MEMBER_ID);
    let nameless = HeartbeatRequest { member_id: "a".into(), ..Default::default() };
    let ticket = sim.ask(Input::Heartbeat(nameless));
    let Some(Reply::Heartbeat(response)) = sim.answers.remove(&ticket) else { panic!() };
    assert_eq!(response.error_code, ErrorCode::INVALID_GROUP_ID);
    sim.join("a");
    assert_eq!(sim.beat("a", 0), ErrorCode::REBALANCE_IN_PROGRESS);
    sim.advance(2 * DELAY);
    assert_eq!(sim.state(), "CompletingRebalance");
    assert_eq!(sim.beat("a", 1), ErrorCode::NONE, "Kafka's code, not its comment");
    assert_eq!(
        (sim.beat("a", 0), sim.beat("who", 1)),
        (ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID)
    );
    sim.sync_all(&["a"], 1);
    assert_eq!(sim.beat("a", 1), ErrorCode::NONE);
    assert_eq!(sim.beat("a", 2), ErrorCode::ILLEGAL_GENERATION);
    sim.leave("a", None);
    assert_eq!(sim.state(), "Empty");
    assert_eq!(sim.beat("a", 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn leaving_a_group_that_is_not_there() {
    let mut sim = Sim::new();
    assert_eq!(sim.leave("a", None).members[0].error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    let ticket = sim.ask(Input::Leave(LeaveGroupRequest::default()));
    let Some(Reply::Leave(response)) = sim.answers.remove(&ticket) else { panic!() };
    assert_eq!((response.error_code, response.members.len()), (ErrorCode::INVALID_GROUP_ID, 0));
}

#[test]
fn who_may_commit() {
    let mut sim = Sim::new();
    assert_eq!(sim.commit("a", 1, 1), ErrorCode::ILLEGAL_GENERATION, "no such group");
    let v9 = Commit { version: 9, ..commit("a", 1, 1) };
    assert_eq!(sim.commit_as(v9), ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(sim.commit("", -1, 1), ErrorCode::NONE, "a consumer of its own");
    assert_eq!(sim.commit("a", 1, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(sim.state(), "Empty");

    sim.join("a");
    assert_eq!(sim.commit("", -1, 2), ErrorCode::UNKNOWN_MEMBER_ID, "not while there are members");
    sim.advance(2 * DELAY);
    assert_eq!(sim.commit("a", 1, 3), ErrorCode::REBALANCE_IN_PROGRESS);
    sim.sync_all(&["a"], 1);
    assert_eq!(sim.commit("a", 0, 4), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(sim.commit("a", -1, 4), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(sim.commit("who", 1, 5), ErrorCode::UNKNOWN_MEMBER_ID);
    let mut instance = commit("a", 1, 6);
    instance.request.group_instance_id = Some("i".into());
    assert_eq!(sim.commit_as(instance), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(sim.committed(), 1, "none of them counted");
    assert_eq!(sim.commit("a", 1, 7), ErrorCode::NONE);
    assert_eq!(sim.committed(), 7);
}

#[test]
fn too_much_metadata_is_refused_for_its_partition_alone() {
    let mut sim = Sim::new();
    let mut two = commit("", -1, 5);
    let partitions = &mut two.request.topics[0].partitions;
    partitions.push(OffsetCommitRequestPartition { partition_index: 1, ..partitions[0].clone() });
    partitions[0].committed_metadata = Some("x".repeat(4_097));
    partitions[1].committed_metadata = Some("x".repeat(4_096));
    let ticket = sim.ask(Input::Commit(two));
    let Some(Reply::Commit(response)) = sim.answers.remove(&ticket) else { panic!() };
    let codes: Vec<_> = response.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [ErrorCode::OFFSET_METADATA_TOO_LARGE, ErrorCode::NONE]);
    assert_eq!(sim.fetch(Some(vec![("t", vec![0, 1])])), [("t".into(), 0, -1), ("t".into(), 1, 5)]);
}

#[test]
fn metadata_is_measured_in_characters_as_java_counts_them() {
    // The limit is called bytes and was taken for bytes, so words in another alphabet than the Latin one were
    // refused at half of what Kafka takes, or a third.
    let mut sim = Sim::with(GroupConfig { offset_metadata_max_bytes: 20_000, ..Default::default() });
    for (text, times, expected) in [
        ("\u{e9}", 16_000, ErrorCode::NONE),
        ("\u{20ac}", 10_000, ErrorCode::NONE),
        ("x", 20_001, ErrorCode::OFFSET_METADATA_TOO_LARGE),
        // outside the basic plane a character counts as its two surrogates
        ("\u{1F600}", 10_001, ErrorCode::OFFSET_METADATA_TOO_LARGE),
        // more bytes than a record's text can have
        ("\u{20ac}", 10_923, ErrorCode::OFFSET_METADATA_TOO_LARGE),
    ] {
        let mut commit = commit("", -1, 5);
        commit.request.topics[0].partitions[0].committed_metadata = Some(text.repeat(times));
        assert_eq!(sim.commit_as(commit), expected, "{times} times {text}");
    }
    let count = |group: &Group| group.offsets.committed();
    assert_eq!(sim.rebuilt().group("g").map(count), Some(1));
    assert_eq!(sim.rebuilt().stats().skipped_records, 0);
}

#[test]
fn fetching_what_was_never_committed() {
    let mut sim = Sim::new();
    assert_eq!(sim.fetch(Some(vec![("t", vec![3])])), [("t".into(), 3, -1)]);
    assert_eq!(sim.fetch(None), []);
    sim.commit("", -1, 9);
    assert_eq!(sim.fetch(None), [("t".into(), 0, 9)]);
    assert_eq!(
        sim.fetch(Some(vec![("t", vec![0, 1]), ("u", vec![0])])).iter().map(|r| r.2).collect::<Vec<_>>(),
        [9, -1, -1]
    );
}

#[test]
fn describing_and_listing() {
    let mut sim = Sim::stable(&["a", "b"]);
    let described = sim.describe();
    assert_eq!((described.protocol_type.as_str(), described.protocol_data.as_str()), ("consumer", "range"));
    let b = &described.members[1];
    assert_eq!((b.client_id.as_str(), b.client_host.as_str()), ("client", "/127.0.0.1"));
    assert_eq!((b.member_assignment.as_ref(), b.member_metadata.clone()), (&b"b"[..], reads(&["t"])));
    sim.join("c");
    let b = &sim.describe().members[1];
    assert!(b.member_metadata.is_empty() && b.member_assignment.is_empty(), "only while stable");

    let mut list = |states: &[&str], types: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let request = ListGroupsRequest { states_filter: owned(states), types_filter: owned(types) };
        let ticket = sim.ask(Input::List(request));
        let Some(Reply::List(groups)) = sim.answers.remove(&ticket) else { panic!() };
        groups.into_iter().map(|g| (g.group_id, g.group_state, g.group_type)).collect::<Vec<_>>()
    };
    let all = vec![("g".to_owned(), "PreparingRebalance".to_owned(), "classic".to_owned())];
    assert_eq!(list(&[], &[]), all);
    assert_eq!(list(&["Stable", "preparingrebalance"], &["Classic"]), all);
    assert_eq!(list(&["Stable"], &[]), []);
    assert_eq!(list(&[], &["consumer"]), []);
}

#[test]
fn an_unknown_group_is_dead_and_from_version_6_an_error() {
    let mut sim = Sim::new();
    let dead = sim.describe();
    assert_eq!((dead.group_state.as_str(), dead.error_code), ("Dead", ErrorCode::NONE));
    let ticket = sim.ask(Input::Describe { group_id: "g".into(), version: 6 });
    let Some(Reply::Describe(missing)) = sim.answers.remove(&ticket) else { panic!() };
    assert_eq!(missing.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert!(missing.error_message.is_some());
}
