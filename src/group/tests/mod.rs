//! The tests of groups, on a stage: what members ask and are answered.

mod clients;
mod consumer;
mod driver;
mod errors;
mod laws;
mod migration;
mod rebalance;
mod retention;
mod statics;
mod transactions;
mod world;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use braid_protocol::ErrorCode;
use braid_protocol::api::heartbeat::HeartbeatRequest;
use braid_protocol::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use braid_protocol::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use braid_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use braid_protocol::api::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use braid_protocol::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use braid_protocol::data::Data;
use braid_protocol::data::consumer::ConsumerProtocolSubscription;
use bytes::Bytes;

use super::classic::Classic;
use super::group::{Group, Kind};
use super::*;
use crate::machine::stage::{START, Stage};
use crate::machine::{Effects, Machine, Ticket};

const SESSION: i32 = 10_000;
const REBALANCE: i32 = 60_000;
const DELAY: Millis = 3_000;

/// The classic group, if it is one.
fn classic(group: &Group) -> Option<&Classic> {
    match &group.kind {
        Kind::Classic(classic) => Some(classic),
        Kind::Empty | Kind::Consumer(_) => None,
    }
}

/// What stands in the log.
#[derive(Clone, Debug, PartialEq)]
enum Line {
    /// A record, and within whose transaction it is.
    Data(Option<TxnProducer>, Bytes, Option<Bytes>),
    /// The end of a transaction.
    Marker(TxnMarker),
}

/// A stage, and what its machine was made with.
struct Sim {
    stage: Stage<Groups, Line>,
    config: GroupConfig,
}

impl Deref for Sim {
    type Target = Stage<Groups, Line>;

    fn deref(&self) -> &Self::Target {
        &self.stage
    }
}

impl DerefMut for Sim {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.stage
    }
}

impl Sim {
    fn new() -> Sim {
        Sim::with(GroupConfig::default())
    }

    fn with(config: GroupConfig) -> Sim {
        let mut sim = Sim { stage: Stage::new(Groups::new(config.clone()), line), config };
        sim.advance(0);
        sim
    }

    /// The machine that a restart would find.
    fn rebuilt(&self) -> Groups {
        self.replayed(&self.log)
    }

    fn replayed(&self, log: &[Line]) -> Groups {
        let mut groups = Groups::new(self.config.clone());
        for line in log {
            match line {
                Line::Data(producer, key, value) => groups.load(key, value.as_ref(), *producer),
                Line::Marker(marker) => groups.replay(Record::Marker(*marker)),
            }
        }
        groups
    }

    fn restart(&mut self) {
        let rebuilt = self.rebuilt();
        self.stage.restart(rebuilt);
    }

    /// The same, after its first moment.
    fn rebuilt_and_woken(&self) -> Groups {
        let mut groups = self.rebuilt();
        groups.wake(self.now, &mut Effects::default());
        groups
    }

    fn joined(&mut self, ticket: Ticket) -> Option<JoinGroupResponse> {
        self.answers.remove(&ticket).map(|reply| match reply {
            Reply::Join(response) => response,
            other => panic!("{other:?}"),
        })
    }

    fn synced(&mut self, ticket: Ticket) -> Option<SyncGroupResponse> {
        self.answers.remove(&ticket).map(|reply| match reply {
            Reply::Sync(response) => response,
            other => panic!("{other:?}"),
        })
    }

    /// A member joins with a version that needs no second attempt.
    fn join(&mut self, name: &str) -> Ticket {
        self.ask(Input::Join(join("", name, &["range"])))
    }

