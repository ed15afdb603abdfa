//! Coordinators as values: the [`Machine`] trait, and the driver that gives a machine its clock and its log.
//!
//! A machine decides, the driver writes down, the machine replays. So a test is a list of inputs and a time,
//! a restart is the same code as normal life, and no answer leaves before what it rests on is durable.

mod drivers;
mod pattern;
#[cfg(test)]
pub(crate) mod stage;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use braid_protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub use drivers::{Drivers, has_room, partition_of};
#[cfg(test)]
pub(crate) use pattern::COMPILED;
pub use pattern::Pattern;

/// Milliseconds since the Unix epoch, as Kafka writes them in records.
pub type Millis = i64;

/// Who waits for an answer. Never used twice by one driver.
pub type Ticket = u64;

/// A coordinator without I/O, clock and randomness. What time it is and which ids to hand out comes in from
/// outside.
///
/// The laws, which one test checks for every machine:
/// 1. **Durable state changes only in `replay`.** Replaying all records emitted so far into a fresh machine
///    rebuilds it. `handle` and `wake` may change what a crash may take away: sessions, parked tickets, a
///    rebalance under way.
/// 2. **Every ticket is answered exactly once**, at once or later (it is *parked* until then).
/// 3. **A decision that is not written down did not happen.** If the records of one call cannot be appended
///    they are not replayed, the replies of that call become the error, and the machine must be able to go
///    on.
/// 4. **`wake` before `deadline` does nothing.** A machine that was just replayed may be due at once, to
///    start what depends on the time.
/// 5. **Same inputs, same times, same effects**: nothing depends on hash order.
pub trait Machine: Sized {
    /// What it is asked.
    type Input;
    /// What it answers.
    type Reply;
    /// What it writes down.
    type Record;

    /// Whether inputs like this one may be handled one after the other before the records of any is replayed,
    /// so that they share one append. True only if their decisions do not depend on each other's records.
    fn batches(_input: &Self::Input) -> bool {
        false
    }

    /// Decides about one input.
    fn handle(&mut self, now: Millis, ticket: Ticket, input: Self::Input, out: &mut Effects<Self>);

    /// Does what is due. Called at or after [`Machine::deadline`].
    fn wake(&mut self, now: Millis, out: &mut Effects<Self>);

    /// When it wants to be woken next.
    fn deadline(&self) -> Option<Millis>;

    /// Takes over one record: right after its append, and again at start-up.
    fn replay(&mut self, record: Self::Record);
}

/// What comes of one decision, or of several that may share a batch.
pub struct Effects<M: Machine> {
    /// To be appended together, then replayed in this order.
    pub records: Vec<M::Record>,
    /// To be answered once the records, and all before them, are durable.
    pub replies: Vec<(Ticket, M::Reply)>,
    /// How many records and replies there were at each [`Effects::cut`].
    cuts: Vec<(usize, usize)>,
}

impl<M: Machine> Default for Effects<M> {
    fn default() -> Self {
        Effects { records: Vec::new(), replies: Vec::new(), cuts: Vec::new() }
    }
}

impl<M: Machine> Effects<M> {
    /// One decision ends here and another begins: if together they are too large for one batch of the log,
    /// they may be in two. What lies between two cuts is written as a whole or not at all.
    pub fn end_decision(&mut self) {
        self.cuts.push((self.records.len(), self.replies.len()));
    }

    /// Takes away the second half, from the cut that is nearest to the middle; none if this is one decision.
    fn halve(&mut self) -> Option<Self> {
        let (len, middle) = (self.records.len(), self.records.len() / 2);
        let next = self.cuts.partition_point(|(records, _)| *records < middle);
        let around = [Some(next), next.checked_sub(1)];
        let (at, (records, replies)) = around
            .into_iter()
            .flatten()
            .filter_map(|at| Some((at, *self.cuts.get(at)?)))
            .find(|(_, (records, _))| (1..len).contains(records))?;
        let cuts = self.cuts.split_off(at).into_iter().map(|(a, b)| (a - records, b - replies)).collect();
        let (records, replies) = (self.records.split_off(records), self.replies.split_off(replies));
        Some(Effects { records, replies, cuts })
    }
}

