//! A connection: many small frames by one read, one write for their answers, and files sent without a copy.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use braid_bench::wire::frame_length;
use rustix::fs::sendfile;
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::api::{Broker, Fetch, Outcome, Piece};
use crate::log::{Pending, Slice};

/// What is read at once, at least.
const READ: usize = 64 << 10;

/// Bytes that have arrived and are not handled yet.
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The length of the first frame, if it is whole.
    fn frame(&self) -> Option<usize> {
        let here = &self.bytes[self.start..self.end];
        frame_length(here).filter(|length| here.len() - 4 >= *length)
    }

    /// Room to read into: for the rest of a large frame and the next one's length, or for many small ones.
    fn room(&mut self) -> &mut [u8] {
        let have = self.end - self.start;
        let frame = frame_length(&self.bytes[self.start..self.end]).map_or(0, |length| 4 + length);
        let wanted = (frame + 4).max(have + READ);
        if self.start + wanted > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, have);
            self.bytes.resize(self.bytes.len().max(wanted), 0);
        }
        &mut self.bytes[self.end..self.start + wanted]
    }
}

/// Serves a client until it leaves.
pub(crate) async fn serve(broker: &Broker, mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Buffer { bytes: vec![0; 2 * READ], start: 0, end: 0 };
    let mut out = Vec::new();
    let mut pending = Vec::new();
    loop {
        while let Some(length) = buffer.frame() {
            let frame = buffer.start + 4..buffer.start + 4 + length;
            buffer.start = frame.end;
            let outcome = broker.handle(&mut buffer.bytes, frame, &mut out, &mut pending)?;
            if let Outcome::Fetch(fetch) = outcome {
                settle(broker, &mut socket, &buffer, &mut out, &mut pending).await?;
                wait(broker, &fetch).await;
                send_pieces(&socket, broker.fetch(&fetch)).await?;
            }
        }
        settle(broker, &mut socket, &buffer, &mut out, &mut pending).await?;
        let count = socket.read(buffer.room()).await?;
        if count == 0 {
            return Ok(());
        }
        buffer.end += count;
    }
}

/// Writes what was appended, then says so.
async fn settle(
    broker: &Broker,
    socket: &mut TcpStream,
    buffer: &Buffer,
    out: &mut Vec<u8>,
    pending: &mut Vec<Pending>,
) -> io::Result<()> {
    broker.log.flush(&buffer.bytes, pending)?;
    if !out.is_empty() {
        socket.write_all(out).await?;
        out.clear();
    }
    Ok(())
}

/// Waits until there is something to fetch, or its time is over. Only the first partition is watched.
async fn wait(broker: &Broker, fetch: &Fetch) {
    let Some((partition, _, _)) = fetch.partitions.first() else { return };
    if broker.has_more(fetch) {
        return;
    }
    let deadline = Instant::now() + Duration::from_millis(fetch.wait_ms);
    let partition = &broker.log.partitions[*partition];
    partition.waiters.fetch_add(1, Ordering::SeqCst);
    loop {
        let mut grown = std::pin::pin!(partition.grown.notified());
        grown.as_mut().enable();
        if broker.has_more(fetch) || timeout_at(deadline, grown).await.is_err() {
            break;
        }
    }
    partition.waiters.fetch_sub(1, Ordering::SeqCst);
}

async fn send_pieces(socket: &TcpStream, pieces: Vec<Piece>) -> io::Result<()> {
    let count = pieces.len();
    for (at, piece) in pieces.into_iter().enumerate() {
        match piece {
            Piece::Bytes(bytes) => {
                let more = if at + 1 < count { SendFlags::MORE } else { SendFlags::empty() };
                send_bytes(socket, &bytes, more | SendFlags::NOSIGNAL).await?;
            }
            Piece::File(slice) => send_slice(socket, &slice).await?,
        }
    }
    Ok(())
}

async fn send_bytes(socket: &TcpStream, mut bytes: &[u8], flags: SendFlags) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = socket.async_io(Interest::WRITABLE, || Ok(send(socket, bytes, flags)?)).await?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

async fn send_slice(socket: &TcpStream, slice: &Slice) -> io::Result<()> {
    let mut position = slice.position;
    let end = slice.position + slice.length as u64;
    while position < end {
        let mut from = position;
        let rest = (end - position) as usize;
        let send = || Ok(sendfile(socket, &slice.segment.file, Some(&mut from), rest)?);
        let sent = socket.async_io(Interest::WRITABLE, send).await?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        position += sent as u64;
    }
    Ok(())
}
