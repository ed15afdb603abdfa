//! One transactional id: its producer, its transaction, and the rules by which they change. Pure.
//!
//! Every function here decides what comes next and changes nothing: what it says to write becomes the state
//! once it is written down. The rules are Kafka's (KIP-98, KIP-360 and KIP-890), with two differences that a
//! client cannot tell from a fast Kafka: a request that comes while an end is under way waits for it, and a
//! producer that is not the present one cannot abort the transaction of the one that is.

use std::collections::BTreeSet;

use braid_protocol::ErrorCode;

use crate::machine::Millis;

/// A producer id and its epoch.
pub type Producer = (i64, i16);

/// What stands for no producer id and no epoch.
pub(super) const NO_ID: i64 = -1;
/// The last epoch that a client is given: one more is left to fence it with.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// Which protocol of transactions a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The client names the partitions first, and keeps its epoch.
    #[default]
    Classic,
    /// Partitions join with the first write, and every end bumps the epoch (KIP-890).
    EpochBump,
}

/// Where a transactional id stands. The numbers are those of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It has a producer and has begun nothing yet.
    Empty = 0,
    /// Partitions were added.
    Ongoing = 1,
    /// It will be committed, whatever happens: markers are being written.
    PrepareCommit = 2,
    /// It will be aborted; markers are being written.
    PrepareAbort = 3,
    /// All partitions have the marker of the commit.
    CompleteCommit = 4,
    /// All partitions have the marker of the abort.
    CompleteAbort = 5,
}

impl State {
    const ALL: [State; 6] = [
        State::Empty,
        State::Ongoing,
        State::PrepareCommit,
        State::PrepareAbort,
        State::CompleteCommit,
        State::CompleteAbort,
    ];

    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Ongoing => "Ongoing",
            State::PrepareCommit => "PrepareCommit",
            State::PrepareAbort => "PrepareAbort",
            State::CompleteCommit => "CompleteCommit",
            State::CompleteAbort => "CompleteAbort",
        }
    }

    /// The state of this number.
    pub(super) fn numbered(number: i8) -> Option<State> {
        State::ALL.into_iter().find(|state| *state as i8 == number)
    }

    /// The state of this name; the names of two that Kafka has only in memory are known too.
    pub(super) fn is_name(name: &str) -> bool {
        State::ALL.iter().any(|state| state.name() == name) || matches!(name, "Dead" | "PrepareEpochFence")
    }

    /// Is its end decided, and not yet written everywhere?
    pub(super) fn is_ending(self) -> bool {
        matches!(self, State::PrepareCommit | State::PrepareAbort)
    }

    fn preparing(commit: bool) -> State {
        if commit { State::PrepareCommit } else { State::PrepareAbort }
    }
}

/// A transactional id, as it is written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// The producer id in use.
    pub producer_id: i64,
    /// The one before, if its epochs were used up; else -1.
    pub previous_producer_id: i64,
    /// The one that follows when the end under way is complete; else -1.
    pub next_producer_id: i64,
    /// The epoch of the producer in use.
    pub epoch: i16,
    /// After how long an open transaction is aborted.
    pub timeout_ms: i32,
    /// Where it stands.
    pub state: State,
    /// What it has written to, or is going to: topic and partition.
    pub partitions: BTreeSet<(String, i32)>,
    /// When the transaction began, in ms since the epoch; -1 if there is none.
    pub started_ms: Millis,
    /// When any of this last changed.
    pub updated_ms: Millis,
    /// What its client speaks.
    pub version: Version,
}

/// What comes of a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// No, for this reason.
    Refused(ErrorCode),
    /// Ask again with a producer id that nobody ever had.
    NeedsProducerId,
    /// An end is under way: ask again when it is complete.
    Wait,
    /// This is written down first; then ask again when the end that it begins is complete.
    WriteAndWait(Transaction),
    /// This is written down, and then the answer is this producer.
    Write(Transaction, Producer),
    /// Nothing changes, and the answer is this producer.
    Unchanged(Producer),
}

impl Transaction {
    /// A new transactional id.
    fn new(producer_id: i64, timeout_ms: i32, now: Millis) -> Transaction {
        Transaction {
            producer_id,
            previous_producer_id: NO_ID,
            next_producer_id: NO_ID,
            epoch: 0,
            timeout_ms,
            state: State::Empty,
            partitions: BTreeSet::new(),
            started_ms: -1,
            updated_ms: now,
            version: Version::Classic,
        }
    }

