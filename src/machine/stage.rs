//! A machine's stage in tests: a driver without I/O, with virtual time and a log in memory. It appends to a
//! list, replays, and hands out replies at once. Nothing here sleeps.

use std::collections::BTreeMap;

use super::{Effects, Machine, Millis, Ticket};

/// What time it is when the curtain rises.
pub(crate) const START: Millis = 1_700_000_000_000;

/// One machine and what came of it; a log of `L`.
pub(crate) struct Stage<M: Machine, L> {
    pub(crate) now: Millis,
    pub(crate) machine: M,
    pub(crate) log: Vec<L>,
    pub(crate) asked: Ticket,
    pub(crate) answers: BTreeMap<Ticket, M::Reply>,
    /// Tickets that were answered more than once.
    pub(crate) twice: Vec<Ticket>,
    /// While set, nothing can be appended, and those who rest on it are refused.
    pub(crate) broken: bool,
    pub(crate) refused: Vec<Ticket>,
    line: fn(&M::Record) -> L,
}

impl<M: Machine, L> Stage<M, L> {
    /// `line`: how the log keeps a record.
    pub(crate) fn new(machine: M, line: fn(&M::Record) -> L) -> Stage<M, L> {
        Stage {
            now: START,
            machine,
            log: Vec::new(),
            asked: 0,
            answers: BTreeMap::new(),
            twice: Vec::new(),
            broken: false,
            refused: Vec::new(),
            line,
        }
    }

    pub(crate) fn apply(&mut self, effects: Effects<M>) {
        if self.broken && !effects.records.is_empty() {
            self.refused.extend(effects.replies.iter().map(|(ticket, _)| ticket));
            return;
        }
        for record in effects.records {
            self.log.push((self.line)(&record));
            self.machine.replay(record);
        }
        for (ticket, reply) in effects.replies {
            if self.answers.insert(ticket, reply).is_some() || self.refused.contains(&ticket) {
                self.twice.push(ticket);
            }
        }
    }

    pub(crate) fn ask(&mut self, input: M::Input) -> Ticket {
        self.asked += 1;
        let mut effects = Effects::default();
        self.machine.handle(self.now, self.asked, input, &mut effects);
        self.apply(effects);
        self.asked
    }

    /// Lets time pass; what is due happens at its time.
    pub(crate) fn advance(&mut self, by: Millis) {
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

    /// A start with this machine, which was replayed from the log.
    pub(crate) fn restart(&mut self, machine: M) {
        self.machine = machine;
        self.advance(0);
    }
}
