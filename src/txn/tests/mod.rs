//! The tests of transactions, on a stage: what producers ask and are answered.

mod laws;
mod rules;
mod sim;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use braid_protocol::ErrorCode;
use bytes::Bytes;

use super::*;
use crate::machine::stage::{START, Stage};
use crate::machine::{Effects, Machine, Ticket};

const TIMEOUT: i32 = 60_000;

/// A stage, and what stands around the machine.
struct Scene {
    stage: Stage<Transactions, (Bytes, Option<Bytes>)>,
    next_id: i64,
    /// Who writes markers waits for this.
    marker: Option<Ticket>,
}

impl Deref for Scene {
    type Target = Stage<Transactions, (Bytes, Option<Bytes>)>;

    fn deref(&self) -> &Self::Target {
        &self.stage
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.stage
    }
}

impl Scene {
    fn new() -> Scene {
        let machine = Transactions::new(TxnConfig::default());
        Scene { stage: Stage::new(machine, Record::write), next_id: 1_000, marker: None }
    }

    /// Asks; what is due at once happens.
    fn ask(&mut self, input: Input) -> Ticket {
        let ticket = self.stage.ask(input);
        self.advance(0);
        ticket
    }

    /// What the log tells to a machine that starts.
    fn replayed(&self) -> Transactions {
        let mut machine = Transactions::new(TxnConfig::default());
        self.log.iter().for_each(|(key, value)| machine.load(key, value.as_ref()));
        machine
    }

    /// A kill and a start: those who wait get no answer.
    fn crash(&mut self) {
        self.marker = None;
        let replayed = self.replayed();
        self.stage.restart(replayed);
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

    /// The ends that are decided; the marker writer asks again and again.
    fn ended(&mut self) -> Vec<Ended> {
        let ticket = match self.marker {
            Some(ticket) => ticket,
            None => self.ask(Input::Markers),
        };
        self.marker = Some(ticket);
        match self.stage.answers.get(&ticket) {
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
