//! What is asked and answered: the few versions that the load generator speaks.

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;

use braid_bench::wire::{Reader, Writer, key};

use crate::log::{Log, Pending, Slice};

/// UNSUPPORTED_VERSION, for everything that is not known here.
const UNSUPPORTED: i16 = 35;
/// OFFSET_OUT_OF_RANGE.
const OUT_OF_RANGE: i16 = 1;
/// The latest version of each API that is known here, as ApiVersions tells it.
const VERSIONS: [(i16, i16, i16); 7] = [
    (key::PRODUCE, 3, 7),
    (key::FETCH, 4, 4),
    (key::LIST_OFFSETS, 1, 1),
    (key::METADATA, 4, 4),
    (key::API_VERSIONS, 0, 0),
    (key::CREATE_TOPICS, 2, 2),
    (key::DELETE_TOPICS, 1, 1),
];

/// What connections share.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) port: u16,
    pub(crate) log: Log,
}

/// What remains to be done for a request.
pub(crate) enum Outcome {
    /// The answer is in the buffer, or none is wanted.
    Answered,
    /// Wait until there is something to fetch, and send it.
    Fetch(Fetch),
}

/// A request to fetch.
pub(crate) struct Fetch {
    correlation: i32,
    pub(crate) wait_ms: u64,
    bytes_min: i32,
    bytes_max: u64,
    topic: Vec<u8>,
    /// Partition, offset, and the most bytes.
    pub(crate) partitions: Vec<(usize, i64, u64)>,
}

/// A piece of an answer to Fetch.
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    File(Slice),
}

impl Broker {
    /// Handles the request that lies in the connection's buffer at `frame`.
    pub(crate) fn handle(
        &self,
        buffer: &mut [u8],
        frame: Range<usize>,
        out: &mut Vec<u8>,
        pending: &mut Vec<Pending>,
    ) -> io::Result<Outcome> {
        let mut request = Reader::new(buffer, frame.start);
        let (key, version, correlation) = (request.i16(), request.i16(), request.i32());
        request.string();
        let start = out.len();
        out.i32(0).i32(correlation);
        let body = request.at;
        match key {
            key::PRODUCE => {
                if !self.produce(buffer, body, version, out, pending) {
                    out.truncate(start);
                    return Ok(Outcome::Answered);
                }
            }
            key::FETCH => {
                out.truncate(start);
                return Ok(Outcome::Fetch(Fetch::read(&mut request, correlation)));
            }
            key::LIST_OFFSETS => self.list_offsets(&mut request, out),
            key::METADATA => self.metadata(&mut request, out),
            key::API_VERSIONS => api_versions(version, out),
            key::CREATE_TOPICS => {
                request.i32();
                out.i32(0).i32(1).string(request.string()).i16(0).i16(-1);
            }
            key::DELETE_TOPICS => {
                request.i32();
                self.log.clear()?;
                out.i32(0).i32(1).string(request.string()).i16(0);
            }
            _ => _ = out.i16(UNSUPPORTED),
        }
        out.close(start, 0);
        Ok(Outcome::Answered)
    }

    /// Appends what the request brings; tells whether it wants an answer.
    fn produce(
        &self,
        buffer: &mut [u8],
        body: usize,
        version: i16,
        out: &mut Vec<u8>,
        pending: &mut Vec<Pending>,
    ) -> bool {
        let mut request = Reader::new(buffer, body);
        request.string();
        let (acks, _, _) = (request.i16(), request.i32(), request.i32());
        out.i32(1).string(request.string());
        let count = request.i32();
        out.i32(count);
        let mut at = request.at;
        for _ in 0..count {
            let mut request = Reader::new(buffer, at);
            let (partition, records) = (request.i32(), request.bytes());
            at = records.end;
            let from = records.start;
            let (error, offset) = match self.log.append(partition as usize, &mut buffer[records], from) {
                Ok((offset, one)) => {
                    pending.push(one);
                    (0, offset)
                }
                Err(error) => (error, -1),
            };
            out.i32(partition).i16(error).i64(offset).i64(-1);
            if version >= 5 {
                out.i64(0);
            }
        }
        out.i32(0);
        acks != 0
    }

