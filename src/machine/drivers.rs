//! One driver for each partition of a coordinator's topic, and the way to ask the right one.

use std::fmt;
use std::sync::Arc;

use braid_protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot};

use super::{Ask, Clock, Journal, Machine, drive};

/// Questions that may wait for one driver; above it, askers wait.
const INBOX_MAX: usize = 1_024;

/// The partition of a coordinator's topic that a group or a transactional id lives in: Java's hash of it,
/// without its sign. Tools that read those topics count on it.
pub fn partition_of(id: &str, partitions: usize) -> usize {
    let hash = id.encode_utf16().fold(0u32, |h, unit| h.wrapping_mul(31).wrapping_add(u32::from(unit)));
    (hash & 0x7fff_ffff) as usize % partitions.max(1)
}

/// Whether one more id may be remembered beside `count` others, of which there may be `max` of usual length.
/// A longer one counts for more: all ids of a partition together stay within a few megabytes.
pub fn has_room(count: usize, max: usize, id: &str) -> bool {
    const USUAL_BYTES: usize = 256;
    count.saturating_mul(id.len().max(USUAL_BYTES)) < max.saturating_mul(USUAL_BYTES)
}

/// All drivers of one coordinator. Cheap to clone; they end when the last clone is gone.
pub struct Drivers<M: Machine> {
    /// None for a partition that could not be loaded: what lives there is not available, the rest is.
    senders: Arc<[Option<mpsc::Sender<Ask<M>>>]>,
}

impl<M: Machine> Clone for Drivers<M> {
    fn clone(&self) -> Self {
        Drivers { senders: self.senders.clone() }
    }
}

impl<M: Machine> fmt::Debug for Drivers<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drivers").field("partitions", &self.senders.len()).finish()
    }
}

impl<M> Drivers<M>
where
    M: Machine + Send + 'static,
    M::Input: Send,
    M::Reply: Send,
    M::Record: Send + Sync,
{
    /// Starts one driver for each partition, in order; the machines have replayed what their partition holds.
    /// None stands for a partition that cannot be read: an empty machine in its place would deny all that is
    /// written there.
    pub fn start<J: Journal<Record = M::Record>>(clock: Clock, partitions: Vec<Option<(M, J)>>) -> Self {
        let start = |(machine, journal)| {
            let (sender, inbox) = mpsc::channel(INBOX_MAX);
            tokio::spawn(drive(machine, journal, clock, inbox));
            sender
        };
        Drivers { senders: partitions.into_iter().map(|partition| partition.map(start)).collect() }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        self.senders.len()
    }

    /// Asks one partition. The errors are for the whole request, and all can be tried again: NOT_COORDINATOR,
    /// COORDINATOR_NOT_AVAILABLE; only UNKNOWN_SERVER_ERROR (a record too large for the log) cannot, nor what
    /// the log says of a producer: INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, TRANSACTION_COORDINATOR_FENCED.
    pub async fn ask(&self, partition: usize, input: M::Input) -> Result<M::Reply, ErrorCode> {
        let driver = self.senders.get(partition).and_then(Option::as_ref);
        receive::<M>(send(driver.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?, input).await?).await
    }

    /// Asks every partition that is available, all at the same time.
    pub async fn ask_all(&self, input: M::Input) -> Result<Vec<M::Reply>, ErrorCode>
    where
        M::Input: Clone,
    {
        Ok(self.ask_each(|_| input.clone()).await?.into_iter().flatten().collect())
    }

    /// Asks every partition something of its own, all at the same time. A partition that is not available
    /// has no reply.
    pub async fn ask_each(
        &self,
        input: impl Fn(usize) -> M::Input,
    ) -> Result<Vec<Option<M::Reply>>, ErrorCode> {
        let (mut coming, mut replies) = (Vec::new(), Vec::new());
        for (partition, driver) in self.senders.iter().enumerate() {
            coming.push(match driver {
                Some(driver) => Some(send(driver, input(partition)).await?),
                None => None,
            });
        }
        for answer in coming {
            replies.push(match answer {
                Some(answer) => Some(receive::<M>(answer).await?),
                None => None,
            });
        }
        Ok(replies)
    }
}

/// An answer on its way.
type Coming<M> = oneshot::Receiver<Result<<M as Machine>::Reply, ErrorCode>>;

async fn send<M: Machine>(driver: &mpsc::Sender<Ask<M>>, input: M::Input) -> Result<Coming<M>, ErrorCode> {
    let (answer, coming) = oneshot::channel();
    driver.send(Ask { input, answer }).await.map_err(|_| ErrorCode::NOT_COORDINATOR)?;
    Ok(coming)
}

async fn receive<M: Machine>(coming: Coming<M>) -> Result<M::Reply, ErrorCode> {
    coming.await.map_err(|_| ErrorCode::NOT_COORDINATOR)?.map_err(as_coordinator_error)
}

/// What a client of a coordinator is told when its log fails; the same as in Kafka.
fn as_coordinator_error(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => ErrorCode::UNKNOWN_SERVER_ERROR,
        // How a producer and its transaction stand, the log knows best.
        ErrorCode::INVALID_PRODUCER_EPOCH
        | ErrorCode::INVALID_TXN_STATE
        | ErrorCode::TRANSACTION_COORDINATOR_FENCED => code,
        _ => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Groups and transactional ids were limited by their number only: 500,000 ids of 32 KB are 16 GB.
    #[test]
    fn long_ids_count_for_more() {
        let long = "x".repeat(32_000);
        assert!(has_room(9_999, 10_000, "orders") && !has_room(10_000, 10_000, "orders"));
        assert!(has_room(79, 10_000, &long) && !has_room(80, 10_000, &long));
        assert!(has_room(0, 1, "g") && !has_room(1, 1, "g"));
    }

    #[test]
    fn ids_live_where_kafka_puts_them() {
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("a", 50), 97 % 50);
        assert_eq!(partition_of("ab", 50), (97 * 31 + 98) % 50);
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE: only the sign bit
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        // outside the basic plane a character counts as its two surrogates
        assert_eq!(partition_of("\u{1F600}", 1 << 20), (0xd83d * 31 + 0xde00) % (1 << 20));
    }
}
