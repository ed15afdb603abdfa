//! Appending to topics: one path for every writer, so that what must hold for a batch is checked in one
//! place. In this order: internal topics are refused, the batch is checked, its transaction must be verified,
//! it is appended and counted. It is acknowledged when [`Pending::acknowledged`] returns.

use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_storage::{Appended, Checked, TxnGuard};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{Broker, OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use crate::metrics::TopicMetrics;
use crate::topic::{Fault, NO_EPOCH, Partition, SyncTurn, Topic};

/// Kafka's admin client under this name may write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";
/// Bytes of records that one request may have checked on a thread that serves sockets: some milliseconds.
const CHECKED_AT_ONCE: usize = 4 << 20;
/// Bytes of unpacked records that are checked in one step.
const CHECK_STEP: usize = 256 << 10;
/// A batch that needs more memory to unpack is not checked there: few at a time may be.
const CHECK_MEMORY: usize = 8 << 20;

/// One request that appends.
pub struct Writer<'a> {
    client_id: &'a str,
    syncs: &'a SyncTurn,
    zstd_allowed: bool,
    now_ms: i64,
    /// Bytes that may still be checked on this thread.
    budget: usize,
}

/// What is known of a batch's transaction (KIP-890).
pub enum Verification {
    /// The request names no transactional id: a transactional batch is refused.
    None,
    /// The transaction is open in the partition.
    Open,
    /// Its coordinator has verified that it begins here.
    Verified(TxnGuard),
}

/// Why a batch was not appended.
pub enum Unappended {
    /// By a rule of the broker.
    Code(ErrorCode),
    /// By the partition.
    Fault(Fault),
}

/// A batch that was appended and may not be on stable storage yet.
pub struct Pending {
    partition: Arc<Partition>,
    /// Where it went.
    pub appended: Appended,
}

impl<'a> Writer<'a> {
    /// A request of this client; what it appends is synced at the end of the turn `syncs`.
    pub fn new(client_id: &'a str, syncs: &'a SyncTurn, zstd_allowed: bool, now_ms: i64) -> Writer<'a> {
        Writer { client_id, syncs, zstd_allowed, now_ms, budget: CHECKED_AT_ONCE }
    }

    /// Counts a request to append to the topic, and refuses internal topics.
    pub fn may_write(&self, topic: &Topic) -> Result<(), ErrorCode> {
        topic.metrics.produce_requests.inc();
        let internal = matches!(&*topic.name, OFFSETS_TOPIC | TRANSACTIONS_TOPIC);
        match internal && self.client_id != ADMIN_CLIENT {
            true => Err(ErrorCode::INVALID_TOPIC_EXCEPTION),
            false => Ok(()),
        }
    }

    /// Appends one batch to a partition of a topic that it may write to.
    pub async fn append(
        &mut self,
        broker: &Broker,
        topic: &Topic,
        index: i32,
        records: &Bytes,
        verification: Verification,
    ) -> Result<Pending, Unappended> {
        let partition = topic.lead(index, NO_EPOCH).map_err(Unappended::Code)?;
        let fail = |fault| {
            count_refusal(&topic.metrics, records.len(), &fault);
            Unappended::Fault(fault)
        };
        let batch = self.check(broker, &partition, records).await.map_err(fail)?;
        let guard = match verification {
            Verification::None if batch.header().is_transactional() => {
                return Err(Unappended::Code(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
            }
            Verification::None | Verification::Open => None,
            Verification::Verified(guard) => Some(guard),
        };
        let appended = partition.append_in(self.syncs, &batch, guard, self.now_ms).map_err(fail)?;
        topic.metrics.messages_in.inc_by(batch.header().records_count.max(0) as u64);
        topic.metrics.bytes_in.inc_by(records.len() as u64);
        Ok(Pending { partition, appended })
    }

    /// Checks a batch: here while the request's budget lasts, or else on a worker thread.
    async fn check(
        &mut self,
        broker: &Broker,
        partition: &Partition,
        records: &Bytes,
    ) -> Result<Checked, Fault> {
        let mut check = partition.check(records, self.zstd_allowed, self.now_ms)?;
        let compressed = check.memory_bytes() > 0;
        let step = match compressed {
            true => (records.len() * 32).min(CHECK_STEP),
            false => records.len().min(CHECK_STEP) / 4,
        };
        if check.memory_bytes() <= CHECK_MEMORY {
            while self.budget > step {
                self.budget -= step;
                if let Some(checked) = check.advance(CHECK_STEP)? {
                    return Ok(checked);
                }
            }
        }
        let rest = async move {
            loop {
                if let Some(checked) = check.advance(CHECK_STEP)? {
                    return Ok(checked);
                }
                tokio::task::yield_now().await;
            }
        };
        // In a box, because the future of every other request would have to be as large.
        Box::pin(broker.workers.compute(rest)).await
    }
}

impl Pending {
    /// Returns when the high watermark is above the batch: it is as durable as its topic promises, and can be
    /// read. `None` if the deadline passes before; it may be acknowledged later.
    pub async fn acknowledged(&self, deadline: Instant) -> Option<Result<(), Fault>> {
        timeout_at(deadline, self.partition.reached(self.appended.last_offset)).await.ok()
    }
}

fn count_refusal(metrics: &TopicMetrics, bytes: usize, fault: &Fault) {
    metrics.failed_produce_requests.inc();
    match fault.code() {
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => {
            metrics.bytes_rejected.inc_by(bytes as u64)
        }
        ErrorCode::CORRUPT_MESSAGE => metrics.invalid_crc.inc(),
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => metrics.invalid_sequence.inc(),
        // Of records only a missing key is an invalid record; all else is of the batch.
        ErrorCode::INVALID_RECORD if matches!(fault, Fault::Refused(r) if !r.records.is_empty()) => {
            metrics.no_key.inc()
        }
        _ => {}
    }
}