    /// The producer in use.
    pub(super) fn producer(&self) -> Producer {
        (self.producer_id, self.epoch)
    }

    /// When it times out, or is forgotten.
    pub(super) fn deadline(&self, expiration_ms: Millis) -> Option<Millis> {
        match self.state {
            State::Ongoing => Some(self.started_ms.saturating_add(Millis::from(self.timeout_ms))),
            State::PrepareCommit | State::PrepareAbort => None,
            State::Empty | State::CompleteCommit | State::CompleteAbort => {
                Some(self.updated_ms.saturating_add(expiration_ms))
            }
        }
    }

    fn is_exhausted(&self) -> bool {
        self.epoch >= LAST_EPOCH
    }

    /// Aborted, and its producer fenced: nobody was ever given this epoch.
    pub(super) fn fenced(&self, now: Millis) -> Transaction {
        Transaction {
            epoch: self.epoch.saturating_add(1),
            state: State::PrepareAbort,
            updated_ms: now,
            ..self.clone()
        }
    }

    /// All partitions have the marker.
    pub(super) fn completed(&self, now: Millis) -> Transaction {
        let state = match self.state {
            State::PrepareCommit => State::CompleteCommit,
            _ => State::CompleteAbort,
        };
        let done = Transaction {
            state,
            partitions: BTreeSet::new(),
            started_ms: -1,
            updated_ms: now,
            ..self.clone()
        };
        match self.next_producer_id {
            NO_ID => done,
            next => Transaction {
                producer_id: next,
                previous_producer_id: self.producer_id,
                next_producer_id: NO_ID,
                epoch: 0,
                ..done
            },
        }
    }
}

/// InitProducerId: a producer begins, or begins again. `expected`: who it believes to be (KIP-360);
/// `bumped_from`: whose question of this kind was the last that was answered; `fresh`: a producer id that
/// nobody had.
pub(super) fn init(
    known: Option<&Transaction>,
    now: Millis,
    timeout_ms: i32,
    expected: Option<Producer>,
    bumped_from: Option<Producer>,
    fresh: Option<i64>,
) -> Decision {
    let Some(known) = known else {
        return fresh.map_or(Decision::NeedsProducerId, |id| {
            let new = Transaction::new(id, timeout_ms, now);
            Decision::Write(new.clone(), new.producer())
        });
    };
    if known.state.is_ending() {
        return Decision::Wait;
    }
    let continues = expected.is_none_or(|expected| expected == known.producer());
    // Its first question was answered, but the answer was lost; or it made us abort before we answered.
    let repeats = expected.is_some() && expected == bumped_from;
    if !continues && !repeats {
        return Decision::Refused(ErrorCode::PRODUCER_FENCED);
    }
    if known.state == State::Ongoing {
        return Decision::WriteAndWait(known.fenced(now));
    }
    if !continues && !known.is_exhausted() {
        return Decision::Unchanged(known.producer());
    }
    let begun = Transaction {
        timeout_ms,
        state: State::Empty,
        partitions: BTreeSet::new(),
        started_ms: -1,
        updated_ms: now,
        ..known.clone()
    };
    let next = match (known.is_exhausted(), fresh) {
        (false, _) => Transaction { epoch: known.epoch + 1, ..begun },
        (true, None) => return Decision::NeedsProducerId,
        (true, Some(id)) => {
            Transaction { producer_id: id, previous_producer_id: known.producer_id, epoch: 0, ..begun }
        }
    };
    let producer = next.producer();
    Decision::Write(next, producer)
}

/// AddPartitionsToTxn, AddOffsetsToTxn, and the first write to a partition.
pub(super) fn add(
    known: Option<&Transaction>,
    now: Millis,
    producer: Producer,
    partitions: &BTreeSet<(String, i32)>,
    version: Version,
) -> Decision {
    let known = match present(known, producer) {
        Ok(known) => known,
        Err(code) => return Decision::Refused(code),
    };
    if known.state.is_ending() {
        return Decision::Wait;
    }
    let ongoing = known.state == State::Ongoing;
    if ongoing && partitions.is_subset(&known.partitions) {
        return Decision::Unchanged(producer);
    }
    let mut all = partitions.clone();
    if ongoing {
        all.extend(known.partitions.iter().cloned());
    }
    let next = Transaction {
        state: State::Ongoing,
        partitions: all,
        started_ms: if ongoing { known.started_ms } else { now },
        updated_ms: now,
        version,
        ..known.clone()
    };
    Decision::Write(next, producer)
}

