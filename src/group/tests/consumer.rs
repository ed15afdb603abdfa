//! KIP-848 groups: a world of clients that behave as Kafka's do, and the rules one by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use braid_protocol::Uuid;
use braid_protocol::api::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};

use super::laws::Dice;
use super::*;
use crate::cluster::{Change, Image};
use crate::group::consumer::Plan;

pub(super) type Partition = (Uuid, i32);

/// A member as its client sees it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: String,
    /// Names of topics, or an expression behind a `~`.
    pub(super) reads: String,
    pub(super) instance: Option<String>,
    pub(super) assignor: Option<String>,
    epoch: i32,
    pub(super) owned: BTreeSet<Partition>,
    /// Given, and not yet acted upon.
    given: Option<BTreeSet<Partition>>,
    /// The next heartbeat says all, because something has changed or an answer was missed.
    says_all: bool,
    pub(super) dead: bool,
    heard: Millis,
    idle: usize,
}

impl Client {
    pub(super) fn new(id: &str, reads: &str) -> Client {
        Client {
            id: id.into(),
            reads: reads.into(),
            instance: None,
            assignor: None,
            epoch: 0,
            owned: BTreeSet::new(),
            given: None,
            says_all: true,
            dead: false,
            heard: 0,
            idle: 0,
        }
    }

    /// What it may be reading.
    pub(super) fn holds(&self) -> BTreeSet<Partition> {
        self.owned.iter().chain(self.given.iter().flatten()).copied().collect()
    }

    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            instance_id: self.instance.clone(),
            ..Default::default()
        };
        if self.says_all {
            let regex = self.reads.strip_prefix('~');
            let names = self.reads.split(' ').filter(|_| regex.is_none()).map(str::to_owned).collect();
            request.rebalance_timeout_ms = REBALANCE;
            request.subscribed_topic_names = Some(names);
            request.subscribed_topic_regex = Some(regex.unwrap_or_default().to_owned());
            request.server_assignor.clone_from(&self.assignor);
            request.topic_partitions = Some(listed(&self.owned));
        }
        request
    }

    fn give_up(&mut self) {
        (self.epoch, self.says_all, self.given) = (0, true, None);
        self.owned.clear();
    }
}

fn listed(owned: &BTreeSet<Partition>) -> Vec<TopicPartitions> {
    let one = |(topic_id, p): &Partition| TopicPartitions { topic_id: *topic_id, partitions: vec![*p] };
    owned.iter().map(one).collect()
}

pub(super) struct World {
    pub(super) sim: Sim,
    pub(super) clients: Vec<Client>,
    pub(super) image: Arc<Image>,
    pub(super) breaks: bool,
    /// Partitions that came to a member.
    pub(super) given: usize,
    /// Members whose epoch went back.
    pub(super) went_back: Vec<String>,
    topics: u8,
}

impl World {
    pub(super) fn new(topics: &[(&str, i32)]) -> World {
        let mut world = World {
            sim: Sim::new(),
            clients: Vec::new(),
            image: Arc::default(),
            breaks: false,
            given: 0,
            went_back: Vec::new(),
            topics: 0,
        };
        topics.iter().for_each(|(name, partitions)| world.create(name, *partitions));
        world
    }

    fn change(&mut self, change: &Change) {
        let mut image = Image::clone(&self.image);
        image.apply(change);
        self.image = Arc::new(image);
    }

    fn create(&mut self, name: &str, partitions: i32) {
        self.topics += 1;
        let id = Uuid([self.topics; 16]).to_string();
        let configs = Default::default();
        self.change(&Change::TopicCreated { name: name.into(), id, partitions, configs });
    }

    fn id(&self, name: &str) -> Uuid {
        self.image.topic(name).unwrap().id
    }

    pub(super) fn grow(&mut self, name: &str) {
        let partitions = (self.image.topic(name).unwrap().partitions + 1).min(9);
        self.change(&Change::PartitionsCreated { id: self.id(name).to_string(), partitions });
    }

