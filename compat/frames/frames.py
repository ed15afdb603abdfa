"""Record batches whose compressed records are framed in every way that the formats know, and in some that they
forbid.

    frames.py                   a line each: name, tab, batch in hexadecimal
    frames.py judge             reads those lines; prints each name, and what kafka-python makes of the batch
    frames.py table FILE...     the lines and the judgements (a file for each judge), as one table

Every batch holds the same three records unless its name says otherwise.
"""

import re
import struct
import sys
import zlib

import crc32c
import lz4.frame
import snappy
import zstandard

def xxh32(data):
    """The checksum of lz4's frames."""
    mask, (a, b, c, d, e) = 0xFFFFFFFF, (2654435761, 2246822519, 3266489917, 668265263, 374761393)
    turn = lambda number, bits: (number << bits | number >> 32 - bits) & mask
    lanes, at = [a + b & mask, b, 0, -a & mask], 0
    while len(data) - at >= 16:
        words = struct.unpack_from("<IIII", data, at)
        lanes = [turn(lane + word * b & mask, 13) * a & mask for lane, word in zip(lanes, words)]
        at += 16
    sum = e if at == 0 else turn(lanes[0], 1) + turn(lanes[1], 7) + turn(lanes[2], 12) + turn(lanes[3], 18)
    sum = sum + len(data) & mask
    while len(data) - at >= 4:
        sum = turn(sum + struct.unpack_from("<I", data, at)[0] * c & mask, 17) * d & mask
        at += 4
    for byte in data[at:]:
        sum = turn(sum + byte * e & mask, 11) * a & mask
    sum = (sum ^ sum >> 15) * b & mask
    sum = (sum ^ sum >> 13) * c & mask
    return sum ^ sum >> 16


GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
XERIAL = b"\x82SNAPPY\0"


def varint(number):
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def record(index, value=b"value", key=b"key", headers=b"\0"):
    sized = lambda part: varint(-1) if part is None else varint(len(part)) + part
    body = b"\0" + varint(index) + varint(index) + sized(key) + sized(value) + headers
    return varint(len(body)) + body


def batch(codec, body, count=3):
    covered = struct.pack(">hiqqqhii", codec, count - 1, 1_700_000_000_000, 1_700_000_000_002, -1, -1, -1, count)
    covered += body
    start = struct.pack(">qiibI", 0, len(covered) + 9, -1, 2, crc32c.crc32c(covered))
    return start + covered


PLAIN = b"".join(record(index) for index in range(3))
# More than one block of everything, but few different bytes, so that this is not long in the table.
LONG = b"".join(record(index, b"".join(bytes([byte]) * 4000 for byte in range(17))) for index in range(3))
# The same bytes again and again.
EVEN = b"".join(record(index, b"a" * 100_000) for index in range(3))


def gzip(data, flags=0, extra=b"", trailer=None, level=6, reserved=0):
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush()
    start = b"\x1f\x8b\x08" + bytes([flags | reserved]) + b"\0\0\0\0\0\xff" + extra
    if flags & 2:
        start += struct.pack("<H", zlib.crc32(start) & 0xFFFF)
    return start + body + (trailer or struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))


