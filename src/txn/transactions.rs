//! The machine: all transactional ids of one `__transaction_state` partition. It lets [`super::transaction`]
//! decide, keeps an index of deadlines, and holds back who has to wait for an end. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_transactions::{TopicData, TransactionState};
use braid_protocol::api::list_transactions::{ListTransactionsRequest, TransactionState as Listed};
use bytes::Bytes;

use super::transaction::{self, Decision, Producer, State, Transaction};
use super::{Ended, Input, Record, Reply, TEXT_MAX, TxnConfig};
use crate::machine::{Effects, Machine, Millis, Pattern, Ticket, has_room};

/// How many ids are looked at in one go when their time is over: their records go into one batch.
const EXPIRED_AT_ONCE: usize = 256;

/// All transactional ids of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Transactions {
    config: TxnConfig,
    ids: BTreeMap<String, Transaction>,
    /// Which id wants to be looked at when.
    due: BTreeSet<(Millis, String)>,
    /// Ends that are decided and nobody was told of.
    untold: BTreeSet<String>,
    /// Who wants to be told of ends.
    marker: Option<Ticket>,
    /// Who waits for an end, in the order they came.
    waiting: VecDeque<Waiting>,
    /// Who was answered when an epoch was bumped at its request: that request may come again (KIP-360). Not
    /// written down, as in Kafka: after a restart such a producer is fenced.
    bumped_from: BTreeMap<String, Producer>,
}

#[derive(Clone, Debug, PartialEq)]
struct Waiting {
    until: Millis,
    ticket: Ticket,
    id: String,
    input: Input,
}

impl Transactions {
    /// No transactional ids yet.
    pub fn new(config: TxnConfig) -> Transactions {
        Transactions {
            config,
            ids: BTreeMap::new(),
            due: BTreeSet::new(),
            untold: BTreeSet::new(),
            marker: None,
            waiting: VecDeque::new(),
            bumped_from: BTreeMap::new(),
        }
    }

