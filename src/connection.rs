//! One client's connection: frames in, frames out, in order.
//!
//! A single task reads, dispatches and writes. All complete requests that have arrived are started before any
//! answer is written, and all answers that are ready leave in one vectored write. Each request's future is
//! polled once as it arrives, which is its first phase (decode, check, append); afterwards only the oldest is
//! polled, so answers leave in request order and a parked Fetch holds back later ones, as in Kafka.

mod output;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use braid_protocol::ErrorCode;
use braid_protocol::frame::{FrameError, frame_len};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout};

use crate::api::{self, Handled, InFlight, Meters, NoAnswer, Outgoing};
use crate::broker::{Broker, Peer};
use crate::metrics::{Inside, Phases};
use output::Output;
pub use output::Stream;

/// What an idle connection keeps for the next request.
const IDLE_BUFFER: usize = 4 << 10;
/// The least that is asked of the socket at once while a connection is busy.
const BUSY_BUFFER: usize = 64 << 10;
/// How long a connection is quiet before it gives its large buffer back.
const QUIET: Duration = Duration::from_secs(1);
/// How long a client may leave a frame unfinished, or a response untaken, without any progress.
const STALLED: Duration = Duration::from_secs(30);
/// How long requests under way may take to finish when the broker goes down.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// Answers are written before more requests are started once this many bytes wait.
const WRITE_AT: usize = 1 << 20;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The client closed it, between two frames.
    #[error("closed by the client")]
    Closed,
    /// Nothing was heard for `connections.max.idle.ms`.
    #[error("idle")]
    Idle,
    /// The broker is going down.
    #[error("the broker is shutting down")]
    Shutdown,
    /// What the client sent cannot be answered.
    #[error("{0}")]
    Refused(String),
    /// A handler panicked; the panic is in the log.
    #[error("internal error while handling {0}")]
    Panicked(&'static str),
    /// The network failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What connections serve.
pub struct Service {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The counters of requests.
    pub meters: Meters,
}

/// Serves a client until one side ends it.
///
/// When `stop` turns true, nothing more is read; what has begun is finished if it finishes soon.
pub async fn serve<S: Stream>(
    service: Arc<Service>,
    stream: S,
    peer: Peer,
    mut stop: watch::Receiver<bool>,
) -> End {
    let config = &service.broker.config;
    let output = Output::new(service.broker.metrics.leaving().clone());
    let mut connection = Connection {
        stream,
        peer: Arc::new(peer),
        max_idle: Duration::from_millis(config.connections_max_idle_ms.max(0) as u64),
        max_frame: config.socket_request_max_bytes.max(0) as usize,
        max_under_way: config.queued_max_requests.max(1) as usize,
        service,
        input: BytesMut::new(),
        heard: Instant::now(),
        under_way: VecDeque::new(),
        output,
        busy: false,
    };
    let peer = connection.peer.clone();
    let end = tokio::select! {
        Err(ended) = syncing(&peer, connection.run()) => ended,
        _ = stop.wait_for(|stop| *stop) => End::Shutdown,
    };
    if matches!(end, End::Shutdown) {
        // What was appended deserves its acknowledgement; a parked fetch loses nothing by being dropped.
        let _ = timeout(LAST_ANSWERS, syncing(&peer, connection.finish())).await;
    }
    end
}

/// Does the work; whenever that waits, for whatever it is, what has been appended is synced meanwhile.
async fn syncing<T>(peer: &Peer, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        loop {
            let polled = work.as_mut().poll(cx);
            // What is synced already can be answered at once.
            if !peer.syncs.end() || polled.is_ready() {
                return polled;
            }
        }
    })
    .await
}

struct Connection<S> {
    service: Arc<Service>,
    peer: Arc<Peer>,
    stream: S,
    max_idle: Duration,
    max_frame: usize,
    max_under_way: usize,
    input: BytesMut,
    /// When the last bytes came.
    heard: Instant,
    under_way: VecDeque<UnderWay>,
    output: Output,
    /// The last read filled its buffer, so a larger one will pay.
    busy: bool,
}

/// A request whose answer has not been handed to the output.
struct UnderWay {
    request: Request,
    answer: Answer,
    /// While it waits for something.
    parked: Option<Inside>,
    _memory: OwnedSemaphorePermit,
}

/// What is counted of a request.
#[derive(Clone, Copy)]
struct Request {
    row: usize,
    version: i16,
    arrived: Instant,
    started: Instant,
    /// When it first had to wait, if it did.
    parked: Instant,
    ready: Instant,
}

enum Answer {
    Pending(InFlight),
    Ready(Handled<Outgoing>),
}

/// What the next bytes of the input are.
enum Next {
    /// A whole frame of this size behind its length.
    Whole(usize),
    /// Part of a frame; this many bytes more would complete it.
    Partial(usize),
    /// Nothing.
    Empty,
}