    fn beat(&mut self, member: &str, generation: i32) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            member_id: member.into(),
            generation_id: generation,
            ..Default::default()
        };
        let ticket = self.ask(Input::Heartbeat(request));
        match self.answers.remove(&ticket) {
            Some(Reply::Heartbeat(response)) => response.error_code,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, member: &str, instance: Option<&str>) -> LeaveGroupResponse {
        let one = MemberIdentity {
            member_id: member.into(),
            group_instance_id: instance.map(Into::into),
            ..Default::default()
        };
        let request = LeaveGroupRequest { group_id: "g".into(), members: vec![one], ..Default::default() };
        let ticket = self.ask(Input::Leave(request));
        match self.answers.remove(&ticket) {
            Some(Reply::Leave(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    /// OffsetFetch by a member in that epoch; says what came of it.
    fn fetch_as(&mut self, member: &str, member_epoch: i32) -> ErrorCode {
        let member_id = Some(member.to_owned());
        let request = OffsetFetchRequestGroup { group_id: "g".into(), member_id, member_epoch, topics: None };
        let ticket = self.ask(Input::Fetch { request, require_stable: false });
        match self.answers.remove(&ticket) {
            Some(Reply::Fetch(fetched)) => fetched.error_code,
            other => panic!("{other:?}"),
        }
    }

    /// Commits this offset for t-0; says what came of it.
    fn commit(&mut self, member: &str, generation: i32, offset: i64) -> ErrorCode {
        self.commit_as(commit(member, generation, offset))
    }

    fn commit_as(&mut self, commit: Commit) -> ErrorCode {
        let ticket = self.ask(Input::Commit(commit));
        match self.answers.remove(&ticket) {
            Some(Reply::Commit(response)) => response.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        }
    }

    /// What is committed for t-0.
    fn committed(&mut self) -> i64 {
        self.fetch(Some(vec![("t", vec![0])]))[0].2
    }

    fn fetch(&mut self, topics: Option<Vec<(&str, Vec<i32>)>>) -> Vec<(String, i32, i64)> {
        let topic = |(name, partition_indexes): (&str, Vec<i32>)| OffsetFetchRequestTopics {
            name: name.into(),
            partition_indexes,
            ..Default::default()
        };
        let topics = topics.map(|topics| topics.into_iter().map(topic).collect());
        let request = OffsetFetchRequestGroup { group_id: "g".into(), topics, ..Default::default() };
        let ticket = self.ask(Input::Fetch { request, require_stable: false });
        let Some(Reply::Fetch(response)) = self.answers.remove(&ticket) else { panic!() };
        let rows = response.topics.into_iter().flat_map(|t| {
            t.partitions.into_iter().map(move |p| (t.name.clone(), p.partition_index, p.committed_offset))
        });
        rows.collect()
    }

    fn describe(&mut self) -> DescribedGroup {
        let ticket = self.ask(Input::Describe { group_id: "g".into(), version: 5 });
        match self.answers.remove(&ticket) {
            Some(Reply::Describe(described)) => described,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self) -> String {
        self.describe().group_state
    }

    /// A stable group of dynamic members in generation 1; the first one leads and each has its own name
    /// assigned.
    fn stable(names: &[&str]) -> Sim {
        let mut sim = Sim::new();
        let tickets: Vec<Ticket> = names.iter().map(|name| sim.join(name)).collect();
        sim.advance(2 * DELAY);
        for ticket in tickets {
            assert_eq!(sim.joined(ticket).unwrap().error_code, ErrorCode::NONE);
        }
        sim.sync_all(names, 1);
        sim
    }

    fn sync_all(&mut self, names: &[&str], generation: i32) {
        let (leader, followers) = names.split_first().unwrap();
        let mut tickets: Vec<Ticket> =
            followers.iter().map(|name| self.ask(Input::Sync(sync(name, generation, &[])))).collect();
        tickets.push(self.ask(Input::Sync(sync(leader, generation, names))));
        for ticket in tickets {
            assert_eq!(self.synced(ticket).unwrap().error_code, ErrorCode::NONE);
        }
        assert_eq!(self.state(), "Stable");
    }
}

/// A record as it stands in the log; the leave to write it does not.
fn line(record: &Record) -> Line {
    match record {
        Record::Marker(marker) => Line::Marker(*marker),
        record => {
            let (key, value) = record.write().unwrap();
            Line::Data(record.producer().map(|p| TxnProducer { guard: None, ..p }), key, value)
        }
    }
}

/// JoinGroup of group "g", version 3; `name` becomes the id of a member without one.
fn join(member: &str, name: &str, protocols: &[&str]) -> Join {
    let protocol = |name: &&str| JoinGroupRequestProtocol { name: (*name).into(), metadata: reads(&["t"]) };
    let request = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: SESSION,
        rebalance_timeout_ms: REBALANCE,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: protocols.iter().map(protocol).collect(),
        ..Default::default()
    };
    Join {
        request,
        version: 3,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        new_member_id: name.into(),
        topics: Default::default(),
    }
}

/// A consumer's subscription.
fn reads(topics: &[&str]) -> Bytes {
    let topics = topics.iter().map(|t| (*t).to_owned()).collect();
    ConsumerProtocolSubscription { topics, ..Default::default() }.write(0)
}

fn sync(member: &str, generation: i32, assigned: &[&str]) -> SyncGroupRequest {
    let assignment = |name: &&str| SyncGroupRequestAssignment {
        member_id: (*name).into(),
        assignment: Bytes::copy_from_slice(name.as_bytes()),
    };
    SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.into(),
        assignments: assigned.iter().map(assignment).collect(),
        ..Default::default()
    }
}

fn commit(member: &str, generation: i32, offset: i64) -> Commit {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic =
        OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        topics: vec![topic],
        ..Default::default()
    };
    Commit { request, version: 8, txn: None }
}