    /// Takes over a record of the log at start-up. What cannot be read, or is of another kind, is passed
    /// over: the transactions of others must not suffer.
    pub fn load(&mut self, key: &Bytes, value: Option<&Bytes>) {
        match Record::read(key, value) {
            Ok(Some(record)) => self.replay(record),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "skipped a record of a transaction that cannot be read"),
        }
    }

    /// How many transactional ids there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    #[cfg(test)]
    pub(super) fn durable(&self) -> &BTreeMap<String, Transaction> {
        &self.ids
    }

    fn init(
        &mut self,
        now: Millis,
        id: &str,
        timeout_ms: i32,
        expected: Option<Producer>,
        fresh: Option<i64>,
    ) -> Decision {
        let known = self.ids.get(id);
        if id.is_empty() || id.len() > TEXT_MAX {
            return Decision::Refused(ErrorCode::INVALID_REQUEST);
        }
        if !(1..=self.config.timeout_max_ms).contains(&timeout_ms) {
            return Decision::Refused(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
        }
        if known.is_none() && !has_room(self.ids.len(), self.config.ids_max, id) {
            return Decision::Refused(ErrorCode::POLICY_VIOLATION);
        }
        let bumped_from = self.bumped_from.get(id).copied();
        let decision = transaction::init(known, now, timeout_ms, expected, bumped_from, fresh);
        if let Decision::Write(..) | Decision::WriteAndWait(..) = decision {
            match expected {
                Some(expected) => self.bumped_from.insert(id.to_owned(), expected),
                None => self.bumped_from.remove(id),
            };
        }
        decision
    }

    fn decide(&mut self, now: Millis, input: &Input) -> Decision {
        match input {
            Input::Init { id, timeout_ms, expected, fresh } => {
                self.init(now, id, *timeout_ms, *expected, *fresh)
            }
            Input::Add { id, producer, partitions, version } => {
                transaction::add(self.ids.get(id), now, *producer, partitions, *version)
            }
            Input::Verify { id, producer, partition } => {
                transaction::verify(self.ids.get(id), *producer, partition)
            }
            Input::End { id, producer, commit, version, fresh } => {
                transaction::end(self.ids.get(id), now, *producer, *commit, *version, *fresh)
            }
            _ => Decision::Refused(ErrorCode::INVALID_REQUEST),
        }
    }

    /// Lets a producer's question be decided; one that has to wait is answered with an error at `until`.
    fn ask(
        &mut self,
        now: Millis,
        until: Millis,
        ticket: Ticket,
        id: String,
        input: Input,
        out: &mut Effects<Self>,
    ) {
        let reply = match self.decide(now, &input) {
            Decision::Refused(code) => Reply::Producer(Err(code)),
            Decision::NeedsProducerId => Reply::NeedsProducerId,
            Decision::Unchanged(producer) => Reply::Producer(Ok(producer)),
            Decision::Write(next, producer) => {
                out.records.push(Record { id, value: Some(next) });
                Reply::Producer(Ok(producer))
            }
            Decision::WriteAndWait(next) => {
                out.records.push(Record { id: id.clone(), value: Some(next) });
                return self.waiting.push_back(Waiting { until, ticket, id, input });
            }
            Decision::Wait => return self.waiting.push_back(Waiting { until, ticket, id, input }),
        };
        out.replies.push((ticket, reply));
    }

    /// The first who need not wait any more, because the end is complete or their time is over.
    fn ready(&self, now: Millis) -> Option<usize> {
        let ends = |id| self.ids.get(id).is_some_and(|known| known.state.is_ending());
        self.waiting.iter().position(|waiting| waiting.until <= now || !ends(&waiting.id))
    }

    fn expire(&mut self, now: Millis, out: &mut Effects<Self>) {
        for (_, id) in self.due.iter().take_while(|(due, _)| *due <= now).take(EXPIRED_AT_ONCE) {
            let value = self.ids.get(id).filter(|known| known.state == State::Ongoing);
            if let Some(Transaction { producer_id, epoch, timeout_ms, partitions, .. }) = value {
                let partitions = partitions.len();
                tracing::info!(
                    transactional_id = id,
                    producer_id,
                    epoch,
                    timeout_ms,
                    partitions,
                    "transaction timed out and is aborted"
                );
            }
            out.records.push(Record { id: id.clone(), value: value.map(|open| open.fenced(now)) });
        }
    }

    /// Tells who writes markers of the ends that are decided.
    fn tell(&mut self, out: &mut Effects<Self>) {
        let Some(ticket) = self.marker.take() else { return };
        let ended = |id: String| {
            let Transaction { state, partitions, .. } = self.ids.get(&id)?;
            let (commit, partitions) = (*state == State::PrepareCommit, partitions.clone());
            let producer = self.ids.get(&id)?.producer();
            Some(Ended { id, producer, commit, partitions })
        };
        let told = std::mem::take(&mut self.untold).into_iter().filter_map(ended).collect();
        out.replies.push((ticket, Reply::Markers(told)));
    }

    fn marked(&self, now: Millis, id: String, producer: Producer, out: &mut Effects<Self>) {
        let ending = self.ids.get(&id).filter(|t| t.state.is_ending() && t.producer() == producer);
        let value = ending.map(|ending| ending.completed(now));
        out.records.extend(value.map(|value| Record { id, value: Some(value) }));
    }

    fn describe(&self, id: String) -> TransactionState {
        let Some(known) = self.ids.get(&id) else {
            let error_code = match id.is_empty() {
                true => ErrorCode::INVALID_REQUEST,
                false => ErrorCode::TRANSACTIONAL_ID_NOT_FOUND,
            };
            return TransactionState { error_code, transactional_id: id, ..Default::default() };
        };
        let mut topics: Vec<TopicData> = Vec::new();
        for (topic, partition) in &known.partitions {
            match topics.last_mut().filter(|last| last.topic == *topic) {
                Some(last) => last.partitions.push(*partition),
                None => topics.push(TopicData { topic: topic.clone(), partitions: vec![*partition] }),
            }
        }
        TransactionState {
            error_code: ErrorCode::NONE,
            transactional_id: id,
            transaction_state: known.state.name().to_owned(),
            transaction_timeout_ms: known.timeout_ms,
            transaction_start_time_ms: known.started_ms,
            producer_id: known.producer_id,
            producer_epoch: known.epoch,
            topics,
        }
    }

    fn list(&self, now: Millis, filters: &ListTransactionsRequest, pattern: Option<&Pattern>) -> Vec<Listed> {
        let ListTransactionsRequest { state_filters, producer_id_filters, .. } = filters;
        let passes = |(id, known): &(&String, &Transaction)| {
            let runs = if known.state == State::Ongoing { now.saturating_sub(known.started_ms) } else { -1 };
            (state_filters.is_empty() || state_filters.iter().any(|state| state == known.state.name()))
                && (producer_id_filters.is_empty() || producer_id_filters.contains(&known.producer_id))
                && (filters.duration_filter < 0 || runs > filters.duration_filter)
                && pattern.is_none_or(|pattern| pattern.is_match(id))
        };
        let listed = |(id, known): (&String, &Transaction)| Listed {
            transactional_id: id.clone(),
            producer_id: known.producer_id,
            transaction_state: known.state.name().to_owned(),
        };
        self.ids.iter().filter(passes).map(listed).collect()
    }
}

