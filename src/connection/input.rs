//! What has arrived from a client: ordinary frames in one buffer, which is used again, large ones in memory
//! of their own, which is freed as soon as the request no longer needs it.
//!
//! Memory grows as bytes arrive, not as lengths promise, and each step is taken from the account of memory
//! first. A client that leaves a frame unfinished has to keep sending: [`PROGRESS`] bytes within [`STALLED`].

use std::sync::Arc;
use std::time::Duration;

use braid_protocol::frame::{FrameError, frame_len};
use bytes::{Bytes, BytesMut};
use memmap2::MmapMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout};

use super::{End, PROGRESS, STALLED};
use crate::broker::Held;

/// What an idle connection keeps for the next request; within its allowance of memory.
const IDLE_BUFFER: usize = 4 << 10;
/// The least that is asked of the socket at once while a connection is busy.
const BUSY_BUFFER: usize = 64 << 10;
/// Frames above this size get memory of their own.
const ORDINARY: usize = 2 << 20;
/// How long a connection is quiet before it gives its large buffer back.
const QUIET: Duration = Duration::from_secs(1);

/// Bytes of a frame's size.
const SIZE: usize = 4;

/// What the next bytes of the input are.
pub(super) enum Next {
    /// A whole frame of this size behind its length.
    Whole(usize),
    /// Part of a frame.
    Partial,
    /// Nothing.
    Empty,
}

/// The input of one connection.
pub(super) struct Input {
    buffer: BytesMut,
    /// Bytes of the account that the buffer takes; none while it is within the connection's allowance.
    buffer_held: usize,
    /// What is missing of the frame that has begun.
    missing: usize,
    large: Option<Large>,
    max_frame: usize,
    /// When the last bytes came.
    heard: Instant,
    /// While part of a frame is there: since when it is waited for, and how many bytes came since.
    waiting: Option<(Instant, usize)>,
    /// The last read filled the buffer, so a larger one will pay.
    busy: bool,
}

/// A frame that does not fit into the buffer, without its length.
struct Large {
    map: Map,
    arrived: usize,
    /// Bytes of the account that it takes; as many may have arrived.
    held: usize,
}

/// Memory of the system's, not of the allocator's: its pages come into being as they are used, it need not be
/// moved when it grows, and it is gone when it is dropped.
struct Map {
    bytes: MmapMut,
    alive: Alive,
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Tells whether a frame with memory of its own is still in memory.
#[derive(Clone, Default)]
pub(super) struct Alive(Arc<()>);

impl Alive {
    pub(super) fn is_gone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Input {
    pub(super) fn new(max_frame: usize) -> Input {
        Input {
            buffer: BytesMut::new(),
            buffer_held: 0,
            missing: 0,
            large: None,
            max_frame,
            heard: Instant::now(),
            waiting: None,
            busy: false,
        }
    }

    /// When the last bytes came.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// What comes next; an error for a length that cannot be.
    pub(super) fn next(&mut self) -> Result<Next, End> {
        let next = self.look()?;
        match next {
            Next::Partial => self.waiting = self.waiting.or(Some((Instant::now(), 0))),
            Next::Whole(_) | Next::Empty => self.waiting = None,
        }
        Ok(next)
    }

    fn look(&mut self) -> Result<Next, End> {
        if let Some(large) = &self.large {
            let size = large.map.bytes.len();
            return Ok(if large.arrived == size { Next::Whole(size) } else { Next::Partial });
        }
        self.missing = 0;
        let Some(prefix) = self.buffer.first_chunk::<SIZE>() else {
            return Ok(if self.buffer.is_empty() { Next::Empty } else { Next::Partial });
        };
        let size = frame_len(*prefix, self.max_frame).map_err(|e| End::Refused(impossible(e, *prefix)))?;
        if self.buffer.len() >= size + SIZE {
            return Ok(Next::Whole(size));
        }
        self.missing = size + SIZE - self.buffer.len();
        if size > ORDINARY {
            let mut map = Map { bytes: MmapMut::map_anon(size)?, alive: Alive::default() };
            let begin = self.buffer.split();
            let begin = begin.get(SIZE..).unwrap_or_default();
            map.bytes.iter_mut().zip(begin).for_each(|(to, from)| *to = *from);
            self.large = Some(Large { map, arrived: begin.len(), held: 0 });
        }
        Ok(Next::Partial)
    }

    /// Takes the frame of this size that [`Input::next`] has found; the account holds it from now on. For one
    /// with memory of its own, also what tells whether that is gone.
    pub(super) fn take(&mut self, size: usize, held: &Held) -> (Bytes, Option<Alive>) {
        self.waiting = None;
        match self.large.take() {
            Some(large) => {
                held.change(large.held, size);
                let alive = large.map.alive.clone();
                (Bytes::from_owner(large.map), Some(alive))
            }
            None => {
                held.change(0, size);
                (self.buffer.split_to(size + SIZE).freeze().slice(SIZE..), None)
            }
        }
    }

    /// Reads some bytes, as soon as there is memory for them. Nothing is lost if this is dropped half way.
    pub(super) async fn read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        held: &Held,
    ) -> Result<(), End> {
        let read = match &mut self.large {
            Some(large) => {
                large.make_room(held).await;
                let room = large.map.bytes.get_mut(large.arrived..large.held).unwrap_or_default();
                let read = stream.read(room).await?;
                large.arrived += read;
                read
            }
            None => {
                self.make_room(held).await;
                stream.read_buf(&mut self.buffer).await?
            }
        };
        self.has_read(read, held)
    }

