//! gzip: one member and nothing behind it.
//!
//! Java and Go read on into a second member, librdkafka does not; of bytes behind the last, Java and
//! librdkafka take no notice, Go and Python fail. No client writes either.

use std::io::{self, Read};

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use flate2::bufread::GzDecoder;

use super::Shape;

/// The window of 32 KiB, the tables and the buffers of the decoder.
pub(super) const SHAPE: Shape = Shape { memory: 64 << 10, unpacked: None };

/// See the file's header.
pub(super) struct OneMember(GzDecoder<Reader<Bytes>>);

impl OneMember {
    pub(super) fn new(body: Bytes) -> OneMember {
        OneMember(GzDecoder::new(body.reader()))
    }
}

impl Read for OneMember {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(into)?;
        match read == 0 && !into.is_empty() && self.0.get_ref().get_ref().has_remaining() {
            true => Err(io::ErrorKind::InvalidData.into()),
            false => Ok(read),
        }
    }
}
