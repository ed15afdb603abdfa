//! One connection of a producer or of a consumer, without waiting: what can be sent or read now is.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};
use braid_bench::batch;
use braid_bench::wire::{CORRELATION, Reader, Writer, frame_length, key, request};

/// Room for answers, beyond the largest one that is expected.
const INPUT: usize = 64 << 10;

/// Bytes that have arrived, up to a few whole frames.
#[derive(Debug)]
struct Input {
    bytes: Vec<u8>,
    filled: usize,
}

impl Input {
    fn new(largest: usize) -> Self {
        Self { bytes: vec![0; largest + INPUT], filled: 0 }
    }

    /// Reads once; false if nothing was there.
    fn read(&mut self, mut socket: &TcpStream) -> Result<bool> {
        // A broker may send one batch that is larger than what was asked for.
        let needed = frame_length(&self.bytes[..self.filled]).unwrap_or(0) + INPUT;
        if needed > self.bytes.len() {
            self.bytes.resize(needed, 0);
        }
        match socket.read(&mut self.bytes[self.filled..]) {
            Ok(count) => {
                ensure!(count > 0, "the broker has closed a connection");
                self.filled += count;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands every whole frame to `take`, without its length.
    fn frames(&mut self, mut take: impl FnMut(&[u8])) {
        let mut at = 0;
        while let Some(length) = frame_length(&self.bytes[at..self.filled]) {
            let Some(frame) = self.bytes[at..self.filled].get(4..4 + length) else { break };
            take(frame);
            at += 4 + length;
        }
        self.bytes.copy_within(at..self.filled, 0);
        self.filled -= at;
    }
}

fn connect(addr: &str) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A connection that sends batches.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) socket: TcpStream,
    /// When each request in flight was due, in nanoseconds.
    pub(crate) in_flight: VecDeque<u64>,
    /// Whether a request is only partly sent.
    pub(crate) sending: bool,
    /// Requests begun.
    pub(crate) begun: usize,
    header: Vec<u8>,
    /// Bytes of the request, header and batch, that are sent.
    sent: usize,
    /// Where the header names the partition.
    partition_at: usize,
    input: Input,
}

impl Producer {
    /// A producer for batches of `size` bytes.
    pub(crate) fn connect(addr: &str, topic: &str, acks: i16, size: usize) -> Result<Self> {
        let mut header = request(key::PRODUCE, 7);
        header.i16(-1).i16(acks).i32(30_000).i32(1).string(topic.as_bytes()).i32(1);
        let partition_at = header.len();
        header.i32(0).length(size);
        header.close(0, size);
        Ok(Self {
            socket: connect(addr)?,
            in_flight: VecDeque::new(),
            sending: false,
            begun: 0,
            header,
            sent: 0,
            partition_at,
            input: Input::new(0),
        })
    }

    /// Begins a request that was due at `due` nanoseconds.
    pub(crate) fn begin(&mut self, partition: usize, due: u64) {
        self.begun += 1;
        self.header[CORRELATION].copy_from_slice(&(self.begun as u32).to_be_bytes());
        let at = self.partition_at;
        self.header[at..at + 4].copy_from_slice(&(partition as u32).to_be_bytes());
        self.in_flight.push_back(due);
        self.sent = 0;
        self.sending = true;
    }

    /// Sends what the socket takes.
    pub(crate) fn push(&mut self, batch: &[u8]) -> Result<()> {
        while self.sent < self.header.len() + batch.len() {
            let header = &self.header[self.sent.min(self.header.len())..];
            let body = &batch[self.sent.saturating_sub(self.header.len())..];
            match (&self.socket).write_vectored(&[IoSlice::new(header), IoSlice::new(body)]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.sending = false;
        Ok(())
    }

    /// Reads answers; hands over when each request was due, and its error code.
    pub(crate) fn pull(&mut self, mut answered: impl FnMut(u64, i16)) -> Result<()> {
        if self.input.read(&self.socket)? {
            self.input.frames(|frame| {
                let mut answer = Reader::new(frame, 8);
                answer.string();
                let (_, _, error) = (answer.i32(), answer.i32(), answer.i16());
                answered(self.in_flight.pop_front().unwrap_or(0), error);
            });
        }
        Ok(())
    }
}

/// A connection that reads one partition.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) socket: TcpStream,
    /// Whether an answer is awaited.
    pub(crate) waiting: bool,
    /// The offset to ask for next.
    pub(crate) next: i64,
    request: Vec<u8>,
    /// Where the request tells the offset.
    offset_at: usize,
    input: Input,
}

/// What an answer to Fetch said of its one partition.
pub(crate) struct Fetched<'a> {
    pub(crate) error: i16,
    pub(crate) high_watermark: i64,
    pub(crate) records: &'a [u8],
}

impl Consumer {
    pub(crate) fn connect(
        addr: &str,
        topic: &str,
        partition: usize,
        bytes_max: i32,
        isolation: i8,
    ) -> Result<Self> {
        let mut frame = request(key::FETCH, 4);
        let (wait_ms, bytes_min) = (500, 1);
        frame.i32(-1).i32(wait_ms).i32(bytes_min).i32(bytes_max).i8(isolation);
        frame.i32(1).string(topic.as_bytes()).i32(1).length(partition);
        let offset_at = frame.len();
        frame.i64(0).i32(bytes_max);
        frame.close(0, 0);
        Ok(Self {
            socket: connect(addr)?,
            waiting: false,
            next: 0,
            request: frame,
            offset_at,
            input: Input::new(usize::try_from(bytes_max)?),
        })
    }

    /// Asks for what follows.
    pub(crate) fn ask(&mut self) -> Result<()> {
        let at = self.offset_at;
        self.request[at..at + 8].copy_from_slice(&self.next.to_be_bytes());
        // Nothing is in flight, so that these few bytes always fit.
        self.socket.write_all(&self.request)?;
        self.waiting = true;
        Ok(())
    }

    /// Reads once; when the answer is whole, hands it over and moves on to its end.
    pub(crate) fn pull(&mut self, mut answered: impl FnMut(Fetched<'_>)) -> Result<()> {
        if !self.input.read(&self.socket)? {
            return Ok(());
        }
        self.input.frames(|frame| {
            self.waiting = false;
            let fetched = fetched(frame);
            if let Some(last) = batches(fetched.records).last() {
                self.next = batch::next_offset(last);
            }
            answered(fetched);
        });
        Ok(())
    }
}

fn fetched(frame: &[u8]) -> Fetched<'_> {
    let mut answer = Reader::new(frame, 12);
    answer.string();
    let (_, _, error) = (answer.i32(), answer.i32(), answer.i16());
    let (high_watermark, _, aborted) = (answer.i64(), answer.i64(), answer.i32());
    answer.skip(aborted.max(0) * 16);
    Fetched { error, high_watermark, records: &frame[answer.bytes()] }
}

/// The whole batches of an answer.
pub(crate) fn batches(mut records: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (batch, rest) = records.split_at(batch::length(records)?);
        records = rest;
        Some(batch)
    })
}
