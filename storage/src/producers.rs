//! What a partition knows of its producers: idempotence (KIP-98) and open transactions. Pure.
//!
//! Of every producer id the epoch and the last five batches are kept. A batch that repeats one of them is a
//! duplicate and gets the first answer again; any other must continue the sequence, or start at 0 in a new
//! epoch. A producer that is not known may start anywhere: its state may have expired.
//!
//! The snapshot is Kafka's: `version i16 = 1 | crc32c u32 of what follows | count i32 | entries {producerId
//! i64, epoch i16, lastSequence i32, lastOffset i64, offsetDelta i32, timestamp i64, coordinatorEpoch i32,
//! currentTxnFirstOffset i64}`. Kafka writes one entry for a producer; we write one for each batch we
//! remember, oldest first, so that after a restart all five are still duplicates. Kafka reads that as its
//! own: the last entry counts.
//!
//! A batch may begin a transaction only if the coordinator was asked whether there is one (KIP-890 part 1),
//! and no marker came since: else a batch that was late would open a transaction that nobody ends. The
//! question is asked elsewhere; what was known before it is a [`TxnGuard`].

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, Bytes};

use crate::batch::{Header, NO_SEQUENCE};
use crate::marker::EndMarker;
use crate::record::Records;

/// How many batches of a producer are remembered; a client has at most five requests in flight.
const REMEMBERED: usize = 5;
const SNAPSHOT_VERSION: i16 = 1;
const CRC_END: usize = 6;
const ENTRY_LEN: usize = 46;
const NO_EPOCH: i16 = -1;

/// Why a producer's batch was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// INVALID_PRODUCER_EPOCH (47): a newer instance of the producer has written.
    #[error("producer {producer_id} has epoch {current}, not {given}")]
    InvalidEpoch {
        /// Whose batch.
        producer_id: i64,
        /// The epoch in the batch.
        given: i16,
        /// The epoch we know.
        current: i16,
    },
    /// OUT_OF_ORDER_SEQUENCE_NUMBER (45): batches are missing before this one.
    #[error("producer {producer_id} sent sequence {given} after {last}")]
    OutOfOrder {
        /// Whose batch.
        producer_id: i64,
        /// The first sequence number in the batch.
        given: i32,
        /// The last that we have, -1 for none.
        last: i32,
    },
    /// INVALID_TXN_STATE (48): not transactional within a transaction.
    #[error("producer {producer_id} is within a transaction")]
    InvalidTxnState {
        /// Whose batch.
        producer_id: i64,
    },
    /// INVALID_TXN_STATE (48): the batch would begin a transaction here that the coordinator was not asked
    /// about, or that may have ended since.
    #[error("producer {producer_id} has no transaction here that its coordinator knows of")]
    NotVerified {
        /// Whose batch.
        producer_id: i64,
    },
    /// TRANSACTION_COORDINATOR_FENCED (52): the marker is of a coordinator that was replaced.
    #[error("coordinator epoch {given} is older than {current}")]
    CoordinatorFenced {
        /// The epoch in the marker.
        given: i32,
        /// The epoch we know.
        current: i32,
    },
}

/// What was known of a producer's markers when somebody asked its coordinator whether a batch may begin a
/// transaction here. Worth something only while the log is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnGuard(i64);

impl TxnGuard {
    /// No marker was seen.
    const NO_MARKER: TxnGuard = TxnGuard(-1);
}

/// Has a producer begun a transaction in this partition?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnStatus {
    /// It has, in this epoch: further batches need no leave.
    Open,
    /// It has not: the coordinator must be asked, and the guard be given with the batch.
    Closed(TxnGuard),
}

/// A transaction that a marker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedTxn {
    /// Whose it was.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
    /// Offset of its marker.
    pub last_offset: i64,
    /// The first offset of those that are still open; without any, the offset after the marker.
    pub last_stable_offset: i64,
    /// Was it aborted, not committed?
    pub aborted: bool,
}