    pub(super) fn recreate(&mut self, name: &str) {
        self.change(&Change::TopicDeleted { id: self.id(name).to_string() });
        self.create(name, 2);
    }

    pub(super) fn plan(&self) -> Option<&Plan> {
        self.sim.groups.group("g")?.consumers().map(|c| &c.plan)
    }

    /// All partitions that some member reads.
    pub(super) fn readable(&self) -> BTreeSet<Partition> {
        let matches = |client: &Client, name: &str| match client.reads.strip_prefix('~') {
            Some("t|u" | "t.*") => name == "t" || (client.reads == "~t|u" && name == "u"),
            _ => client.reads.split(' ').any(|read| read == name),
        };
        let read = |name: &str| self.clients.iter().any(|c| !c.dead && matches(c, name));
        let topics = self.image.topics().filter(|t| read(&t.name));
        topics.flat_map(|t| (0..t.partitions).map(|p| (t.id, p))).collect()
    }

    pub(super) fn ask(&mut self, request: ConsumerGroupHeartbeatRequest) -> Option<ConsumerGroupHeartbeatResponse> {
        let beat = Beat {
            request,
            version: 1,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            new_member_id: "new".into(),
            topics: self.image.clone(),
        };
        let ticket = self.sim.ask(Input::ConsumerHeartbeat(beat));
        match self.sim.answers.remove(&ticket) {
            Some(Reply::ConsumerHeartbeat(response)) => Some(response),
            None => None, // could not be written down
            other => panic!("{other:?}"),
        }
    }

    /// One heartbeat of one client, which may miss the answer.
    pub(super) fn beat(&mut self, n: usize, hears: bool) {
        let Some(request) = self.clients.get(n).filter(|c| !c.dead).map(Client::request) else { return };
        let response = self.ask(request).filter(|_| hears);
        let client = &mut self.clients[n];
        client.heard = self.sim.now;
        let Some(response) = response else {
            client.says_all = true;
            return;
        };
        match response.error_code {
            ErrorCode::NONE => {
                if client.epoch > 0 && response.member_epoch < client.epoch {
                    self.went_back.push(client.id.clone());
                }
                client.epoch = response.member_epoch;
                client.says_all = false;
                if let Some(assignment) = response.assignment {
                    let topics = assignment.topic_partitions.into_iter();
                    let all: BTreeSet<_> =
                        topics.flat_map(|t| t.partitions.into_iter().map(move |p| (t.topic_id, p))).collect();
                    self.given += all.difference(&client.owned).count();
                    client.given = Some(all);
                }
            }
            ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::UNKNOWN_MEMBER_ID => client.give_up(),
            ErrorCode::UNRELEASED_INSTANCE_ID
            | ErrorCode::FENCED_INSTANCE_ID
            | ErrorCode::GROUP_ID_NOT_FOUND => client.dead = true,
            other => panic!("{other}: {:?}", response.error_message),
        }
    }

    /// A client gives up and takes on what it was told, and says so with its next heartbeat.
    pub(super) fn act(&mut self, n: usize) {
        let Some(client) = self.clients.get_mut(n) else { return };
        if let Some(given) = client.given.take() {
            (client.owned, client.says_all, client.idle) = (given, true, 0);
        }
    }

    pub(super) fn leave(&mut self, n: usize) {
        let Some(client) = self.clients.get_mut(n).filter(|c| !c.dead && c.epoch > 0) else { return };
        client.give_up();
        client.dead = true;
        let member_epoch = if client.instance.is_some() && n % 2 == 0 { -2 } else { -1 };
        let request = ConsumerGroupHeartbeatRequest { member_epoch, ..client.request() };
        self.ask(request);
    }

    pub(super) fn subscribe(&mut self, n: usize, reads: &str) {
        if let Some(client) = self.clients.get_mut(n) {
            (client.reads, client.says_all) = (reads.to_owned(), true);
        }
    }

