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
pub struct SessionTurn(Turn);

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
pub struct FetchSessions {
    slots: usize,
    room: Arc<Room>,
    sessions: Mutex<BTreeMap<i32, Arc<Mutex<Session>>>>,
}

impl FetchSessions {
    /// No sessions yet; `bytes_max` is what all of them together may take.
    pub fn new(slots: usize, bytes_max: usize) -> FetchSessions {
        let room = Arc::new(Room { bytes_max, bytes: AtomicUsize::new(0) });
        FetchSessions { slots, room, sessions: Mutex::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds the session of a request, and completes the request from it: afterwards it names everything that
    /// is to be read. `by_id`: it names topics by their ids. FETCH_SESSION_ID_NOT_FOUND,
    /// INVALID_FETCH_SESSION_EPOCH and FETCH_SESSION_TOPIC_ID_ERROR make the client begin again.
    pub fn begin(
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
    pub fn finish(&self, turn: SessionTurn, response: &mut FetchResponse) {
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
            sessions.insert(id, Arc::new(Mutex::new(session)));
            id
        })
    }
}

impl Session {
    fn new(topics: &[FetchTopic], by_id: bool, now_ms: i64) -> Session {
        let (epoch, used_ms, partitions) = (INITIAL_EPOCH + 1, now_ms, BTreeMap::new());
        let mut session = Session { epoch, by_id, used_ms, partitions, served: None, taken: None };
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
mod tests {
    use braid_protocol::api::fetch::{FetchableTopicResponse, ForgottenTopic, PartitionData};
    use bytes::Bytes;

    use super::*;

    /// A consumer of topic `t`, and the broker's side of its fetches.
    struct Stage {
        sessions: FetchSessions,
        now: i64,
    }

    fn topic(partitions: &[i32]) -> FetchTopic {
        let partitions = partitions.iter().map(|n| FetchPartition { partition: *n, ..Default::default() });
        FetchTopic { topic: "t".into(), partitions: partitions.collect(), ..Default::default() }
    }

    fn request(id: i32, epoch: i32, partitions: &[i32]) -> FetchRequest {
        let topics = if partitions.is_empty() { vec![] } else { vec![topic(partitions)] };
        FetchRequest { session_id: id, session_epoch: epoch, topics, ..Default::default() }
    }

    impl Stage {
        fn new(slots: usize) -> Stage {
            Stage { sessions: FetchSessions::new(slots, 1 << 20), now: 0 }
        }

        /// Asks; the partitions that are read, the session, and the partitions that are told. `data` has the
        /// watermark of a partition, and whether there are records.
        fn fetch(
            &self,
            mut request: FetchRequest,
            data: impl Fn(i32) -> (i64, bool),
        ) -> Result<(Vec<i32>, i32, Vec<i32>), ErrorCode> {
            let turn = self.sessions.begin(&mut request, false, self.now)?;
            let read: Vec<i32> =
                request.topics.iter().flat_map(|t| t.partitions.iter().map(|p| p.partition)).collect();
            let responses = request.topics.iter().map(|topic| FetchableTopicResponse {
                topic: topic.topic.clone(),
                topic_id: topic.topic_id,
                partitions: topic.partitions.iter().map(|p| answer(p.partition, &data)).collect(),
            });
            let mut response = FetchResponse { responses: responses.collect(), ..Default::default() };
            self.sessions.finish(turn, &mut response);
            let told = response.responses.iter().flat_map(|t| t.partitions.iter().map(|p| p.partition_index));
            Ok((read, response.session_id, told.collect()))
        }
    }

    fn answer(partition_index: i32, data: impl Fn(i32) -> (i64, bool)) -> PartitionData {
        let (high_watermark, has_records) = data(partition_index);
        let records = Some(Bytes::from_static(if has_records { b"x" } else { b"" }));
        PartitionData { partition_index, high_watermark, records, ..Default::default() }
    }

    fn quiet(_: i32) -> (i64, bool) {
        (7, false)
    }

    #[test]
    fn a_consumer_names_what_changes_and_is_told_what_has_changed() {
        let stage = Stage::new(9);
        let (_, id, told) = stage.fetch(request(0, 0, &[0, 1, 2]), quiet).unwrap();
        assert!(id > 0);
        assert_eq!(told, [0, 1, 2], "at first everything");
        assert_eq!(stage.fetch(request(id, 1, &[]), quiet), Ok((vec![0, 1, 2], id, vec![])));
        let one_has_moved = |n| (if n == 1 { 8 } else { 7 }, false);
        assert_eq!(stage.fetch(request(id, 2, &[]), one_has_moved), Ok((vec![0, 1, 2], id, vec![1])));
        let two_has_records = |n| (if n == 1 { 8 } else { 7 }, n == 2);
        assert_eq!(stage.fetch(request(id, 3, &[5]), two_has_records).unwrap().2, [2, 5]);
        let forgotten_topics_data =
            vec![ForgottenTopic { topic: "t".into(), partitions: vec![0, 2], ..Default::default() }];
        let less = FetchRequest { forgotten_topics_data, ..request(id, 4, &[]) };
        assert_eq!(stage.fetch(less, one_has_moved).unwrap(), (vec![5, 1], id, vec![]));
    }

    #[test]
    fn the_partition_that_was_served_comes_last_next_time() {
        let stage = Stage::new(9);
        let (_, id, _) = stage.fetch(request(0, 0, &[0, 1, 2, 3]), |n| (7, n == 1)).unwrap();
        assert_eq!(stage.fetch(request(id, 1, &[]), |n| (7, n == 3)).unwrap().0, [2, 3, 0, 1]);
        assert_eq!(stage.fetch(request(id, 2, &[]), quiet).unwrap().0, [0, 1, 2, 3]);
    }

    #[test]
    fn a_session_is_ended_or_refused_so_that_the_client_begins_again() {
        let stage = Stage::new(9);
        let (_, id, _) = stage.fetch(request(0, 0, &[0]), quiet).unwrap();
        let refused = |request| stage.fetch(request, quiet).unwrap_err();
        assert_eq!(refused(request(id, 5, &[])), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        assert_eq!(refused(request(id ^ 1, 1, &[])), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        let by_id = stage.sessions.begin(&mut request(id, 1, &[]), true, 0).unwrap_err();
        assert_eq!(by_id, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        assert_eq!(stage.fetch(request(id, 1, &[]), quiet).unwrap().1, id, "still there");
        assert_eq!(stage.fetch(request(id, -1, &[0]), quiet), Ok((vec![0], 0, vec![0])));
        assert_eq!(refused(request(id, 2, &[])), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        assert_eq!(stage.fetch(request(0, -1, &[0]), quiet), Ok((vec![0], 0, vec![0])));
        assert!(stage.sessions.is_empty());
    }

    #[test]
    fn there_are_so_many_slots_and_only_the_idle_make_way() {
        let mut stage = Stage::new(2);
        let first = stage.fetch(request(0, 0, &[0]), quiet).unwrap().1;
        let second = stage.fetch(request(0, 0, &[0]), quiet).unwrap().1;
        assert_eq!(stage.fetch(request(0, 0, &[0]), quiet), Ok((vec![0], 0, vec![0])));
        stage.now = EVICTED_AFTER_MS;
        stage.fetch(request(first, 1, &[]), quiet).unwrap();
        assert!(stage.fetch(request(0, 0, &[0]), quiet).unwrap().1 > 0);
        let gone = stage.fetch(request(second, 1, &[]), quiet);
        assert_eq!(gone, Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(stage.sessions.len(), 2);
        let none = Stage::new(0);
        assert_eq!(none.fetch(request(0, 0, &[0]), quiet).unwrap().1, 0);
        // a new session takes the place of the one it follows
        stage.fetch(request(first, 0, &[0]), quiet).unwrap();
        assert_eq!(stage.sessions.len(), 2);
    }

    /// Clients that begin sessions of partitions that do not exist: their memory is bounded.
    #[test]
    fn the_memory_of_all_sessions_is_bounded() {
        let stage = Stage { sessions: FetchSessions::new(9, 100_000), now: 0 };
        let many: Vec<i32> = (0..300).collect();
        let first = stage.fetch(request(0, 0, &many), quiet).unwrap().1;
        let fetched = stage.fetch(request(0, 0, &many), quiet).unwrap();
        assert_eq!((fetched.1, fetched.2.len()), (0, 300), "no session, and everything is answered");
        let more: Vec<i32> = (300..600).collect();
        let grown = stage.fetch(request(first, 1, &more), quiet);
        assert_eq!(grown, Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert!(stage.fetch(request(0, 0, &many), quiet).unwrap().1 > 0, "there is room again");
        stage.sessions.sessions.lock().clear();
        assert_eq!(stage.sessions.room.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_error_is_always_told_and_what_follows_it_too() {
        let stage = Stage::new(9);
        let (_, id, _) = stage.fetch(request(0, 0, &[0]), quiet).unwrap();
        let fail = |epoch| {
            let mut request = request(id, epoch, &[]);
            let turn = stage.sessions.begin(&mut request, false, 0).unwrap();
            let data = PartitionData { error_code: ErrorCode::KAFKA_STORAGE_ERROR, ..answer(0, quiet) };
            let topic =
                FetchableTopicResponse { topic: "t".into(), partitions: vec![data], ..Default::default() };
            let mut response = FetchResponse { responses: vec![topic], ..Default::default() };
            stage.sessions.finish(turn, &mut response);
            response.responses.len()
        };
        assert_eq!((fail(1), fail(2)), (1, 1));
        assert_eq!(stage.fetch(request(id, 3, &[]), quiet).unwrap().2, [0]);
        assert!(stage.fetch(request(id, 4, &[]), quiet).unwrap().2.is_empty());
    }
}