/// A batch that was appended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMeta {
    /// Sequence number of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Offset of the last record less that of the first.
    pub offset_delta: i32,
    /// Its largest timestamp.
    pub timestamp: i64,
}

impl BatchMeta {
    /// Offset of its first record.
    pub fn base_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }

    fn base_sequence(&self) -> i32 {
        self.last_sequence.wrapping_sub(self.offset_delta) & i32::MAX
    }
}

/// What is known of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStat {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence number of its last record; -1 if none is remembered.
    pub last_sequence: i32,
    /// Time of its last batch or marker, in ms since the epoch.
    pub timestamp: i64,
    /// Epoch of the coordinator that wrote its last marker; -1 for none.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction.
    pub txn_first_offset: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    coordinator_epoch: i32,
    txn_first_offset: Option<i64>,
    /// Its last marker, as far as this process has seen it: snapshots do not tell.
    guard: TxnGuard,
    /// Time of the last marker or batch, as snapshots carry it.
    timestamp: i64,
    /// When we last heard of it, by our clock: a producer does not expire because its records are old.
    seen_ms: i64,
    recent: VecDeque<BatchMeta>,
}

/// Everything known of the producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    known: BTreeMap<i64, Producer>,
    /// First offset of each open transaction, and whose it is.
    open: BTreeMap<i64, i64>,
    /// Transactions whose marker consumers may not have seen yet: first offset, offset of the marker.
    ended: VecDeque<(i64, i64)>,
}

impl Producers {
    /// Has this producer, with this epoch, an open transaction?
    pub fn transaction(&self, producer_id: i64, epoch: i16) -> TxnStatus {
        match self.known.get(&producer_id) {
            Some(producer) if producer.txn_first_offset.is_some() && producer.epoch == epoch => {
                TxnStatus::Open
            }
            known => TxnStatus::Closed(known.map_or(TxnGuard::NO_MARKER, |producer| producer.guard)),
        }
    }

    /// Epoch of the coordinator that wrote this producer's last marker here; -1 for none.
    pub fn coordinator_epoch(&self, producer_id: i64) -> i32 {
        self.known.get(&producer_id).map_or(-1, |producer| producer.coordinator_epoch)
    }

    /// May this batch be appended? `Some` if it was before. `guard`: what [`Producers::transaction`] said
    /// before the coordinator was asked.
    pub fn check(
        &self,
        header: &Header,
        body: &Bytes,
        guard: Option<TxnGuard>,
    ) -> Result<Option<BatchMeta>, ProducerError> {
        if !header.has_producer() {
            return Ok(None);
        }
        let producer_id = header.producer_id;
        let Some(producer) = self.known.get(&producer_id) else {
            return self.check_verified(header, guard).map(|()| None);
        };
        if header.producer_epoch < producer.epoch {
            let (given, current) = (header.producer_epoch, producer.epoch);
            return Err(ProducerError::InvalidEpoch { producer_id, given, current });
        }
        if header.is_control() {
            let given = marker(header, body).map_or(i32::MAX, |marker| marker.coordinator_epoch);
            let current = producer.coordinator_epoch;
            let fenced = given < current;
            return if fenced { Err(ProducerError::CoordinatorFenced { given, current }) } else { Ok(None) };
        }
        if let Some(duplicate) = producer.duplicate(header) {
            return Ok(Some(duplicate));
        }
        self.check_verified(header, guard)?;
        producer.check_sequence(header)?;
        match producer.txn_first_offset {
            Some(_) if !header.is_transactional() => Err(ProducerError::InvalidTxnState { producer_id }),
            _ => Ok(None),
        }
    }

    /// Only what has begun, or is known to the coordinator, may go on.
    fn check_verified(&self, header: &Header, guard: Option<TxnGuard>) -> Result<(), ProducerError> {
        let producer_id = header.producer_id;
        if !header.is_transactional() || header.is_control() {
            return Ok(());
        }
        match self.transaction(producer_id, header.producer_epoch) {
            TxnStatus::Closed(now) if guard != Some(now) => Err(ProducerError::NotVerified { producer_id }),
            _ => Ok(()),
        }
    }

