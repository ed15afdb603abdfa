#!/usr/bin/env python3
"""What the broker accepts, every client can read: batches of every codec, changed here and there, are produced;
those that were accepted are then consumed by each client, which has to see exactly as many records.

    compat/attacks/readable.py [--binary FILE] [--against kafka] [--batches N] [--seed N]

The clients are those that scripts/install has put into compat/.cache; one that is not there is left out, and said
so. The exit status is 1 if a client sees fewer records or more, and names the first batch that it cannot read.
"""

import argparse
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile

import measure
import wire
from attacks import Attack

CACHE = measure.ROOT / "compat/.cache"
TOPIC = "readable"
PYTHON = """
import sys
from kafka import KafkaConsumer, TopicPartition
c = KafkaConsumer(bootstrap_servers=sys.argv[1], consumer_timeout_ms=8000, enable_auto_commit=False)
p = TopicPartition(sys.argv[2], 0)
c.assign([p])
c.seek_to_beginning(p)
for r in c:
    print(r.offset)
"""
CONFLUENT = """
import sys
from confluent_kafka import Consumer, TopicPartition
c = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "none", "enable.auto.commit": False})
c.assign([TopicPartition(sys.argv[2], 0, 0)])
quiet = 0
while quiet < 8:
    m = c.poll(1)
    quiet = quiet + 1 if m is None else 0
    if m is not None and not m.error():
        print(m.offset())
"""
FRANZ = """
import os, sys
os.environ.update(BROKER=sys.argv[1], DRIVER=sys.argv[3])
sys.path.insert(0, sys.argv[4])
import client
c = client.Client()
c.assign(topic=sys.argv[2], partition=0, offset="earliest")
quiet = 0
while quiet < 8:
    got = c.poll(ms=1000)
    quiet = 0 if got else quiet + 1
    for record in got:
        print(record["offset"])
"""


def clients(broker):
    """Name and command of each client; a command prints the offset of every record."""
    found = {}
    if (CACHE / "kafka").exists():
        java = ["java", "-cp", f"{CACHE}/kafka/*", "org.apache.kafka.tools.consumer.ConsoleConsumer"]
        shown = "print.offset=true", "print.value=false"
        formatted = [part for one in shown for part in ("--formatter-property", one)]
        where = ["--bootstrap-server", broker, "--topic", TOPIC, "--partition", "0", "--offset", "earliest"]
        found["java-4.3.1"] = [*java, *where, "--timeout-ms", "10000", *formatted]
    if shutil.which("kcat"):
        found["kcat"] = ["kcat", "-b", broker, "-C", "-t", TOPIC, "-p", "0", "-o", "beginning", "-e", "-q", "-f", "%o\\n"]
    for name, folder, program in (
        ("kafka-python-2.0.2", "kafka-python-2.0.2", PYTHON),
        ("kafka-python-3", "kafka-python-3", PYTHON),
        ("confluent-kafka", "venv", CONFLUENT),
    ):
        if (CACHE / folder / "bin/python").exists():
            found[name] = [str(CACHE / folder / "bin/python"), "-c", program, broker, TOPIC]
    if (CACHE / "franz-go").is_file():
        drive = str(measure.ROOT / "compat/drive")
        found["franz-go"] = [sys.executable, "-c", FRANZ, broker, TOPIC, str(CACHE / "franz-go"), drive]
    return found


