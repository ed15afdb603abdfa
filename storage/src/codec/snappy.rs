//! Snappy comes raw (librdkafka, Go): one block. Or in the frames of the Java library ("xerial"): a header of
//! 16 bytes, then blocks, each with its length (i32) before it.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

use super::{Defect, Shape};

const MAGIC: &[u8] = b"\x82SNAPPY\0";
const HEADER_LEN: usize = 16;
/// Version 1, readable from version 1 on: the only header that there ever was.
const HEADER: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Snappy's best: a copy of 64 bytes takes 3. What claims more is a lie.
const RATIO_MAX: usize = 22;

/// Checks the framing and how large the blocks say that they become.
pub(super) fn inspect(body: &Bytes) -> Result<Shape, Defect> {
    let mut input = body.clone();
    let framed = is_framed(&input);
    if framed {
        if !input.starts_with(HEADER) {
            return Err("snappy: the version in the header is not 1");
        }
        input.advance(HEADER_LEN);
    }
    let mut shape = Shape { memory: 0, unpacked: Some(0) };
    loop {
        let block = next(&mut input, framed).ok_or("snappy: a block is longer than the batch")?;
        let claimed = claimed(&block).ok_or("snappy: a block cannot become as large as it says")?;
        shape.memory = shape.memory.max(claimed);
        shape.unpacked = shape.unpacked.map(|sum| sum.saturating_add(claimed as u64));
        if input.is_empty() {
            return Ok(shape);
        }
    }
}

fn is_framed(input: &Bytes) -> bool {
    input.starts_with(MAGIC) && input.len() >= HEADER_LEN
}

/// Cuts off the next block.
fn next(input: &mut Bytes, framed: bool) -> Option<Bytes> {
    let length = match framed {
        true => usize::try_from(input.try_get_i32().ok()?).ok()?,
        false => input.len(),
    };
    (length <= input.len()).then(|| input.split_to(length))
}

/// The uncompressed size that a block begins with, if it can be true.
fn claimed(block: &[u8]) -> Option<usize> {
    let claimed = snap::raw::decompress_len(block).ok()?;
    (claimed <= block.len().saturating_mul(RATIO_MAX)).then_some(claimed)
}

/// The uncompressed bytes, block by block.
pub(super) struct Blocks {
    input: Bytes,
    framed: bool,
    block: Vec<u8>,
    /// How much of `block` was read.
    read: usize,
}

impl Blocks {
    pub(super) fn new(mut input: Bytes) -> Blocks {
        let framed = is_framed(&input);
        if framed {
            input.advance(HEADER_LEN);
        }
        Blocks { input, framed, block: Vec::new(), read: 0 }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let compressed = next(&mut self.input, self.framed).ok_or_else(invalid)?;
        let claimed = claimed(&compressed).ok_or_else(invalid)?;
        self.block.resize(claimed, 0);
        self.read = 0;
        let length =
            snap::raw::Decoder::new().decompress(&compressed, &mut self.block).map_err(io::Error::other)?;
        self.block.truncate(length);
        Ok(())
    }
}

impl Read for Blocks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.block.len() && !self.input.is_empty() {
            self.next_block()?;
        }
        let mut unread = self.block.get(self.read..).unwrap_or_default();
        let read = unread.read(into)?;
        self.read += read;
        Ok(read)
    }
}
