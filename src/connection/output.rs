//! What waits to be written to a client, and how: small chunks of many responses by one vectored write, and
//! large ones that lie in an open file from there, so that nobody copies them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use braid_storage::Origin;
use bytes::{Buf, Bytes};
use rustix::fs::sendfile;
use rustix::net::{SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, Interest};
use tokio::net::TcpStream;

use super::request::Request;
use crate::metrics::Level;

/// From this size on, a call of its own costs less than the copy that it saves.
const FROM_FILE: usize = 16 << 10;
/// Chunks in front of one from a file that are sent by one call; a response has a few at most.
const AHEAD: usize = 16;

/// A client's end of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Can it be sent bytes from a file?
    const SENDS_FILES: bool = false;

    /// Like `poll_write`, of `len` bytes that lie in a file.
    fn poll_send(&mut self, _: &mut Context<'_>, _from: &Origin, _len: usize) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Like `poll_write_vectored`, of bytes that need not leave before those that will be sent next.
    fn poll_send_ahead(&mut self, _: &mut Context<'_>, _bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// A wire in memory.
impl Stream for DuplexStream {}

impl Stream for TcpStream {
    const SENDS_FILES: bool = true;

    fn poll_send(&mut self, cx: &mut Context<'_>, from: &Origin, len: usize) -> Poll<io::Result<usize>> {
        let send = |socket: &TcpStream| {
            let mut at = from.at;
            match sendfile(socket, &*from.file, Some(&mut at), len)? {
                // The file ends before what is promised to the client, which a log never does.
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                sent => Ok(sent),
            }
        };
        poll_socket(self, cx, send)
    }

    fn poll_send_ahead(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        poll_socket(self, cx, |socket| Ok(sendmsg(socket, bytes, &mut Default::default(), flags)?))
    }
}

/// Tries until the socket takes something, or is full.
fn poll_socket(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    send: impl Fn(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        match socket.try_io(Interest::WRITABLE, || send(socket)) {
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            sent => return Poll::Ready(sent),
        }
    }
}

/// A part of a response.
struct Chunk {
    bytes: Bytes,
    /// Where it is to be sent from, if not from memory.
    from: Option<Origin>,
}

impl Chunk {
    fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
        if let Some(from) = &mut self.from {
            from.at += bytes as u64;
        }
    }
}

/// The queue of one connection.
pub(super) struct Output {
    chunks: VecDeque<Chunk>,
    left: usize,
    /// The requests that are answered by it.
    answers: Vec<Request>,
    /// How many of them are counted among all that wait.
    counted: usize,
    leaving: Level,
}

impl Output {
    pub(super) fn new(leaving: Level) -> Output {
        Output { chunks: VecDeque::new(), left: 0, answers: Vec::new(), counted: 0, leaving }
    }

    /// Bytes that wait.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Adds a response. `origin` tells where a large chunk may be sent from.
    pub(super) fn push(
        &mut self,
        chunks: Vec<Bytes>,
        request: Request,
        origin: impl Fn(&Bytes) -> Option<Origin>,
    ) {
        for bytes in chunks {
            self.left += bytes.len();
            let from = if bytes.len() >= FROM_FILE { origin(&bytes) } else { None };
            self.chunks.push_back(Chunk { bytes, from });
        }
        self.answers.push(request);
    }

    /// The writing begins.
    pub(super) fn begin(&mut self) {
        self.leaving.add((self.answers.len() - self.counted) as i64);
        self.counted = self.answers.len();
    }

    /// Writes what the stream takes at once, and forgets it; how many bytes that were. What was not written
    /// is still here if this is dropped half way.
    pub(super) async fn write_some(&mut self, stream: &mut impl Stream) -> io::Result<usize> {
        let sent = match self.chunks.iter().position(|chunk| chunk.from.is_some()) {
            None => return stream.write_buf(self).await,
            Some(0) => {
                let Some(Chunk { bytes, from: Some(from) }) = self.chunks.front() else { return Ok(0) };
                poll_fn(|cx| stream.poll_send(cx, from, bytes.len())).await?
            }
            Some(ahead) => {
                let mut slices = [IoSlice::new(&[]); AHEAD];
                let count = self.chunks_vectored(&mut slices).min(ahead);
                let slices = slices.get(..count).unwrap_or_default();
                poll_fn(|cx| stream.poll_send_ahead(cx, slices)).await?
            }
        };
        self.advance(sent);
        Ok(sent)
    }

    /// All was written: the requests that were answered.
    pub(super) fn sent(&mut self) -> std::vec::Drain<'_, Request> {
        self.leaving.add(-(self.counted as i64));
        self.counted = 0;
        self.answers.drain(..)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.leaving.add(-(self.counted as i64));
    }
}

