//! A world in a seed: producers of both protocols, some of them killed and some coming back as zombies, a
//! network that delays, repeats and loses, markers that take their time, and a broker that crashes. The
//! coordinator is the real one, and so is what partitions know of producers. At the end every transaction is
//! visible as a whole or not at all, as its producer was told, and no reader ever saw anything else.

use braid_storage::producers::Producers;
use braid_storage::{BatchBuilder, Checked, TxnGuard, TxnStatus};

use super::*;
use crate::dice::Dice;

/// Or as many as the environment's BRAID_SIM_SEEDS says.
const SEEDS: u64 = 2_000;
const STEPS: usize = 400;
const IDS: [&str; 3] = ["a", "b", "c"];
const PARTITIONS: usize = 3;
const TOPIC: &str = "t";

/// What a producer asks, one thing at a time.
#[derive(Clone, Debug, PartialEq)]
enum Request {
    Init,
    Add { partition: usize },
    Produce { partition: usize, sequence: i32 },
    End { commit: bool },
}

#[derive(Clone, Debug)]
struct Client {
    id: &'static str,
    version: Version,
    producer: Option<Producer>,
    /// What it waits for; resent until it is answered.
    asked: Option<Request>,
    op: u64,
    txn: u64,
    in_txn: bool,
    added: Vec<usize>,
    sequences: BTreeMap<usize, i32>,
    /// It gave up on a write: its sequence numbers are of no use any more (KIP-360).
    lost_count: bool,
    gone: bool,
}

/// A request on its way, as it was when it was sent.
#[derive(Clone, Debug)]
struct Packet {
    client: usize,
    op: u64,
    txn: u64,
    producer: Producer,
    request: Request,
}

/// What was found out about a transaction.
#[derive(Clone, Debug, Default)]
struct Story {
    acked: Vec<(usize, u64, i32)>,
    commit_asked: bool,
    told: Option<bool>,
}

#[derive(Clone, Debug)]
enum Entry {
    Data { producer_id: i64, txn: u64, sequence: i32 },
    Marker { producer_id: i64, commit: bool },
}

/// A partition: what it knows of producers, what is in it, and a `read_committed` reader.
#[derive(Default)]
struct Shelf {
    producers: Producers,
    entries: Vec<Entry>,
    read: usize,
    seen: Vec<(u64, i32)>,
}

impl Shelf {
    fn end(&self) -> i64 {
        self.entries.len() as i64
    }

    /// As a log does it: a duplicate is an answer too.
    fn append(&mut self, batch: &Checked, guard: Option<TxnGuard>, entry: Entry) -> Result<(), ErrorCode> {
        match self.producers.check(batch.header(), batch.body(), guard) {
            Err(error) => Err(crate::topic::Fault::Append(error.into()).code()),
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                let mut header = *batch.header();
                header.base_offset = self.end();
                self.producers.update(&header, batch.body(), START);
                self.entries.push(entry);
                Ok(())
            }
        }
    }

    fn is_committed(&self, at: usize, producer: i64) -> bool {
        let after = self.entries.iter().skip(at).find_map(|entry| match entry {
            Entry::Marker { producer_id, commit } if *producer_id == producer => Some(*commit),
            _ => None,
        });
        after == Some(true)
    }

    fn committed(&self, range: std::ops::Range<usize>) -> Vec<(u64, i32)> {
        let data = range.filter_map(|at| match self.entries[at] {
            Entry::Data { producer_id, txn, sequence } if self.is_committed(at, producer_id) => {
                Some((txn, sequence))
            }
            _ => None,
        });
        data.collect()
    }

    fn poll(&mut self) {
        let stable = self.producers.last_stable_offset(self.end()) as usize;
        if stable > self.read {
            let new = self.committed(self.read..stable);
            self.seen.extend(new);
            self.read = stable;
        }
    }
}

