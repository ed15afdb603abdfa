//! The requests of one connection that are under way, in the order in which they arrived.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::End;
use super::input::Alive;
use crate::api::{self, Handled, InFlight, Outgoing};
use crate::broker::{Held, Peer};
use crate::metrics::{Inside, Phases};

/// A request whose answer has not been handed to the output.
pub(super) struct UnderWay {
    pub(super) request: Request,
    pub(super) answer: Answer,
    /// While it waits for something.
    pub(super) parked: Option<Inside>,
    /// Nothing behind it may be started before it is done.
    pub(super) alone: bool,
    /// A frame with memory of its own, and its size, while the request refers to it.
    pub(super) frame: Option<(Alive, usize)>,
}

/// What is counted of a request.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) row: usize,
    pub(super) version: i16,
    pub(super) arrived: Instant,
    pub(super) started: Instant,
    /// When it first had to wait, if it did.
    pub(super) parked: Instant,
    pub(super) ready: Instant,
    /// Bytes of the account of memory that it takes, and later its answer.
    pub(super) memory: usize,
}

pub(super) enum Answer {
    Pending(InFlight),
    Ready(Handled<Outgoing>),
}

impl Request {
    /// Where its time went: its answer's turn to be sent came at `began`, and the socket had it at `sent`.
    pub(super) fn phases(&self, began: Instant, sent: Instant) -> Phases {
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
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, held: &Held) -> Result<(), End> {
        if let Answer::Pending(answer) = &mut self.answer {
            match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
                Ok(Poll::Ready(done)) => {
                    let memory = done.as_ref().map_or(0, |outgoing| outgoing.memory);
                    (self.answer, self.parked, self.frame) = (Answer::Ready(done), None, None);
                    self.holds(memory, held);
                    self.request.ready = Instant::now();
                }
                Ok(Poll::Pending) => {
                    // A parked request keeps a large frame only if it refers to it.
                    if let Some((_, size)) = self.frame.take_if(|(alive, _)| alive.is_gone()) {
                        self.holds(self.request.memory.saturating_sub(size), held);
                    }
                }
                Err(_) => {
                    let row = api::TABLE.get(self.request.row);
                    return Err(End::Panicked(row.map_or("", |row| row.name)));
                }
            }
        }
        Ok(())
    }

    fn holds(&mut self, bytes: usize, held: &Held) {
        held.change(self.request.memory, bytes);
        self.request.memory = bytes;
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>, held: &Held) -> Poll<Result<(), End>> {
        match self.poll(cx, held) {
            Ok(()) if self.is_pending() => Poll::Pending,
            done => Poll::Ready(done),
        }
    }

    /// Has it no answer yet?
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.answer, Answer::Pending(_))
    }
}

/// Polls the oldest request, and when it is finished the next, up to the first that is not: what one sync has
/// made durable is answered by one write. Those behind are left alone, unless they wait for their turn to
/// append: what they begin meanwhile shares its sync.
pub(super) fn poll_oldest(
    under_way: &mut VecDeque<UnderWay>,
    peer: &Peer,
    held: &Held,
    cx: &mut Context<'_>,
) -> Poll<Result<(), End>> {
    let mut finished = 0;
    for oldest in under_way.iter_mut() {
        if oldest.poll_ready(cx, held)?.is_pending() {
            break;
        }
        finished += 1;
    }
    if peer.order.is_queued() {
        for behind in under_way.iter_mut().skip(finished + 1) {
            let _ = behind.poll_ready(cx, held)?;
        }
    }
    if finished > 0 || under_way.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
}
