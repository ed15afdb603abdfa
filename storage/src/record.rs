//! The records inside a batch: read one by one, in place or through a codec, with every length checked.
//!
//! A record: `length varint | attributes i8 | timestampDelta varlong | offsetDelta varint | key | value
//! | header count varint | headers`, where a key or value is a varint length (-1: null) and its bytes, and
//! varints are zigzag. Lengths are never believed: a record is cut from bytes that are there.

use std::io::Read;
use std::ops::Range;

use bytes::{Buf, Bytes};

use crate::batch::{HEADER_LEN, Header, Invalid};

/// How many uncompressed bytes [`records`] is willing to read from one batch.
pub const DECOMPRESSED_MAX: usize = 256 << 20;
const WINDOW: usize = 16 << 10;
/// Bytes of the longest varint that is a record's length.
const LENGTH_MAX: usize = 5;
/// Bytes of the longest beginning of a record: its length, attributes, and the two deltas.
const STAMP_MAX: usize = LENGTH_MAX + 1 + 10 + 5;

/// One record, its bytes shared with the batch if that is not compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log.
    pub offset: i64,
    /// ms since the epoch, -1 if it has none.
    pub timestamp: i64,
    /// May be null.
    pub key: Option<Bytes>,
    /// Null in a tombstone.
    pub value: Option<Bytes>,
    /// Name and value, in their order. Names are UTF-8 by convention only.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// What is wrong, and the sentence that says it.