/// Where a machine's records go: one partition of an internal topic.
pub trait Journal: Send + Sync + 'static {
    /// What it keeps.
    type Record;

    /// Appends all records as one batch, or none of them; returns the offset after the last. Says in the
    /// broker's log why it cannot. MESSAGE_TOO_LARGE may be because there are too many of them.
    fn append(&self, now: Millis, records: &[Self::Record]) -> Result<i64, ErrorCode>;

    /// The offset below which everything is durable.
    fn durable(&self) -> i64;

    /// Waits until [`Journal::durable`] is at least `end`; fails when it never will be. Safe to drop and ask
    /// again.
    fn wait_durable(&self, end: i64) -> impl Future<Output = Result<(), ErrorCode>> + Send;
}

/// What time it is: by the system's clock, which may be corrected, or by one that only ever goes on.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When tokio's clock, which tests may pause, showed what; none for the system's own time.
    steady_since: Option<(Instant, Millis)>,
}

impl Clock {
    /// A clock that shows `wall` now and goes on from there: for sessions, which must not end because
    /// somebody sets the system's clock.
    pub fn starting_at(wall: Millis) -> Clock {
        Clock { steady_since: Some((Instant::now(), wall)) }
    }

    /// The system's clock: for timestamps.
    pub fn system() -> Clock {
        Clock { steady_since: None }
    }

    /// The time now.
    pub fn now(&self) -> Millis {
        let (passed, wall) = match self.steady_since {
            Some((start, wall)) => (start.elapsed(), wall),
            None => (SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(), 0),
        };
        wall.saturating_add(Millis::try_from(passed.as_millis()).unwrap_or(Millis::MAX))
    }

    /// When this clock will show `time`, if nobody turns it; at most a minute ahead, so that one that was
    /// turned is looked at again.
    fn instant(&self, time: Millis) -> Instant {
        const AHEAD_MAX: Millis = 60_000;
        let ahead = time.saturating_sub(self.now()).clamp(0, AHEAD_MAX);
        Instant::now() + Duration::from_millis(ahead.unsigned_abs())
    }
}

/// One question to a driver. If nobody waits for the answer any more, it is dropped.
pub struct Ask<M: Machine> {
    /// The question.
    pub input: M::Input,
    /// Where the answer goes. An error means that the journal failed; a closed channel, that the driver
    /// ended.
    pub answer: Answer<M>,
}

/// Where an answer goes.
pub type Answer<M> = oneshot::Sender<Result<<M as Machine>::Reply, ErrorCode>>;

/// Inputs taken from the channel at once.
const BATCH_MAX: usize = 1_024;
/// Records that inputs which share an append may pile up.
const RECORDS_MAX: usize = 1_024;
/// Answers that wait for the disk, above which no more inputs are taken.
const HELD_MAX: usize = 16_384;
/// After a failed append, `wake` waits this long: what failed would be due again at once.
const RETRY_MS: Millis = 1_000;