impl Machine for Transactions {
    type Input = Input;
    type Reply = Reply;
    type Record = Record;

    fn handle(&mut self, now: Millis, ticket: Ticket, input: Input, out: &mut Effects<Self>) {
        let reply = match input {
            Input::Init { ref id, .. }
            | Input::Add { ref id, .. }
            | Input::Verify { ref id, .. }
            | Input::End { ref id, .. } => {
                let (id, until) = (id.clone(), now.saturating_add(self.config.patience_ms));
                return self.ask(now, until, ticket, id, input, out);
            }
            Input::Markers => {
                // One asks; who asked before has gone.
                let before = self.marker.replace(ticket);
                out.replies.extend(before.map(|before| (before, Reply::Markers(Vec::new()))));
                return;
            }
            Input::Marked { id, producer } => {
                self.marked(now, id, producer, out);
                Reply::Done
            }
            Input::Describe { id } => Reply::Described(self.describe(id)),
            Input::List { filters, pattern } => Reply::List(self.list(now, &filters, pattern.as_ref())),
        };
        out.replies.push((ticket, reply));
    }

    /// One decision at a time: the next may depend on what it writes.
    fn wake(&mut self, now: Millis, out: &mut Effects<Self>) {
        if let Some(Waiting { until, ticket, id, input }) =
            self.ready(now).and_then(|at| self.waiting.remove(at))
        {
            return match until <= now {
                true => {
                    let over = Reply::Producer(Err(ErrorCode::CONCURRENT_TRANSACTIONS));
                    out.replies.push((ticket, over));
                }
                false => self.ask(now, until, ticket, id, input, out),
            };
        }
        if !self.untold.is_empty() && self.marker.is_some() {
            return self.tell(out);
        }
        self.expire(now, out);
    }

    fn deadline(&self) -> Option<Millis> {
        let tells = !self.untold.is_empty() && self.marker.is_some();
        if tells || self.ready(Millis::MIN).is_some() {
            return Some(Millis::MIN);
        }
        let patience = self.waiting.iter().map(|waiting| waiting.until).min();
        self.due.first().map(|(due, _)| *due).into_iter().chain(patience).min()
    }

    fn replay(&mut self, Record { id, value }: Record) {
        let expiration = self.config.id_expiration_ms;
        let due = |transaction: &Transaction| transaction.deadline(expiration);
        if let Some(was) = self.ids.get(&id).and_then(due) {
            self.due.remove(&(was, id.clone()));
        }
        match value {
            Some(next) => {
                self.due.extend(due(&next).map(|at| (at, id.clone())));
                match next.state.is_ending() {
                    true => self.untold.insert(id.clone()),
                    false => self.untold.remove(&id),
                };
                self.ids.insert(id, next);
            }
            None => {
                self.untold.remove(&id);
                self.bumped_from.remove(&id);
                self.ids.remove(&id);
            }
        }
    }
}
