//! The driver, with real tasks and channels, tokio's clock paused and a journal in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::transactions::{marker, within};
use super::*;
use crate::machine::{Clock, Journal};

/// A log in memory. `durable` follows only when the test says so.
#[derive(Clone)]
struct Memory {
    inner: Arc<Mutex<Inner>>,
    durable: Arc<watch::Sender<Result<i64, ErrorCode>>>,
}

#[derive(Default)]
struct Inner {
    records: Vec<Record>,
    /// Where each append ends.
    appends: Vec<usize>,
    fails: Option<ErrorCode>,
    synced: bool,
    /// Records in one append, if that has a limit.
    most: Option<usize>,
}

impl Memory {
    fn new(synced: bool) -> Memory {
        let inner = Inner { synced, ..Default::default() };
        Memory { inner: Arc::new(Mutex::new(inner)), durable: Arc::new(watch::channel(Ok(0)).0) }
    }

    fn sync(&self) {
        let end = self.inner.lock().unwrap().records.len() as i64;
        let _ = self.durable.send_replace(Ok(end));
    }

    fn fail_appends(&self, code: Option<ErrorCode>) {
        self.inner.lock().unwrap().fails = code;
    }
}

impl Journal for Memory {
    type Record = Record;

    fn append(&self, _now: Millis, records: &[Record]) -> Result<i64, ErrorCode> {
        let mut inner = self.inner.lock().unwrap();
        if let Some(code) = inner.fails {
            return Err(code);
        }
        if inner.most.is_some_and(|most| records.len() > most) {
            return Err(ErrorCode::MESSAGE_TOO_LARGE);
        }
        inner.records.extend_from_slice(records);
        let end = inner.records.len() as i64;
        inner.appends.push(end as usize);
        if inner.synced {
            let _ = self.durable.send_replace(Ok(end));
        }
        Ok(end)
    }

    fn durable(&self) -> i64 {
        self.durable.borrow().unwrap_or(0)
    }

    async fn wait_durable(&self, end: i64) -> Result<(), ErrorCode> {
        let mut changes = self.durable.subscribe();
        let reached = changes.wait_for(|d| d.is_err() || d.is_ok_and(|d| d >= end)).await;
        reached.map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR)?.map(|_| ())
    }
}

fn start(journal: &Memory) -> Coordinator {
    let partition = || (Groups::new(GroupConfig::default()), journal.clone());
    Coordinator::start(Clock::starting_at(START), vec![Some(partition())])
}

async fn is_waiting<T>(task: &tokio::task::JoinHandle<T>) -> bool {
    tokio::time::sleep(Duration::from_millis(10)).await;
    !task.is_finished()
}

fn code(response: OffsetCommitResponse) -> ErrorCode {
    response.topics[0].partitions[0].error_code
}

#[tokio::test(start_paused = true)]
async fn a_group_forms_and_its_sessions_end_by_the_clock() {
    let coordinator = start(&Memory::new(true));
    let begun = tokio::time::Instant::now();
    let joined = coordinator.join(join("", "a", &["range"])).await.unwrap();
    assert_eq!((joined.generation_id, joined.leader.as_str()), (1, "a"));
    assert_eq!(begun.elapsed(), Duration::from_millis(3_000), "the initial delay");
    let synced = coordinator.sync(sync("a", 1, &["a"])).await.unwrap();
    assert_eq!(synced.assignment.as_ref(), b"a");
    assert_eq!(coordinator.stats().await.unwrap(), Stats { stable: 1, members: 1, ..Default::default() });
    tokio::time::sleep(Duration::from_millis(10_000)).await;
    assert_eq!(coordinator.describe("g".into(), 5).await.unwrap().group_state, "Empty");
}

#[tokio::test(start_paused = true)]
async fn nobody_hears_of_a_commit_before_it_is_durable() {
    let journal = Memory::new(false);
    let coordinator = start(&journal);
    let all = OffsetFetchRequestGroup { group_id: "g".into(), ..Default::default() };
    let ask = |n| {
        let (coordinator, all) = (coordinator.clone(), all.clone());
        tokio::spawn(async move {
            match n {
                Some(offset) => {
                    coordinator.commit(commit("", -1, offset)).await.map(|r| i64::from(code(r).0))
                }
                None => {
                    coordinator.fetch(all, true).await.map(|r| r.topics[0].partitions[0].committed_offset)
                }
            }
        })
    };
    let (first, read) = (ask(Some(7)), ask(None));
    assert!(
        is_waiting(&first).await && is_waiting(&read).await,
        "the read would show what a crash could take"
    );
    let second = ask(Some(8));
    assert!(is_waiting(&second).await);
    assert_eq!(journal.inner.lock().unwrap().records.len(), 2, "the second was taken up meanwhile");
    journal.sync();
    assert_eq!(first.await.unwrap(), Ok(0));
    assert_eq!(read.await.unwrap(), Ok(7), "the answer is from its own time");
    assert_eq!(second.await.unwrap(), Ok(0));
}

