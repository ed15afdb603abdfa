//! One client's connection: frames in, frames out, in order.
//!
//! A single task reads, dispatches and writes. All complete requests that have arrived are started before any
//! answer is written, and all answers that are ready leave in one vectored write. Each request's future is
//! polled once as it arrives, which is its first phase (decode, check, append); afterwards only the oldest is
//! polled, so answers leave in request order and a parked Fetch holds back later ones, as in Kafka.

mod input;
mod output;
mod request;

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use braid_protocol::ErrorCode;
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::api::{self, Dispatched, NoAnswer, Service};
use crate::broker::{Held, Peer};
use crate::metrics::LONG_STEP;
use input::{Alive, Input, Next, unfinished};
use output::Output;
pub use output::Stream;
use request::{Answer, Request, UnderWay, poll_oldest};

/// How long a client may take to send, or to read, [`PROGRESS`] bytes while it leaves a frame unfinished or a
/// response unread.
const STALLED: Duration = Duration::from_secs(30);
/// See [`STALLED`].
const PROGRESS: usize = 64 << 10;
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
    let peer = Arc::new(peer);
    let held = Held::new(service.broker.memory.clone(), peer.clone());
    let mut connection = Connection {
        stream,
        peer: peer.clone(),
        max_idle: Duration::from_millis(config.connections_max_idle_ms.max(0) as u64),
        max_under_way: config.queued_max_requests.max(1) as usize,
        input: Input::new(config.socket_request_max_bytes.max(0) as usize),
        service,
        held,
        under_way: VecDeque::new(),
        output,
    };
    // The evictor wakes this task.
    let evicted = poll_fn(|_| if peer.evicted.get() { Poll::Ready(()) } else { Poll::Pending });
    let end = tokio::select! {
        Err(ended) = peer.syncing(connection.run()) => ended,
        _ = stop.wait_for(|stop| *stop) => End::Shutdown,
        () = evicted => End::Refused(format!(
            "memory is short, and this connection held {} bytes without progress",
            connection.held.bytes(),
        )),
    };
    if matches!(end, End::Shutdown) {
        // What was appended deserves its acknowledgement; a parked fetch loses nothing by being dropped.
        let _ = tokio::time::timeout(LAST_ANSWERS, peer.syncing(connection.finish())).await;
    }
    end
}

