//! Builds the broker's own batches: committed offsets, metadata, transaction markers.

use bytes::{BufMut, Bytes};

use crate::batch::{
    HEADER_LEN, Header, Invalid, LENGTH_END, MAGIC, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, Refusal,
};
use crate::codec::Codec;
use crate::validate::Checked;

/// A batch in the making; uncompressed, since the broker's own are small. Also makes the bytes of test
/// clients.
#[derive(Clone, Debug, Default)]
pub struct BatchBuilder {
    body: Vec<u8>,
    record: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer: Option<(i64, i16, i32)>,
    transactional: bool,
    control: bool,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new() -> BatchBuilder {
        BatchBuilder { max_timestamp: NO_TIMESTAMP, ..BatchBuilder::default() }
    }

    /// From an idempotent producer: its id, epoch, and the first record's sequence number (-1 for markers).
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.producer = Some((id, epoch, base_sequence));
        self
    }

    /// Within a transaction.
    pub fn transactional(mut self) -> BatchBuilder {
        self.transactional = true;
        self
    }

    /// Not data but a marker.
    pub fn control(mut self) -> BatchBuilder {
        self.control = true;
        self
    }

    /// Adds a record. `timestamp` in ms since the epoch.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut BatchBuilder {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let record = &mut self.record;
        record.clear();
        record.put_i8(0);
        put_varlong(record, timestamp.wrapping_sub(self.base_timestamp));
        put_varlong(record, i64::from(self.count));
        put_nullable(record, key);
        put_nullable(record, value);
        put_varlong(record, headers.len() as i64);
        for (name, value) in headers {
            put_nullable(record, Some(name));
            put_nullable(record, *value);
        }
        put_varlong(&mut self.body, self.record.len() as i64);
        self.body.extend_from_slice(&self.record);
        self.count += 1;
        self
    }

    /// Adds the record of a transaction marker (KIP-98): commit or abort, decided by a coordinator of this
    /// epoch.
    pub fn push_marker(&mut self, timestamp: i64, commit: bool, coordinator_epoch: i32) -> &mut BatchBuilder {
        let key = [0, 0, 0, u8::from(commit)];
        let mut value = [0; 6];
        let mut at = &mut value[2..];
        at.put_i32(coordinator_epoch);
        self.push(timestamp, Some(&key), Some(&value), &[])
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// Is there no record yet?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch as it stands.
    pub fn total_len(&self) -> usize {
        HEADER_LEN + self.body.len()
    }

    /// The finished batch, with base offset 0; refused if its length does not fit into the header.
    pub fn build(self) -> Result<Checked, Refusal> {
        let batch_length = batch_length(self.body.len())?;
        let (producer_id, producer_epoch, base_sequence) =
            self.producer.unwrap_or((NO_PRODUCER_ID, -1, NO_SEQUENCE));
        let mut header = Header {
            base_offset: 0,
            batch_length,
            partition_leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes: Header::attributes_of(Codec::None, false, self.transactional, self.control),
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            records_count: self.count,
        };
        header.crc = header.crc_with(&self.body);
        Ok(Checked { header, body: self.body.into() })
    }
}

/// What the header says of the length of a batch with this many bytes of records.
fn batch_length(body: usize) -> Result<i32, Refusal> {
    let length = HEADER_LEN - LENGTH_END + body;
    i32::try_from(length)
        .map_err(|_| Refusal::new(Invalid::TooLarge, format!("a batch cannot be {length} bytes long")))
}

impl Checked {
    /// The batch in one piece, as it would travel in a Produce request.
    pub fn to_bytes(&self) -> Bytes {
        [&self.header.encode()[..], &self.body].concat().into()
    }
}

/// A zigzag varint.
pub(crate) fn put_varlong(into: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        into.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.put_u8(rest as u8);
}

/// A length and bytes; -1 for null.
pub(crate) fn put_nullable(into: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varlong(into, bytes.map_or(-1, |bytes| bytes.len() as i64));
    into.extend_from_slice(bytes.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_does_not_fit_into_the_header_is_refused() {
        // The length wrapped around, and the log took the batch: a partition of __consumer_offsets that
        // nobody could read any more, from one commit of many partitions by a group with a long name.
        let most = i32::MAX as usize - (HEADER_LEN - LENGTH_END);
        assert_eq!(batch_length(most), Ok(i32::MAX));
        assert_eq!(batch_length(most + 1).map_err(|refusal| refusal.why), Err(Invalid::TooLarge));
    }
}
