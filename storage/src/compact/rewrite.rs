//! A batch with fewer records: the same offsets, producer, sequence and codec, a new body.

use bytes::{BufMut, Bytes};

use crate::batch::{DELETE_HORIZON, HEADER_LEN, Header, Invalid, LENGTH_END, NO_TIMESTAMP};
use crate::builder::{put_nullable, put_varlong};
use crate::codec::Codec;
use crate::compact::compress::Encoder;
use crate::record::{self, Record};

/// The header of a batch that nothing is left of but its offsets and its producer's sequence; no body
/// follows.
pub(super) fn emptied(header: &Header) -> Header {
    let (transactional, control) = (header.is_transactional(), header.is_control());
    let attributes = Header::attributes_of(Codec::None, header.log_append_time(), transactional, control);
    let empty = Header { attributes, base_timestamp: NO_TIMESTAMP, records_count: 0, ..*header };
    with_body(empty, &[])
}

/// The batch with only those records that `keep` is true for, of which there is one at least. With `horizon`,
/// that becomes its delete horizon; one that it has stays.
pub(super) fn rewritten(
    header: &Header,
    batch: &Bytes,
    horizon: Option<i64>,
    mut keep: impl FnMut(&Record) -> bool,
) -> Result<(Header, Vec<u8>), Invalid> {
    let mut new = Header { records_count: 0, ..*header };
    if let Some(horizon) = horizon {
        new.attributes |= DELETE_HORIZON;
        new.base_timestamp = horizon;
    }
    let mut newest = NO_TIMESTAMP;
    let codec = header.codec().ok_or(Invalid::InvalidRecord)?;
    // Writing to memory fails only where a codec's library does.
    let mut body = Encoder::new(codec).map_err(|_| Invalid::InvalidRecord)?;
    let (mut record_bytes, mut length) = (Vec::new(), Vec::new());
    for record in record::records(batch)? {
        let record = record?;
        if !keep(&record) {
            continue;
        }
        record_bytes.clear();
        length.clear();
        put_record(&mut record_bytes, &record, header.base_offset, new.base_timestamp);
        put_varlong(&mut length, record_bytes.len() as i64);
        body.write(&length).and_then(|()| body.write(&record_bytes)).map_err(|_| Invalid::InvalidRecord)?;
        newest = newest.max(record.timestamp);
        new.records_count = new.records_count.saturating_add(1);
    }
    if !header.log_append_time() {
        new.max_timestamp = newest;
    }
    let body = body.finish().map_err(|_| Invalid::InvalidRecord)?;
    Ok((with_body(new, &body), body))
}

/// Length and checksum follow the body.
fn with_body(mut header: Header, body: &[u8]) -> Header {
    header.batch_length = (HEADER_LEN - LENGTH_END + body.len()) as i32;
    header.crc = header.crc_with(body);
    header
}

fn put_record(into: &mut Vec<u8>, record: &Record, base_offset: i64, base_timestamp: i64) {
    into.put_i8(0);
    put_varlong(into, record.timestamp.wrapping_sub(base_timestamp));
    put_varlong(into, record.offset - base_offset);
    put_nullable(into, record.key.as_deref());
    put_nullable(into, record.value.as_deref());
    put_varlong(into, record.headers.len() as i64);
    for (name, value) in &record.headers {
        put_nullable(into, Some(name));
        put_nullable(into, value.as_deref());
    }
}
