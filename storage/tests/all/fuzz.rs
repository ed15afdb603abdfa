//! Batches made at random, and damaged at random: whatever comes, nothing panics, no more memory is held than
//! was stated, and what is accepted can be read completely.
//!
//! `BRAID_FUZZ_BATCHES` says how many (default: 6,000), `BRAID_FUZZ_SEED` where to begin. With
//! `BRAID_FUZZ_KEEP=FILE` those that are accepted are written there as `compat/frames` reads them, so that
//! the clients themselves can be asked (`compat/frames/fuzz`).

use std::fs::File;
use std::io::{BufWriter, Write};

use braid_storage::{
    BatchBuilder, Checked, Codec, Header, Refusal, Rules, Validation, batch, readable, records, validate,
};
use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use crate::codecs::with_body;
use crate::frames::rows;
use crate::memory::peak;
use crate::support::{Dice, NOW, rules};

/// What a verdict may need beside what the frame does: sentences, and the records that a refusal names.
const MARGIN: usize = 64 << 10;
/// Values are of these sizes, mostly.
const SIZES: [u64; 6] = [0, 1, 20, 200, 9_000, 70_000];

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

pub(crate) fn pick<T: Copy>(dice: &mut Dice, from: &[T]) -> T {
    from[dice.below(from.len() as u64) as usize]
}

/// Bytes that compress, more or less.
fn content(dice: &mut Dice) -> Vec<u8> {
    let sizes = &SIZES[..1 + dice.below(6) as usize];
    let most = pick(dice, sizes);
    let size = dice.below(most + 1) as usize;
    match dice.below(3) {
        0 => vec![b'a'; size],
        1 => (0..size).map(|at| (at / 7) as u8).collect(),
        _ => (0..size.min(500)).map(|_| dice.below(256) as u8).collect(),
    }
}

fn plain(dice: &mut Dice) -> Checked {
    let mut builder = BatchBuilder::new();
    if dice.below(3) == 0 {
        builder = builder.producer(dice.below(9) as i64, 0, dice.below(100) as i32);
    }
    for _ in 0..=dice.below(8) {
        let (key, value) = (content(dice), content(dice));
        let headers: Vec<(Vec<u8>, Vec<u8>)> =
            (0..dice.below(8).saturating_sub(5)).map(|_| (b"name".to_vec(), content(dice))).collect();
        let headers: Vec<(&[u8], Option<&[u8]>)> = headers
            .iter()
            .map(|(name, value)| (&name[..], Some(&value[..]).filter(|v| v.len() != 1)))
            .collect();
        let time = pick(dice, &[NOW, NOW + 5, 0, -1, -9, i64::MAX]);
        builder.push(time, (key.len() != 1).then_some(&key), (value.len() != 1).then_some(&value), &headers);
    }
    builder.build().unwrap()
}

fn gzip(dice: &mut Dice, body: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::new(pick(dice, &[0, 1, 6]));
    let mut builder = flate2::GzBuilder::new();
    if dice.below(4) == 0 {
        builder = builder.filename("name").extra("extra");
    }
    let mut out = builder.write(Vec::new(), level);
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

fn snappy(dice: &mut Dice, body: &[u8]) -> Vec<u8> {
    let raw = |body: &[u8]| snap::raw::Encoder::new().compress_vec(body).unwrap();
    if dice.below(2) == 0 {
        return raw(body);
    }
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for chunk in body.chunks(pick(dice, &[7, 1000, 32 << 10])) {
        let block = raw(chunk);
        out.extend((block.len() as u32).to_be_bytes());
        out.extend(block);
    }
    out
}

fn lz4(dice: &mut Dice, body: &[u8]) -> Vec<u8> {
    let mut info = FrameInfo::new()
        .block_size(pick(dice, &[BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB]))
        .block_checksums(dice.below(3) == 0)
        .content_checksum(dice.below(3) == 0)
        .content_size((dice.below(3) == 0).then_some(body.len() as u64));
    if dice.below(5) == 0 {
        info = info.block_mode(BlockMode::Linked);
    }
    let mut out = FrameEncoder::with_frame_info(info, Vec::new());
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

fn zstd(dice: &mut Dice, body: &[u8]) -> Vec<u8> {
    let mut out = zstd::Encoder::new(Vec::new(), pick(dice, &[-5, 1, 3])).unwrap();
    out.include_checksum(dice.below(3) == 0).unwrap();
    if dice.below(3) == 0 {
        out.set_pledged_src_size(Some(body.len() as u64)).unwrap();
    }
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

fn compress(dice: &mut Dice, codec: Codec, body: &[u8]) -> Vec<u8> {
    match codec {
        Codec::None => body.to_vec(),
        Codec::Gzip => gzip(dice, body),
        Codec::Snappy => snappy(dice, body),
        Codec::Lz4 => lz4(dice, body),
        Codec::Zstd => zstd(dice, body),
    }
}

/// Changes, removes, doubles or adds some bytes, most often near the ends, where the frames are.
fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.below(3) {
        let length = bytes.len() as u64;
        let near = dice.below(length.min(24) + 1);
        let anywhere = dice.below(length + 1);
        let at = pick(dice, &[near, length - near, anywhere]) as usize;
        let few = (at + dice.below(6) as usize).min(bytes.len());
        match dice.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, pick(dice, &[0, 1, 0x7f, 0x80, 0xff])),
            2 => drop(bytes.drain(at..few)),
            3 => bytes.extend_from_within(at..few),
            4 => bytes.extend_from_within(..),
            _ if at < bytes.len() => {
                let flipped = bytes[at] ^ 1 << dice.below(8);
                bytes[at] = pick(dice, &[flipped, bytes[at].wrapping_add(1), 0, 0xff]);
            }
            _ => {}
        }
    }
}

