//! Requests and answers of the versions before flexible ones: enough for a broker and a client that know
//! each other.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;

use anyhow::Result;

/// Keys of the APIs that are spoken here.
pub mod key {
    /// Produce, versions 3 to 7.
    pub const PRODUCE: i16 = 0;
    /// Fetch, version 4.
    pub const FETCH: i16 = 1;
    /// ListOffsets, version 1.
    pub const LIST_OFFSETS: i16 = 2;
    /// Metadata, version 4.
    pub const METADATA: i16 = 3;
    /// FindCoordinator, version 1.
    pub const FIND_COORDINATOR: i16 = 10;
    /// ApiVersions, version 0.
    pub const API_VERSIONS: i16 = 18;
    /// CreateTopics, version 2.
    pub const CREATE_TOPICS: i16 = 19;
    /// DeleteTopics, version 1.
    pub const DELETE_TOPICS: i16 = 20;
    /// InitProducerId, version 0.
    pub const INIT_PRODUCER_ID: i16 = 22;
    /// AddPartitionsToTxn, version 0.
    pub const ADD_PARTITIONS_TO_TXN: i16 = 24;
    /// EndTxn, version 0.
    pub const END_TXN: i16 = 26;
}

/// Reads values one after the other; panics at the end of the bytes.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// Where the next value begins.
    pub at: usize,
}

impl<'a> Reader<'a> {
    /// A reader that begins at `at`.
    #[must_use]
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut value = [0; N];
        value.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        value
    }

    /// INT8.
    pub fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.take())
    }

    /// INT16.
    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    /// INT32.
    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    /// INT64.
    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    /// STRING or NULLABLE_STRING; null is empty.
    pub fn string(&mut self) -> &'a [u8] {
        let length = self.i16();
        self.skip(length.into())
    }

    /// Where the content of BYTES lies; null is empty.
    pub fn bytes(&mut self) -> Range<usize> {
        let length = self.i32();
        let start = self.at;
        start..start + self.skip(length).len()
    }

    /// As many bytes as `length` says; none if it is negative.
    pub fn skip(&mut self, length: i32) -> &'a [u8] {
        let start = self.at;
        self.at += usize::try_from(length).unwrap_or(0);
        &self.bytes[start..self.at]
    }
}

/// Appends values to a buffer.
pub trait Writer {
    /// INT8.
    fn i8(&mut self, value: i8) -> &mut Self;
    /// INT16.
    fn i16(&mut self, value: i16) -> &mut Self;
    /// INT32.
    fn i32(&mut self, value: i32) -> &mut Self;
    /// INT64.
    fn i64(&mut self, value: i64) -> &mut Self;
    /// The length of an array or of bytes, as INT32.
    fn length(&mut self, value: usize) -> &mut Self;
    /// STRING.
    fn string(&mut self, value: &[u8]) -> &mut Self;
    /// Puts the length of all that follows `start` into the four bytes there; `more` bytes will follow.
    fn close(&mut self, start: usize, more: usize);
}

impl Writer for Vec<u8> {
    fn i8(&mut self, value: i8) -> &mut Self {
        self.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn i16(&mut self, value: i16) -> &mut Self {
        self.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn i32(&mut self, value: i32) -> &mut Self {
        self.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn i64(&mut self, value: i64) -> &mut Self {
        self.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn length(&mut self, value: usize) -> &mut Self {
        self.i32(i32::try_from(value).expect("more than a message can hold"))
    }

    fn string(&mut self, value: &[u8]) -> &mut Self {
        self.i16(i16::try_from(value.len()).expect("more than a string can hold"));
        self.extend_from_slice(value);
        self
    }

    fn close(&mut self, start: usize, more: usize) {
        let mut length = Vec::with_capacity(4);
        length.length(self.len() - start - 4 + more);
        self[start..start + 4].copy_from_slice(&length);
    }
}

/// Where the correlation id of a frame stands.
pub const CORRELATION: Range<usize> = 8..12;

/// A request's frame up to its body; its length is still to be written.
#[must_use]
pub fn request(key: i16, version: i16) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.i32(0).i16(key).i16(version).i32(0).string(b"kgen");
    frame
}

/// The length of the frame that begins here, without the four bytes that tell it, if they are there.
#[must_use]
pub fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(..4)?;
    Some(u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize)
}

/// Sends a request and waits for its answer, of which the correlation id is left out.
pub fn call(mut socket: &TcpStream, mut frame: Vec<u8>) -> Result<Vec<u8>> {
    frame.close(0, 0);
    socket.write_all(&frame)?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer)?;
    Ok(answer.split_off(4))
}