#[tokio::test(start_paused = true)]
async fn commits_that_wait_share_one_append() {
    let journal = Memory::new(true);
    let coordinator = start(&journal);
    tokio::task::yield_now().await;
    let commits: Vec<_> = (0..100)
        .map(|n| {
            let coordinator = coordinator.clone();
            tokio::spawn(async move { coordinator.commit(commit("", -1, n)).await.map(code) })
        })
        .collect();
    for commit in commits {
        assert_eq!(commit.await.unwrap(), Ok(ErrorCode::NONE));
    }
    let inner = journal.inner.lock().unwrap();
    assert_eq!(inner.records.len(), 100);
    assert!(inner.appends.len() <= 2, "{:?}", inner.appends);
}

#[tokio::test(start_paused = true)]
async fn no_append_mixes_transactions() {
    let journal = Memory::new(true);
    let coordinator = start(&journal);
    tokio::task::yield_now().await;
    let asked: Vec<_> = (0..60)
        .map(|n| {
            let coordinator = coordinator.clone();
            tokio::spawn(async move {
                match n % 4 {
                    3 => coordinator.end_transaction(0, marker(n % 3, true)).await,
                    2 => coordinator.commit(within(n % 3, commit("", -1, n))).await.map(drop),
                    _ => coordinator.commit(commit("", -1, n)).await.map(drop),
                }
            })
        })
        .collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(()));
    }
    let inner = journal.inner.lock().unwrap();
    assert_eq!(inner.records.len(), 60);
    let mut from = 0;
    for end in &inner.appends {
        let together = &inner.records[from..*end];
        from = *end;
        let alone = matches!(together, [Record::Marker(_) | Record::TxnOffset { .. }]);
        assert!(alone || together.iter().all(|r| matches!(r, Record::Offset { .. })), "{together:?}");
    }
}

