//! Fetch sessions (KIP-227): the broker remembers what a consumer reads, so that the consumer names only what
//! changes, and is answered only for partitions that have changed.
//!
//! Their number is limited, and so is the memory that all of them take: a consumer beyond that reads without
//! a session.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use braid_protocol::api::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use braid_protocol::{ErrorCode, Uuid};
use parking_lot::Mutex;

use crate::metrics::{Inside, Level};

/// A session that was not used for this long may make way for another.
const EVICTED_AFTER_MS: i64 = 120_000;
/// Partitions of one session; who reads more names them all each time.
const PARTITIONS_MAX: usize = 20_000;
/// The epoch of a request that ends a session or wants none.
const FINAL_EPOCH: i32 = -1;
/// The epoch of a request that begins one.
const INITIAL_EPOCH: i32 = 0;

/// A partition, by its topic's name or id: the other is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    topic: Arc<str>,
    id: Uuid,
    partition: i32,
}

#[derive(Debug)]
struct Tracked {
    wanted: FetchPartition,
    /// High watermark and log start offset, as they were in the last answer.
    told: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Session {
    /// The epoch that the next request must have.
    epoch: i32,
    by_id: bool,
    used_ms: i64,
    partitions: BTreeMap<Key, Tracked>,
    /// The last that was given records: the next request begins behind it, so that every partition is read.
    served: Option<Key>,
    /// What it takes of the memory of all sessions; none before it is remembered.
    taken: Option<Taken>,
    /// While it is remembered.
    counted: Option<Inside>,
}

/// The memory that all sessions may take.
#[derive(Debug)]
struct Room {
    bytes_max: usize,
    bytes: AtomicUsize,
}

/// Memory that one session takes; given back when dropped.
#[derive(Debug)]
struct Taken {
    room: Arc<Room>,
    bytes: usize,
}

impl Taken {
    /// Takes this much instead; false if there is no room.
    fn change(&mut self, bytes: usize) -> bool {
        let (before, max) = (self.bytes, self.room.bytes_max);
        let change = |all: usize| Some(all - before + bytes).filter(|all| bytes <= before || *all <= max);
        let changed = self.room.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok();
        if changed {
            self.bytes = bytes;
        }
        changed
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The session that a request belongs to.
#[derive(Debug)]
pub(super) struct SessionTurn(Turn);

#[derive(Debug)]
enum Turn {
    /// None: everything is named and told each time.
    Without,
    /// One that begins with this request, if there is room for it.
    New(Session),
    /// One that goes on.
    Known(i32, Arc<Mutex<Session>>),
}

/// All fetch sessions; not more than `max.incremental.fetch.session.cache.slots`.
pub(super) struct FetchSessions {
    slots: usize,
    /// How many there are, for the metrics.
    count: Level,
    room: Arc<Room>,
    sessions: Mutex<BTreeMap<i32, Arc<Mutex<Session>>>>,
}

impl FetchSessions {
    /// No sessions yet; `bytes_max` is what all of them together may take. They are counted in `count`.
    pub(super) fn new(slots: usize, bytes_max: usize, count: Level) -> FetchSessions {
        let room = Arc::new(Room { bytes_max, bytes: AtomicUsize::new(0) });
        FetchSessions { slots, count, room, sessions: Mutex::default() }
    }

    /// Finds the session of a request, and completes the request from it: afterwards it names everything that
    /// is to be read. `by_id`: it names topics by their ids. FETCH_SESSION_ID_NOT_FOUND,
    /// INVALID_FETCH_SESSION_EPOCH and FETCH_SESSION_TOPIC_ID_ERROR make the client begin again.
    pub(super) fn begin(
        &self,
        request: &mut FetchRequest,
        by_id: bool,
        now_ms: i64,
    ) -> Result<SessionTurn, ErrorCode> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if matches!(epoch, FINAL_EPOCH | INITIAL_EPOCH) {
            self.sessions.lock().remove(&id);
            let turn = match epoch {
                FINAL_EPOCH => Turn::Without,
                _ => Turn::New(Session::new(&request.topics, by_id, now_ms)),
            };
            return Ok(SessionTurn(turn));
        }
        let session = self.sessions.lock().get(&id).cloned();
        let session = session.ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        let completed = session.lock().go_on(request, by_id, now_ms);
        if let Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND) = completed {
            self.sessions.lock().remove(&id);
        }
        completed?;
        Ok(SessionTurn(Turn::Known(id, session)))
    }

    /// Leaves out of a response what the client knows already, and says which session it is.
    pub(super) fn finish(&self, turn: SessionTurn, response: &mut FetchResponse) {
        match turn.0 {
            Turn::Without => {}
            Turn::New(mut session) => {
                session.tell(response, false);
                response.session_id = self.insert(session).unwrap_or(0);
            }
            Turn::Known(id, session) => {
                session.lock().tell(response, true);
                response.session_id = id;
            }
        }
    }