/// A few bytes that become many.
fn bomb(dice: &mut Dice) -> Checked {
    let mut builder = BatchBuilder::new();
    let size = 1 << (16 + dice.below(7));
    for _ in 0..=dice.below(4) {
        builder.push(NOW, None, Some(&vec![0; size]), &[]);
    }
    builder.build().unwrap()
}

fn generate(dice: &mut Dice, table: &[Bytes]) -> Bytes {
    let codec = pick(dice, &[Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]);
    let (header, mut body) = match dice.below(200) {
        0 => {
            let plain = bomb(dice);
            (*plain.header(), compress(dice, codec, plain.body()))
        }
        1..40 => {
            let row = &table[dice.below(table.len() as u64) as usize];
            (Header::parse(row).unwrap(), row[batch::HEADER_LEN..].to_vec())
        }
        _ => {
            let plain = plain(dice);
            let mut body = plain.body().to_vec();
            if dice.below(4) == 0 {
                damage(dice, &mut body);
            }
            (*plain.header(), compress(dice, codec, &body))
        }
    };
    if dice.below(2) == 0 {
        damage(dice, &mut body);
    }
    let codec = header.codec().filter(|codec| *codec != Codec::None).unwrap_or(codec);
    let bytes = with_body(&header, codec, &body);
    if dice.below(8) > 0 {
        return bytes;
    }
    let mut bytes = bytes.to_vec();
    bytes[dice.below(batch::HEADER_LEN as u64) as usize] = pick(dice, &[0, 1, 0x7f, 0x80, 0xff]);
    if let Ok(mut header) = Header::parse(&bytes)
        && dice.below(4) > 0
    {
        header.crc = header.crc_with(&bytes[batch::HEADER_LEN..]);
        bytes[..batch::HEADER_LEN].copy_from_slice(&header.encode());
    }
    bytes.into()
}

/// The verdict in steps of this size, and the memory held and stated.
fn in_steps(bytes: &Bytes, rules: &Rules, budget: usize) -> (Result<Checked, Refusal>, usize, usize) {
    let mut stated = 0;
    let (verdict, held) = peak(|| {
        let mut validation = Validation::begin(bytes, rules, NOW)?;
        stated = validation.memory_bytes();
        loop {
            if let Some(checked) = validation.advance(budget)? {
                return Ok(checked);
            }
        }
    });
    (verdict, held, stated)
}

#[test]
fn batches() {
    let (seed, count) = (setting("BRAID_FUZZ_SEED", 1), setting("BRAID_FUZZ_BATCHES", 6_000));
    let mut keep =
        std::env::var_os("BRAID_FUZZ_KEEP").map(|path| BufWriter::new(File::create(path).unwrap()));
    let table: Vec<Bytes> = rows().into_iter().map(|row| row.batch).filter(|row| row.len() < 1000).collect();
    let rules = Rules { max_message_bytes: 1 << 25, max_decompressed_bytes: 4 << 20, ..rules() };
    let (mut accepted, mut refused) = ([0; 5], 0);
    for n in seed..seed + count {
        let mut dice = Dice(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let bytes = generate(&mut dice, &table);
        let budget = pick(&mut dice, &[0, 100_000, 1 << 20]);
        let (verdict, held, stated) = in_steps(&bytes, &rules, budget);
        assert!(held <= stated + MARGIN, "{n}: {held} bytes held, {stated} stated");
        assert_eq!(verdict.is_ok(), validate(&bytes, &rules, NOW).is_ok(), "{n}: in steps and in one go");
        let Ok(checked) = verdict else {
            refused += 1;
            continue;
        };
        let stored = checked.to_bytes();
        assert_eq!(readable(&stored), Ok(()), "{n}");
        let found: Vec<_> =
            records(&stored).unwrap().map(|r| r.unwrap_or_else(|e| panic!("{n}: {e}"))).collect();
        assert_eq!(found.len() as i32, checked.header().records_count, "{n}");
        assert!(found.iter().enumerate().all(|(at, record)| record.offset == at as i64), "{n}");
        let newest = found.iter().map(|record| record.timestamp).max().unwrap();
        assert_eq!(checked.header().max_timestamp, newest.max(-1), "{n}");
        accepted[checked.header().codec().unwrap() as usize] += 1;
        if let Some(keep) = &mut keep {
            let hex: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(keep, "{n}\t{hex}").unwrap();
        }
    }
    let enough = count / 40;
    assert!(accepted.iter().all(|n| *n > enough) && refused > enough, "{accepted:?}, {refused} refused");
}
