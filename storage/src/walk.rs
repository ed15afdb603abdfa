//! Going through a segment batch by batch.

use bytes::Bytes;

use crate::batch::{self, HEADER_LEN, Header};
use crate::error::Error;
use crate::segment::{Found, Segment};

/// Why a segment with messages of before Kafka 0.11 is not served.
pub(crate) const OLD_FORMAT: &str = "records of message format 0 or 1, which are not supported: \
     let Apache Kafka 3.x copy the topic with the current format";

/// The batches of a part of a segment. Ends with an error at what is not a whole batch.
pub(crate) struct Walk<'a> {
    segment: &'a Segment,
    position: u64,
    end: u64,
    check_crc: bool,
    window: Bytes,
    window_at: u64,
}

impl Walk<'_> {
    /// How much is looked at in one go; costs nothing where reading is mapping.
    const WINDOW: u64 = 64 << 10;

    /// The batches of `segment` from `position` to `end`, with their CRC checked or not.
    pub(crate) fn new(segment: &Segment, position: u64, end: u64, check_crc: bool) -> Walk<'_> {
        Walk { segment, position, end, check_crc, window: Bytes::new(), window_at: position }
    }

    /// Where the next batch would begin.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Goes on at another place, further on or further back.
    pub(crate) fn go_to(&mut self, position: u64) {
        if position < self.window_at {
            (self.window, self.window_at) = (Bytes::new(), position);
        }
        self.position = position;
    }

    fn view(&mut self, len: usize) -> Result<&[u8], Error> {
        let skip = usize::try_from(self.position - self.window_at).unwrap_or(usize::MAX);
        if self.window.len() < skip.saturating_add(len) {
            let window = (self.end - self.position).min(Walk::WINDOW).max(len as u64);
            self.window = self.segment.read(self.position, window as usize)?;
            self.window_at = self.position;
        }
        let skip = (self.position - self.window_at) as usize;
        Ok(self.window.get(skip..).and_then(|rest| rest.get(..len)).unwrap_or_default())
    }

    /// The batch at this place, of which there must be one; afterwards the place is behind it. After an error
    /// it is where it was.
    pub(crate) fn step(&mut self, check_crc: bool) -> Result<Found, Error> {
        let Found { header, position } = self.claim()?;
        if header.last_offset_delta < 0 || header.base_offset < self.segment.base {
            return Err(self.corrupt("the offsets of the batch do not belong here"));
        }
        if check_crc && !batch::crc_matches(&header, self.view(header.total_len())?) {
            return Err(self.corrupt("the checksum of the batch does not match"));
        }
        self.position += header.total_len() as u64;
        Ok(Found { header, position })
    }

    /// What stands at this place, if its length can be true. The place stays.
    pub(crate) fn claim(&mut self) -> Result<Found, Error> {
        let (position, left) = (self.position, self.end.saturating_sub(self.position));
        let Ok(header) = Header::parse(self.view(left.min(HEADER_LEN as u64) as usize)?) else {
            return Err(self.not_a_header(left));
        };
        if header.total_len() as u64 > left {
            return Err(self.corrupt("the batch is not complete"));
        }
        Ok(Found { header, position })
    }

    /// What stands where a header should, in `left` bytes.
    fn not_a_header(&mut self, left: u64) -> Error {
        let short = left < HEADER_LEN as u64;
        let begin = self.view(left.min(HEADER_LEN as u64) as usize).map(batch::old_format_len);
        let why = match begin {
            Err(error) => return error,
            Ok(Some(len)) if len as u64 <= left => match self.view(len).map(batch::is_old_format) {
                Err(error) => return error,
                Ok(true) => OLD_FORMAT,
                Ok(false) => "not the header of a batch",
            },
            Ok(_) if short => "fewer bytes than a header",
            Ok(_) => "not the header of a batch",
        };
        self.corrupt(why)
    }

    /// The offset is not known here, but the position is.
    fn corrupt(&self, why: &'static str) -> Error {
        let position = self.position;
        tracing::debug!(path = %self.segment.path("log").display(), position, why, "a walk ends");
        Error::Corrupt { path: self.segment.path("log"), offset: self.segment.base, why }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Found, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.end {
            return None;
        }
        let step = self.step(self.check_crc);
        if step.is_err() {
            self.end = self.position;
        }
        Some(step)
    }
}