/// Is the partition part of the transaction that this producer has open (KIP-890)?
pub(super) fn verify(known: Option<&Transaction>, producer: Producer, partition: &(String, i32)) -> Decision {
    match present(known, producer) {
        Err(code) => Decision::Refused(code),
        Ok(known) if known.state.is_ending() => Decision::Refused(ErrorCode::CONCURRENT_TRANSACTIONS),
        Ok(known) if known.state == State::Ongoing && known.partitions.contains(partition) => {
            Decision::Unchanged(producer)
        }
        Ok(_) => Decision::Refused(ErrorCode::TRANSACTION_ABORTABLE),
    }
}

/// EndTxn. Where every end bumps the epoch, a repeated question is known by the epoch before.
pub(super) fn end(
    known: Option<&Transaction>,
    now: Millis,
    producer: Producer,
    commit: bool,
    version: Version,
    fresh: Option<i64>,
) -> Decision {
    let Some(known) = known else { return Decision::Refused(ErrorCode::INVALID_PRODUCER_ID_MAPPING) };
    if version == Version::EpochBump && known.was_ended_by(producer) {
        return known.ended_again(commit);
    }
    if let Err(code) = present(Some(known), producer) {
        return Decision::Refused(code);
    }
    let bumps = version == Version::EpochBump;
    match known.state {
        State::Ongoing => {}
        // It was told its new epoch when the last end was decided, and ends again before that is complete.
        State::PrepareCommit | State::PrepareAbort if bumps => return Decision::Wait,
        // Nothing was written. A commit of nothing is a mistake; an abort makes sure of it.
        State::Empty | State::CompleteCommit | State::CompleteAbort if bumps && !commit => {}
        _ if bumps => return Decision::Refused(ErrorCode::INVALID_TXN_STATE),
        _ => return known.ended_again(commit),
    }
    let next_producer_id = match (bumps && known.is_exhausted(), fresh) {
        (false, _) => NO_ID,
        (true, None) => return Decision::NeedsProducerId,
        (true, Some(id)) => id,
    };
    let began = if known.state == State::Ongoing { known.started_ms } else { now };
    let next = Transaction {
        state: State::preparing(commit),
        epoch: if bumps { known.epoch.saturating_add(1) } else { known.epoch },
        next_producer_id,
        started_ms: began,
        updated_ms: now,
        version,
        ..known.clone()
    };
    let told = if next_producer_id == NO_ID { next.producer() } else { (next_producer_id, 0) };
    Decision::Write(next, told)
}

impl Transaction {
    /// Has the last end bumped the epoch away from this producer?
    fn was_ended_by(&self, (id, epoch): Producer) -> bool {
        if self.version != Version::EpochBump || self.state == State::Ongoing || self.state == State::Empty {
            return false;
        }
        let bumped = id == self.producer_id && epoch.checked_add(1) == Some(self.epoch);
        let replaced = id == self.previous_producer_id && epoch == LAST_EPOCH && self.epoch == 0;
        bumped || replaced
    }

    /// The end was asked for before, with the same result or another.
    fn ended_again(&self, commit: bool) -> Decision {
        match (self.state, commit) {
            (State::CompleteCommit, true) | (State::CompleteAbort, false) => {
                Decision::Unchanged(self.producer())
            }
            (State::PrepareCommit, true) | (State::PrepareAbort, false) => {
                Decision::Refused(ErrorCode::CONCURRENT_TRANSACTIONS)
            }
            _ => Decision::Refused(ErrorCode::INVALID_TXN_STATE),
        }
    }
}

/// The transaction, if this is its producer, or will be when the end under way is complete: that was told
/// its new id when the end was decided.
fn present(known: Option<&Transaction>, (id, epoch): Producer) -> Result<&Transaction, ErrorCode> {
    match known {
        None => Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING),
        Some(known)
            if id != NO_ID && (known.next_producer_id, 0) == (id, epoch) && known.state.is_ending() =>
        {
            Ok(known)
        }
        Some(known) if known.producer_id != id => Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING),
        Some(known) if known.epoch != epoch => Err(ErrorCode::PRODUCER_FENCED),
        Some(known) => Ok(known),
    }
}
