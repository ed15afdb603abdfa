//! Output in chunks: what is large is handed on and never copied.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::ErrorCode;
use crate::wire::Version;

/// Output as a list of chunks, so that large `Bytes` are handed on and never copied.
#[derive(Debug, Default)]
pub struct Writer {
    pub(crate) buf: BytesMut,
    done: Vec<Bytes>,
    shared: usize,
    error: Option<ErrorCode>,
}

impl Writer {
    /// From this size on, bytes are shared: a chunk of its own costs less than the copy.
    const SHARED_FROM: usize = 512;

    /// An empty one, with room for this many bytes that are not shared: growing costs more than writing them.
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { buf: BytesMut::with_capacity(bytes), ..Writer::default() }
    }

    /// Copy a few bytes in.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buf.put_slice(bytes);
    }

    /// Replace the first bytes: those that were put before all else.
    pub fn overwrite<const N: usize>(&mut self, bytes: [u8; N]) {
        match self.done.first_mut() {
            None => self.buf.iter_mut().zip(bytes).for_each(|(at, byte)| *at = byte),
            Some(first) => {
                first.advance(N);
                self.done.insert(0, Bytes::copy_from_slice(&bytes));
            }
        }
    }

    /// Hand `bytes` on, as a chunk of its own unless it is small.
    pub fn share(&mut self, bytes: &Bytes) {
        if bytes.len() < Self::SHARED_FROM {
            return self.put(bytes);
        }
        self.cut();
        self.shared += bytes.len();
        self.done.push(bytes.clone());
    }

    /// Everything that `other` holds comes next.
    pub fn append(&mut self, mut other: Writer) {
        if !other.done.is_empty() {
            self.cut();
            self.done.append(&mut other.done);
        }
        self.shared += other.shared;
        self.error = self.error.or(other.error);
        self.buf.unsplit(other.buf);
    }

    /// Remember the first error code that is one: what a whole response is counted under.
    pub fn note(&mut self, code: ErrorCode) {
        self.error = self.error.or((!code.is_ok()).then_some(code));
    }

    /// The first error code that was written and is one.
    pub fn error(&self) -> Option<ErrorCode> {
        self.error
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.buf.len() + self.done.iter().map(Bytes::len).sum::<usize>()
    }

    /// How many of them were not handed on: they have memory of their own.
    pub fn own_bytes(&self) -> usize {
        self.len() - self.shared
    }

    /// Was nothing written yet?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chunks, in order, none of them empty: ready for a vectored write.
    pub fn finish(mut self) -> Vec<Bytes> {
        self.cut();
        self.done
    }

    /// All in one piece: free of copies only when nothing was shared.
    pub fn into_bytes(self) -> Bytes {
        if self.done.is_empty() { self.buf.freeze() } else { self.finish().concat().into() }
    }

    /// An unsigned varint: seven bits at a time, the lowest first.
    pub fn uvarint(&mut self, mut n: u32) {
        while n >= 0x80 {
            self.buf.put_u8((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        self.buf.put_u8(n as u8);
    }

    fn cut(&mut self) {
        if !self.buf.is_empty() {
            self.done.push(self.buf.split().freeze());
        }
    }

    /// The length before a [`Body`](crate::wire::Body); `None` is null. Lengths beyond the type only occur
    /// in frames beyond 2 GiB, which [`crate::frame`] refuses to send.
    pub(crate) fn size(&mut self, v: Version, short: bool, n: Option<usize>) {
        match (v.flexible, short) {
            (true, _) => self.uvarint(n.map_or(0, |n| u32::try_from(n + 1).unwrap_or(u32::MAX))),
            (false, true) => self.buf.put_i16(n.map_or(-1, |n| i16::try_from(n).unwrap_or(i16::MAX))),
            (false, false) => self.buf.put_i32(n.map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX))),
        }
    }
}
