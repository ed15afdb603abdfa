#!/usr/bin/env python3
"""Many partitions, topics, groups and connections at once: what they take, and what an honest client feels.

    compat/attacks/scale.py [--binary FILE] [--write]

The broker may have 512 MB, and its log directory is on the disk of $TMPDIR. --write puts the results into the
second table of README.md. The exit status is 1 if a stop was not clean, the honest client had an error, or 99 of 100 of its requests took
more than 100 ms.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import attacks
import measure
import wire
from wire import array, frame, i16, i32, text

TOPICS, PARTITIONS = 1500, 10


class Settings(attacks.Attack):
    settings = ["max.connections=20000"]


class Scale:
    def __init__(self, binary, work):
        self.binary, self.work, self.rows, self.good = binary, work, [], True

    def start(self):
        began = time.time()
        broker = measure.Broker("braid", self.binary, Settings, self.work)
        return broker, time.time() - began

    def row(self, what, figure, good=True):
        self.rows.append((what, figure))
        self.good &= good
        print(f"{'ok  ' if good else 'FAIL'} {what}: {figure}", flush=True)

    def partitions(self):
        """Created, stopped, started, killed, started."""
        broker, _ = self.start()
        empty = resident(broker)
        try:
            began = time.time()
            with wire.connect(("127.0.0.1", broker.port), 300) as s:
                for first in range(0, TOPICS, 100):
                    names = [f"many-{n}" for n in range(first, first + 100)]
                    wire.call(s, create(names, PARTITIONS))
            took = time.time() - began
            count, grown = TOPICS * PARTITIONS, resident(broker) - empty
            self.row(f"{count:,} partitions created", f"{took:.1f} s, {grown / count / 1024:.1f} KiB each")
            code, took = stop(broker, signal.SIGTERM)
            self.row("stopped", f"{took:.1f} s, exit status {code}", code == 0)
            broker, took = self.start()
            self.row("started", f"{took:.1f} s, {resident(broker) >> 20} MB")
            stop(broker, signal.SIGKILL)
            broker, took = self.start()
            self.row("killed and started", f"{took:.1f} s, {resident(broker) >> 20} MB")
        finally:
            stop(broker, signal.SIGKILL)

    def crowd(self):
        """Topics, groups, idle connections, half requests and slow readers; an honest client beside them."""
        broker, _ = self.start()
        address = ("127.0.0.1", broker.port)
        try:
            attacks.SlowReaders(address, broker.http, 0).prepare()
            with wire.connect(address, 300) as s:
                for first in range(0, 5000, 500):
                    wire.call(s, create([f"t-{n}" for n in range(first, first + 500)], 1))
                groups = attacks.Groups(address, broker.http, 0)
                for first in range(0, 50_000, 50):
                    s.sendall(b"".join(groups.commit(b"%0100d" % n) for n in range(first, first + 50)))
                    for _ in range(50):
                        wire.answer(s)
            self.row("5,000 topics and 50,000 groups", f"{resident(broker) >> 20} MB")
            held, asks = [], attacks.SlowReaders(address, broker.http, 0).request()
            for n in range(12_200):
                s = wire.connect(address, 5, source=f"127.0.1.{n % 20 + 1}")
                if n >= 12_000:
                    s.settimeout(0.5)
                    s.sendall(asks)
                elif n >= 10_000:
                    s.sendall(i32(1000) + b"\0\3\0\5")
                held.append(s)
            self.honest(broker)
            what = "with 10,000 idle connections, 2,000 half requests and 200 slow readers"
            page, took = attacks.metrics(broker.http)
            self.row(what, f"{resident(broker) >> 20} MB, at most {broker.peak >> 20} MB")
            self.row("/metrics", f"{len(page) >> 10} KiB in {took * 1000:.0f} ms")
        finally:
            stop(broker, signal.SIGKILL)

    def honest(self, broker):
        probe = [sys.executable, measure.HERE / "probe.py", str(broker.port), str(broker.http), "15"]
        said = json.loads(subprocess.run(probe, stdout=subprocess.PIPE, check=True).stdout)
        took = sorted(t for times in said["took"].values() for t in times)
        p99 = took[len(took) * 99 // 100] * 1000
        errors = f", {len(said['errors'])} errors: {said['errors'][0]}" if said["errors"] else ""
        good = not errors and p99 < measure.P99_MS
        self.row("an honest client beside them", f"p99 {p99:.0f} ms, max {took[-1] * 1000:.0f} ms{errors}", good)


def create(names, partitions):
    """CreateTopics v1."""
    topics = [text(name) + i32(partitions) + i16(1) + array([]) + array([]) for name in names]
    return frame(19, 1, array(topics) + i32(300_000) + b"\0")


def resident(broker):
    status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) << 10


def stop(broker, how):
    """Its exit status, and the seconds until it had ended."""
    began = time.time()
    if broker.alive():
        broker.process.send_signal(how)
    code = broker.process.wait(120)
    took, broker.dead = time.time() - began, True
    broker.group.close()
    return code, took


def write(rows):
    readme = measure.HERE / "README.md"
    before = readme.read_text().split("| what | figure |\n")[0]
    table = "".join(f"| {what} | {figure} |\n" for what, figure in rows)
    readme.write_text(f"{before}| what | figure |\n|---|---|\n{table}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", measure.ROOT / "target"))
    parser.add_argument("--binary", default=target / "release/braid")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    work = pathlib.Path(tempfile.mkdtemp(prefix="braid-scale."))
    try:
        many, crowd = work / "many", work / "crowd"
        many.mkdir()
        crowd.mkdir()
        scale = Scale(options.binary, many)
        scale.partitions()
        scale.work = crowd
        scale.crowd()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if options.write:
        write(scale.rows)
    sys.exit(not scale.good)


if __name__ == "__main__":
    main()