/// As far as it is written from memory.
impl Buf for Output {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| &chunk.bytes)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let in_memory = self.chunks.iter().take_while(|chunk| chunk.from.is_none());
        into.iter_mut().zip(in_memory).map(|(slice, chunk)| *slice = IoSlice::new(&chunk.bytes)).count()
    }

    fn advance(&mut self, mut bytes: usize) {
        self.left -= bytes;
        while let Some(first) = self.chunks.front_mut() {
            if bytes < first.bytes.len() {
                return first.advance(bytes);
            }
            bytes -= first.bytes.len();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use braid_storage::{Disk, RealDisk};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    /// What arrives at the other end of a stream when these chunks are written.
    async fn written(
        mut stream: impl Stream,
        mut other_end: impl AsyncRead + Unpin,
        chunks: &[Bytes],
        disk: &RealDisk,
    ) -> Vec<u8> {
        let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
        let mut output = Output::new(metrics.leaving().clone());
        let now = Instant::now();
        let request =
            Request { row: 0, version: 0, arrived: now, started: now, parked: now, ready: now, memory: 0 };
        output.push(chunks.to_vec(), request, |chunk| disk.origin(chunk));
        let write = async {
            output.begin();
            while output.left() > 0 {
                assert!(output.write_some(&mut stream).await.unwrap() > 0);
            }
            assert_eq!(output.sent().count(), 1);
            drop(stream);
        };
        let mut arrived = Vec::new();
        let (_, read) = tokio::join!(write, other_end.read_to_end(&mut arrived));
        read.unwrap();
        arrived
    }

    #[tokio::test]
    async fn what_lies_in_a_file_arrives_in_its_place_between_what_does_not() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), RealDisk::default());
        let file = disk.open(&dir.path().join("log"), true, 4 << 20).unwrap();
        let log: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        file.append(0, &mut [IoSlice::new(&log)]).unwrap();
        let small = |text: &'static [u8]| Bytes::from_static(text);
        let large = file.read(1000, 2_000_000).unwrap();
        assert!(disk.origin(&large).is_some());
        let chunks = [
            small(b"size"),
            small(b"header"),
            large.clone(),
            small(b"next"),
            file.read(7, 100).unwrap(),
            large.slice(5..FROM_FILE + 5),
            small(b"end"),
        ];
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let dial = TcpStream::connect(listener.local_addr().unwrap());
        let (ours, theirs) = tokio::join!(listener.accept(), dial);
        let over_tcp = written(ours.unwrap().0, theirs.unwrap(), &chunks, &disk).await;
        assert!(over_tcp == chunks.concat(), "{} bytes of {}", over_tcp.len(), chunks.concat().len());
    }

    #[tokio::test]
    async fn a_stream_that_is_sent_no_files_is_sent_the_bytes() {
        let (ours, theirs) = tokio::io::duplex(1000);
        let chunks = [Bytes::from_static(b"header"), Bytes::from(vec![7; 1 << 20])];
        assert!(written(ours, theirs, &chunks, &RealDisk::default()).await == chunks.concat());
    }
}