pub(crate) type Flaw = (Invalid, &'static str);

pub(crate) const MALFORMED: Flaw = (Invalid::InvalidRecord, "a record is malformed");

/// A record's parts, borrowed. `headers` are checked but not split.
pub(crate) struct Parts<'a> {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    header_count: i32,
    headers: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes apart a record without its length; `None` if anything is out of place or left over.
    #[inline]
    pub(crate) fn parse(mut at: &'a [u8]) -> Option<Parts<'a>> {
        let at = &mut at;
        at.split_off_first()?; // attributes: unused
        let timestamp_delta = varlong(at)?;
        let offset_delta = varint(at)?;
        let key = nullable(at)?;
        let value = nullable(at)?;
        let header_count = varint(at)?;
        let headers: &[u8] = at;
        if header_count < 0 {
            return None;
        }
        for _ in 0..header_count {
            nullable(at)??;
            nullable(at)?;
        }
        at.is_empty().then_some(Parts { timestamp_delta, offset_delta, key, value, header_count, headers })
    }
}

#[inline]
pub(crate) fn varint(at: &mut &[u8]) -> Option<i32> {
    let first = *at.split_off_first()?;
    if first < 0x80 {
        return Some(i32::from(first >> 1) ^ -i32::from(first & 1));
    }
    let long = unsigned(at, first, 5)?;
    let short = u32::try_from(long).ok()?;
    Some((short >> 1) as i32 ^ -((short & 1) as i32))
}

#[inline]
pub(crate) fn varlong(at: &mut &[u8]) -> Option<i64> {
    let first = *at.split_off_first()?;
    let long = if first < 0x80 { u64::from(first) } else { unsigned(at, first, 10)? };
    Some((long >> 1) as i64 ^ -((long & 1) as i64))
}

/// The rest of a varint whose first byte says that there is more.
#[inline]
fn unsigned(at: &mut &[u8], first: u8, bytes_max: u32) -> Option<u64> {
    let mut value = u64::from(first & 0x7f);
    for shift in (1..bytes_max).map(|n| n * 7) {
        let byte = *at.split_off_first()?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A length and that many bytes: the outer `None` is malformed, the inner is null.
#[inline]
fn nullable<'a>(at: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match varint(at)? {
        -1 => Some(None),
        length => Some(Some(at.split_off(..usize::try_from(length).ok()?)?)),
    }
}

/// Calls `visit` with every record of a body, none of which is copied unless it is compressed. Stops at the
/// first flaw; more than `bytes_max` uncompressed bytes are one.
pub(crate) fn walk(
    header: &Header,
    body: &Bytes,
    bytes_max: usize,
    mut visit: impl FnMut(&Parts<'_>) -> Result<(), Flaw>,
) -> Result<(), Flaw> {
    let codec = header.codec().ok_or((Invalid::InvalidRecord, "the compression type is unknown"))?;
    if codec == crate::codec::Codec::None {
        let mut at: &[u8] = body;
        while !at.is_empty() {
            let record = nullable(&mut at).flatten().and_then(Parts::parse).ok_or(MALFORMED)?;
            visit(&record)?;
        }
        return Ok(());
    }
    let mut window = Window::new(header, body, bytes_max)?;
    while let Some(record) = window.next()? {
        visit(&Parts::parse(record).ok_or(MALFORMED)?)?;
    }
    Ok(())
}

/// A compressed body, seen through a buffer that grows only as bytes really come.
struct Window {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    left: usize,
}

impl Window {
    fn new(header: &Header, body: &Bytes, bytes_max: usize) -> Result<Window, Flaw> {
        let codec = header.codec().ok_or((Invalid::InvalidRecord, "the compression type is unknown"))?;
        let source = codec.reader(body.clone()).map_err(|_| UNPACKABLE)?;
        Ok(Window { source, buffer: vec![0; WINDOW], start: 0, end: 0, left: bytes_max })
    }

    /// The next record without its length; `None` after the last.
    fn next(&mut self) -> Result<Option<&[u8]>, Flaw> {
        loop {
            let seen = self.buffer.get(self.start..self.end).unwrap_or_default();
            let mut rest = seen;
            let length = varint(&mut rest);
            match length.map(usize::try_from) {
                Some(Err(_)) => return Err(MALFORMED),
                Some(Ok(length)) if length <= rest.len() => {
                    let from = self.start + (seen.len() - rest.len());
                    self.start = from + length;
                    return self.buffer.get(from..self.start).map(Some).ok_or(MALFORMED);
                }
                Some(Ok(length)) if length - rest.len() > self.left => return Err(TOO_MUCH),
                None if seen.len() >= LENGTH_MAX => return Err(MALFORMED),
                _ => {}
            }
            let nothing_left = seen.is_empty();
            if self.fill()? == 0 {
                return if nothing_left { Ok(None) } else { Err(MALFORMED) };
            }
        }
    }

    /// Moves what is unread to the front, makes room if there is none, and reads once.
    fn fill(&mut self) -> Result<usize, Flaw> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end * 2, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let read = self.source.read(room).map_err(|_| UNPACKABLE)?;
        self.end += read;
        self.left = self.left.checked_sub(read).ok_or(TOO_MUCH)?;
        Ok(read)
    }
}

pub(crate) const UNPACKABLE: Flaw = (Invalid::InvalidRecord, "the records cannot be decompressed");
pub(crate) const TOO_MUCH: Flaw = (Invalid::TooLarge, "the records are too large when decompressed");

/// The records of one batch (header included), in order; decompressed as the iterator goes, at most
/// [`DECOMPRESSED_MAX`] bytes. Does not check the CRC. After an error the iterator ends.
pub fn records(batch: &Bytes) -> Result<Records, Invalid> {
    let header = Header::parse(batch)?;
    if batch.len() < header.total_len() {
        return Err(Invalid::Corrupt);
    }
    Records::of(&header, batch.slice(HEADER_LEN..header.total_len()))
}

/// See [`records`].
pub struct Records {
    header: Header,
    source: Source,
}

enum Source {
    Plain(Bytes),
    Packed(Box<Window>),
    Ended,
}

impl Records {
    pub(crate) fn of(header: &Header, body: Bytes) -> Result<Records, Invalid> {
        let source = match header.codec().ok_or(Invalid::InvalidRecord)? {
            crate::codec::Codec::None => Source::Plain(body),
            _ => {
                Source::Packed(Box::new(Window::new(header, &body, DECOMPRESSED_MAX).map_err(|flaw| flaw.0)?))
            }
        };
        Ok(Records { header: *header, source })
    }

    fn next_bytes(&mut self) -> Result<Option<Bytes>, Flaw> {
        match &mut self.source {
            Source::Ended => Ok(None),
            Source::Packed(window) => Ok(window.next()?.map(Bytes::copy_from_slice)),
            Source::Plain(body) if body.is_empty() => Ok(None),
            Source::Plain(body) => {
                let mut at: &[u8] = body;
                let record = nullable(&mut at).flatten().ok_or(MALFORMED)?;
                let record = body.slice_ref(record);
                body.advance(body.len() - at.len());
                Ok(Some(record))
            }
        }
    }

    fn decode(&self, bytes: &Bytes) -> Option<Record> {
        let parts = Parts::parse(bytes)?;
        let mut at = parts.headers;
        let share = |part: &[u8]| bytes.slice_ref(part);
        let mut headers = Vec::new();
        for _ in 0..parts.header_count {
            headers.push((share(nullable(&mut at)??), nullable(&mut at)?.map(share)));
        }
        Some(Record {
            offset: self.header.base_offset.saturating_add(i64::from(parts.offset_delta)),
            timestamp: timestamp(&self.header, parts.timestamp_delta),
            key: parts.key.map(share),
            value: parts.value.map(share),
            headers,
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record, Invalid>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = match self.next_bytes() {
            Ok(Some(bytes)) => Some(self.decode(&bytes).ok_or(Invalid::InvalidRecord)),
            Ok(None) => None,
            Err(flaw) => Some(Err(flaw.0)),
        };
        if !matches!(item, Some(Ok(_))) {
            self.source = Source::Ended;
        }
        item
    }
}

/// The time and the offset of each record of a batch, without the rest of it: takes no more memory for
/// records that are large. Does not check the CRC. After an error the iterator ends.
pub(crate) struct Stamps {
    header: Header,
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// What was read of the source and not used, as a range of `buffer`.
    unread: Range<usize>,
    left: usize,
}

impl Stamps {
    /// Of a body that belongs to this header.
    pub(crate) fn of(header: &Header, body: Bytes) -> Result<Stamps, Invalid> {
        let codec = header.codec().ok_or(Invalid::InvalidRecord)?;
        let source = codec.reader(body).map_err(|_| Invalid::InvalidRecord)?;
        let (buffer, left) = (vec![0; WINDOW], DECOMPRESSED_MAX);
        Ok(Stamps { header: *header, source, buffer, unread: 0..0, left })
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.unread.clone()).unwrap_or_default()
    }

    /// Reads until a record's length and its numbers are there, or the source ends.
    fn fill(&mut self, bytes: usize) -> Result<(), Flaw> {
        while self.unread.len() < bytes {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
            let room = self.buffer.get_mut(self.unread.end..).unwrap_or_default();
            let read = self.source.read(room).map_err(|_| UNPACKABLE)?;
            self.left = self.left.checked_sub(read).ok_or(TOO_MUCH)?;
            self.unread.end += read;
            if read == 0 {
                break;
            }
        }
        Ok(())
    }

    fn skip(&mut self, mut bytes: usize) -> Result<(), Flaw> {
        loop {
            let here = bytes.min(self.unread.len());
            self.unread.start += here;
            bytes -= here;
            if bytes == 0 {
                return Ok(());
            }
            self.fill(1)?;
            if self.unread.is_empty() {
                return Err(MALFORMED);
            }
        }
    }

    fn advance(&mut self) -> Result<Option<(i64, i64)>, Flaw> {
        self.fill(STAMP_MAX)?;
        let seen = self.unread();
        if seen.is_empty() {
            return Ok(None);
        }
        let mut at = seen;
        let length = varint(&mut at).and_then(|length| usize::try_from(length).ok()).ok_or(MALFORMED)?;
        let whole = seen.len() - at.len() + length;
        at.split_off_first().ok_or(MALFORMED)?; // attributes: unused
        let time = timestamp(&self.header, varlong(&mut at).ok_or(MALFORMED)?);
        let delta = varint(&mut at).ok_or(MALFORMED)?;
        if seen.len() - at.len() > whole {
            return Err(MALFORMED);
        }
        self.skip(whole)?;
        Ok(Some((time, self.header.base_offset.saturating_add(i64::from(delta)))))
    }
}

impl Iterator for Stamps {
    type Item = Result<(i64, i64), Invalid>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().map_err(|flaw| flaw.0).transpose();
        if !matches!(item, Some(Ok(_))) {
            (self.source, self.unread) = (Box::new(std::io::empty()), 0..0);
        }
        item
    }
}

/// A record's own timestamp, or its batch's if the broker's clock counts.
#[inline]
pub(crate) fn timestamp(header: &Header, delta: i64) -> i64 {
    match header.log_append_time() {
        true => header.max_timestamp,
        false => header.base_timestamp.saturating_add(delta),
    }
}

/// The batches that `bytes` begins with, each with its header; ends before whatever is not a whole batch.
pub fn batches(bytes: &Bytes) -> impl Iterator<Item = (Header, Bytes)> + use<> {
    let mut rest = bytes.clone();
    std::iter::from_fn(move || {
        let header = Header::parse(&rest).ok().filter(|header| header.total_len() <= rest.len())?;
        Some((header, rest.split_to(header.total_len())))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::BatchBuilder;

    /// A header and a body, plain and in gzip: records that are empty, larger than the window, in between.
    fn batches() -> [(Header, Bytes); 2] {
        let mut batch = BatchBuilder::new();
        for (n, size) in [0, 1, 100, WINDOW - 20, WINDOW, 3 * WINDOW, 63, 64, 0].into_iter().enumerate() {
            let value = vec![7; size];
            batch.push(1_790_000_000_000 - n as i64 * 5_000_000, None, Some(&value), &[(b"h", None)]);
        }
        let built = batch.build().unwrap();
        let (plain, body) = (*built.header(), built.body().clone());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&body).unwrap();
        let packed = Header { attributes: plain.attributes | 1, ..plain };
        [(plain, body), (packed, gzip.finish().unwrap().into())]
    }

    #[test]
    fn stamps_are_those_of_the_records() {
        for (header, body) in batches() {
            let records: Vec<_> = Records::of(&header, body.clone()).unwrap().map(Result::unwrap).collect();
            let stamps: Result<Vec<_>, _> = Stamps::of(&header, body).unwrap().collect();
            let expected: Vec<_> = records.iter().map(|record| (record.timestamp, record.offset)).collect();
            assert_eq!(expected.len(), 9);
            assert_eq!(stamps, Ok(expected));
        }
    }

    #[test]
    fn stamps_of_a_truncated_body_end_with_an_error() {
        let [(header, body), _] = batches();
        let ends: Vec<usize> = {
            let mut rest: &[u8] = &body;
            std::iter::from_fn(|| nullable(&mut rest).map(|_| body.len() - rest.len())).collect()
        };
        for end in (1..body.len()).filter(|end| end % 97 == 0 || ends.iter().any(|at| at.abs_diff(*end) < 30))
        {
            let stamps: Vec<_> = Stamps::of(&header, body.slice(..end)).unwrap().collect();
            let whole = ends.iter().filter(|at| **at <= end).count();
            let errors = stamps.iter().filter(|stamp| stamp.is_err()).count();
            assert_eq!(stamps.len() - errors, whole, "{end}");
            assert_eq!(errors, usize::from(!ends.contains(&end)), "{end}");
        }
    }
}