    /// Time passes; clients are heard every five seconds, and act within three heartbeats.
    pub(super) fn pass(&mut self, by: Millis, dice: &mut Dice) {
        self.sim.advance(by);
        for n in 0..self.clients.len() {
            if self.sim.now - self.clients[n].heard < 5_000 {
                continue;
            }
            self.clients[n].idle += 1;
            if self.clients[n].idle >= 3 || dice.below(2) == 0 {
                self.act(n);
            }
            self.beat(n, dice.below(8) > 0);
        }
    }

    /// Everybody behaves, long enough for the dead to be missed and for two rounds of giving and taking.
    pub(super) fn settle(&mut self) {
        for _ in 0..16 {
            self.sim.advance(5_000);
            for n in 0..self.clients.len() {
                self.act(n);
                self.beat(n, true);
            }
        }
        (0..self.clients.len()).for_each(|n| self.act(n));
    }

    /// A client that has joined and has been given its share.
    fn joined(&mut self, id: &str, reads: &str) -> usize {
        self.clients.push(Client::new(id, reads));
        let n = self.clients.len() - 1;
        self.beat(n, true);
        n
    }

    fn code(&mut self, request: ConsumerGroupHeartbeatRequest) -> ErrorCode {
        self.ask(request).unwrap().error_code
    }
}

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
    assert!(world.sim.groups.group("g").is_none(), "nothing of it was kept");
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
    let mut fetch = |member: &str, member_epoch| {
        let member_id = Some(member.to_owned());
        let request = OffsetFetchRequestGroup { group_id: "g".into(), member_id, member_epoch, topics: None };
        let ticket = world.sim.ask(Input::Fetch(request));
        let Some(Reply::Fetch(fetched)) = world.sim.answers.remove(&ticket) else { panic!() };
        fetched.error_code
    };
    assert_eq!(fetch("a", 2), ErrorCode::NONE);
    assert_eq!(fetch("a", 1), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(fetch("z", 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn uniform_moves_no_more_than_it_must() {
    for seed in 0..500 {
        let mut dice = Dice(seed);
        let mut world = World::new(&[("t", 1 + dice.below(30) as i32)]);
        let count = 1 + dice.below(8) as usize;
        (0..count).for_each(|n| drop(world.joined(&format!("m{n}"), "t")));
        world.settle();
        let before: Vec<BTreeSet<Partition>> = world.clients.iter().map(|c| c.owned.clone()).collect();
        match dice.below(3) {
            0 => drop(world.joined("new", "t")),
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
    let mut ask = |sim: &mut Sim, input| {
        let ticket = sim.ask(input);
        sim.answers.remove(&ticket).unwrap()
    };
    let describe = || Input::ConsumerDescribe { group_id: "g".into(), topics: world.image.clone() };
    let Reply::ConsumerDescribe(described) = ask(&mut world.sim, describe()) else { panic!() };
    assert_eq!((described.group_state.as_str(), described.group_epoch), ("Stable", 1));
    let member = &described.members[0];
    assert_eq!((member.member_type, member.assignment.topic_partitions[0].topic_name.as_str()), (1, "t"));
    assert_eq!(member.assignment, member.target_assignment);
    let Reply::List(listed) = ask(&mut world.sim, Input::List(ListGroupsRequest::default())) else { panic!() };
    let expected = ("consumer", "Stable", "consumer");
    let one = &listed[0];
    assert_eq!((one.group_type.as_str(), one.group_state.as_str(), one.protocol_type.as_str()), expected);
    assert_eq!(world.sim.groups.stats().consumer.stable, 1);
    let classic = ask(&mut world.sim, Input::Describe { group_id: "g".into(), version: 6 });
    let Reply::Describe(classic) = classic else { panic!() };
    assert_eq!(classic.error_message.unwrap(), "Group g is not a classic group.");
    let delete = || Input::Delete { group_id: "g".into() };
    assert_eq!(ask(&mut world.sim, delete()), Reply::Done(ErrorCode::NON_EMPTY_GROUP));
    world.leave(a);
    assert_eq!(ask(&mut world.sim, delete()), Reply::Done(ErrorCode::NONE));
    assert!(world.sim.groups.group("g").is_none() && world.sim.rebuilt().group("g").is_none());
}