def gzips():
    one = gzip(PLAIN)
    half = len(PLAIN) // 3
    yield "gzip", one
    yield "gzip, stored", gzip(PLAIN, level=0)
    yield "gzip, long", gzip(LONG)
    yield "gzip, even", gzip(EVEN)
    yield "gzip, empty", gzip(b"")
    yield "gzip, two members", gzip(PLAIN[:half]) + gzip(PLAIN[half:])
    yield "gzip, an empty member behind", one + gzip(b"")
    yield "gzip, an empty member before", gzip(b"") + one
    yield "gzip, one byte behind", one + b"\0"
    yield "gzip, garbage behind", one + b"garbage that is long enough for a header"
    yield "gzip, no trailer", one[:-8]
    yield "gzip, half a trailer", one[:-4]
    yield "gzip, wrong checksum", one[:-8] + b"abcd" + one[-4:]
    yield "gzip, wrong size", one[:-4] + b"abcd"
    yield "gzip, extra field", gzip(PLAIN, 4, struct.pack("<H", 5) + b"extra")
    yield "gzip, name", gzip(PLAIN, 8, b"name\0")
    yield "gzip, comment", gzip(PLAIN, 16, b"comment\0")
    yield "gzip, header checksum", gzip(PLAIN, 2)
    yield "gzip, reserved flag", gzip(PLAIN, reserved=0x20)
    yield "gzip, text flag", gzip(PLAIN, 1)
    yield "gzip, unknown method", one[:2] + b"\x07" + one[3:]
    yield "gzip, zlib format", zlib.compress(PLAIN)
    yield "gzip, raw deflate", one[10:-8]
    yield "gzip, cut", one[: len(one) // 2]
    yield "gzip, nothing", b""


def snappy_literals(data):
    """A block without any copy."""
    out, length = b"", len(data)
    while length > 0x7F:
        out += bytes([length & 0x7F | 0x80])
        length >>= 7
    out += bytes([length])
    for at in range(0, len(data), 60):
        piece = data[at : at + 60]
        out += bytes([(len(piece) - 1) << 2]) + piece
    return out


def xerial(*blocks, version=1, oldest=1, order=">"):
    out = XERIAL + struct.pack(order + "ii", version, oldest)
    return out + b"".join(struct.pack(">i", len(block)) + block for block in blocks)


def snappies():
    raw = snappy.compress(PLAIN)
    halves = [snappy.compress(PLAIN[:20]), snappy.compress(PLAIN[20:])]
    yield "snappy raw", raw
    yield "snappy raw, long", snappy.compress(LONG)
    yield "snappy raw, even", snappy.compress(EVEN)
    yield "snappy raw, literals", snappy_literals(PLAIN)
    yield "snappy raw, empty", snappy.compress(b"")
    yield "snappy raw, one byte behind", raw + b"\0"
    yield "snappy raw, two blocks", halves[0] + halves[1]
    yield "snappy raw, cut", raw[:-1]
    yield "snappy raw, claims more", bytes([raw[0] + 1]) + raw[1:]
    yield "snappy raw, claims less", bytes([raw[0] - 1]) + raw[1:]
    yield "snappy raw, claims 4 GiB", b"\xff\xff\xff\xff\x0f" + raw[1:]
    yield "snappy raw, long varint", bytes([raw[0] | 0x80]) + b"\x80\x80\x80\x00" + raw[1:]
    yield "snappy raw, copy from before the start", bytes([4]) + b"\x01\x09"
    yield "snappy xerial", xerial(raw)
    yield "snappy xerial, long", xerial(*(snappy.compress(LONG[at : at + 32768]) for at in range(0, len(LONG), 32768)))
    yield "snappy xerial, one large block", xerial(snappy.compress(LONG))
    yield "snappy xerial, two blocks", xerial(*halves)
    yield "snappy xerial, no block", xerial()
    yield "snappy xerial, an empty block behind", xerial(raw, snappy.compress(b""))
    yield "snappy xerial, an empty block before", xerial(snappy.compress(b""), raw)
    yield "snappy xerial, a block of no bytes behind", xerial(raw, b"")
    yield "snappy xerial, a block of no bytes before", xerial(b"", raw)
    yield "snappy xerial, version 0", xerial(raw, version=0)
    yield "snappy xerial, version 2", xerial(raw, version=2)
    yield "snappy xerial, version -1", xerial(raw, version=-1)
    yield "snappy xerial, oldest version 2", xerial(raw, oldest=2)
    yield "snappy xerial, oldest version 0", xerial(raw, oldest=0)
    yield "snappy xerial, little-endian versions", xerial(raw, order="<")
    yield "snappy xerial, two streams", xerial(halves[0]) + xerial(halves[1])
    yield "snappy xerial, an empty stream behind", xerial(raw) + xerial()
    yield "snappy xerial, one byte behind", xerial(raw) + b"\0"
    yield "snappy xerial, four bytes behind", xerial(raw) + b"\0\0\0\0"
    yield "snappy xerial, cut in a block", xerial(raw)[:-1]
    yield "snappy xerial, cut in a length", xerial(raw)[:18]
    yield "snappy xerial, block longer than the rest", XERIAL + struct.pack(">iii", 1, 1, len(raw) + 1) + raw
    yield "snappy xerial, negative length", XERIAL + struct.pack(">iii", 1, 1, -1) + raw
    yield "snappy xerial, header only in part", XERIAL + b"\0\0\0\1"
    yield "snappy framing format", b"\xff\x06\0\0sNaPpY" + b"\0" + struct.pack("<I", len(raw) + 4)[:3] + b"abcd" + raw
    yield "snappy, nothing", b""


INDEPENDENT, BLOCK_SUMS, SIZE, SUM, RESERVED, DICTIONARY = 0x20, 0x10, 8, 4, 2, 1


def lz4_literals(data):
    """A block without any copy."""
    if len(data) < 15:
        return bytes([len(data) << 4]) + data
    more, out = len(data) - 15, b"\xf0"
    while more >= 255:
        out += b"\xff"
        more -= 255
    return out + bytes([more]) + data


def lz4_frame(
    *blocks, flags=INDEPENDENT, version=1, sizes=0x40, size=None, dictionary=0, magic=0x184D2204, end=True, total=None
):
    """Blocks are bytes (to be literals), or pairs of a length word and bytes."""
    start = bytes([version << 6 | flags, sizes])
    data = b"".join(block for block in blocks if isinstance(block, bytes))
    if flags & SIZE:
        start += struct.pack("<Q", len(data) if size is None else size)
    if flags & DICTIONARY:
        start += struct.pack("<I", dictionary)
    out = struct.pack("<I", magic) + start + bytes([xxh32(start) >> 8 & 0xFF])
    for block in blocks:
        word, block = block if isinstance(block, tuple) else (None, lz4_literals(block))
        out += struct.pack("<I", len(block) if word is None else word) + block
        if flags & BLOCK_SUMS:
            out += struct.pack("<I", xxh32(block))
    if end:
        out += b"\0\0\0\0"
        if flags & SUM:
            out += struct.pack("<I", xxh32(data) if total is None else total)
    return out


def lz4s():
    plain = lz4_frame(PLAIN)
    stored = (len(PLAIN) | 1 << 31, PLAIN)
    linked = INDEPENDENT ^ INDEPENDENT
    compress = lambda data, **how: lz4.frame.compress(data, **how)
    yield "lz4", plain
    yield "lz4, stored", lz4_frame(stored)
    yield "lz4, two blocks", lz4_frame(PLAIN[:20], PLAIN[20:])
    yield "lz4, empty frame", lz4_frame()
    for number, sizes in enumerate([0x40, 0x50, 0x60, 0x70]):
        yield f"lz4, block size {number + 4}", lz4_frame(PLAIN, sizes=sizes)
        yield f"lz4, even, block size {number + 4}", compress(EVEN, block_size=number + 4, block_linked=False)
    yield "lz4, long", compress(LONG, block_linked=False)
    yield "lz4, long, linked blocks", compress(LONG, block_linked=True, block_size=4)
    yield "lz4, linked, one block", lz4_frame(PLAIN, flags=linked)
    yield "lz4, linked, stored", lz4_frame(stored, flags=linked)
    yield "lz4, content size", lz4_frame(PLAIN, flags=INDEPENDENT | SIZE)
    yield "lz4, content size 0", lz4_frame(PLAIN, flags=INDEPENDENT | SIZE, size=0)
    yield "lz4, wrong content size", lz4_frame(PLAIN, flags=INDEPENDENT | SIZE, size=len(PLAIN) + 1)
    yield "lz4, huge content size", lz4_frame(PLAIN, flags=INDEPENDENT | SIZE, size=1 << 62)
    yield "lz4, content checksum", lz4_frame(PLAIN, flags=INDEPENDENT | SUM)
    yield "lz4, wrong content checksum", lz4_frame(PLAIN, flags=INDEPENDENT | SUM, total=1)
    yield "lz4, content checksum cut", lz4_frame(PLAIN, flags=INDEPENDENT | SUM)[:-1]
    yield "lz4, content checksum missing", lz4_frame(PLAIN, flags=INDEPENDENT | SUM)[:-4]
    yield "lz4, block checksums", lz4_frame(PLAIN, flags=INDEPENDENT | BLOCK_SUMS)
    yield "lz4, stored, block checksums", lz4_frame(stored, flags=INDEPENDENT | BLOCK_SUMS)
    wrong = bytearray(lz4_frame(PLAIN, flags=INDEPENDENT | BLOCK_SUMS))
    wrong[-5] ^= 1
    yield "lz4, wrong block checksum", bytes(wrong)
    everything = INDEPENDENT | BLOCK_SUMS | SIZE | SUM
    yield "lz4, every flag", lz4_frame(PLAIN, flags=everything)
    yield "lz4, wrong header checksum", plain[:6] + bytes([plain[6] ^ 1]) + plain[7:]
    legacy_sum = bytes([xxh32(plain[:6]) >> 8 & 0xFF])
    yield "lz4, header checksum of Kafka 0.8", plain[:6] + legacy_sum + plain[7:]
    yield "lz4, reserved flag", lz4_frame(PLAIN, flags=INDEPENDENT | RESERVED)
    yield "lz4, dictionary", lz4_frame(PLAIN, flags=INDEPENDENT | DICTIONARY, dictionary=7)
    yield "lz4, dictionary 0", lz4_frame(PLAIN, flags=INDEPENDENT | DICTIONARY)
    for version in (0, 2, 3):
        yield f"lz4, version {version}", lz4_frame(PLAIN, version=version)
    for sizes in (0x00, 0x10, 0x30, 0x41, 0x48, 0xC0):
        yield f"lz4, block sizes {sizes:02x}", lz4_frame(PLAIN, sizes=sizes)
    yield "lz4, no end mark", lz4_frame(PLAIN, end=False)
    yield "lz4, end mark cut", plain[:-1]
    yield "lz4, cut in a block", plain[:-6]
    yield "lz4, cut in the header", plain[:5]
    yield "lz4, header only", plain[:7]
    yield "lz4, one byte behind", plain + b"\0"
    yield "lz4, four bytes behind", plain + b"\0\0\0\0"
    yield "lz4, two frames", lz4_frame(PLAIN[:20]) + lz4_frame(PLAIN[20:])
    yield "lz4, an empty frame behind", plain + lz4_frame()
    yield "lz4, an empty frame before", lz4_frame() + plain
    skippable = struct.pack("<II", 0x184D2A50, 3) + b"abc"
    yield "lz4, skippable frame before", skippable + plain
    yield "lz4, skippable frame behind", plain + skippable
    literals = lz4_literals(PLAIN)
    yield "lz4, legacy frame", struct.pack("<II", 0x184C2102, len(literals)) + literals
    yield "lz4, a block without a frame", literals
    yield "lz4, empty block before", lz4_frame((1, b"\0"), PLAIN)
    yield "lz4, empty block behind", lz4_frame(PLAIN, (1, b"\0"))
    yield "lz4, empty stored block before", lz4_frame((1 << 31, b""), PLAIN)
    yield "lz4, empty stored block behind", lz4_frame(PLAIN, (1 << 31, b""))
    yield "lz4, end mark as a stored block", lz4_frame(PLAIN, end=False) + struct.pack("<I", 1 << 31)
    yield "lz4, block longer than it may be", lz4_frame((65537 | 1 << 31, b"a" * 65537))
    yield "lz4, block that unpacks to more than it may", lz4_frame(LONG)
    yield "lz4, block that reaches back too far", lz4_frame((None, b"\x14a\x05\x00\x50bcdef"))
    yield from lz4_ends()
    last = lz4_literals(PLAIN)
    yield "lz4, a copy's length in the last token", lz4_frame((None, bytes([last[0] | 1]) + last[1:]))
    yield "lz4, nothing", b""


def lz4_ends():
    """Blocks that end in a copy, or in fewer literals behind one than the format wants."""
    for name, size in (("short", 100), ("full", 65536)):
        for literals in (0, 1, 4, 5):
            tail = size - 5
            while True:  # one record of one header whose value is the rest of the block
                whole = record(0, headers=varint(1) + varint(1) + b"h" + varint(tail) + b"a" * tail)
                if len(whole) <= size:
                    break
                tail -= 1
            start = len(whole) - tail + 1
            copied = tail - 1 - literals
            more, block = copied - 4 - 15, bytes([0xFF]) + bytes([start - 15]) + whole[:start] + b"\1\0"
            block += b"\xff" * (more // 255) + bytes([more % 255])
            if literals:
                block += bytes([literals << 4]) + b"a" * literals
            name_of = f"lz4, {name} block of {len(whole)} bytes, {literals} literals behind the last copy"
            yield name_of, (lz4_frame((None, block)), 1)


def zstd_frame(*blocks, single=False, window=0, size=None, size_flag=0, dictionary=b"", reserved=0, unused=0, sum=None):
    """Blocks are bytes (to be stored), or triples of type, size and bytes. `window`: its byte."""
    dictionary_flag = {0: 0, 1: 1, 2: 2, 4: 3}[len(dictionary)]
    descriptor = size_flag << 6 | single << 5 | unused << 4 | reserved << 3 | (sum is not None) << 2 | dictionary_flag
    out = struct.pack("<I", 0xFD2FB528) + bytes([descriptor]) + (b"" if single else bytes([window])) + dictionary
    if size_flag or single:
        out += {0: lambda: struct.pack("<B", size), 1: lambda: struct.pack("<H", size - 256)}.get(
            size_flag, lambda: struct.pack("<I" if size_flag == 2 else "<Q", size)
        )()
    for number, block in enumerate(blocks):
        kind, length, data = block if isinstance(block, tuple) else (0, len(block), block)
        out += struct.pack("<I", (number == len(blocks) - 1) | kind << 1 | length << 3)[:3] + data
    return out + (sum or b"")


def zstds():
    plain = zstd_frame(PLAIN)
    level = lambda level, data, **how: zstandard.ZstdCompressor(level=level, **how).compress(data)
    checksum = level(3, PLAIN, write_checksum=True)[-4:]
    yield "zstd", level(3, PLAIN)
    yield "zstd, long", level(3, LONG)
    yield "zstd, even", level(3, EVEN)
    yield "zstd, level 22", level(22, LONG)
    yield "zstd, checksum", level(3, PLAIN, write_checksum=True)
    yield "zstd, no content size", level(3, PLAIN, write_content_size=False)
    yield "zstd, stored", plain
    yield "zstd, stored, checksum", zstd_frame(PLAIN, sum=checksum)
    yield "zstd, wrong checksum", zstd_frame(PLAIN, sum=b"abcd")
    yield "zstd, checksum missing", zstd_frame(PLAIN, sum=b"")
    yield "zstd, checksum cut", zstd_frame(PLAIN, sum=checksum)[:-1]
    yield "zstd, two blocks", zstd_frame(PLAIN[:20], PLAIN[20:])
    yield "zstd, empty last block", zstd_frame(PLAIN, b"")
    yield "zstd, empty first block", zstd_frame(b"", PLAIN)
    yield "zstd, empty frame", zstd_frame(b"")
    yield "zstd, single segment", zstd_frame(PLAIN, single=True, size=len(PLAIN))
    yield "zstd, wrong content size", zstd_frame(PLAIN, single=True, size=len(PLAIN) - 1)
    yield "zstd, wrong content size, more", zstd_frame(PLAIN, single=True, size=len(PLAIN) + 1)
    for flag in (2, 3):
        yield f"zstd, content size field {flag}", zstd_frame(PLAIN, size=len(PLAIN), size_flag=flag)
    yield "zstd, huge content size", zstd_frame(PLAIN, size=1 << 40, size_flag=3)
    yield "zstd, content size of -2", zstd_frame(PLAIN, size=(1 << 64) - 2, size_flag=3)
    long_size = zstd_frame(*(LONG[at : at + 100_000] for at in range(0, len(LONG), 100_000)), size=len(LONG), size_flag=2, single=True)
    yield "zstd, long, single segment", long_size
    for log in (10, 17, 23, 24, 26, 27):
        yield f"zstd, window log {log}", zstd_frame(PLAIN, window=(log - 10) << 3)
    yield "zstd, window log 26 and 7 eighths", zstd_frame(PLAIN, window=16 << 3 | 7)
    yield "zstd, window log 27 and 1 eighth", zstd_frame(PLAIN, window=17 << 3 | 1)
    for log in (28, 31, 41):
        yield f"zstd, window log {log}", zstd_frame(PLAIN, window=(log - 10) << 3)
    yield "zstd, block larger than the window", zstd_frame(b"".join([PLAIN, b"a" * 2000]), window=0)
    large = record(0, b"a" * 140_000)
    yield "zstd, block of more than 128 KiB", (zstd_frame(large, window=0x50), 1)
    yield "zstd, repeated byte", (zstd_frame(record(0, b"a" * 100_000)[:-100_001], (1, 100_000, b"a"), b"\0", window=0x50), 1)
    yield "zstd, repeated byte, more than 128 KiB", (zstd_frame(large[:-140_001], (1, 140_000, b"a"), b"\0", window=0x50), 1)
    yield "zstd, repeated byte, no times", zstd_frame((1, 0, b"a"), PLAIN)
    yield "zstd, dictionary", zstd_frame(PLAIN, dictionary=b"\7")
    yield "zstd, dictionary 0", zstd_frame(PLAIN, dictionary=b"\0")
    yield "zstd, reserved bit", zstd_frame(PLAIN, reserved=1)
    yield "zstd, unused bit", zstd_frame(PLAIN, unused=1)
    yield "zstd, block of an unknown type", zstd_frame((3, 0, b""))
    yield "zstd, compressed block of no bytes", zstd_frame((2, 0, b""), PLAIN)
    yield "zstd, two frames", zstd_frame(PLAIN[:20]) + zstd_frame(PLAIN[20:])
    yield "zstd, two frames with sizes", level(3, PLAIN[:20]) + level(3, PLAIN[20:])
    yield "zstd, an empty frame behind", plain + zstd_frame(b"")
    yield "zstd, an empty frame before", zstd_frame(b"") + plain
    skippable = struct.pack("<II", 0x184D2A50, 3) + b"abc"
    yield "zstd, skippable frame before", skippable + plain
    yield "zstd, skippable frame behind", plain + skippable
    yield "zstd, skippable frame behind a frame with its size", level(3, PLAIN) + skippable
    yield "zstd, one byte behind", plain + b"\0"
    yield "zstd, garbage behind", plain + b"garbage that is long enough"
    yield "zstd, cut in a block", plain[:-1]
    yield "zstd, no last block", zstd_frame(PLAIN, b"")[:-3]
    yield "zstd, cut in the header", plain[:5]
    yield "zstd, magicless", plain[4:]
    for version in range(1, 8):
        yield f"zstd, format 0.{version}", struct.pack("<I", 0xFD2FB520 + version) + plain[4:]
    yield "zstd, nothing", b""


def insides():
    """What the records themselves are, in every codec and in none."""
    yield "records, one byte behind", PLAIN + b"\0", 3
    yield "records, garbage behind", PLAIN + b"garbage", 3
    yield "records, one more than stated", PLAIN + record(3), 3
    yield "records, one fewer than stated", PLAIN, 4
    yield "records, none but one stated", b"", 1
    yield "records, cut", PLAIN[:-1], 3
    yield "records, length of 0", PLAIN + b"\0", 4
    yield "records, negative length", varint(-1) + PLAIN[1:], 3
    yield "records, length one too large", varint(len(PLAIN) // 3) + PLAIN[1:], 3
    yield "records, null key and value", b"".join(record(index, None, None) for index in range(3)), 3
    yield "records, key of length -2", record(0)[:4] + varint(-2) + record(0)[8:], 1
    header = varint(1) + varint(1) + b"h" + varint(1) + b"v"
    yield "records, header", record(0, headers=header), 1
    yield "records, header of null", record(0, headers=varint(1) + varint(1) + b"h" + varint(-1)), 1
    yield "records, header without a name", record(0, headers=varint(1) + varint(-1) + varint(1) + b"v"), 1
    yield "records, header name empty", record(0, headers=varint(1) + varint(0) + varint(1) + b"v"), 1
    yield "records, header count of -1", record(0, headers=varint(-1)), 1
    yield "records, one header too few", record(0, headers=varint(2) + header[1:]), 1
    yield "records, one header too many", record(0, headers=varint(0) + header[1:]), 1
    yield "records, header name not UTF-8", record(0, headers=varint(1) + varint(1) + b"\xe9" + varint(1) + b"v"), 1
    yield "records, five-byte varint of a small length", bytes([record(0)[0] | 0x80]) + b"\x80\x80\x80\0" + record(0)[1:], 1
    yield "records, attributes set", record(0)[:1] + b"\x7f" + record(0)[2:], 1
    yield "records, offsets from 1", b"".join(record(index) for index in (1, 2, 3)), 3
    yield "records, the same offset twice", b"".join(record(index) for index in (0, 1, 1)), 3


def cases():
    for codec, bodies in ((GZIP, gzips), (SNAPPY, snappies), (LZ4, lz4s), (ZSTD, zstds)):
        for name, body in bodies():
            body, count = body if isinstance(body, tuple) else (body, 3)
            yield name, batch(codec, body, count)
    for name, body, count in insides():
        yield name, batch(0, body, count)
        yield name + ", gzip", batch(GZIP, gzip(body), count)
        yield name + ", snappy", batch(SNAPPY, xerial(snappy.compress(body)), count)
        yield name + ", lz4", batch(LZ4, lz4_frame(body), count)
        yield name + ", zstd", batch(ZSTD, zstd_frame(body), count)


def judge(data):
    from kafka.record.default_records import DefaultRecordBatch

    found = DefaultRecordBatch(data)
    return sum(1 for _ in found)


def short(data):
    """In hexadecimal; a byte that comes 16 times or more is `(61x40000)`."""
    runs = re.finditer(rb"(?s)(.)\1*", data)
    pieces = ((run[1].hex(), len(run[0])) for run in runs)
    return "".join(f"({byte}x{times})" if times >= 16 else byte * times for byte, times in pieces)


def table(judges):
    verdicts = [dict(line.rstrip("\n").split("\t", 1) for line in open(judge)) for judge in judges]
    for line in sys.stdin:
        name, data = line.rstrip("\n").split("\t")
        print(name, *(verdict[name] for verdict in verdicts), short(bytes.fromhex(data)), sep="\t")


if sys.argv[1:2] == ["table"]:
    table(sys.argv[2:])
elif sys.argv[1:] == ["judge"]:
    for line in sys.stdin:
        name, data = line.rstrip("\n").split("\t")
        try:
            words = str(judge(bytes.fromhex(data)))
        except Exception as error:
            words = "fails"
            print(name, repr(error)[:100], file=sys.stderr)
        print(f"{name}\t{words}")
else:
    for name, data in cases():
        print(f"{name}\t{data.hex()}")