impl<S: Stream> Connection<S> {
    async fn run(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            self.start_all().await?;
            if self.output.left() > 0 {
                self.write().await?;
                continue; // a full output may have kept whole frames waiting
            }
            self.wait().await?;
        }
    }

    /// Answers what is under way, and nothing more.
    async fn finish(&mut self) -> Result<(), End> {
        while !self.under_way.is_empty() {
            self.finish_oldest().await?;
            self.write().await?;
        }
        self.write().await
    }

    /// Starts every whole request in the input, as far as limits allow; collects the answers that are ready.
    async fn start_all(&mut self) -> Result<(), End> {
        while self.output.left() < WRITE_AT && self.under_way.len() < self.max_under_way {
            let Next::Whole(size) = self.next()? else { break };
            let memory = self.memory(size).await?;
            let frame = self.input.split_to(size + 4).freeze().slice(4..);
            self.start(frame, memory).await?;
            self.collect()?;
        }
        Ok(())
    }

    fn next(&self) -> Result<Next, End> {
        let Some(prefix) = self.input.first_chunk::<4>() else {
            return Ok(if self.input.is_empty() { Next::Empty } else { Next::Partial(4 - self.input.len()) });
        };
        let size = frame_len(*prefix, self.max_frame).map_err(|e| End::Refused(impossible(e, *prefix)))?;
        match (size + 4).saturating_sub(self.input.len()) {
            0 => Ok(Next::Whole(size)),
            missing => Ok(Next::Partial(missing)),
        }
    }

    /// Takes the frame's share of the memory that all requests together may hold.
    async fn memory(&mut self, size: usize) -> Result<OwnedSemaphorePermit, End> {
        let (budget, units) = self.service.broker.request_memory.share(size);
        if let Ok(permit) = budget.clone().try_acquire_many_owned(units) {
            return Ok(permit);
        }
        let _queued = self.service.broker.metrics.queued().enter();
        // Answers give memory back, so they must go on leaving while this request waits for its share.
        while !self.under_way.is_empty() {
            self.finish_oldest().await?;
            self.write().await?;
            if let Ok(permit) = budget.clone().try_acquire_many_owned(units) {
                return Ok(permit);
            }
        }
        budget.acquire_many_owned(units).await.map_err(|_| End::Shutdown)
    }

    async fn start(&mut self, frame: Bytes, memory: OwnedSemaphorePermit) -> Result<(), End> {
        let started = Instant::now();
        let d = api::dispatch(&self.service.broker, &self.peer, &frame).map_err(End::Refused)?;
        drop(frame);
        let (row, version, arrived) = (d.row, d.version, self.heard);
        let request = Request { row, version, arrived, started, parked: started, ready: started };
        let answer = Answer::Pending(d.answer);
        let mut next = UnderWay { request, answer, parked: None, _memory: memory };
        poll_fn(|cx| Poll::Ready(next.poll(cx))).await?;
        if matches!(next.answer, Answer::Pending(_)) {
            next.request.parked = Instant::now();
            next.parked = self.service.meters.parked(row, version);
        } else {
            next.request.parked = next.request.ready;
        }
        self.under_way.push_back(next);
        Ok(())
    }

    /// Moves finished answers to the output, oldest first, up to the first that is not finished.
    fn collect(&mut self) -> Result<(), End> {
        while let Some(UnderWay { answer: Answer::Ready(_), .. }) = self.under_way.front() {
            let Some(done) = self.under_way.pop_front() else { break };
            let (request, meters) = (done.request, &self.service.meters);
            let answered = |error| meters.answered(request.row, request.version, error);
            match done.answer {
                Answer::Ready(Ok(response)) => {
                    answered(response.error.map(ErrorCode::name));
                    let broker = &self.service.broker;
                    let origin = |chunk: &Bytes| S::SENDS_FILES.then(|| broker.origin(chunk)).flatten();
                    self.output.push(response.chunks, request, origin);
                }
                Answer::Ready(Err(NoAnswer::Close(why))) => return Err(End::Refused(why)),
                Answer::Ready(Err(NoAnswer::Silent)) => {
                    answered(None);
                    meters.sent(request.row, request.version, &request.phases(request.ready, request.ready));
                }
                Answer::Pending(_) => {}
            }
        }
        Ok(())
    }

    /// Waits for the oldest request and moves its answer to the output.
    async fn finish_oldest(&mut self) -> Result<(), End> {
        if !self.under_way.is_empty() {
            poll_fn(|cx| poll_oldest(&mut self.under_way, &self.peer, cx)).await?;
        }
        self.collect()
    }

    /// Waits until there is something to do: bytes from the client, or the oldest answer.
    async fn wait(&mut self) -> Result<(), End> {
        let next = self.next()?;
        if self.under_way.len() >= self.max_under_way {
            return self.finish_oldest().await;
        }
        match next {
            Next::Whole(_) => return self.finish_oldest().await,
            // The buffer grows as bytes arrive, not as lengths promise.
            Next::Partial(missing) => {
                self.input.reserve((missing + 4).max(BUSY_BUFFER).min(self.input.len().max(BUSY_BUFFER)));
            }
            Next::Empty => self.input.reserve(if self.busy { BUSY_BUFFER } else { IDLE_BUFFER }),
        }
        let stalled = matches!(next, Next::Partial(_));
        if self.under_way.is_empty() {
            return self.read(stalled).await;
        }
        tokio::select! {
            done = poll_fn(|cx| poll_oldest(&mut self.under_way, &self.peer, cx)) => { done?; self.collect() }
            read = self.stream.read_buf(&mut self.input) => self.has_read(read?),
        }
    }

    /// Reads when nothing else can happen; a quiet connection gives its large buffer back first.
    async fn read(&mut self, stalled: bool) -> Result<(), End> {
        let patience = if stalled { STALLED } else { QUIET.min(self.max_idle) };
        let read = match timeout(patience, self.stream.read_buf(&mut self.input)).await {
            Ok(read) => read?,
            Err(_) if stalled => return Err(End::Refused("a request was left unfinished".to_owned())),
            Err(_) => {
                (self.input, self.busy) = (BytesMut::with_capacity(IDLE_BUFFER), false);
                let left = self.max_idle.saturating_sub(patience);
                match timeout(left, self.stream.read_buf(&mut self.input)).await {
                    Ok(read) => read?,
                    Err(_) => return Err(End::Idle),
                }
            }
        };
        self.has_read(read)
    }

    fn has_read(&mut self, bytes: usize) -> Result<(), End> {
        self.heard = Instant::now();
        self.busy |= self.input.len() == self.input.capacity();
        match (bytes, self.input.is_empty()) {
            (0, true) => Err(End::Closed),
            (0, false) => Err(End::Refused("the client closed in the middle of a request".to_owned())),
            _ => Ok(()),
        }
    }

    /// Writes all of the output. A client that takes nothing for too long is let go. Safe to drop half way:
    /// what was not written is still in the output.
    async fn write(&mut self) -> Result<(), End> {
        let began = Instant::now();
        self.output.begin();
        while self.output.left() > 0 {
            match timeout(STALLED, self.output.write_some(&mut self.stream)).await {
                Ok(Ok(0)) => return Err(End::Closed),
                Ok(wrote) => wrote?,
                Err(_) => return Err(End::Refused("the client does not take its responses".to_owned())),
            };
        }
        self.stream.flush().await?;
        let sent = Instant::now();
        for request in self.output.sent() {
            self.service.meters.sent(request.row, request.version, &request.phases(began, sent));
        }
        Ok(())
    }
}

