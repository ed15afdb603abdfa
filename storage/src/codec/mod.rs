//! gzip, snappy, lz4 and zstd: a batch's records as a stream of their uncompressed bytes.
//!
//! Two ways to read. [`Codec::reader`] takes whatever can be decompressed: it reads what is in the log
//! already. `Codec::strict` takes only what every client reads, and is what a producer's batch has to
//! pass: one frame (stream, member) of the kind that Kafka's Java client accepts, and nothing behind it.
//! Neither holds the uncompressed batch in memory; snappy's blocks are the exception, since a copy in one may
//! reach back to its beginning.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

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

type Reader = Box<dyn Read + Send>;

/// A compressed body whose frame every client can read; the compressed blocks in it are not checked yet.
pub(crate) struct Strict {
    pub(crate) reader: Reader,
    pub(crate) shape: Shape,
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes that the decoder holds at most.
    pub(crate) memory: usize,
    /// The uncompressed size, if the format states it.
    pub(crate) unpacked: Option<u64>,
}

/// Why a body is refused, in words for the producer.
pub(crate) type Defect = &'static str;

impl Codec {
    /// The codec that bits 0 to 2 name; `None` for the unassigned.
    pub fn from_attributes(attributes: i16) -> Option<Codec> {
        [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]
            .into_iter()
            .find(|codec| *codec as i16 == attributes & 7)
    }

    /// The uncompressed bytes of `body`, as far as they can be had.
    pub fn reader(self, body: Bytes) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Codec::None => Box::new(body.reader()),
            Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(body.reader())),
            Codec::Snappy => Box::new(snappy::Blocks::new(body)),
            Codec::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(body.reader())),
            Codec::Zstd => Box::new(zstd::decoder(body)?),
        })
    }

    /// The uncompressed bytes of `body` if its framing is one that every client reads. What can only be seen
    /// while decompressing is an error of the reader.
    pub(crate) fn strict(self, body: &Bytes) -> Result<Strict, Defect> {
        let (shape, reader): (Shape, Reader) = match self {
            Codec::None => (Shape::default(), Box::new(body.clone().reader())),
            Codec::Gzip => (gzip::SHAPE, Box::new(gzip::OneMember::new(body.clone()))),
            Codec::Snappy => (snappy::inspect(body)?, Box::new(snappy::Blocks::new(body.clone()))),
            Codec::Lz4 => {
                (lz4::inspect(body)?, Box::new(lz4_flex::frame::FrameDecoder::new(body.clone().reader())))
            }
            Codec::Zstd => {
                let shape = zstd::inspect(body)?;
                let decoder = zstd::decoder(body.clone()).map_err(|_| "zstd: no decoder could be made")?;
                (shape, Box::new(decoder))
            }
        };
        Ok(Strict { reader, shape })
    }
}