struct World {
    dice: Dice,
    stage: Scene,
    shelves: Vec<Shelf>,
    clients: Vec<Client>,
    network: Vec<Packet>,
    /// Asked of the machine and not answered yet.
    asked: BTreeMap<Ticket, (Packet, Option<TxnGuard>)>,
    /// Allowed to be appended.
    appends: Vec<(Packet, Option<TxnGuard>)>,
    ending: Vec<(Ended, Vec<i32>)>,
    stories: BTreeMap<u64, Story>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            dice: Dice(seed),
            stage: Scene::new(),
            shelves: (0..PARTITIONS).map(|_| Shelf::default()).collect(),
            clients: Vec::new(),
            network: Vec::new(),
            asked: BTreeMap::new(),
            appends: Vec::new(),
            ending: Vec::new(),
            stories: BTreeMap::new(),
        };
        IDS.into_iter().for_each(|id| world.start_client(id));
        world
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.dice.below(one_in) == 0
    }

    fn start_client(&mut self, id: &'static str) {
        let version = if self.chance(2) { Version::Classic } else { Version::EpochBump };
        self.clients.push(Client {
            id,
            version,
            producer: None,
            asked: None,
            op: 0,
            txn: 0,
            in_txn: false,
            added: Vec::new(),
            sequences: BTreeMap::new(),
            lost_count: false,
            gone: false,
        });
    }

    /// A producer goes on, or says again what was not answered.
    fn act(&mut self, at: usize) {
        let dice = (self.dice.below(4), self.dice.below(PARTITIONS as u64) as usize);
        let next_txn = self.stories.len() as u64 + 1;
        let (again, impatient) = (self.chance(6), self.chance(20));
        let client = &mut self.clients[at];
        if impatient && matches!(client.asked, Some(Request::Produce { .. })) {
            client.op += 1;
            (client.asked, client.lost_count) = (Some(Request::End { commit: false }), true);
        }
        if client.gone || (client.asked.is_some() && !again) {
            return;
        }
        if client.asked.is_none() {
            client.op += 1;
            let (action, partition) = dice;
            if client.producer.is_some() && !client.in_txn && !client.lost_count {
                (client.in_txn, client.txn) = (true, next_txn);
                client.added.clear();
                self.stories.insert(next_txn, Story::default());
            }
            let written = self.stories.get(&client.txn).is_some_and(|story| !story.acked.is_empty());
            client.asked = Some(match action {
                _ if client.producer.is_none() || (client.lost_count && !client.in_txn) => Request::Init,
                0 if written => Request::End { commit: partition > 0 },
                _ if client.version == Version::Classic && !client.added.contains(&partition) => {
                    Request::Add { partition }
                }
                _ => {
                    let sequence = *client.sequences.entry(partition).or_default();
                    Request::Produce { partition, sequence }
                }
            });
        }
        let request = client.asked.clone().unwrap();
        if request == (Request::End { commit: true }) {
            self.stories.get_mut(&client.txn).unwrap().commit_asked = true;
        }
        let producer = client.producer.unwrap_or((-1, -1));
        self.network.push(Packet { client: at, op: client.op, txn: client.txn, producer, request });
    }

    /// A request arrives; it may arrive again.
    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let at = self.dice.below(self.network.len() as u64) as usize;
        let packet = self.network.swap_remove(at);
        if self.chance(4) {
            self.network.push(packet.clone());
        }
        let client = &self.clients[packet.client];
        let (id, version) = (client.id.to_owned(), client.version);
        // The classic protocol cannot tell a late request of the last transaction from one of this; one
        // connection keeps them in order.
        let ordered = version == Version::Classic && !matches!(packet.request, Request::Produce { .. });
        if packet.op != client.op && (ordered || packet.request == Request::Init) {
            return;
        }
        let producer = packet.producer;
        let place = |partition: usize| (TOPIC.to_owned(), partition as i32);
        let (ticket, guard) = match packet.request {
            Request::Init => (self.stage.init_ticket(&id, Some(producer).filter(|p| p.0 >= 0)), None),
            Request::Add { partition } => {
                let partitions = [place(partition)].into();
                (self.stage.ask(Input::Add { id, producer, partitions, version }), None)
            }
            Request::End { commit } => (self.stage.end(&id, producer, commit, version), None),
            Request::Produce { partition, .. } => {
                match self.shelves[partition].producers.transaction(producer.0, producer.1) {
                    TxnStatus::Open => return self.appends.push((packet, None)),
                    TxnStatus::Closed(guard) if version == Version::Classic => {
                        let partition = place(partition);
                        (self.stage.ask(Input::Verify { id, producer, partition }), Some(guard))
                    }
                    TxnStatus::Closed(_) => {
                        let partitions = [place(partition)].into();
                        (self.stage.ask(Input::Add { id, producer, partitions, version }), None)
                    }
                }
            }
        };
        self.asked.insert(ticket, (packet, guard));
    }

    /// What the machine has answered meanwhile.
    fn collect(&mut self) {
        let answered: Vec<Ticket> =
            self.asked.keys().filter(|ticket| self.stage.answers.contains_key(ticket)).copied().collect();
        for ticket in answered {
            let (packet, guard) = self.asked.remove(&ticket).unwrap();
            match (self.stage.answer(ticket).unwrap(), &packet.request) {
                (Ok(_), Request::Produce { .. }) => self.appends.push((packet, guard)),
                (answer, _) => self.respond(packet, answer),
            }
        }
    }

    /// An append that has leave happens.
    fn append(&mut self) {
        if self.appends.is_empty() {
            return;
        }
        let at = self.dice.below(self.appends.len() as u64) as usize;
        let (packet, mut guard) = self.appends.swap_remove(at);
        let Request::Produce { partition, sequence } = packet.request else { return };
        let (producer_id, epoch) = packet.producer;
        let shelf = &mut self.shelves[partition];
        if self.clients[packet.client].version == Version::EpochBump
            && let TxnStatus::Closed(now) = shelf.producers.transaction(producer_id, epoch)
        {
            guard = Some(now);
        }
        let mut batch = BatchBuilder::new().producer(producer_id, epoch, sequence).transactional();
        batch.push(START, None, None, &[]);
        let entry = Entry::Data { producer_id, txn: packet.txn, sequence };
        let answer = shelf.append(&batch.build().unwrap(), guard, entry).map(|()| packet.producer);
        self.respond(packet, answer);
    }

    /// An answer reaches the producer, if it is not lost and still wanted.
    fn respond(&mut self, packet: Packet, answer: Result<Producer, ErrorCode>) {
        let lost = self.chance(5);
        let client = &mut self.clients[packet.client];
        if lost || client.gone || client.op != packet.op || client.asked.is_none() {
            return;
        }
        let story = self.stories.entry(packet.txn).or_default();
        match (answer, packet.request) {
            (Err(ErrorCode::CONCURRENT_TRANSACTIONS), _) => return,
            // A zombie, or one that gives up: whatever it has open is aborted by its timeout.
            (Err(_), _) => client.gone = true,
            (Ok(producer), Request::Init) => {
                client.producer = Some(producer);
                (client.in_txn, client.lost_count) = (false, false);
                client.sequences.clear();
            }
            (Ok(_), Request::Add { partition }) => client.added.push(partition),
            (Ok(_), Request::Produce { partition, sequence }) => {
                story.acked.push((partition, packet.txn, sequence));
                client.sequences.insert(partition, sequence + 1);
            }
            (Ok(producer), Request::End { commit }) => {
                story.told = Some(commit);
                client.in_txn = false;
                if client.producer != Some(producer) {
                    client.lost_count = false;
                    client.sequences.clear();
                }
                client.producer = Some(producer);
            }
        }
        client.asked = None;
    }

    /// A marker is written, or the last one was.
    fn mark(&mut self) {
        for ended in self.stage.ended() {
            let left = ended.partitions.iter().map(|(_, index)| *index).collect();
            self.ending.push((ended, left));
        }
        if self.ending.is_empty() {
            return;
        }
        let at = self.dice.below(self.ending.len() as u64) as usize;
        let (ended, left) = &mut self.ending[at];
        let Ended { id, producer, commit, .. } = ended.clone();
        let Some(index) = left.pop() else {
            self.ending.swap_remove(at);
            self.stage.ask(Input::Marked { id, producer });
            return;
        };
        let mut batch = BatchBuilder::new().producer(producer.0, producer.1, -1).transactional().control();
        batch.push_marker(START, commit, 0);
        let entry = Entry::Marker { producer_id: producer.0, commit };
        let written = self.shelves[index as usize].append(&batch.build().unwrap(), None, entry);
        assert!(matches!(written, Ok(()) | Err(ErrorCode::INVALID_PRODUCER_EPOCH)), "{written:?}");
    }

    /// The broker is killed and starts again from its logs; nobody who waits is answered.
    fn crash(&mut self) {
        self.stage.crash();
        self.asked.clear();
        self.appends.clear();
        self.ending.clear();
        for shelf in &mut self.shelves {
            shelf.producers = Producers::from_snapshot(&shelf.producers.snapshot(), START).unwrap();
        }
    }

    fn step(&mut self) {
        match self.dice.below(300) {
            0..=99 => {
                let live = (0..self.clients.len()).filter(|at| !self.clients[*at].gone);
                let live: Vec<usize> = live.collect();
                let chosen = self.dice.below(live.len().max(1) as u64) as usize;
                match live.get(chosen) {
                    None => self.start_client(IDS[0]),
                    Some(at) => self.act(*at),
                }
            }
            100..=179 => self.deliver(),
            180..=239 => self.append(),
            240..=289 => self.mark(),
            290 => self.crash(),
            291 => self.stage.advance(Millis::from(TIMEOUT) / 2),
            292..=293 => {
                // the old one lives on as a zombie
                let id = IDS[self.dice.below(IDS.len() as u64) as usize];
                self.start_client(id);
            }
            294 => {
                let at = self.dice.below(self.clients.len() as u64) as usize;
                self.clients[at].gone = true;
            }
            _ => self.shelves.iter_mut().for_each(Shelf::poll),
        }
        self.collect();
    }

    /// Nobody begins anything any more; what is under way ends.
    fn settle(&mut self) {
        self.clients.iter_mut().for_each(|client| client.gone = true);
        for _ in 0..3 {
            while !self.network.is_empty() || !self.appends.is_empty() {
                self.deliver();
                self.collect();
                self.append();
            }
            self.stage.advance(2 * Millis::from(TIMEOUT));
            self.collect();
            for _ in 0..200 {
                self.mark();
                self.collect();
            }
        }
        self.shelves.iter_mut().for_each(Shelf::poll);
    }

    fn check(&self, seed: u64) {
        let mut visible = BTreeMap::<u64, Vec<(usize, u64, i32)>>::new();
        for (partition, shelf) in self.shelves.iter().enumerate() {
            assert_eq!(shelf.read, shelf.entries.len(), "seed {seed}: a transaction hangs in {partition}");
            let committed = shelf.committed(0..shelf.entries.len());
            assert_eq!(shelf.seen, committed, "seed {seed}: a reader saw what is not so in {partition}");
            for (txn, sequence) in committed {
                visible.entry(txn).or_default().push((partition, txn, sequence));
            }
        }
        for (txn, story) in &self.stories {
            let mut acked = story.acked.clone();
            acked.sort();
            let visible = visible.remove(txn).unwrap_or_default();
            match (story.told, story.commit_asked) {
                (Some(true), _) => assert_eq!(visible, acked, "seed {seed}: {txn} was committed"),
                (Some(false), _) | (None, false) => {
                    assert_eq!(visible, [], "seed {seed}: {txn} was not committed");
                }
                (None, true) if visible.is_empty() => {}
                (None, true) => assert_eq!(visible, acked, "seed {seed}: {txn} is torn"),
            }
        }
        assert!(self.stage.twice.is_empty(), "seed {seed}: answered twice");
    }
}

#[test]
fn transactions_are_whole_in_thousands_of_worlds() {
    let (mut committed, mut aborted, mut open) = (0, 0, 0);
    let seeds = std::env::var("BRAID_SIM_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
        world.settle();
        world.check(seed);
        for story in world.stories.values() {
            match story.told {
                Some(true) => committed += 1,
                Some(false) => aborted += 1,
                None => open += 1,
            }
        }
    }
    // a world in which nothing happens proves nothing
    assert!(committed > seeds && aborted > seeds / 2 && open > seeds, "{committed} {aborted} {open}");
}
