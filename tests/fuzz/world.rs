//! A broker with something in it, and connections over which generated requests are sent.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use braid::api::Service;
use braid::broker::Peer;
use braid::connection::{self, End};
use braid_protocol::api::find_coordinator::FindCoordinator;
use braid_protocol::api::init_producer_id::{InitProducerId, InitProducerIdRequest};
use braid_protocol::api::join_group::{JoinGroup, JoinGroupRequest, JoinGroupRequestProtocol};
use braid_protocol::frame;
use braid_protocol::grammar::Grammar;
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::frames::Frame;
use crate::learn;
use crate::support::TestBroker;
use crate::words::{TOPICS, Words, remember};

/// Connections of a world.
const LINES: usize = 8;
/// How many may wait for an answer before one is waited for.
const PARKED: usize = 5;
/// The longest that a request can ask to be kept waiting, and a minute. Time is paused: it costs nothing.
const BOUND: Duration = Duration::from_millis(i32::MAX as u64 + 60_000);
/// Of an answer so much is kept, to be read.
const KEPT: usize = 256 << 10;

/// Nanoseconds of processor time that the longest poll of a connection took.
static LONGEST: AtomicU64 = AtomicU64::new(0);

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was answered.
    Answered,
    /// It waits for something, or is never answered.
    Parked,
    /// The connection was closed.
    Closed(End),
}

/// What was seen while requests were under way.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Bytes of answers.
    pub(crate) answered: usize,
    /// What is wrong with an answer.
    pub(crate) wrong: Vec<String>,
}

/// See above.
pub(crate) struct World {
    pub(crate) broker: TestBroker,
    pub(crate) words: Words,
    pub(crate) seen: Seen,
    service: Arc<Service>,
    lines: Vec<Line>,
    scratch: Box<[u8]>,
    next: usize,
}

struct Line {
    ours: DuplexStream,
    end: JoinHandle<End>,
    waiting: VecDeque<Sent>,
    answer: Answer,
}

/// A request without an answer yet.
struct Sent {
    correlation: i32,
    /// None if its bytes were changed, so that nobody knows what its answer looks like.
    api: Option<&'static Grammar>,
    version: i16,
    silent: bool,
}

/// An answer that is arriving.
struct Answer {
    got: usize,
    kept: Vec<u8>,
}

impl World {
    /// A broker with topics, records, groups and producers.
    pub(crate) async fn new() -> World {
        let broker = TestBroker::start(&[
            ("offsets.topic.num.partitions", "4"),
            ("transaction.state.log.num.partitions", "4"),
            ("num.partitions", "1"),
        ]);
        let service = Arc::new(Service::new(broker.broker.clone()));
        let mut world = World {
            broker,
            words: Words::default(),
            seen: Seen::default(),
            service,
            lines: Vec::new(),
            scratch: vec![0; 64 << 10].into_boxed_slice(),
            next: 0,
        };
        world.lines = (0..LINES).map(|_| world.line()).collect();
        world.settle().await;
        let mut client = world.broker.connect();
        for group in ["g0", "g1"] {
            let range =
                JoinGroupRequestProtocol { name: "range".to_owned(), metadata: Bytes::from_static(b"\0\0") };
            let join = JoinGroupRequest {
                group_id: group.to_owned(),
                session_timeout_ms: 1_800_000,
                rebalance_timeout_ms: 10,
                protocol_type: "consumer".to_owned(),
                protocols: vec![range],
                ..Default::default()
            };
            let joined = client.call::<JoinGroup>(2, &join).await;
            remember(&mut world.words.members, joined.member_id);
        }
        for id in [None, None, Some("x0"), Some("x1")] {
            let init = InitProducerIdRequest {
                transactional_id: id.map(str::to_owned),
                transaction_timeout_ms: 60_000,
                ..Default::default()
            };
            let producer = client.call::<InitProducerId>(3, &init).await;
            remember(&mut world.words.producers, (producer.producer_id, producer.producer_epoch));
        }
        drop(client.call::<FindCoordinator>(0, &Default::default()).await);
        world
    }

    /// Creates the topics that every world has and that some request has deleted, and learns their ids.
    pub(crate) async fn settle(&mut self) {
        for (name, partitions) in TOPICS {
            if self.broker.broker.topic(name).is_none() {
                self.broker.topic(name, partitions, &[]).await;
                let values = ["first", "second", "third"];
                self.broker.connect().produce(name, 0, &values).await;
            }
        }
        self.words.ids = self.broker.broker.cluster.image().topics().map(|topic| topic.id).collect();
    }

    /// How many partitions are open.
    pub(crate) fn partitions(&self) -> usize {
        self.broker.broker.topics.all().iter().map(|topic| topic.partitions().len()).sum()
    }

    /// A new connection.
    fn line(&self) -> Line {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let local = SocketAddr::from(([127, 0, 0, 1], 9092));
        let address = SocketAddr::from(([127, 0, 0, 1], 50_000));
        let counted = self.broker.broker.metrics.listener("PLAINTEXT").opened();
        let peer = Peer::new(address, local, "PLAINTEXT".to_owned(), counted);
        let stop = self.broker.stop.subscribe();
        let mut serving = Box::pin(connection::serve(self.service.clone(), theirs, peer, stop));
        let end = tokio::spawn(poll_fn(move |cx| timed(|| serving.as_mut().poll(cx))));
        let answer = Answer { got: 0, kept: Vec::with_capacity(KEPT + 4) };
        Line { ours, end, waiting: VecDeque::with_capacity(64), answer }
    }

