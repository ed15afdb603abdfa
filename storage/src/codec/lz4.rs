//! The lz4 frame format, as far as Kafka's Java client reads it: one frame of version 1 with independent
//! blocks, no dictionary, an end mark, and nothing behind it.
//!
//! `magic u32 le | FLG u8 | BD u8 | content size u64 le, if stated | header checksum u8
//! | blocks: size u32 le (bit 31: stored), data, checksum u32 if stated | end mark 0 u32 | checksum u32 if
//! stated`.
//! The decoder checks every checksum and the content size, as librdkafka does; Java checks those of the
//! header and of the blocks. A block: sequences of `token u8 (literals << 4 | copied - 4) | more literals |
//! literals | distance u16 le | more copied`; the last ends with its literals. Of how it ends, the C library,
//! which Java and librdkafka use, demands more than our decoder does.

use bytes::Buf;

use super::{Defect, Shape};

const MAGIC: u32 = 0x184D_2204;
const STORED: u32 = 1 << 31;
const BLOCKS_INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const RESERVED: u8 = 1 << 1;
const DICTIONARY: u8 = 1;
/// Bytes from a copy's distance to the end of the block, at least: the distance, a token, five literals.
const COPY_TO_END_MIN: usize = 8;
/// How near to the block's full size literals may come before a copy, and copies.
const LITERALS_TO_FULL_MIN: usize = 12;
const COPIES_TO_FULL_MIN: usize = 5;
/// Half of a token that says that its length goes on.
const MORE: u8 = 15;

const CUT: Defect = "lz4: the frame is not whole";

/// The sizes that a frame states.
struct Frame {
    block_max: usize,
    content: Option<u64>,
    /// Bytes behind each block, and behind the end mark.
    block_checksum: usize,
    checksum: usize,
}

/// Walks from block to block to the end of the frame; decompresses nothing.
pub(super) fn inspect(mut at: &[u8]) -> Result<Shape, Defect> {
    let frame = header(&mut at)?;
    let mut unpacked = 0_u64;
    loop {
        let block = at.try_get_u32_le().map_err(|_| "lz4: the end mark is missing")?;
        if block == 0 {
            break;
        }
        let size = (block & !STORED) as usize;
        if size > frame.block_max {
            return Err("lz4: a block is larger than the frame says");
        }
        let data = at.split_off(..size).ok_or(CUT)?;
        at = at.get(frame.block_checksum..).ok_or(CUT)?;
        let becomes = match block & STORED == 0 {
            true => sequences(data, frame.block_max).ok_or("lz4: a block ends as the format forbids")?,
            false => size,
        };
        if becomes == 0 {
            return Err("lz4: an empty block");
        }
        unpacked += becomes as u64;
    }
    if frame.content.is_some_and(|content| content != unpacked) {
        return Err("lz4: the content size is not right");
    }
    match at.len() {
        left if left == frame.checksum => Ok(Shape { memory: 2 * frame.block_max, unpacked: Some(unpacked) }),
        left if left < frame.checksum => Err(CUT),
        _ => Err("lz4: there is more behind the end mark"),
    }
}

fn header(at: &mut &[u8]) -> Result<Frame, Defect> {
    let (magic, flags, sizes) = (at.try_get_u32_le(), at.try_get_u8(), at.try_get_u8());
    if magic.map_err(|_| CUT)? != MAGIC {
        return Err("lz4: not the frame format");
    }
    let (flags, sizes) = (flags.map_err(|_| CUT)?, sizes.map_err(|_| CUT)?);
    let has = |flag: u8| flags & flag != 0;
    let block_max = match sizes {
        0x40 => 64 << 10,
        0x50 => 256 << 10,
        0x60 => 1 << 20,
        0x70 => 4 << 20,
        _ => return Err("lz4: the block size is not one of the format's"),
    };
    match flags >> 6 {
        1 if has(RESERVED) => return Err("lz4: a reserved bit is set"),
        1 if has(DICTIONARY) => return Err("lz4: a dictionary is needed"),
        1 if !has(BLOCKS_INDEPENDENT) => return Err("lz4: the blocks depend on each other"),
        1 => {}
        _ => return Err("lz4: not version 1 of the frame format"),
    }
    let content = match has(CONTENT_SIZE) {
        true => Some(at.try_get_u64_le().map_err(|_| CUT)?),
        false => None,
    };
    at.try_get_u8().map_err(|_| CUT)?; // header checksum: the decoder's to check
    let sum = |flag| if has(flag) { size_of::<u32>() } else { 0 };
    Ok(Frame { block_max, content, block_checksum: sum(BLOCK_CHECKSUMS), checksum: sum(CONTENT_CHECKSUM) })
}

/// How many bytes a compressed block becomes; `None` if it is not one. Distances are the decoder's to check.
fn sequences(mut at: &[u8], block_max: usize) -> Option<usize> {
    let mut becomes = 0_usize;
    loop {
        let token = *at.split_off_first()?;
        let literals = length(token >> 4, &mut at)?;
        at = at.get(literals..)?;
        becomes += literals;
        if at.is_empty() {
            // Go's decoder looks for a copy where the last token has one.
            return (becomes <= block_max && token & MORE == 0).then_some(becomes);
        }
        if at.len() < COPY_TO_END_MIN || becomes + LITERALS_TO_FULL_MIN > block_max {
            return None;
        }
        at = at.get(size_of::<u16>()..)?;
        becomes += 4 + length(token & MORE, &mut at)?;
        if becomes + COPIES_TO_FULL_MIN > block_max {
            return None;
        }
    }
}

/// A length whose first part is half a token.
fn length(half: u8, at: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(half);
    if half == MORE {
        loop {
            let more = *at.split_off_first()?;
            length += usize::from(more);
            if more < u8::MAX {
                break;
            }
        }
    }
    Some(length)
}
