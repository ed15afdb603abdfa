//! zstd (RFC 8878): one frame without a dictionary, of a window that Kafka's Java client allocates, and
//! nothing behind it.
//!
//! `magic u32 le | descriptor u8 | window u8, unless the frame is a single segment | content size, 0 to 8
//! bytes | blocks: header u24 le (bit 0: last, 1-2: type, 3-23: size), data | checksum u32, if stated`.

use std::io;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};

use super::{Defect, Shape};

const MAGIC: u32 = 0xFD2F_B528;
/// The largest window a frame may ask for: what zstd itself accepts by default, since Kafka's own
/// library writes such frames at its highest levels. It is address space until bytes are written to it.
const WINDOW_LOG_MAX: u32 = 27;
const BLOCK_MAX: usize = 128 << 10;
/// What the decoder holds beside its window: its tables, and two blocks.
const DECODER: usize = 512 << 10;
const SINGLE_SEGMENT: u8 = 1 << 5;
const RESERVED: u8 = 1 << 3;
const CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 3;

const CUT: Defect = "zstd: the frame is not whole";

/// A decoder that allocates no larger window than [`WINDOW_LOG_MAX`].
pub(super) fn decoder(body: Bytes) -> io::Result<zstd::Decoder<'static, Reader<Bytes>>> {
    let mut decoder = zstd::Decoder::with_buffer(body.reader())?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// Walks from block to block to the end of the frame; decompresses nothing.
pub(super) fn inspect(mut at: &[u8]) -> Result<Shape, Defect> {
    if at.try_get_u32_le().map_err(|_| CUT)? != MAGIC {
        return Err("zstd: not a zstd frame");
    }
    let shape = frame_header(&mut at)?;
    let checksum = shape.1;
    loop {
        let header = at.try_get_uint_le(3).map_err(|_| CUT)? as usize;
        let (last, kind, size) = (header & 1 == 1, header >> 1 & 3, header >> 3);
        let stored = match kind {
            0 | 2 if size > BLOCK_MAX => return Err("zstd: a block is larger than the format allows"),
            2 if size == 0 => return Err("zstd: a compressed block of no bytes"),
            0 | 2 => size,
            1 => 1,
            _ => return Err("zstd: a block is of an unknown type"),
        };
        at = at.get(stored..).ok_or(CUT)?;
        if last {
            break;
        }
    }
    match at.len() {
        left if left == checksum => Ok(shape.0),
        left if left < checksum => Err(CUT),
        _ => Err("zstd: there is more behind the frame"),
    }
}

/// Also: how long the checksum behind the last block is.
fn frame_header(at: &mut &[u8]) -> Result<(Shape, usize), Defect> {
    let descriptor = at.try_get_u8().map_err(|_| CUT)?;
    let single = descriptor & SINGLE_SEGMENT != 0;
    if descriptor & RESERVED != 0 {
        return Err("zstd: a reserved bit is set");
    }
    if descriptor & DICTIONARY != 0 {
        return Err("zstd: a dictionary is needed");
    }
    let window = if single { None } else { Some(at.try_get_u8().map_err(|_| CUT)?) };
    let unpacked = match (descriptor >> 6, single) {
        (0, false) => None,
        (0, true) => Some(u64::from(at.try_get_u8().map_err(|_| CUT)?)),
        (1, _) => Some(u64::from(at.try_get_u16_le().map_err(|_| CUT)?) + 256),
        (2, _) => Some(u64::from(at.try_get_u32_le().map_err(|_| CUT)?)),
        _ => Some(at.try_get_u64_le().map_err(|_| CUT)?),
    };
    let window = match window {
        Some(byte) => {
            let base = 1_u64 << (10 + (byte >> 3));
            base + base / 8 * u64::from(byte & 7)
        }
        None => unpacked.unwrap_or_default(),
    };
    if window > 1 << WINDOW_LOG_MAX {
        return Err("zstd: the window is larger than 128 MiB");
    }
    let held = window.min(unpacked.unwrap_or(u64::MAX));
    let memory = usize::try_from(held).unwrap_or(usize::MAX).saturating_add(DECODER);
    let checksum = if descriptor & CHECKSUM != 0 { size_of::<u32>() } else { 0 };
    Ok((Shape { memory, unpacked }, checksum))
}