    /// Sends a request and waits for its answer, unless that waits for something. The connection that it went
    /// over is used again.
    pub(crate) async fn send(&mut self, frame: &Frame, correlation: i32) -> Outcome {
        while self.lines.iter().filter(|line| line.is_parked()).count() > PARKED {
            let at = (0..LINES).map(|n| (self.next + n) % LINES).find(|at| self.lines[*at].is_parked());
            if let Outcome::Parked = self.run(at.unwrap_or(0), &[], BOUND).await {
                let line = &self.lines[at.unwrap_or(0)];
                let stuck = line.waiting.front().and_then(|sent| sent.api).map_or("?", |api| api.name);
                self.seen.wrong.push(format!("stuck: {stuck} is never answered"));
                self.lines[at.unwrap_or(0)] = self.line();
            }
        }
        self.next = (self.next + 1) % LINES;
        let free = (0..LINES).map(|n| (self.next + n) % LINES).find(|at| !self.lines[*at].is_parked());
        let at = free.unwrap_or(0);
        let sent = Sent {
            correlation,
            api: (!frame.changed).then_some(frame.api),
            version: frame.version,
            silent: frame.bytes.get(4..6) == Some(&[0, 0]),
        };
        self.lines[at].waiting.push_back(sent);
        self.run(at, &frame.bytes, Duration::from_millis(1)).await
    }

    /// Writes these bytes and reads until nothing is to be waited for any more, for so long at most.
    async fn run(&mut self, at: usize, bytes: &[u8], patience: Duration) -> Outcome {
        let line = &mut self.lines[at];
        let mut left = bytes;
        let (scratch, seen, words) = (&mut self.scratch, &mut self.seen, &mut self.words);
        let work = poll_fn(|cx| line.poll(cx, &mut left, scratch, seen, words));
        match timeout(patience, work).await {
            Ok(true) => Outcome::Answered,
            Err(_) => Outcome::Parked,
            Ok(false) => {
                let line = self.line();
                let closed = std::mem::replace(&mut self.lines[at], line);
                drop(closed.ours);
                let end = closed.end.await.unwrap_or(End::Panicked("a connection"));
                Outcome::Closed(end)
            }
        }
    }

    /// Closes every connection and lets all the time pass that anything may wait.
    pub(crate) async fn quiet(&mut self) {
        self.lines.clear();
        tokio::time::sleep(Duration::from_secs(4000)).await;
    }

    /// Opens the connections again.
    pub(crate) fn resume(&mut self) {
        self.lines = (0..LINES).map(|_| self.line()).collect();
    }
}

impl Line {
    fn is_parked(&self) -> bool {
        self.waiting.iter().any(|sent| !sent.silent)
    }

    /// True when all is answered, false when the broker has closed the connection.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        left: &mut &[u8],
        scratch: &mut [u8],
        seen: &mut Seen,
        words: &mut Words,
    ) -> Poll<bool> {
        loop {
            let mut progress = false;
            if !left.is_empty() {
                match Pin::new(&mut self.ours).poll_write(cx, left) {
                    Poll::Ready(Ok(n)) => {
                        *left = &left[n..];
                        progress = true;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Pending => {}
                }
            }
            let mut read = ReadBuf::new(scratch);
            match Pin::new(&mut self.ours).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    progress = true;
                    self.read(read.filled(), seen, words);
                }
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending => {}
            }
            if left.is_empty() && self.waiting.is_empty() {
                return Poll::Ready(true);
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    fn read(&mut self, mut bytes: &[u8], seen: &mut Seen, words: &mut Words) {
        seen.answered += bytes.len();
        while !bytes.is_empty() {
            let answer = &mut self.answer;
            let whole = match answer.kept.first_chunk::<4>() {
                Some(prefix) => i32::from_be_bytes(*prefix).max(0) as usize + 4,
                None => 4,
            };
            let taken = bytes.len().min(whole - answer.got);
            let kept = taken.min(KEPT.saturating_sub(answer.kept.len()));
            answer.kept.extend(&bytes[..kept]);
            answer.got += taken;
            bytes = &bytes[taken..];
            if answer.got > 4 && answer.got == whole {
                self.answered(seen, words);
            }
        }
    }

    /// An answer is there: the connection's oldest request must be its request.
    fn answered(&mut self, seen: &mut Seen, words: &mut Words) {
        let whole = self.answer.got == self.answer.kept.len();
        let frame = Bytes::copy_from_slice(&self.answer.kept[4..]);
        self.answer.kept.clear();
        self.answer.got = 0;
        let correlation = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id));
        while let Some(sent) = self.waiting.pop_front() {
            if Some(sent.correlation) != correlation {
                if !sent.silent {
                    seen.wrong.push(format!("order: {correlation:?} answered before {}", sent.correlation));
                }
                continue;
            }
            let Some(api) = sent.api.filter(|_| whole) else { return };
            match api.read_answer(&frame, sent.version) {
                Ok(_) => learn::from(api.key, sent.version, &frame, words),
                Err(e) => seen.wrong.push(format!("answer: {} v{}: {e}", api.name, sent.version)),
            }
            return;
        }
        seen.wrong.push(format!("order: an answer to {correlation:?}, which nobody has asked"));
    }
}

/// Measures a poll.
fn timed<T>(poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
    let begin = processor_ns();
    let polled = poll();
    LONGEST.fetch_max(processor_ns() - begin, Relaxed);
    polled
}

fn processor_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The longest poll since this was last asked, in nanoseconds of the processor.
pub(crate) fn longest() -> u64 {
    LONGEST.swap(0, Relaxed)
}

/// The key and version in a request's header, for people.
pub(crate) fn head(frame: &[u8]) -> String {
    match frame::peek(&Bytes::copy_from_slice(frame.get(4..).unwrap_or_default())) {
        Ok(peek) => format!("key {} v{}", peek.api_key, peek.api_version),
        Err(_) => "no header".to_owned(),
    }
}