/// Runs one machine until every sender of `inbox` is gone and all its answers are out.
pub async fn drive<M, J>(machine: M, journal: J, clock: Clock, mut inbox: mpsc::Receiver<Ask<M>>)
where
    M: Machine,
    J: Journal<Record = M::Record>,
{
    let end = journal.durable();
    let mut driver = Driver {
        machine,
        journal,
        clock,
        next: 0,
        parked: BTreeMap::new(),
        held: VecDeque::new(),
        end,
        not_before: Millis::MIN,
    };
    let (mut asks, mut open) = (Vec::new(), true);
    while open || !driver.held.is_empty() {
        driver.wake_if_due();
        driver.release();
        let end = driver.held.front().map(|h| h.end);
        let due = driver.due().map(|t| clock.instant(t));
        tokio::select! {
            durable = driver.journal.wait_durable(end.unwrap_or(0)), if end.is_some() => {
                if let Err(code) = durable {
                    driver.refuse(code);
                }
            }
            taken = inbox.recv_many(&mut asks, BATCH_MAX), if open && driver.held.len() < HELD_MAX => {
                open = taken > 0;
                driver.take(asks.drain(..));
            }
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

struct Driver<M: Machine, J> {
    machine: M,
    journal: J,
    clock: Clock,
    next: Ticket,
    /// Asked and not yet answered by the machine.
    parked: BTreeMap<Ticket, Answer<M>>,
    /// Answered, but waiting for the journal; in the order of the answers, and so of `end`.
    held: VecDeque<Held<M>>,
    /// The offset after the last record appended.
    end: i64,
    not_before: Millis,
}

struct Held<M: Machine> {
    end: i64,
    answer: Answer<M>,
    reply: M::Reply,
}

impl<M: Machine, J: Journal<Record = M::Record>> Driver<M, J> {
    fn due(&self) -> Option<Millis> {
        self.machine.deadline().map(|t| t.max(self.not_before))
    }

    fn wake_if_due(&mut self) {
        let now = self.clock.now();
        if self.due().is_some_and(|t| t <= now) {
            let mut effects = Effects::default();
            self.machine.wake(now, &mut effects);
            if !self.commit(now, &mut effects) {
                self.not_before = now.saturating_add(RETRY_MS);
            }
        }
    }

    fn take(&mut self, asks: impl Iterator<Item = Ask<M>>) {
        // what has ended has ended, even if a heartbeat comes at the same moment
        self.wake_if_due();
        let now = self.clock.now();
        let mut effects = Effects::default();
        for Ask { input, answer } in asks {
            let alone = !M::batches(&input);
            if alone {
                self.commit(now, &mut effects);
            }
            self.next += 1;
            self.parked.insert(self.next, answer);
            effects.end_decision();
            self.machine.handle(now, self.next, input, &mut effects);
            if alone || effects.records.len() >= RECORDS_MAX {
                self.commit(now, &mut effects);
            }
        }
        self.commit(now, &mut effects);
    }

    /// Appends, replays, and lets the replies wait for the journal. What is too large for one batch becomes
    /// several, as far as it can be cut; a decision that is too large by itself is refused alone. False if
    /// something could not be appended.
    fn commit(&mut self, now: Millis, effects: &mut Effects<M>) -> bool {
        let (mut parts, mut whole) = (vec![std::mem::take(effects)], true);
        while let Some(mut part) = parts.pop() {
            let appended = match part.records.as_slice() {
                [] => Ok(self.end),
                records => self.journal.append(now, records),
            };
            match appended {
                Ok(end) => {
                    self.end = end;
                    self.settled(part);
                }
                Err(ErrorCode::MESSAGE_TOO_LARGE) if let Some(second) = part.halve() => {
                    parts.extend([second, part]);
                }
                Err(code) => {
                    whole = false;
                    tracing::debug!(%code, records = part.records.len(), "coordinator records not appended");
                    for (ticket, _) in part.replies {
                        self.parked.remove(&ticket).map(|answer| answer.send(Err(code)));
                    }
                }
            }
        }
        whole
    }

    /// The records are in the journal.
    fn settled(&mut self, Effects { records, replies, .. }: Effects<M>) {
        records.into_iter().for_each(|r| self.machine.replay(r));
        for (ticket, reply) in replies {
            if let Some(answer) = self.parked.remove(&ticket) {
                self.held.push_back(Held { end: self.end, answer, reply });
            }
        }
    }

    /// Sends what rests on durable records only.
    fn release(&mut self) {
        let durable = self.journal.durable();
        while let Some(held) = self.held.pop_front_if(|h| h.end <= durable) {
            let _ = held.answer.send(Ok(held.reply)); // the client may have hung up
        }
    }

    /// The journal has failed for good: nothing held will ever be durable.
    fn refuse(&mut self, code: ErrorCode) {
        for held in self.held.drain(..) {
            let _ = held.answer.send(Err(code));
        }
    }
}