    fn insert(&self, mut session: Session) -> Option<i32> {
        session.taken = Some(Taken { room: self.room.clone(), bytes: 0 });
        let mut sessions = self.sessions.lock();
        if sessions.len() >= self.slots {
            let used = |(id, session): (&i32, &Arc<Mutex<Session>>)| (session.lock().used_ms, *id);
            let (used_ms, oldest) = sessions.iter().map(used).min()?;
            if used_ms.saturating_add(EVICTED_AFTER_MS) > session.used_ms {
                return None;
            }
            sessions.remove(&oldest);
        }
        let fits = self.slots > 0 && session.fits();
        // An id that nobody guesses: who has it reads no records, but can spoil the session.
        let id = (uuid::Uuid::new_v4().as_u128() as i32 & i32::MAX).max(1);
        (fits && !sessions.contains_key(&id)).then(|| {
            session.counted = Some(self.count.enter());
            sessions.insert(id, Arc::new(Mutex::new(session)));
            id
        })
    }
}

impl Session {
    fn new(topics: &[FetchTopic], by_id: bool, now_ms: i64) -> Session {
        let (epoch, used_ms, partitions) = (INITIAL_EPOCH + 1, now_ms, BTreeMap::new());
        let (served, taken, counted) = (None, None, None);
        let mut session = Session { epoch, by_id, used_ms, partitions, served, taken, counted };
        session.add(topics);
        session
    }

    /// Is it small enough to be remembered, and is there room?
    fn fits(&mut self) -> bool {
        let mut names: Vec<&Arc<str>> = self.partitions.keys().map(|key| &key.topic).collect();
        names.dedup();
        let names: usize = names.into_iter().map(|name| name.len()).sum();
        // Nodes of a B-tree are two thirds full.
        let bytes = self.partitions.len() * size_of::<(Key, Tracked)>() * 3 / 2 + names;
        self.partitions.len() <= PARTITIONS_MAX && self.taken.as_mut().is_none_or(|taken| taken.change(bytes))
    }

    fn add(&mut self, topics: &[FetchTopic]) {
        for topic in topics {
            let name: Arc<str> = topic.topic.as_str().into();
            for wanted in &topic.partitions {
                let key = Key { topic: name.clone(), id: topic.topic_id, partition: wanted.partition };
                let wanted = wanted.clone();
                match self.partitions.get_mut(&key) {
                    Some(tracked) => tracked.wanted = wanted,
                    None => {
                        self.partitions.insert(key, Tracked { wanted, told: None });
                    }
                }
            }
        }
    }

    /// Takes over what the request changes, and puts all there is into it.
    fn go_on(&mut self, request: &mut FetchRequest, by_id: bool, now_ms: i64) -> Result<(), ErrorCode> {
        if request.session_epoch != self.epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if self.by_id != by_id {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        for topic in &request.forgotten_topics_data {
            let name: Arc<str> = topic.topic.as_str().into();
            for partition in &topic.partitions {
                let key = Key { topic: name.clone(), id: topic.topic_id, partition: *partition };
                self.partitions.remove(&key);
            }
        }
        let changes = !request.topics.is_empty() || !request.forgotten_topics_data.is_empty();
        self.add(&request.topics);
        if changes && !self.fits() {
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
        self.epoch = self.epoch.checked_add(1).unwrap_or(INITIAL_EPOCH + 1);
        self.used_ms = now_ms;
        request.topics = self.all();
        Ok(())
    }

    /// All partitions, those first that were not served last.
    fn all(&self) -> Vec<FetchTopic> {
        let from = self.served.as_ref().map_or(Unbounded, Excluded);
        let first = self.partitions.range((from, Unbounded));
        let rest = self.served.iter().flat_map(|served| self.partitions.range(..=served));
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (key, tracked) in first.chain(rest) {
            let same = |last: &&mut FetchTopic| *last.topic == *key.topic && last.topic_id == key.id;
            match topics.last_mut().filter(same) {
                Some(last) => last.partitions.push(tracked.wanted.clone()),
                None => topics.push(FetchTopic {
                    topic: key.topic.to_string(),
                    topic_id: key.id,
                    partitions: vec![tracked.wanted.clone()],
                }),
            }
        }
        topics
    }

    /// Notes what the client is told; if only `news` count, the rest is left out.
    fn tell(&mut self, response: &mut FetchResponse, news: bool) {
        for topic in &mut response.responses {
            let name: Arc<str> = topic.topic.as_str().into();
            topic.partitions.retain(|data| {
                let key = Key { topic: name.clone(), id: topic.topic_id, partition: data.partition_index };
                let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
                let now = Some((data.high_watermark, data.log_start_offset));
                let Some(tracked) = self.partitions.get_mut(&key) else { return true };
                let changed = has_records || !data.error_code.is_ok() || tracked.told != now;
                // After an error it is told again, whatever it is.
                tracked.told = now.filter(|_| data.error_code.is_ok());
                if has_records {
                    self.served = Some(key);
                }
                changed || !news
            });
        }
        if news {
            response.responses.retain(|topic| !topic.partitions.is_empty());
        }
    }
}

#[cfg(test)]
mod tests;
