#!/usr/bin/env python3
"""Attack a broker that may have 512 MB, by 20 attackers at once, and look what becomes of an honest client.

    compat/attacks/measure.py [--quick] [--against kafka] [--binary FILE] [--write before|after|kafka] [ATTACK...]

--quick            a few seconds for each attack, and those that need long are left out
--against kafka    attack Apache Kafka instead (see scripts/install), with 1.5 GB for its JVM
--binary FILE      the broker, if it is not target/release/braid
--write COLUMN     put the results into this column of the table in README.md

Judged: the broker is alive, the honest client had no error and 99 of 100 of its requests took less than
100 ms, and what each attack says besides. The exit status is 1 if that is not so. It needs Linux; control groups if they can be had,
or else a broker whose resident memory passes the limit counts as dead.
"""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import attacks
import wire

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIMIT = 512 << 20
KAFKA_LIMIT = 1536 << 20
ATTACKERS = 20
P99_MS = 100
SLOW = {"dripping", "sessions", "connections"}  # left out by --quick


class Group:
    """A control group with a limit of memory, or nothing where there are none."""

    def __init__(self, limit):
        self.limit, self.path = limit, None
        for base, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
            path = pathlib.Path(base, f"braid-attack-{os.getpid()}-{random.randrange(10**6)}")
            try:
                path.mkdir()
                (path / name).write_text(str(limit))
                self.base, self.path = base, path
                return
            except OSError:
                if path.exists():
                    path.rmdir()

    def command(self, command):
        """The command, so that it runs inside, and sees its limit as a container does."""
        if not self.path:
            return command
        script = f'echo $$ >{self.path}/cgroup.procs; mount --bind {self.path} {self.base} 2>/dev/null; exec "$@"'
        return ["unshare", "-m", "sh", "-c", script, "sh", *command]

    def close(self):
        for _ in range(50):
            try:
                if self.path:
                    self.path.rmdir()
                return
            except OSError:
                time.sleep(0.1)


class Broker:
    """A broker of its own folder and ports, watched while it runs."""

    def __init__(self, kind, binary, attack, work):
        self.work, self.log = work, work / "broker.log"
        self.port, self.http = free_ports()
        self.group = Group(LIMIT if kind == "braid" else KAFKA_LIMIT)
        command = (braid if kind == "braid" else kafka)(self, binary, attack.settings)
        if attack.nofile:
            command = ["prlimit", f"--nofile={attack.nofile}:{attack.nofile}", *command]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.group.command(command), stdout=log, stderr=log)
        self.peak, self.dead = 0, False
        if kind == "kafka":
            self.http = 0
        deadline = time.time() + 60
        while True:
            try:
                with wire.connect(("127.0.0.1", self.port), 5) as s:
                    wire.call(s, wire.create_topic("honest", 1))
                break
            except OSError:
                if time.time() > deadline or self.process.poll() is not None:
                    sys.exit(f"the broker does not start:\n{self.log.read_text()[-2000:]}")
                time.sleep(0.1)
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while self.process.poll() is None and not self.dead:
            try:
                status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
                self.peak = max(self.peak, int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10)
                if not self.group.path and self.peak > self.group.limit:
                    self.process.kill()
            except (OSError, TypeError):
                pass
            time.sleep(0.05)
        self.dead = True

    def lateness(self):
        """What the broker says of its own reactor's lateness, if it does."""
        try:
            page = attacks.metrics(self.http)[0].decode()
        except OSError:
            return ""
        lines = [line for line in page.splitlines() if "reactor" in line and not line.startswith("#")]
        most = [line.split()[-1] for line in lines if "max" in line or 'quantile="0.99"' in line]
        return most[0] if most else ""

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.dead = True
        self.group.close()


def braid(broker, binary, settings):
    over = [
        f"listeners=PLAINTEXT://127.0.0.1:{broker.port}",
        f"http.listeners=HTTP://127.0.0.1:{broker.http}",
        f"log.dirs={broker.work}/data",
        "group.initial.rebalance.delay.ms=0",
        *settings,
    ]
    return [str(binary), *(part for setting in over for part in ("--override", setting))]


def kafka(broker, _, settings):
    """One node that is its own controller, as compat/lib.sh starts it."""
    cache = ROOT / "compat/.cache/kafka"
    lines = [
        f"listeners=PLAINTEXT://127.0.0.1:{broker.port},CONTROLLER://127.0.0.1:{broker.http}",
        f"advertised.listeners=PLAINTEXT://127.0.0.1:{broker.port}",
        "process.roles=broker,controller",
        "node.id=1",
        f"controller.quorum.voters=1@127.0.0.1:{broker.http}",
        "controller.listener.names=CONTROLLER",
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        *(
            f"{topic}.replication.factor=1"
            for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
        ),
        "transaction.state.log.min.isr=1",
        "share.coordinator.state.topic.min.isr=1",
        f"log.dirs={broker.work}/data",
        "group.initial.rebalance.delay.ms=0",
        *settings,
    ]
    file = broker.work / "kafka.properties"
    file.write_text("\n".join(lines) + "\n")
    java = ["java", "-Xmx1g", "-cp", f"{cache}/*"]
    cluster = "A" + "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=21))
    with open(broker.log, "ab") as log:
        format = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(file)]
        subprocess.run(format, stdout=log, stderr=log, check=True)
    return [*java, "kafka.Kafka", str(file)]


