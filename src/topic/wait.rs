//! Waiting for a partition to move: nobody polls, and an append with nobody waiting pays one atomic load.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// One request that waits, perhaps on many partitions at once.
#[derive(Debug)]
pub struct Waiter {
    /// Bytes that must still appear before it is worth waking up.
    missing: AtomicI64,
    wake: Notify,
}

impl Waiter {
    /// A request that wants to be woken once `bytes` more bytes can be read, all its partitions together.
    pub fn new(bytes: i64) -> Arc<Waiter> {
        Arc::new(Waiter { missing: AtomicI64::new(bytes), wake: Notify::new() })
    }

    /// Counts bytes down; true if that is enough.
    fn counts(&self, bytes: usize) -> bool {
        // More than a request may ask for, and less than what could overflow.
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).min(1 << 40);
        bytes > 0 && self.missing.fetch_sub(bytes, Ordering::Relaxed) <= bytes
    }

    /// Returns when enough has happened since the waiter was made or last returned from here.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// What a waiter waits for at one partition.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// The watermark to be at least this offset.
    Offset(i64),
    /// New bytes below the watermark, counted down in `Waiter::missing`.
    Bytes,
    /// New bytes below the last stable offset, counted down in the same way.
    StableBytes,
}

/// What has become visible at a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    /// Where the watermark is now.
    pub(super) watermark: i64,
    /// How many bytes are below it that were not.
    pub(super) bytes: usize,
    /// How many are below the last stable offset that were not; `usize::MAX` if that is not known.
    pub(super) stable_bytes: usize,
}

/// Those who wait at one partition.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Kept beside the list so that the common case, nobody, needs no lock.
    count: AtomicUsize,
    list: Mutex<List>,
}

/// Waiters in places that stay theirs: a thousand that are woken together leave without a search for each.
#[derive(Debug, Default)]
struct List {
    places: Vec<Option<(Arc<Waiter>, Until)>>,
    free: Vec<usize>,
}

impl List {
    fn iter(&self) -> impl Iterator<Item = &(Arc<Waiter>, Until)> {
        self.places.iter().flatten()
    }

    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn add(&mut self, waiter: (Arc<Waiter>, Until)) -> usize {
        let place = self.free.pop().unwrap_or(self.places.len());
        match self.places.get_mut(place) {
            Some(free) => *free = Some(waiter),
            None => self.places.push(Some(waiter)),
        }
        place
    }

    fn remove(&mut self, place: usize) {
        if let Some(taken) = self.places.get_mut(place) {
            *taken = None;
            self.free.push(place);
        }
        if self.len() == 0 {
            // Keeps its memory, unless there were many.
            self.places.clear();
            self.free.clear();
            self.places.shrink_to(KEPT);
            self.free.shrink_to(KEPT);
        }
    }
}

/// Places that a partition keeps when nobody waits.
const KEPT: usize = 16;

impl Waiters {
    /// Counts new bytes for the waiter until the returned guard is dropped.
    pub(super) fn add_bytes<'a>(&'a self, waiter: &Arc<Waiter>) -> Waiting<'a> {
        self.add(waiter, Until::Bytes)
    }

    /// Counts bytes that `read_committed` may see from now on.
    pub(super) fn add_stable_bytes<'a>(&'a self, waiter: &Arc<Waiter>) -> Waiting<'a> {
        self.add(waiter, Until::StableBytes)
    }

    /// Wakes the waiter when the watermark reaches `offset`, unless the returned guard is dropped before.
    pub(super) fn add_offset<'a>(&'a self, waiter: &Arc<Waiter>, offset: i64) -> Waiting<'a> {
        self.add(waiter, Until::Offset(offset))
    }

    fn add<'a>(&'a self, waiter: &Arc<Waiter>, until: Until) -> Waiting<'a> {
        let mut list = self.list.lock();
        let place = list.add((waiter.clone(), until));
        self.count.store(list.len(), Ordering::SeqCst);
        Waiting { at: self, place }
    }

    /// Something became visible.
    pub(super) fn moved(&self, Moved { watermark, bytes, stable_bytes }: Moved) {
        // SeqCst, as in `add`: either the mover sees the waiter here, or the waiter, who looks at the
        // watermark after adding itself, sees the move.
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for (waiter, until) in self.list.lock().iter() {
            let ready = match until {
                Until::Offset(offset) => watermark >= *offset,
                Until::Bytes => waiter.counts(bytes),
                Until::StableBytes => waiter.counts(stable_bytes),
            };
            if ready {
                waiter.wake.notify_one();
            }
        }
    }

    /// Wakes everyone, whatever they wait for: the partition failed or is gone.
    pub(super) fn wake_all(&self) {
        self.list.lock().iter().for_each(|(waiter, _)| waiter.wake.notify_one());
    }
}

/// A place among the waiters of one partition, given up when dropped.
#[derive(Debug)]
pub struct Waiting<'a> {
    at: &'a Waiters,
    place: usize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut list = self.at.list.lock();
        list.remove(self.place);
        self.at.count.store(list.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn is_woken(waiter: &Waiter) -> bool {
        timeout(Duration::from_millis(1), waiter.woken()).await.is_ok()
    }

    fn moved(watermark: i64, bytes: usize) -> Moved {
        Moved { watermark, bytes, stable_bytes: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_is_woken_only_when_enough_has_come() {
        let (a, b) = (Waiters::default(), Waiters::default());
        let waiter = Waiter::new(100);
        let _places = [a.add_bytes(&waiter), b.add_bytes(&waiter)];
        a.moved(moved(1, 60));
        assert!(!is_woken(&waiter).await);
        b.moved(moved(1, 40));
        assert!(is_woken(&waiter).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_of_committed_records_is_woken_only_by_those() {
        let waiters = Waiters::default();
        let waiter = Waiter::new(100);
        let _place = waiters.add_stable_bytes(&waiter);
        waiters.moved(moved(5, 5000));
        assert!(!is_woken(&waiter).await, "a transaction holds them back");
        waiters.moved(Moved { stable_bytes: 99, ..moved(6, 99) });
        assert!(!is_woken(&waiter).await);
        waiters.moved(Moved { stable_bytes: usize::MAX, ..moved(7, 70) });
        assert!(is_woken(&waiter).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_producer_is_woken_when_its_offset_is_reached() {
        let waiters = Waiters::default();
        let waiter = Waiter::new(0);
        let _place = waiters.add_offset(&waiter, 10);
        waiters.moved(moved(9, 1));
        assert!(!is_woken(&waiter).await);
        waiters.moved(moved(10, 1));
        assert!(is_woken(&waiter).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_move_between_adding_and_waiting_is_not_lost() {
        let waiters = Waiters::default();
        let waiter = Waiter::new(1);
        let _place = waiters.add_bytes(&waiter);
        waiters.moved(moved(1, 1));
        assert!(is_woken(&waiter).await);
    }

    #[test]
    fn a_waiter_that_leaves_is_forgotten() {
        let waiters = Waiters::default();
        let (stays, leaves) = (Waiter::new(1), Waiter::new(1));
        let place = waiters.add_bytes(&stays);
        drop(waiters.add_bytes(&leaves));
        assert_eq!(waiters.list.lock().len(), 1);
        drop(place);
        assert_eq!(waiters.count.load(Ordering::Relaxed), 0);
    }
}