    fn list_offsets(&self, request: &mut Reader<'_>, out: &mut Vec<u8>) {
        let (_, _, topic, count) = (request.i32(), request.i32(), request.string(), request.i32());
        out.i32(1).string(topic).i32(count);
        for _ in 0..count {
            let (partition, time) = (request.i32(), request.i64());
            let end = self.end(partition as usize);
            out.i32(partition).i16(0).i64(-1).i64(if time == -2 { 0 } else { end });
        }
    }

    fn metadata(&self, request: &mut Reader<'_>, out: &mut Vec<u8>) {
        let topics: Vec<_> = (0..request.i32()).map(|_| request.string()).collect();
        out.i32(0).i32(1).i32(1).string(b"127.0.0.1").i32(self.port.into()).i16(-1).i16(-1).i32(1);
        out.length(topics.len());
        for topic in topics {
            out.i16(0).string(topic).i8(0).length(self.log.partitions.len());
            for partition in 0..self.log.partitions.len() {
                out.i16(0).length(partition).i32(1).i32(1).i32(1).i32(1).i32(1);
            }
        }
    }

    fn end(&self, partition: usize) -> i64 {
        self.log.partitions[partition].high_watermark.load(Ordering::Acquire)
    }

    /// Whether a fetch has something to bring home.
    pub(crate) fn has_more(&self, fetch: &Fetch) -> bool {
        fetch.bytes_min <= 0 || fetch.partitions.iter().any(|(p, offset, _)| self.end(*p) > *offset)
    }

    /// The answer to a fetch: bytes, and parts of files between them.
    pub(crate) fn fetch(&self, fetch: &Fetch) -> Vec<Piece> {
        let mut left = fetch.bytes_max;
        let mut total = 0;
        let mut found = Vec::with_capacity(fetch.partitions.len());
        for &(partition, offset, bytes_max) in &fetch.partitions {
            let slices = self.log.partitions[partition].read(offset, bytes_max.min(left), total == 0);
            let length: usize = slices.iter().map(|slice| slice.length).sum();
            left = left.saturating_sub(length as u64);
            total += length;
            found.push((partition, offset, slices, length));
        }
        let mut pieces = Vec::new();
        let mut bytes = Vec::with_capacity(64 + found.len() * 48);
        let size = 4 + 4 + 4 + 2 + fetch.topic.len() + 4 + found.len() * 30 + total;
        bytes.length(size).i32(fetch.correlation).i32(0).i32(1).string(&fetch.topic).length(found.len());
        for (partition, offset, slices, length) in found {
            let end = self.end(partition);
            let error = if offset > end || offset < 0 { OUT_OF_RANGE } else { 0 };
            bytes.length(partition).i16(error).i64(end).i64(end).i32(-1).length(length);
            if length > 0 {
                pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
                pieces.extend(slices.into_iter().map(Piece::File));
            }
        }
        if !bytes.is_empty() {
            pieces.push(Piece::Bytes(bytes));
        }
        pieces
    }
}

/// To a version that is not known here the answer is that of version 0, with an error: then clients ask that.
fn api_versions(version: i16, out: &mut Vec<u8>) {
    out.i16(if version == 0 { 0 } else { UNSUPPORTED }).length(VERSIONS.len());
    for (key, oldest, newest) in VERSIONS {
        out.i16(key).i16(oldest).i16(newest);
    }
}

impl Fetch {
    fn read(request: &mut Reader<'_>, correlation: i32) -> Self {
        let not_negative = |value: i32| u64::try_from(value).unwrap_or(0);
        request.i32();
        let (wait_ms, bytes_min) = (not_negative(request.i32()), request.i32());
        let bytes_max = not_negative(request.i32());
        let (_, _, topic) = (request.i8(), request.i32(), request.string().to_vec());
        let count = request.i32();
        let one = |_| (request.i32() as usize, request.i64(), not_negative(request.i32()));
        let partitions = (0..count).map(one).collect();
        Self { correlation, wait_ms, bytes_min, bytes_max, topic, partitions }
    }
}