def free_ports():
    """Two ports below those that the system gives to connections."""
    found = []
    while len(found) < 2:
        try:
            found.append(socket.create_server(("127.0.0.1", random.randrange(20_000, 32_000))))
        except OSError:
            pass
    ports = [s.getsockname()[1] for s in found]
    for s in found:
        s.close()
    return ports


def nice(by):
    """The attackers and the client are elsewhere, as a rule: they should not take the broker's processors."""
    return lambda: os.nice(by)


def measure(name, options, binary):
    """One attack; its row of the table, and whether it is as it should be."""
    kind = attacks.ALL[name]
    seconds = 5 if options.quick else kind.seconds
    work = pathlib.Path(tempfile.mkdtemp(prefix="braid-attack."))
    broker = Broker(options.against, binary, kind, work)
    try:
        kind(("127.0.0.1", broker.port), broker.http, 0).prepare()
        env = {**os.environ, "ATTACK_LOG": str(broker.log)}
        ports = [str(broker.port), str(broker.http)]
        python = [sys.executable]
        probe = [*python, HERE / "probe.py", *ports, str(seconds + 2)]
        honest = subprocess.Popen(probe, stdout=subprocess.PIPE, preexec_fn=nice(-5))
        time.sleep(1)
        attack = [*python, HERE / "attacks.py", name, *ports, str(seconds), str(ATTACKERS)]
        attacker = subprocess.Popen(attack, stdout=subprocess.PIPE, env=env, preexec_fn=nice(10))
        said = [json.loads(p.communicate(timeout=seconds + 120)[0] or "{}") for p in (honest, attacker)]
        late = broker.lateness() if broker.http and broker.alive() else ""
        return judge(name, broker, *said, late)
    finally:
        broker.stop()
        if options.keep:
            print(f"  kept: {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)


def judge(name, broker, probe, attack, late):
    took = sorted(t for times in probe["took"].values() for t in times)
    at = lambda part: took[min(len(took) - 1, int(len(took) * part))] * 1000 if took else float("inf")
    p50, p99, most = at(0.5), at(0.99), at(1.0)
    alive, errors, wrong = broker.alive(), probe["errors"], attack.get("wrong", "the attack did not end")
    good = alive and p99 < P99_MS and not errors and not wrong
    cell = f"{broker.peak >> 20} MB, p99 {p99:.0f} ms, max {most:.0f} ms"
    if late:
        cell += f", reactor {late}"
    if not alive:
        cell = f"**dead**, {cell}"
    if errors:
        cell += f", {len(errors)} errors"
    if wrong:
        cell += f", {wrong}"
    notes = ", ".join(f"{k} {v}" for k, v in attack.get("notes", {}).items())
    print(
        f"{'ok  ' if good else 'FAIL'} {name}: frame {attack.get('frame', 0):,} bytes, {attack.get('sent', 0)} sent; "
        f"{len(took)} honest requests, p50 {p50:.1f} ms; {cell}{'; ' + notes if notes else ''}"
        f"{'; first error: ' + errors[0] if errors else ''}",
        flush=True,
    )
    return attack.get("frame", 0), cell, good


def write(rows, column):
    """Puts cells into a column of README.md's table; the other columns stay."""
    readme = HERE / "README.md"
    lines = readme.read_text().splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("| attack |"))
    names = [cell.strip() for cell in lines[head].strip("|").split("|")]
    table = {}
    for line in lines[head + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        table[cells[0].split("`")[1]] = dict(zip(names, cells))
    end = head + 2 + len(table)
    for name, (size, cell, _) in rows.items():
        what = attacks.ALL[name].what.replace("|", "\\|")
        row = table.setdefault(name, {})
        row["attack"] = f"`{name}`: {what}"
        row["frame bytes"] = f"{size:,}"
        row[column] = cell
    ordered = [table[name] for name in attacks.ALL if name in table]
    body = ["| " + " | ".join(row.get(name, "") for name in names) + " |" for row in ordered]
    readme.write_text("\n".join(lines[: head + 2] + body + lines[end:]) + "\n")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--against", choices=["braid", "kafka"], default="braid")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--binary", default=target / "release/braid")
    parser.add_argument("--write", choices=["before", "after", "kafka"])
    parser.add_argument("attacks", nargs="*", metavar="ATTACK")
    options = parser.parse_args()
    names = options.attacks or [n for n in attacks.ALL if not (options.quick and n in SLOW)]
    rows = {}
    for name in names:
        rows[name] = measure(name, options, options.binary)
        if options.write:
            write(rows, options.write)
    bad = [name for name, (_, _, good) in rows.items() if not good]
    print(f"{len(rows) - len(bad)} as they should be, {len(bad)} not: {' '.join(bad)}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