struct Connection<S> {
    service: Arc<Service>,
    peer: Arc<Peer>,
    stream: S,
    max_idle: Duration,
    max_under_way: usize,
    input: Input,
    /// The memory that all of this takes.
    held: Held,
    under_way: VecDeque<UnderWay>,
    output: Output,
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
        while self.output.left() < WRITE_AT && self.may_start() {
            let Next::Whole(size) = self.input.next()? else { break };
            let arrived = self.input.heard();
            let (frame, alive) = self.input.take(size, &self.held);
            self.start(frame, alive, arrived).await?;
            self.collect()?;
        }
        Ok(())
    }

    /// May another request be started before the oldest is answered?
    fn may_start(&self) -> bool {
        match self.under_way.back() {
            None => true,
            Some(last) => {
                self.under_way.len() < self.max_under_way
                    && self.held.may_pipeline()
                    && !(last.alone && last.is_pending())
            }
        }
    }

    /// Decodes and starts a request, as soon as there is memory for what it is decoded to and for its answer.
    async fn start(&mut self, frame: Bytes, alive: Option<Alive>, arrived: Instant) -> Result<(), End> {
        let started = Instant::now();
        let mut d = decode(&self.service, &self.peer, &frame).await?;
        if !self.held.try_grow(d.memory) {
            let memory = d.memory;
            // What was decoded takes the memory that is waited for.
            drop(d);
            self.acquire(memory).await?;
            d = decode(&self.service, &self.peer, &frame).await?;
            self.held.change(memory, d.memory);
        }
        self.held.register_if_large().await;
        let (row, version, memory) = (d.row, d.version, d.memory + frame.len());
        let request = Request { row, version, arrived, started, parked: started, ready: started, memory };
        let size = frame.len();
        // From here on the frame is there as long as the request refers to it.
        drop(frame);
        let frame = alive.map(|alive| (alive, size));
        let answer = Answer::Pending(d.answer);
        let mut next = UnderWay { request, answer, parked: None, alone: d.alone, frame };
        poll_fn(|cx| Poll::Ready(next.poll(cx, &self.held))).await?;
        if next.is_pending() {
            next.request.parked = Instant::now();
            next.parked = self.service.meters.parked(row, version);
        } else {
            next.request.parked = next.request.ready;
        }
        if next.request.parked - started >= LONG_STEP {
            let api = api::TABLE.get(row).map_or("", |row| row.name);
            self.service.broker.metrics.long_step(api);
        }
        self.under_way.push_back(next);
        Ok(())
    }

    /// Waits until there is memory for this many bytes more. Answers go on leaving meanwhile: they give
    /// memory back.
    async fn acquire(&mut self, bytes: usize) -> Result<(), End> {
        let _queued = self.service.broker.metrics.queued().enter();
        while !self.under_way.is_empty() {
            tokio::select! {
                done = poll_fn(|cx| poll_oldest(&mut self.under_way, &self.peer, &self.held, cx)) => done?,
                () = self.held.grow(bytes) => return Ok(()),
            }
            self.collect()?;
            self.write().await?;
        }
        self.held.grow(bytes).await;
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
            poll_fn(|cx| poll_oldest(&mut self.under_way, &self.peer, &self.held, cx)).await?;
        }
        self.collect()
    }

    /// Waits until there is something to do: bytes from the client, or the oldest answer.
    async fn wait(&mut self) -> Result<(), End> {
        if matches!(self.input.next()?, Next::Whole(_)) || !self.may_start() {
            return self.finish_oldest().await;
        }
        if self.under_way.is_empty() {
            return self.input.read_patiently(&mut self.stream, &self.held, self.max_idle).await;
        }
        let patience = self.input.patience();
        tokio::select! {
            done = poll_fn(|cx| poll_oldest(&mut self.under_way, &self.peer, &self.held, cx)) => done?,
            read = self.input.read(&mut self.stream, &self.held) => read?,
            () = until(patience) => return Err(unfinished()),
        }
        self.collect()
    }

    /// Writes all of the output. A client that does not read is closed. Safe to drop half way: what was not
    /// written is still in the output.
    async fn write(&mut self) -> Result<(), End> {
        let began = Instant::now();
        let (mut since, mut taken) = (began, 0);
        self.held.register_if_large().await;
        self.output.begin();
        while self.output.left() > 0 {
            let wrote = match timeout_at(since + STALLED, self.output.write_some(&mut self.stream)).await {
                Ok(Ok(0)) => return Err(End::Closed),
                Ok(wrote) => wrote?,
                Err(_) => return Err(End::Refused("the client does not read its responses".to_owned())),
            };
            self.held.moved(wrote);
            taken += wrote;
            if taken >= PROGRESS && self.output.left() > 0 {
                (since, taken) = (Instant::now(), 0);
            }
        }
        self.stream.flush().await?;
        let sent = Instant::now();
        for request in self.output.sent() {
            self.held.shrink(request.memory);
            self.service.meters.sent(request.row, request.version, &request.phases(began, sent));
        }
        Ok(())
    }
}

/// Decodes a request, elsewhere if that takes long.
async fn decode(service: &Arc<Service>, peer: &Arc<Peer>, frame: &Bytes) -> Result<Dispatched, End> {
    let decoded = if api::decodes_long(frame) {
        let (shared, peer, frame) = (service.clone(), peer.clone(), frame.clone());
        let decode = async move { api::dispatch(&shared, &peer, &frame) };
        // In a box, because the future of every other request would have to be as large.
        Box::pin(service.broker.workers.run(decode)).await
    } else {
        api::dispatch(service, peer, frame)
    };
    let decoded = decoded.map_err(End::Refused)?;
    match decoded.memory <= service.broker.memory.largest() {
        true => Ok(decoded),
        false => Err(End::Refused(format!(
            "a request that may take {} bytes of memory with its answer, more than \
             queued.max.request.bytes allows; ask for less at a time",
            decoded.memory,
        ))),
    }
}

/// Completes at this time, or never.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
