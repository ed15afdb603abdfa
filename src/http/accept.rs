//! Accepts HTTP connections and bounds what each may cost: a number of them at a time, deadlines, and a limit
//! of bytes. This holds whatever a client does, before HTTP is even parsed.
//!
//! A new connection is always accepted: when all places are taken, the connection whose last byte moved
//! longest ago is closed. A probe of `/healthz` sends its request at once, so idle clients, however many,
//! cannot keep it from its answer.

use std::collections::HashMap;
use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

/// Connections at a time.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// How long a connection may be open.
const OPEN_MAX: Duration = Duration::from_secs(30);
/// From accepting a connection to the first byte of the response.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// How long the client may take nothing of a response.
const STALL_MAX: Duration = Duration::from_secs(5);
/// Bytes a client may send, headers and body together.
const BYTES_MAX: usize = 64 * 1024;
/// Bytes of a response that the system holds for a client that does not read. Left alone it is megabytes.
const SEND_BUFFER: usize = 64 * 1024;

/// Accepts connections.
pub(super) struct Acceptor {
    listener: TcpListener,
    open: Arc<Open>,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, open: Arc::default() }
    }
}

impl Listener for Acceptor {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // axum's own accept waits when descriptors run out instead of spinning.
        let (stream, from) = Listener::accept(&mut self.listener).await;
        // Without it the connection only costs more memory.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER);
        (self.open.admit(stream), from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The connections that are open.
#[derive(Default)]
struct Open {
    /// Numbers every event, so that the order of any two is known without a clock.
    events: AtomicU64,
    places: Mutex<HashMap<u64, Place>>,
}

/// What the acceptor knows of a connection.
struct Place {
    /// The number of the event in which a byte last moved.
    moved: Arc<AtomicU64>,
    /// Dropped to close the connection.
    _close: oneshot::Sender<()>,
}

impl Open {
    /// Takes a connection in, and closes the one that is idle longest if that is one too many.
    fn admit(self: &Arc<Self>, stream: TcpStream) -> Connection {
        let id = self.next();
        let moved = Arc::new(AtomicU64::new(id));
        let (close, closed) = oneshot::channel();
        let mut places = self.places.lock();
        if places.len() >= CONNECTIONS_MAX {
            let idle = places.iter().min_by_key(|(_, place)| place.moved.load(Ordering::Relaxed));
            if let Some(idle) = idle.map(|(id, _)| *id) {
                places.remove(&idle);
            }
        }
        places.insert(id, Place { moved: moved.clone(), _close: close });
        drop(places);
        let now = Instant::now();
        let deadline = now + REQUEST_MAX;
        Connection {
            stream,
            end: now + OPEN_MAX,
            timer: Box::pin(sleep_until(deadline)),
            closed: Some(closed),
            bytes_left: BYTES_MAX,
            moved,
            id,
            open: self.clone(),
        }
    }

    fn next(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed)
    }
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    /// When it must be over, whatever moves.
    end: Instant,
    /// When it must be over unless something moves.
    timer: Pin<Box<Sleep>>,
    /// None once the acceptor has closed it.
    closed: Option<oneshot::Receiver<()>>,
    bytes_left: usize,
    moved: Arc<AtomicU64>,
    id: u64,
    open: Arc<Open>,
}

impl Connection {
    /// Fails once its time is over or its place was given to another; registers to be woken by either.
    fn may_go_on(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.closed.as_mut().is_none_or(|closed| Pin::new(closed).poll(cx).is_ready()) {
            self.closed = None;
            return Err(Error::new(ErrorKind::ConnectionAborted, "closed to make room for another"));
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Ready(()) => Err(Error::new(ErrorKind::TimedOut, "the client is too slow")),
            Poll::Pending => Ok(()),
        }
    }

    fn note_moved(&self) {
        self.moved.store(self.open.next(), Ordering::Relaxed);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.places.lock().remove(&self.id);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.may_go_on(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        match self.bytes_left.checked_sub(buf.filled().len() - before) {
            Some(left) => self.bytes_left = left,
            None => return Poll::Ready(Err(Error::new(ErrorKind::InvalidData, "the request is too long"))),
        }
        self.note_moved();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.may_go_on(cx)?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.note_moved();
        let deadline = self.end.min(Instant::now() + STALL_MAX);
        self.timer.as_mut().reset(deadline);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn pair() -> (Acceptor, Connection, TcpStream) {
        let mut acceptor = Acceptor::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let client = TcpStream::connect(acceptor.local_addr().unwrap()).await.unwrap();
        let (connection, _) = acceptor.accept().await;
        (acceptor, connection, client)
    }

    // Clients that asked for /metrics and did not read held their connections, and the page, for 30 s.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_closed() {
        let (_acceptor, mut connection, _client) = pair().await;
        let began = Instant::now();
        let error = loop {
            if let Err(error) = connection.write_all(&[b'x'; 4096]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), STALL_MAX.as_secs());
    }

    // One byte each few seconds kept a request under way forever.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_trickles_in_is_closed() {
        let (_acceptor, mut connection, mut client) = pair().await;
        let began = Instant::now();
        tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let error = loop {
            if let Err(error) = connection.read_u8().await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), REQUEST_MAX.as_secs());
    }

    #[tokio::test]
    async fn the_connection_idle_longest_makes_room() {
        let (mut acceptor, mut first, mut client) = pair().await;
        let mut others = Vec::new();
        for _ in 1..CONNECTIONS_MAX {
            let client = TcpStream::connect(acceptor.local_addr().unwrap()).await.unwrap();
            others.push((acceptor.accept().await.0, client));
        }
        client.write_all(b"x").await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), b'x');
        let one_more = TcpStream::connect(acceptor.local_addr().unwrap()).await.unwrap();
        let _one_more = (acceptor.accept().await.0, one_more);
        let error = others[0].0.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        assert_eq!(acceptor.open.places.lock().len(), CONNECTIONS_MAX);
        client.write_all(b"y").await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), b'y', "it sent something since");
        drop((others, first));
        assert_eq!(acceptor.open.places.lock().len(), 1);
    }
}
