//! The tests of transactions, and their stage: one machine, virtual time, a log in memory. No test here
//! sleeps.

mod laws;
mod rules;
mod sim;

use std::collections::BTreeMap;

use braid_protocol::ErrorCode;
use bytes::Bytes;

use super::*;
use crate::machine::{Effects, Machine, Ticket};

const START: Millis = 1_700_000_000_000;
const TIMEOUT: i32 = 60_000;

/// A driver without I/O: appends to a list, replays, and hands out replies at once.
struct Stage {
    now: Millis,
    machine: Transactions,
    log: Vec<(Bytes, Option<Bytes>)>,
    asked: Ticket,
    answers: BTreeMap<Ticket, Reply>,
    /// Tickets that were answered more than once.
    twice: Vec<Ticket>,
    /// While set, nothing can be appended, and those who rest on it are refused.
    broken: bool,
    refused: Vec<Ticket>,
    next_id: i64,
    /// Who writes markers waits for this.
    marker: Option<Ticket>,
}

impl Stage {
    fn new() -> Stage {
        Stage {
            now: START,
            machine: Transactions::new(TxnConfig::default()),
            log: Vec::new(),
            asked: 0,
            answers: BTreeMap::new(),
            twice: Vec::new(),
            broken: false,
            refused: Vec::new(),
            next_id: 1_000,
            marker: None,
        }
    }

    fn apply(&mut self, effects: Effects<Transactions>) {
        if self.broken && !effects.records.is_empty() {
            self.refused.extend(effects.replies.iter().map(|(ticket, _)| ticket));
            return;
        }
        for record in effects.records {
            self.log.push(record.write());
            self.machine.replay(record);
        }
        for (ticket, reply) in effects.replies {
            if self.answers.insert(ticket, reply).is_some() || self.refused.contains(&ticket) {
                self.twice.push(ticket);
            }
        }
    }

    fn ask(&mut self, input: Input) -> Ticket {
        self.asked += 1;
        let mut effects = Effects::default();
        self.machine.handle(self.now, self.asked, input, &mut effects);
        self.apply(effects);
        self.advance(0);
        self.asked
    }

    /// Lets time pass; what is due happens at its time.
    fn advance(&mut self, by: Millis) {
        let until = self.now + by;
        while let Some(due) = self.machine.deadline().map(|t| t.max(self.now)).filter(|t| *t <= until) {
            self.now = due;
            let mut effects = Effects::default();
            self.machine.wake(self.now, &mut effects);
            let stuck = self.broken && !effects.records.is_empty();
            self.apply(effects);
            if stuck {
                self.now += 1_000; // the driver does not try again at once either
            }
        }
        self.now = self.now.max(until);
    }

    /// What the log tells to a machine that starts.
    fn replayed(&self) -> Transactions {
        let mut machine = Transactions::new(TxnConfig::default());
        self.log.iter().for_each(|(key, value)| machine.load(key, value.as_ref()));
        machine
    }

    /// A kill and a start: those who wait get no answer.
    fn crash(&mut self) {
        self.machine = self.replayed();
        self.marker = None;
        self.advance(0);
    }

    /// The answer to a producer's question, unless it waits.
    fn answer(&mut self, ticket: Ticket) -> Option<Result<Producer, ErrorCode>> {
        match self.answers.get(&ticket)? {
            Reply::Producer(answer) => Some(*answer),
            other => panic!("{other:?}"),
        }
    }

    /// Asks with a fresh producer id if one is needed, as the face does.
    fn ask_with_id(&mut self, input: impl Fn(Option<i64>) -> Input) -> Ticket {
        let ticket = self.ask(input(None));
        if self.answers.get(&ticket) != Some(&Reply::NeedsProducerId) {
            return ticket;
        }
        self.next_id += 1;
        self.ask(input(Some(self.next_id)))
    }

    fn init_ticket(&mut self, id: &str, expected: Option<Producer>) -> Ticket {
        self.ask_with_id(|fresh| Input::Init { id: id.into(), timeout_ms: TIMEOUT, expected, fresh })
    }

    fn init(&mut self, id: &str) -> Producer {
        let ticket = self.init_ticket(id, None);
        self.answer(ticket).unwrap().unwrap()
    }

    fn add(&mut self, id: &str, producer: Producer, topic: &str, version: Version) -> Ticket {
        let partitions = [(topic.to_owned(), 0)].into();
        self.ask(Input::Add { id: id.into(), producer, partitions, version })
    }

    fn end(&mut self, id: &str, producer: Producer, commit: bool, version: Version) -> Ticket {
        self.ask_with_id(|fresh| Input::End { id: id.into(), producer, commit, version, fresh })
    }

    /// The ends that are decided; whoever writes markers asks again and again.
    fn ended(&mut self) -> Vec<Ended> {
        let ticket = match self.marker {
            Some(ticket) => ticket,
            None => self.ask(Input::Markers),
        };
        self.marker = Some(ticket);
        match self.answers.get(&ticket) {
            Some(Reply::Markers(ended)) => {
                self.marker = None;
                ended.clone()
            }
            None => Vec::new(),
            Some(other) => panic!("{other:?}"),
        }
    }

    /// Writes all markers there are to write.
    fn mark(&mut self) -> Vec<Ended> {
        let ended = self.ended();
        for Ended { id, producer, .. } in ended.clone() {
            self.ask(Input::Marked { id, producer });
        }
        ended
    }

    fn state(&self, id: &str) -> State {
        self.machine.durable()[id].state
    }
}
