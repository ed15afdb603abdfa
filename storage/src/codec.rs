//! gzip, snappy, lz4 and zstd: a batch's records as a stream of their uncompressed bytes.
//!
//! Everything here reads through a small window, so that a few compressed bytes cannot claim much memory;
//! how many bytes come out in all is the reader's to bound. Snappy comes raw (librdkafka, Go) or in the
//! frames of the Java library ("xerial"); a block of it has to be decompressed whole.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

/// The codecs of Kafka, by their number in a batch's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not compressed.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Raw, or framed as the Java library does.
    Snappy = 2,
    /// The lz4 frame format.
    Lz4 = 3,
    /// RFC 8878 (KIP-110).
    Zstd = 4,
}

/// The largest window a zstd frame may ask for: what zstd itself accepts by default, since Kafka's own
/// library writes such frames at its highest levels. It is address space until bytes are written to it.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_LEN: usize = 16;
/// Snappy's best: a copy of 64 bytes takes 3. What claims more is a lie.
const SNAPPY_RATIO_MAX: usize = 22;

impl Codec {
    /// The codec that bits 0 to 2 name; `None` for the unassigned.
    pub fn from_attributes(attributes: i16) -> Option<Codec> {
        [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]
            .into_iter()
            .find(|codec| *codec as i16 == attributes & 7)
    }

    /// The uncompressed bytes of `body`.
    pub fn reader(self, body: Bytes) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Codec::None => Box::new(body.reader()),
            Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(body.reader())),
            Codec::Snappy => Box::new(Snappy::new(body)),
            Codec::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(body.reader())),
            Codec::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(body.reader())?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// Raw snappy is one block; in xerial's framing each block has its length (i32) before it.
struct Snappy {
    input: Bytes,
    framed: bool,
    block: Bytes,
}

impl Snappy {
    fn new(mut input: Bytes) -> Snappy {
        let framed = input.starts_with(XERIAL_MAGIC) && input.len() >= XERIAL_HEADER_LEN;
        if framed {
            input.advance(XERIAL_HEADER_LEN);
        }
        Snappy { input, framed, block: Bytes::new() }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let length = match self.framed {
            true => self.input.try_get_i32().ok().and_then(|length| usize::try_from(length).ok()),
            false => Some(self.input.len()),
        };
        let length = length.filter(|length| *length <= self.input.len()).ok_or(io::ErrorKind::InvalidData)?;
        let compressed = self.input.split_to(length);
        let claimed = snap::raw::decompress_len(&compressed).map_err(io::Error::other)?;
        if claimed > compressed.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let block = snap::raw::Decoder::new().decompress_vec(&compressed).map_err(io::Error::other)?;
        self.block = block.into();
        Ok(())
    }
}

impl Read for Snappy {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() && !self.input.is_empty() {
            self.next_block()?;
        }
        let length = into.len().min(self.block.len());
        self.block.split_to(length).copy_to_slice(into.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}
