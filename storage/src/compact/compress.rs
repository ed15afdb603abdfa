//! The other direction of `codec.rs`: the codecs as streams that bytes are written to, in the formats of
//! Kafka's own client, at its default levels.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use lz4_flex::frame::FrameEncoder;

use crate::codec::Codec;

const ZSTD_LEVEL: i32 = 3;
/// Magic, version and the oldest version that can read it.
const XERIAL_START: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Bytes in a block of xerial's framing.
const SNAPPY_BLOCK: usize = 32 << 10;

/// A stream that compresses into memory.
pub(crate) enum Encoder {
    None(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Snappy(Xerial),
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    Zstd(Box<zstd::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    pub(crate) fn new(codec: Codec) -> io::Result<Encoder> {
        Ok(match codec {
            Codec::None => Encoder::None(Vec::new()),
            Codec::Gzip => Encoder::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::default()))),
            Codec::Snappy => Encoder::Snappy(Xerial::new()),
            Codec::Lz4 => Encoder::Lz4(Box::new(FrameEncoder::new(Vec::new()))),
            Codec::Zstd => Encoder::Zstd(Box::new(zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?)),
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::None(out) => out.write_all(bytes),
            Encoder::Gzip(out) => out.write_all(bytes),
            Encoder::Snappy(out) => out.write(bytes),
            Encoder::Lz4(out) => out.write_all(bytes),
            Encoder::Zstd(out) => out.write_all(bytes),
        }
    }

    /// Everything, compressed.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::None(out) => Ok(out),
            Encoder::Gzip(out) => out.finish(),
            Encoder::Snappy(out) => out.finish(),
            Encoder::Lz4(out) => out.finish().map_err(io::Error::other),
            Encoder::Zstd(out) => out.finish(),
        }
    }
}

/// Snappy as the Java library frames it: blocks, each with its length (i32) before it.
pub(crate) struct Xerial {
    out: Vec<u8>,
    block: Vec<u8>,
}

impl Xerial {
    fn new() -> Xerial {
        Xerial { out: XERIAL_START.to_vec(), block: Vec::new() }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(part) = bytes.split_off(..bytes.len().min(SNAPPY_BLOCK - self.block.len())) {
            self.block.extend_from_slice(part);
            if self.block.len() < SNAPPY_BLOCK {
                break;
            }
            self.end_block()?;
        }
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        let compressed = snap::raw::Encoder::new().compress_vec(&self.block).map_err(io::Error::other)?;
        self.out.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
        self.out.extend_from_slice(&compressed);
        self.block.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_compressed_comes_back() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            for size in [0, 1, 100, SNAPPY_BLOCK - 1, SNAPPY_BLOCK, SNAPPY_BLOCK + 1, 200_000] {
                let plain: Vec<u8> = (0..size).map(|n| (n * n / 7 % 251) as u8).collect();
                let mut encoder = Encoder::new(codec).unwrap();
                for piece in plain.chunks(999) {
                    encoder.write(piece).unwrap();
                }
                let compressed = encoder.finish().unwrap();
                let mut again = Vec::new();
                codec.reader(compressed.into()).unwrap().read_to_end(&mut again).unwrap();
                assert!(again == plain, "{codec:?} {size}");
            }
        }
    }
}