/// A commit of this many partitions, by a consumer that shares no group.
fn wide(group: &str, partitions: i32) -> Commit {
    let mut commit = commit("", -1, 7);
    commit.request.group_id = group.into();
    let one = |partition_index| OffsetCommitRequestPartition { partition_index, ..Default::default() };
    commit.request.topics[0].partitions = (0..partitions).map(one).collect();
    commit
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_for_a_batch_is_cut_where_decisions_end() {
    // Commits that came together shared one batch, however large, and so did all the tombstones of a topic or
    // of an old group. At two gigabytes the log was broken.
    let journal = Memory::new(true);
    journal.inner.lock().unwrap().most = Some(10);
    let coordinator = start(&journal);
    let sizes = [3, 9, 11, 1, 4, 4, 4, 10, 2, 30, 5];
    let asks = sizes.iter().enumerate().map(|(n, size)| {
        let (coordinator, commit) = (coordinator.clone(), wide(&format!("g{n}"), *size));
        tokio::spawn(async move { coordinator.commit(commit).await.map(code) })
    });
    for (size, asked) in sizes.iter().zip(asks.collect::<Vec<_>>()) {
        let expected = if *size > 10 { Err(ErrorCode::UNKNOWN_SERVER_ERROR) } else { Ok(ErrorCode::NONE) };
        assert_eq!(asked.await.unwrap(), expected, "{size} partitions");
    }
    assert_eq!(coordinator.stats().await.unwrap().groups(), 9, "the others are unhurt");
    let appends = journal.inner.lock().unwrap().appends.len();
    assert!((5..=9).contains(&appends), "{appends} batches");
    coordinator.forget_topic("t").await.unwrap();
    assert_eq!(coordinator.stats().await.unwrap().groups(), 0);
    assert!(journal.inner.lock().unwrap().appends.len() > appends + 4);
}

#[tokio::test(start_paused = true)]
async fn an_append_that_fails_refuses_the_commit_and_changes_nothing() {
    let journal = Memory::new(true);
    let coordinator = start(&journal);
    for (fails, told) in [
        (ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::NOT_COORDINATOR),
        (ErrorCode::NOT_ENOUGH_REPLICAS, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        (ErrorCode::MESSAGE_TOO_LARGE, ErrorCode::UNKNOWN_SERVER_ERROR),
        (ErrorCode::INVALID_PRODUCER_EPOCH, ErrorCode::INVALID_PRODUCER_EPOCH),
    ] {
        journal.fail_appends(Some(fails));
        assert_eq!(coordinator.commit(commit("", -1, 7)).await, Err(told));
    }
    journal.fail_appends(None);
    let all = OffsetFetchRequestGroup { group_id: "g".into(), ..Default::default() };
    assert_eq!(coordinator.fetch(all, false).await.unwrap().topics, []);
    assert_eq!(coordinator.commit(commit("", -1, 7)).await.map(code), Ok(ErrorCode::NONE));
}

#[tokio::test(start_paused = true)]
async fn when_a_sync_fails_all_that_wait_are_told_so() {
    let journal = Memory::new(false);
    let coordinator = start(&journal);
    let other = coordinator.clone();
    let waiting = tokio::spawn(async move { other.commit(commit("", -1, 7)).await });
    assert!(is_waiting(&waiting).await);
    let _ = journal.durable.send_replace(Err(ErrorCode::KAFKA_STORAGE_ERROR));
    assert_eq!(waiting.await.unwrap(), Err(ErrorCode::NOT_COORDINATOR));
    let all = OffsetFetchRequestGroup { group_id: "g".into(), ..Default::default() };
    assert_eq!(
        coordinator.fetch(all, false).await,
        Err(ErrorCode::NOT_COORDINATOR),
        "not even reads can be trusted"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_disturbs_nobody() {
    let coordinator = start(&Memory::new(true));
    let other = coordinator.clone();
    let gone = tokio::spawn(async move { other.join(join("", "a", &["range"])).await });
    assert!(is_waiting(&gone).await);
    gone.abort();
    let b = coordinator.join(join("", "b", &["range"])).await.unwrap();
    assert_eq!((b.generation_id, b.leader.as_str()), (1, "a"), "its seat is kept until its session ends");
    tokio::time::sleep(Duration::from_millis(u64::from(SESSION.unsigned_abs()))).await;
    let b = coordinator.join(join("b", "", &["range"])).await.unwrap();
    assert_eq!(b.error_code, ErrorCode::UNKNOWN_MEMBER_ID, "b was silent just as long");
}

#[tokio::test(start_paused = true)]
async fn groups_are_spread_over_the_partitions_and_listed_together() {
    let journals: Vec<Memory> = (0..5).map(|_| Memory::new(true)).collect();
    let loaded = |j: &Memory| Some((Groups::new(GroupConfig::default()), j.clone()));
    let partitions = journals.iter().map(loaded).collect();
    let coordinator = Coordinator::start(Clock::starting_at(START), partitions);
    for n in 0..40 {
        let mut commit = commit("", -1, n);
        commit.request.group_id = format!("group-{n:02}");
        assert_eq!(coordinator.commit(commit).await.map(code), Ok(ErrorCode::NONE));
    }
    for (n, journal) in journals.iter().enumerate() {
        let inner = journal.inner.lock().unwrap();
        assert!(!inner.records.is_empty());
        for record in &inner.records {
            let Record::Offset { group, .. } = record else { panic!() };
            assert_eq!(usize::try_from(coordinator.partition_of(group)), Ok(n));
        }
    }
    let listed = coordinator.list(ListGroupsRequest::default()).await.unwrap();
    assert!(listed.iter().map(|g| g.group_id.clone()).eq((0..40).map(|n| format!("group-{n:02}"))));
    coordinator.forget_topic("t").await.unwrap();
    assert_eq!(coordinator.stats().await.unwrap().groups(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_cannot_be_read_takes_only_its_groups_away() {
    let machine = || Some((Groups::new(GroupConfig::default()), Memory::new(true)));
    let coordinator = Coordinator::start(Clock::starting_at(START), vec![None, machine()]);
    for n in 0..10 {
        let group = format!("group-{n}");
        let mut commit = commit("", -1, n);
        commit.request.group_id = group.clone();
        let committed = coordinator.commit(commit).await.map(|_| ());
        let expected = match coordinator.partition_of(&group) {
            0 => Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
            _ => Ok(()),
        };
        assert_eq!(committed, expected, "{group}");
    }
    assert!(!coordinator.list(Default::default()).await.unwrap().is_empty());
}