class Batches:
    """Batches by the dice, most of them good."""

    def __init__(self, seed):
        self.dice = random.Random(seed)

    def records(self):
        n = self.dice.choice([1, 1, 2, 3, 10, 50])
        out = []
        for delta in range(n):
            value = self.dice.choice([b"", b"v", b"value" * 20, bytes(self.dice.randrange(256) for _ in range(30))])
            key = self.dice.choice([None, b"", b"key"])
            headers = self.dice.choice([[], [], [(b"h", b"v")], [(b"", None)], [("é".encode(), b"\xff")]])
            body = self.dice.choice([b"\0", b"\0", b"\0", b"\7"]) + wire.varint(self.dice.choice([0, 0, 5, -5]))
            body += wire.varint(delta) + nullable(key) + nullable(value) + wire.varint(len(headers))
            body += b"".join(nullable(name) + nullable(v) for name, v in headers)
            out.append(wire.varint(len(body)) + body)
        return n, b"".join(out)

    def compressed(self, body):
        """Codec, what is special about it, and bytes."""
        d = self.dice
        which = d.randrange(12)
        if which < 2:
            return 0, "plain", body
        if which < 4:
            twice = d.randrange(3) == 0
            half = len(body) // 2
            two = wire.gzip_body(body[:half]) + wire.gzip_body(body[half:])
            return 1, "gzip members" if twice else "gzip", two if twice else wire.gzip_body(body)
        if which < 6:
            framed = d.randrange(2) == 0
            raw = wire.uvarint(len(body)) + literal(body)
            head = b"\x82SNAPPY\0" + wire.i32(1) + wire.i32(1) + wire.i32(len(raw))
            return 2, "xerial" if framed else "raw snappy", head + raw if framed else raw
        if which < 9:
            flags = d.choice([0x60, 0x60, 0x60, 0x40, 0x68, 0x61, 0x20, 0xE0])
            end = d.randrange(8) > 0
            blocks = d.choice([1, 1, 2, 3])
            magic = d.choice([b"\x04\x22\x4d\x18"] * 8 + [b"\x02\x21\x4c\x18", b"\x50\x2a\x4d\x18"])
            frame = wire.lz4_blocks(body, flags, magic, end, blocks)
            again = d.randrange(10) == 0
            return 3, f"lz4 {flags:02x} end {end} {blocks} blocks {magic.hex()} twice {again}", frame * (2 if again else 1)
        if which < 11:
            frames = [body] if d.randrange(3) else [body[: len(body) // 2], body[len(body) // 2 :]]
            skip = b"\x50\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc" if d.randrange(5) == 0 else b""
            return 4, f"zstd {len(frames)} frames skip {bool(skip)}", skip + b"".join(map(zstd_raw, frames))
        return d.randrange(5, 8), "unknown codec", body

    def batch(self):
        n, body = self.records()
        codec, what, body = self.compressed(body)
        d = self.dice
        if d.randrange(6) == 0 and body:
            at = d.randrange(len(body))
            how = d.randrange(4)
            if how == 0:
                body = body[:at] + bytes([body[at] ^ 1 << d.randrange(8)]) + body[at + 1 :]
            elif how == 1:
                body = body[:at]
            elif how == 2:
                body += body[at:]
            else:
                body += b"\0" * d.randrange(1, 8)
            what += f", changed in way {how}"
        count = n if d.randrange(20) else n + d.choice([-1, 1])
        return what, max(0, count), wire.batch(body, codec | d.choice([0, 0, 0, 0, 0x08, 0x40]), count)


def nullable(value):
    return wire.varint(-1) if value is None else wire.varint(len(value)) + value


def literal(body):
    """A snappy block without copies."""
    out = b""
    for at in range(0, len(body), 60):
        piece = body[at : at + 60]
        out += bytes([len(piece) - 1 << 2]) + piece
    return out


def zstd_raw(body):
    """A zstd frame of one block that is not compressed."""
    return b"\x28\xb5\x2f\xfd\x00\x48" + struct.pack("<I", len(body) << 3 | 1)[:3] + body


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", measure.ROOT / "target"))
    parser.add_argument("--binary", default=target / "release/braid")
    parser.add_argument("--against", choices=["braid", "kafka"], default="braid")
    parser.add_argument("--batches", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="braid-readable."))
    broker = measure.Broker(options.against, options.binary, Attack, work)
    bad = False
    try:
        kinds, offsets = produced(broker.port, Batches(options.seed), options.batches)
        records = sum(n for _, n in offsets.values())
        print(f"{options.batches} batches, {len(offsets)} accepted with {records} records")
        for kind, (taken, of) in sorted(kinds.items()):
            print(f"    {taken} of {of} {kind}")
        for name, command in clients(f"127.0.0.1:{broker.port}").items():
            said, complaint = run(command)
            words = said.replace("Offset:", "").split()
            seen = [int(word) for word in words if word.isdigit()]
            if len(seen) == records == len(set(seen)):
                print(f"ok   {name}: {records} records")
                continue
            bad = True
            missing = next((o for o, (_, n) in sorted(offsets.items()) if not set(range(o, o + n)) <= set(seen)), None)
            print(f"FAIL {name}: {len(seen)} of {records} records; first missing in {offsets.get(missing)} at {missing}")
            print(complaint[-600:])
    finally:
        broker.stop()
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if bad else 0)


def run(command):
    """What a client says on both outputs, until it ends or a minute is over: one that stands still does not end."""
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        out.seek(0)
        err.seek(0)
        return out.read(), err.read()


def produced(port, batches, n):
    """Produces them; what was taken of each kind, and the base offset of each batch that was."""
    kinds, offsets = {}, {}
    with wire.connect(("127.0.0.1", port)) as s:
        wire.call(s, wire.create_topic(TOPIC, 1))
        for _ in range(n):
            what, count, one = batches.batch()
            answered = wire.call(s, wire.produce(TOPIC, [(0, one)]))
            at = 4 + 4 + 2 + len(TOPIC) + 4 + 4
            taken = answered[at : at + 2] == b"\0\0"
            kind = what.split(", changed")[0] + (" (changed)" if ", changed" in what else "")
            before = kinds.get(kind, (0, 0))
            kinds[kind] = (before[0] + taken, before[1] + 1)
            if taken:
                offsets[int.from_bytes(answered[at + 2 : at + 10])] = (what, count)
    return kinds, offsets


if __name__ == "__main__":
    main()