    /// Takes note of a batch that is in the log: its header has its offsets by now. Asks nothing: also used
    /// to replay. Returns the transaction that it ended, if it did.
    pub fn update(&mut self, header: &Header, body: &Bytes, now_ms: i64) -> Option<EndedTxn> {
        if !header.has_producer() {
            return None;
        }
        let producer =
            self.known.entry(header.producer_id).or_insert_with(|| Producer::new(header.producer_epoch));
        if header.producer_epoch != producer.epoch {
            producer.epoch = header.producer_epoch;
            producer.recent.clear();
        }
        producer.timestamp = header.max_timestamp;
        producer.seen_ms = now_ms;
        if header.is_control() {
            let marker = marker(header, body)?;
            producer.coordinator_epoch = marker.coordinator_epoch;
            producer.guard = TxnGuard(header.last_offset());
            let first_offset = producer.txn_first_offset.take()?;
            self.open.remove(&first_offset);
            let last_offset = header.last_offset();
            self.ended.push_back((first_offset, last_offset));
            let last_stable_offset = self.open.keys().next().copied().unwrap_or(header.next_offset());
            let (producer_id, aborted) = (header.producer_id, !marker.commit);
            return Some(EndedTxn { producer_id, first_offset, last_offset, last_stable_offset, aborted });
        }
        producer.remember(BatchMeta {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
        if header.is_transactional() && producer.txn_first_offset.is_none() {
            producer.txn_first_offset = Some(header.base_offset);
            self.open.insert(header.base_offset, header.producer_id);
        }
        None
    }

    /// The first offset that a transaction still holds back from `read_committed`, below `high_watermark`: of
    /// an open one, or of one whose marker is not below the watermark yet.
    pub fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        let held = self.ended.iter().filter(|(_, marker)| *marker >= high_watermark);
        let ended = held.map(|(first, _)| *first).min();
        let open = self.open.keys().next().copied();
        ended.into_iter().chain(open).fold(high_watermark, i64::min)
    }

    /// Forgets the ended transactions whose markers are below the high watermark, which never moves back.
    pub fn forget_ended(&mut self, high_watermark: i64) {
        self.ended.retain(|(_, marker)| *marker >= high_watermark);
    }

    /// Forgets producers not heard of for this long, unless within a transaction.
    pub fn expire(&mut self, now_ms: i64, after_ms: i64) {
        self.known.retain(|_, producer| {
            producer.txn_first_offset.is_some() || now_ms.saturating_sub(producer.seen_ms) < after_ms
        });
    }

    /// All that are known, in the order of their ids.
    pub fn all(&self) -> impl Iterator<Item = ProducerStat> {
        self.known.iter().map(|(id, producer)| ProducerStat {
            producer_id: *id,
            epoch: producer.epoch,
            last_sequence: producer.recent.back().map_or(NO_SEQUENCE, |batch| batch.last_sequence),
            timestamp: producer.timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            txn_first_offset: producer.txn_first_offset,
        })
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Is none known?
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The snapshot file's bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut entries = Vec::with_capacity(self.known.len() * ENTRY_LEN);
        for (id, producer) in &self.known {
            let none = BatchMeta {
                last_sequence: NO_SEQUENCE,
                last_offset: -1,
                offset_delta: 0,
                timestamp: producer.timestamp,
            };
            let nothing = producer.recent.is_empty().then_some(&none);
            for batch in producer.recent.iter().chain(nothing) {
                entries.put_i64(*id);
                entries.put_i16(producer.epoch);
                entries.put_i32(batch.last_sequence);
                entries.put_i64(batch.last_offset);
                entries.put_i32(batch.offset_delta);
                entries.put_i64(batch.timestamp);
                entries.put_i32(producer.coordinator_epoch);
                entries.put_i64(producer.txn_first_offset.unwrap_or(-1));
            }
        }
        let count = ((entries.len() / ENTRY_LEN) as i32).to_be_bytes();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&count), &entries);
        let mut bytes = Vec::with_capacity(CRC_END + count.len() + entries.len());
        bytes.put_i16(SNAPSHOT_VERSION);
        bytes.put_u32(crc);
        bytes.put_slice(&count);
        bytes.put_slice(&entries);
        bytes
    }

    /// Reads a snapshot; `None` if it is damaged. All in it count as heard of `now_ms`.
    pub fn from_snapshot(bytes: &[u8], now_ms: i64) -> Option<Producers> {
        let mut at = bytes;
        let version = at.try_get_i16().ok()?;
        let crc = at.try_get_u32().ok()?;
        if version != SNAPSHOT_VERSION || crc != crc32c::crc32c(at) {
            return None;
        }
        let count = usize::try_from(at.try_get_i32().ok()?).ok()?;
        if at.len() / ENTRY_LEN < count {
            return None;
        }
        let mut producers = Producers::default();
        for _ in 0..count {
            producers.load(&mut at, now_ms);
        }
        Some(producers)
    }

    /// Reads one entry, whose bytes are there.
    fn load(&mut self, at: &mut &[u8], now_ms: i64) {
        let (id, epoch) = (at.get_i64(), at.get_i16());
        let (last_sequence, last_offset, offset_delta) = (at.get_i32(), at.get_i64(), at.get_i32());
        let timestamp = at.get_i64();
        let (coordinator_epoch, txn_first_offset) = (at.get_i32(), at.get_i64());
        let producer = self.known.entry(id).or_insert_with(|| Producer::new(epoch));
        if epoch != producer.epoch {
            *producer = Producer::new(epoch);
        }
        producer.coordinator_epoch = coordinator_epoch;
        producer.timestamp = timestamp;
        producer.seen_ms = now_ms;
        producer.txn_first_offset = (txn_first_offset >= 0).then_some(txn_first_offset);
        if txn_first_offset >= 0 {
            self.open.insert(txn_first_offset, id);
        }
        if last_offset >= 0 {
            producer.remember(BatchMeta { last_sequence, last_offset, offset_delta, timestamp });
        }
    }
}

