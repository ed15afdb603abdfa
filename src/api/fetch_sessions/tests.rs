//! Tests of fetch sessions: what is read and told as a consumer sees it, and the limits.

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
        Stage { sessions: FetchSessions::new(slots, 1 << 20, Level::default()), now: 0 }
    }

    /// How many sessions there are, and that the metrics say the same.
    fn count(&self) -> usize {
        let count = self.sessions.sessions.lock().len();
        assert_eq!(self.sessions.count.get(), count as i64);
        count
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
    assert_eq!(stage.count(), 0);
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
    assert_eq!(stage.count(), 2);
    let none = Stage::new(0);
    assert_eq!(none.fetch(request(0, 0, &[0]), quiet).unwrap().1, 0);
    // a new session takes the place of the one it follows
    stage.fetch(request(first, 0, &[0]), quiet).unwrap();
    assert_eq!(stage.count(), 2);
}

/// Clients that begin sessions of partitions that do not exist: their memory is bounded.
#[test]
fn the_memory_of_all_sessions_is_bounded() {
    let stage = Stage { sessions: FetchSessions::new(9, 100_000, Level::default()), now: 0 };
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
