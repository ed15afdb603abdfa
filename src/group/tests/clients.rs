//! A world of clients that behave in a KIP-848 group as Kafka's do, for the tests of such groups.

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
    pub(super) epoch: i32,
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

    pub(super) fn request(&self) -> ConsumerGroupHeartbeatRequest {
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

    pub(super) fn create(&mut self, name: &str, partitions: i32) {
        self.topics += 1;
        let id = Uuid([self.topics; 16]).to_string();
        let configs = Default::default();
        self.change(&Change::TopicCreated { name: name.into(), id, partitions, configs });
    }

    pub(super) fn id(&self, name: &str) -> Uuid {
        self.image.topic(name).unwrap().id
    }

    pub(super) fn grow(&mut self, name: &str) {
        let partitions = self.image.topic(name).unwrap().partitions + 1;
        self.change(&Change::PartitionsCreated { id: self.id(name).to_string(), partitions });
    }

    pub(super) fn recreate(&mut self, name: &str) {
        self.change(&Change::TopicDeleted { id: self.id(name).to_string() });
        self.create(name, 2);
    }

    pub(super) fn plan(&self) -> Option<&Plan> {
        self.sim.machine.group("g")?.consumers().map(|c| &c.plan)
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

    pub(super) fn ask(
        &mut self,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Option<ConsumerGroupHeartbeatResponse> {
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
            // What it was given before it takes on only when it is told again. The protocol itself leaves
            // this open: a report of what is owned cannot say what is about to be.
            (client.says_all, client.given) = (true, None);
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
        let member_epoch = if client.instance.is_some() && n.is_multiple_of(2) { -2 } else { -1 };
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

    /// A second passes. Clients act at once, and beat every five seconds or, when they have something to say
    /// or missed an answer, every second; one answer in this many is lost.
    pub(super) fn second(&mut self, lost_one_of: u64, dice: &mut Dice) {
        self.sim.advance(1_000);
        for n in 0..self.clients.len() {
            self.act(n);
            let client = &self.clients[n];
            if client.says_all || self.sim.now - client.heard >= 5_000 {
                self.beat(n, dice.below(lost_one_of) > 0);
            }
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
    pub(super) fn joined(&mut self, id: &str, reads: &str) -> usize {
        self.clients.push(Client::new(id, reads));
        let n = self.clients.len() - 1;
        self.beat(n, true);
        n
    }

    pub(super) fn code(&mut self, request: ConsumerGroupHeartbeatRequest) -> ErrorCode {
        self.ask(request).unwrap().error_code
    }
}