    /// Makes room in the buffer: for the rest of a frame, in steps that double; or as much as pays, if there
    /// is memory.
    async fn make_room(&mut self, held: &Held) {
        let (arrived, small) = (self.buffer.len(), IDLE_BUFFER.saturating_sub(self.buffer.len()));
        if arrived + self.missing > IDLE_BUFFER && arrived >= IDLE_BUFFER / 2 {
            let step = self.missing.max(BUSY_BUFFER).min(arrived.max(BUSY_BUFFER));
            held.grow((arrived + step).saturating_sub(self.buffer_held)).await;
            self.buffer_held = self.buffer_held.max(arrived + step);
            return self.buffer.reserve(step);
        }
        let more = (arrived + BUSY_BUFFER).saturating_sub(self.buffer_held);
        if self.busy && held.try_grow(more) {
            self.buffer_held += more;
            return self.buffer.reserve(BUSY_BUFFER);
        }
        if self.buffer.capacity() - arrived < small.max(1) {
            self.buffer.reserve(small.max(SIZE));
        }
    }

    fn has_read(&mut self, bytes: usize, held: &Held) -> Result<(), End> {
        self.heard = Instant::now();
        held.moved(bytes);
        if let Some((since, came)) = &mut self.waiting {
            *came += bytes;
            if *came >= PROGRESS {
                (*since, *came) = (self.heard, 0);
            }
        }
        self.busy |= self.buffer.len() == self.buffer.capacity() || self.large.is_some();
        match (bytes, self.buffer.is_empty() && self.large.is_none()) {
            (0, true) => Err(End::Closed),
            (0, false) => Err(End::Refused("the client closed in the middle of a request".to_owned())),
            _ => Ok(()),
        }
    }

    /// Until when the rest of a frame is waited for; none if nothing is missing.
    pub(super) fn patience(&self) -> Option<Instant> {
        self.waiting.map(|(since, _)| since + STALLED)
    }

    /// Reads when nothing else can happen, for as long as the client may be silent. A quiet connection gives
    /// its large buffer back first.
    pub(super) async fn read_patiently(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        held: &Held,
        max_idle: Duration,
    ) -> Result<(), End> {
        if let Some(until) = self.patience() {
            return match tokio::time::timeout_at(until, self.read(stream, held)).await {
                Ok(read) => read,
                Err(_) => Err(unfinished()),
            };
        }
        let quiet = QUIET.min(max_idle);
        if let Ok(read) = timeout(quiet, self.read(stream, held)).await {
            return read;
        }
        (self.buffer, self.busy) = (BytesMut::with_capacity(IDLE_BUFFER), false);
        held.shrink(std::mem::take(&mut self.buffer_held));
        let left = max_idle.saturating_sub(quiet);
        timeout(left, self.read(stream, held)).await.unwrap_or(Err(End::Idle))
    }
}

impl Large {
    /// Takes memory for as much as has arrived already, and so reads in steps that double.
    async fn make_room(&mut self, held: &Held) {
        if self.arrived < self.held {
            return;
        }
        // What came with the length is there already.
        held.change(self.held, self.arrived);
        self.held = self.arrived;
        let step = (self.map.bytes.len() - self.arrived).min(self.arrived.max(BUSY_BUFFER));
        held.grow(step).await;
        self.held += step;
        held.register_if_large().await;
    }
}

/// Why a connection ends that leaves a frame unfinished.
pub(super) fn unfinished() -> End {
    End::Refused("a request was left unfinished".to_owned())
}

/// The words for a frame whose size cannot be, with a hint for the two usual reasons.
fn impossible(error: FrameError, prefix: [u8; 4]) -> String {
    match &prefix {
        [0x16, 0x03, ..] => "a TLS client on a plaintext listener".to_owned(),
        b"GET " | b"POST" | b"HEAD" | b"PUT " => "an HTTP client on a Kafka listener".to_owned(),
        _ => error.to_string(),
    }
}