/// Polls the oldest request, and when it is finished the next, up to the first that is not: what one sync has
/// made durable is told by one write. Those behind are left alone, unless they wait for their turn to append:
/// what they begin meanwhile shares its sync.
fn poll_oldest(
    under_way: &mut VecDeque<UnderWay>,
    peer: &Peer,
    cx: &mut TaskContext<'_>,
) -> Poll<Result<(), End>> {
    let mut finished = 0;
    for oldest in under_way.iter_mut() {
        if oldest.poll_ready(cx)?.is_pending() {
            break;
        }
        finished += 1;
    }
    if peer.order.is_queued() {
        for behind in under_way.iter_mut().skip(finished + 1) {
            let _ = behind.poll_ready(cx)?;
        }
    }
    if finished > 0 || under_way.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
}

impl Request {
    /// Where its time went: its answer's turn to be sent came at `began`, and the socket had it at `sent`.
    fn phases(&self, began: Instant, sent: Instant) -> Phases {
        Phases {
            request_queue: self.started - self.arrived,
            local: self.parked - self.started,
            remote: self.ready - self.parked,
            response_queue: began - self.ready,
            response_send: sent - began,
        }
    }
}

impl UnderWay {
    /// Polls the answer once; a panic in a handler ends this connection and nothing else.
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Result<(), End> {
        if let Answer::Pending(answer) = &mut self.answer {
            match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
                Ok(Poll::Ready(done)) => {
                    (self.answer, self.parked) = (Answer::Ready(done), None);
                    self.request.ready = Instant::now();
                }
                Ok(Poll::Pending) => {}
                Err(_) => {
                    let row = api::TABLE.get(self.request.row);
                    return Err(End::Panicked(row.map_or("", |row| row.name)));
                }
            }
        }
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), End>> {
        match self.poll(cx) {
            Ok(()) if matches!(self.answer, Answer::Pending(_)) => Poll::Pending,
            done => Poll::Ready(done),
        }
    }
}

/// The words for a frame whose size cannot be, with a hint for the two usual reasons.
fn impossible(error: FrameError, prefix: [u8; 4]) -> String {
    match &prefix {
        [0x16, 0x03, ..] => "a TLS client on a plaintext listener".to_owned(),
        b"GET " | b"POST" | b"HEAD" | b"PUT " => "an HTTP client on a Kafka listener".to_owned(),
        _ => error.to_string(),
    }
}