impl Producer {
    fn new(epoch: i16) -> Producer {
        Producer {
            epoch,
            coordinator_epoch: -1,
            txn_first_offset: None,
            guard: TxnGuard::NO_MARKER,
            timestamp: -1,
            seen_ms: 0,
            recent: VecDeque::new(),
        }
    }

    fn remember(&mut self, batch: BatchMeta) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(batch);
    }

    fn duplicate(&self, header: &Header) -> Option<BatchMeta> {
        let same = |batch: &&BatchMeta| {
            batch.base_sequence() == header.base_sequence && batch.last_sequence == header.last_sequence()
        };
        let may_repeat = header.producer_epoch == self.epoch && header.base_sequence != NO_SEQUENCE;
        self.recent.iter().filter(|_| may_repeat).find(same).copied()
    }

    /// The coordinators' own batches have no sequence numbers: they are not sent twice.
    fn check_sequence(&self, header: &Header) -> Result<(), ProducerError> {
        if header.base_sequence == NO_SEQUENCE {
            return Ok(());
        }
        let given = header.base_sequence;
        let last = self.recent.back().map_or(NO_SEQUENCE, |batch| batch.last_sequence);
        let next = if last == NO_SEQUENCE { 0 } else { last.wrapping_add(1) & i32::MAX };
        let in_order = match header.producer_epoch == self.epoch {
            true => given == next,
            false => given == 0 || self.epoch == NO_EPOCH,
        };
        if in_order {
            Ok(())
        } else {
            Err(ProducerError::OutOfOrder { producer_id: header.producer_id, given, last })
        }
    }
}

/// The end of a transaction in a control batch; `None` for other kinds (leader change, snapshots).
fn marker(header: &Header, body: &Bytes) -> Option<EndMarker> {
    EndMarker::of(&Records::of(header, body.clone()).ok()?.next()?.ok()?)
}
