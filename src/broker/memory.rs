//! The account of the memory that clients make the broker hold: frames as they arrive, what they are decoded
//! to, what parked requests keep, answers until they have been sent.
//!
//! Each connection has a small allowance that is always there, so that a small request is answered whatever
//! others do. Beyond it, memory is taken from a pool that all share (`queued.max.request.bytes`); one that
//! holds little may also use a reserve, so that large requests do not delay ordinary ones. A connection
//! that finds the pool empty is not read until there is room. If that takes longer than [`PATIENCE`], the
//! connection that holds most without making progress is closed: a half frame, a parked request or an answer
//! that is not read must not keep memory from others.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::Peer;

/// What every connection may hold without asking, in bytes: a small request, decoded.
const ALLOWANCE: usize = 8 << 10;
/// How long a connection waits for memory before another one is closed; and how long that one must have made
/// no progress.
const PATIENCE: Duration = Duration::from_secs(1);
/// A connection that holds less than this is not closed for its memory.
const WORTH_CLOSING: usize = 64 << 10;
/// A connection has made progress when this many bytes have been read from it or written to it.
const PROGRESS: usize = 64 << 10;

/// What a group with one committed offset takes, in bytes.
const NAME_BYTES: usize = 1 << 10;
/// The fewest and the most groups, or transactional ids, of one partition of a coordinator.
const NAMES_MIN: usize = 200;
const NAMES_MAX: usize = 10_000;

/// The memory that all connections share.
pub struct Memory {
    /// Bytes that any connection may use.
    general: usize,
    /// Bytes beyond `general` for connections that hold no more than `small`.
    reserve: usize,
    small: usize,
    /// A connection that holds more starts no request behind one that waits.
    pipeline: usize,
    /// Bytes in use, those within allowances left out. May exceed the limits by what was not known before.
    used: AtomicUsize,
    /// Connections that wait.
    waiting: AtomicUsize,
    freed: Notify,
    holders: Mutex<Vec<Arc<Holder>>>,
    closed: AtomicUsize,
}

/// What the pool knows of a connection that uses it.
struct Holder {
    bytes: AtomicUsize,
    progress: Mutex<Instant>,
    peer: Arc<Peer>,
    /// The task of the connection.
    task: Waker,
}

/// Whether a connection was chosen to be closed, because others wait for the memory that it holds.
#[derive(Debug, Default)]
pub struct Evicted(AtomicBool);

impl Evicted {
    /// Was it?
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Memory {
    /// A pool of this many bytes, and at least enough for one request of the largest size among others.
    pub fn new(bytes: i64, largest_request: i32) -> Arc<Memory> {
        let largest = usize::try_from(largest_request).unwrap_or(0);
        let general = usize::try_from(bytes).unwrap_or(0).max(largest + largest / 4).max(1 << 20);
        let reserve = general / 4;
        Arc::new(Memory {
            general,
            reserve,
            small: (reserve / 16).clamp(128 << 10, 4 << 20),
            pipeline: (general / 8).clamp(1 << 20, 16 << 20),
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            holders: Mutex::default(),
            closed: AtomicUsize::new(0),
        })
    }

    /// Bytes that are in use, allowances left out.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that may be in use, the reserve included.
    pub fn limit(&self) -> usize {
        self.general + self.reserve
    }

    /// The most that one connection can get, in bytes.
    pub fn largest(&self) -> usize {
        self.general
    }

    /// How many groups, or transactional ids, each of these partitions of a coordinator may remember:
    /// together they may take a third of what requests may. Never more than 10,000 each.
    pub fn names_per_partition(&self, partitions: i32) -> usize {
        let all = self.limit() / 3 / NAME_BYTES;
        (all / usize::try_from(partitions).unwrap_or(1).max(1)).clamp(NAMES_MIN, NAMES_MAX)
    }

    /// Connections that were closed to free memory, since the start.
    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }

