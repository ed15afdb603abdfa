//! Record batches, and other bytes whose form the protocol leaves open.

use braid_protocol::Version;
use braid_protocol::Wire;
use braid_protocol::data::consumer::ConsumerProtocolSubscription;
use braid_storage::{BatchBuilder, Header};

use crate::dice::Dice;
use crate::words::Words;

/// What a Produce request might carry for one partition.
pub(crate) fn records(dice: &mut Dice, words: &mut Words) -> Vec<u8> {
    let (id, epoch) = words.producer(dice);
    let sequence = dice.below(3) as i32;
    let mut batch = match dice.below(4) {
        0 => BatchBuilder::new().producer(id, epoch, sequence),
        1 => BatchBuilder::new().producer(id, epoch, sequence).transactional(),
        _ => BatchBuilder::new(),
    };
    for n in 0..=dice.below(4) {
        let key = b"key".as_slice();
        let headers: &[(&[u8], Option<&[u8]>)] =
            if n == 1 { &[(b"h", Some(b"v")), (b"", None)] } else { &[] };
        batch.push(1_790_000_000_000, dice.once_in(2).then_some(key), Some(b"value"), headers);
    }
    let plain = batch.build().unwrap();
    match dice.below(30) {
        0 => Vec::new(),
        1 => [plain.to_bytes(), plain.to_bytes()].concat(),
        2 => bomb(if dice.once_in(50) { 20 } else { 1 }),
        3 => {
            // An LZ4 frame that does not end: it is for the checks of codecs to say what becomes of it.
            let body = [&b"\x04\x22\x4d\x18\x60\x40\x82"[..], &[20, 0, 0, 0x80], &[0; 20]].concat();
            with(*plain.header(), 3, body)
        }
        4 => with(*plain.header(), dice.below(8) as i16, plain.body().to_vec()),
        5 => {
            let mut bytes = plain.to_bytes().to_vec();
            let at = dice.below(bytes.len());
            bytes[at] = dice.next() as u8;
            bytes
        }
        6 => {
            let mut header = *plain.header();
            header.records_count = *dice.pick(&[0, -1, i32::MAX, i32::MIN]);
            header.last_offset_delta = *dice.pick(&[header.records_count.wrapping_sub(1), i32::MAX, -1]);
            with(header, 0, plain.body().to_vec())
        }
        _ => plain.to_bytes().to_vec(),
    }
}

/// The batch with another codec and body, and the checksum right again.
fn with(mut header: Header, codec: i16, body: Vec<u8>) -> Vec<u8> {
    header.attributes = header.attributes & !7 | codec;
    header.batch_length = (header.encode().len() - 12 + body.len()) as i32;
    header.crc = header.crc_with(&body);
    [&header.encode()[..], &body].concat()
}

/// A batch of one record of this many MiB of zeros, in a few bytes: zstd blocks that repeat one byte.
fn bomb(mib: usize) -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    let blocks = mib * 8;
    let value = blocks * BLOCK;
    let varint = |n: i64| {
        let (mut rest, mut out) = (((n << 1) ^ (n >> 63)) as u64, Vec::new());
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
        out
    };
    // Attributes, two deltas, no key; the value; no headers, which the last zero stands for.
    let inner = [vec![0, 0, 0, 1], varint(value as i64 - 1)].concat();
    let start = [varint((inner.len() + value) as i64), inner].concat();
    let mut body = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x48];
    let mut block = |kind: usize, size: usize, last: bool, bytes: &[u8]| {
        let head = size << 3 | kind << 1 | usize::from(last);
        body.extend(&head.to_le_bytes()[..3]);
        body.extend(bytes);
    };
    block(0, start.len(), false, &start);
    (1..=blocks).for_each(|n| block(1, BLOCK, n == blocks, &[0]));
    let mut one = BatchBuilder::new();
    one.push(1_790_000_000_000, None, None, &[]);
    with(*one.build().unwrap().header(), 4, body)
}

/// What a consumer might say to the leader of its group, or something else.
pub(crate) fn opaque(dice: &mut Dice) -> Vec<u8> {
    match dice.below(4) {
        0 => (0..dice.below(60)).map(|_| dice.next() as u8).collect(),
        1 => Vec::new(),
        _ => {
            let topics = vec!["t0".to_owned(), "t3".to_owned()];
            let said = ConsumerProtocolSubscription { topics, ..Default::default() };
            [&[0, 1][..], &said.to_bytes(Version::new(1, false))].concat()
        }
    }
}