    /// Takes `more` bytes for a connection that will then hold `total`, if there is room.
    fn try_take(&self, more: usize, total: usize) -> bool {
        let limit = if total <= self.small { self.limit() } else { self.general };
        let take = |used: usize| used.checked_add(more).filter(|used| *used <= limit);
        more == 0 || self.used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).is_ok()
    }

    fn give(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_waiters();
        }
    }

    /// Closes the connection that holds most of those that make no progress, unless what earlier ones will
    /// free is enough.
    fn evict(&self, more: usize, total: usize) {
        let holders = self.holders.lock();
        let bytes = |holder: &Holder| holder.bytes.load(Ordering::Relaxed);
        let leaving: usize = holders.iter().filter(|h| h.peer.evicted.get()).map(|h| bytes(h)).sum();
        let limit = if total <= self.small { self.limit() } else { self.general };
        if self.used().saturating_sub(leaving).saturating_add(more) <= limit {
            return;
        }
        let stalled = holders.iter().filter(|holder| {
            !holder.peer.evicted.get()
                && bytes(holder) >= WORTH_CLOSING
                && holder.progress.lock().elapsed() >= PATIENCE
        });
        if let Some(largest) = stalled.max_by_key(|holder| bytes(holder)) {
            self.closed.fetch_add(1, Ordering::Relaxed);
            largest.peer.evicted.0.store(true, Ordering::Release);
            largest.task.wake_by_ref();
        }
    }
}

/// What one connection holds. Dropping it gives all of it back. Used by one task at a time.
pub struct Held {
    memory: Arc<Memory>,
    peer: Arc<Peer>,
    bytes: AtomicUsize,
    /// Bytes that went through the connection since it last made progress.
    moved: AtomicUsize,
    /// Set once it holds enough to be closed for it.
    holder: OnceLock<Arc<Holder>>,
}

impl Held {
    /// A connection that holds nothing.
    pub fn new(memory: Arc<Memory>, peer: Arc<Peer>) -> Held {
        Held { memory, peer, bytes: 0.into(), moved: 0.into(), holder: OnceLock::new() }
    }

    /// Bytes it holds, its allowance included.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// May requests be started behind one that waits? Each keeps its memory until that one is answered.
    pub fn may_pipeline(&self) -> bool {
        self.bytes() < self.memory.pipeline
    }

    /// Holds this many bytes more, if there is room.
    pub fn try_grow(&self, bytes: usize) -> bool {
        let total = self.bytes() + bytes;
        let taken = self.memory.try_take(beyond_allowance(total) - beyond_allowance(self.bytes()), total);
        if taken {
            self.set(total);
        }
        taken
    }

    /// Holds this many bytes more as soon as there is room. If dropped before, nothing has changed.
    pub async fn grow(&self, bytes: usize) {
        if self.try_grow(bytes) {
            return;
        }
        self.register().await;
        let _waiting = Waiting::at(&self.memory.waiting);
        loop {
            let freed = self.memory.freed.notified();
            if self.try_grow(bytes) {
                return;
            }
            if timeout(PATIENCE, freed).await.is_err() {
                let total = self.bytes() + bytes;
                self.memory.evict(beyond_allowance(total) - beyond_allowance(self.bytes()), total);
            }
        }
    }

    /// Holds `now` where it held `before`, whether there is room or not: for what exists already.
    pub fn change(&self, before: usize, now: usize) {
        let total = (self.bytes() + now).saturating_sub(before);
        let (old, new) = (beyond_allowance(self.bytes()), beyond_allowance(total));
        if new > old {
            self.memory.used.fetch_add(new - old, Ordering::AcqRel);
        }
        self.set(total);
        self.memory.give(old.saturating_sub(new));
    }

    /// Holds this many bytes less.
    pub fn shrink(&self, bytes: usize) {
        self.change(bytes, 0);
    }

    /// This many bytes were read or written.
    pub fn moved(&self, bytes: usize) {
        let Some(holder) = self.holder.get() else { return };
        let moved = self.moved.load(Ordering::Relaxed) + bytes;
        self.moved.store(moved % PROGRESS, Ordering::Relaxed);
        if moved >= PROGRESS {
            *holder.progress.lock() = Instant::now();
        }
    }

    fn set(&self, bytes: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
        if let Some(holder) = self.holder.get() {
            holder.bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// Makes a connection that holds enough to be closed for it known to the pool. To be called from its
    /// task, which is then woken if it is chosen.
    pub async fn register_if_large(&self) {
        if self.bytes() >= WORTH_CLOSING {
            self.register().await;
        }
    }

    async fn register(&self) {
        if self.holder.get().is_some() {
            return;
        }
        let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let (bytes, peer, progress) = (self.bytes().into(), self.peer.clone(), Mutex::new(Instant::now()));
        let holder = Arc::new(Holder { bytes, progress, peer, task });
        if self.holder.set(holder.clone()).is_ok() {
            self.memory.holders.lock().push(holder);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(holder) = self.holder.get() {
            self.memory.holders.lock().retain(|other| !Arc::ptr_eq(other, holder));
        }
        self.memory.give(beyond_allowance(self.bytes()));
    }
}

/// How much of what a connection holds is taken from the pool.
fn beyond_allowance(bytes: usize) -> usize {
    bytes.saturating_sub(ALLOWANCE)
}

/// Counts a connection as waiting for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn at(count: &AtomicUsize) -> Waiting<'_> {
        count.fetch_add(1, Ordering::SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use std::net::SocketAddr;

    const MIB: usize = 1 << 20;

    fn peer() -> Arc<Peer> {
        let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 9092));
        Arc::new(Peer::new(address, address, "PLAINTEXT".to_owned(), metrics.listener("PLAINTEXT").opened()))
    }

    fn connection(memory: &Arc<Memory>) -> Held {
        Held::new(memory.clone(), peer())
    }

    #[test]
    fn a_pool_holds_the_largest_request_among_others() {
        let memory = Memory::new(0, 100 << 20);
        assert!(connection(&memory).try_grow(100 << 20));
        assert_eq!(memory.limit(), (100 << 20) / 4 * 5 / 4 * 5);
        assert_eq!(Memory::new(-1, -1).limit(), MIB / 4 * 5);
    }

    #[test]
    fn an_allowance_is_always_there_and_a_reserve_for_those_that_hold_little() {
        let memory = Memory::new(8 * MIB as i64, 0);
        let (large, small, tiny) = (connection(&memory), connection(&memory), connection(&memory));
        large.change(0, 8 * MIB + ALLOWANCE);
        assert!(!large.try_grow(1), "the pool is empty");
        assert!(small.try_grow(128 << 10));
        assert!(!small.try_grow(1), "no longer one that holds little");
        large.change(0, 2 * MIB);
        assert!(!connection(&memory).try_grow(ALLOWANCE + 1), "the reserve is empty");
        assert!(tiny.try_grow(ALLOWANCE));
        large.shrink(10 * MIB);
        assert!(small.try_grow(2 * MIB));
        drop((large, small, tiny));
        assert_eq!(memory.used(), 0);
    }

    // Offsets committed by millions of groups took all the memory there was.
    #[test]
    fn coordinators_remember_fewer_names_where_memory_is_short() {
        let small = Memory::new(0, 100 << 20);
        assert_eq!(small.names_per_partition(50), small.limit() / 3 / 1024 / 50);
        assert!((50_000..60_000).contains(&(50 * small.names_per_partition(50))));
        assert_eq!(Memory::new(6 << 30, 100 << 20).names_per_partition(50), NAMES_MAX);
        assert_eq!(small.names_per_partition(100_000), NAMES_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_waits_gets_what_another_gives_back() {
        let memory = Memory::new(MIB as i64, 0);
        let (one, other) = (connection(&memory), connection(&memory));
        assert!(one.try_grow(MIB));
        let began = Instant::now();
        let give = async {
            tokio::time::sleep(PATIENCE / 2).await;
            one.shrink(MIB);
        };
        tokio::join!(other.grow(MIB), give);
        assert_eq!((began.elapsed(), other.bytes(), one.bytes()), (PATIENCE / 2, MIB, 0));
        assert!(!one.peer.evicted.get());
    }

    /// Clients that send 99 of 100 MB and stop, beside one that wants to send a megabyte.
    #[tokio::test(start_paused = true)]
    async fn the_largest_that_makes_no_progress_is_closed_and_no_other() {
        let memory = Memory::new(4 * MIB as i64, 0);
        let [large, larger, busy, wants] = std::array::from_fn(|_| connection(&memory));
        for (held, bytes) in [(&large, MIB), (&larger, 3 * MIB / 2), (&busy, 3 * MIB / 2)] {
            assert!(held.try_grow(bytes));
            held.register_if_large().await;
        }
        let send = async {
            loop {
                tokio::time::sleep(PATIENCE / 4).await;
                busy.moved(PROGRESS);
            }
        };
        let close = async {
            while !larger.peer.evicted.get() {
                tokio::time::sleep(PATIENCE / 4).await;
            }
            larger.shrink(larger.bytes());
        };
        tokio::select! {
            _ = async { tokio::join!(wants.grow(MIB), close) } => {}
            () = send => {}
        }
        assert_eq!((memory.closed(), wants.bytes()), (1, MIB));
        assert!(!large.peer.evicted.get() && !busy.peer.evicted.get());
    }
}
