"""Runs the loads against the brokers in turn, A B C A B C, and writes what came out; see scripts/bench."""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import report
from brokers import KINDS, kafka_version, resident_kib
from loads import FULL_ROUNDS, LOADS
from programs import run

HERE = Path(__file__).parent
FIRST_PORT = 19092
# What is printed while it runs; the report has more.
PRINTED = (
    "mb_per_s",
    "requests_per_s",
    "broker_cpu_per_gb",
    "own_ratio",
    "ack_p50",
    "ack_p99",
    "end_p99",
    "start_ms",
    "read_ms",
    "idle_mib",
    "connection_kib",
    "partition_kib",
)


class Env:
    """What a load needs: programs, brokers, topics."""

    def __init__(self, arguments):
        self.braid, self.before = arguments.braid, arguments.before
        self.programs = Path(arguments.programs)
        self.quick, self.scratch = arguments.quick, Path(arguments.scratch).resolve()
        self.kafka_classes = f"{arguments.kafka}/*"
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.brokers = {
            name: kind(self, FIRST_PORT + at * 10, self.scratch / name)
            for at, (name, kind) in enumerate(KINDS.items())
        }
        self.twins, self.topics = {}, 0

    def short(self, full, quick):
        return quick if self.quick else full

    # Programs

    def generator(self, broker, command, **options):
        given = [f"--{key}={value}" for key, value in options.items()]
        return [*broker.prefix, self.programs / "kgen", "--addr", broker.addr, command, *given]

    def kgen(self, broker, command, **options):
        """Run the load generator; its report, with one level only."""
        report_ = json.loads(run(self.generator(broker, command, **options, pid=broker.pid)))
        for group in ("ack", "end"):
            figures = report_.pop(f"{group}_us", None) or {}
            report_ |= {f"{group}_{key}": value for key, value in figures.items()}
        return report_

    def java(self, options, *command):
        return run(["java", *options, "-cp", self.kafka_classes, *command])

    def answers(self, broker):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", broker.port), 1) as connection,
        ):
            connection.settimeout(1)
            # ApiVersions v0, without a client id.
            connection.sendall(bytes([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 255, 255]))
            return len(connection.recv(8)) == 8
        return False

    def start_time(self, broker):
        """Milliseconds from exec to the first Metadata answer."""
        with open(self.scratch / f"{broker.name}-start.log", "ab") as log:
            command = [self.programs / "kgen", "--addr", broker.addr, "start", "--", *broker.command()]
            return json.loads(run(command, stderr=log))

    # Topics, connections, brokers

    def create(self, broker, topic, parts):
        run([self.programs / "kgen", "--addr", broker.addr, f"--topic={topic}", f"--parts={parts}", "create"])

    @contextlib.contextmanager
    def topic(self, broker, parts):
        """A topic of its own, gone afterwards, its files too."""
        self.topics += 1
        name = f"bench-{self.topics}"
        self.create(broker, name, parts)
        yield name
        run([self.programs / "kgen", "--addr", broker.addr, f"--topic={name}", "delete"])
        time.sleep(0.3)

    @contextlib.contextmanager
    def idle(self, broker, count):
        """So many connections that have asked once and say nothing more."""
        if not count:
            yield
            return
        command = self.generator(broker, "idle", conns=count)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
            if not program.stdout.readline():
                raise RuntimeError(f"{broker.name} refused {count} connections")
            yield
            program.stdin.close()

    def kept(self, broker, label):
        """A twin that stays until the end of the load."""
        return self.twins.setdefault(broker.name, broker.twin(label))

    def running(self, name, load):
        """The broker, ready for this load."""
        broker = self.brokers[name]
        if broker.process is None:
            broker.start(load.prefix)
            if not broker.fresh:
                self.warm_up(broker)
        return broker

    def warm_up(self, broker):
        """Lets a JVM compile what the loads will use."""
        for options in ({"nrec": 16}, {"nrec": 64}, {"nrec": 1, "rec": 100, "inflight": 50}):
            with self.topic(broker, 1) as topic:
                self.kgen(broker, "produce", topic=topic, secs=self.short(12, 2), mb=3000, **options)
                self.kgen(broker, "fetch", topic=topic, secs=self.short(6, 1), **options)

    def end_of_load(self):
        for twin in self.twins.values():
            twin.stop()
        self.twins = {}
        self.stop(lambda broker: broker.fresh)

    def stop(self, which=lambda broker: True):
        for broker in filter(which, self.brokers.values()):
            broker.stop()


def private_network():
    """Whether loopback is all there is: then this network is ours to set up."""
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        return False
    run(["ip", "link", "set", "lo", "up"])
    return True


def set_congestion(name, private):
    if private:
        Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text(name)


def measure(env, load, rounds, wanted, results, private):
    """All rounds of one load; a sample that cannot be had is a line in the results' `failed`."""
    set_congestion(load.congestion, private)
    print(f"{load.name}: {load.title}", flush=True)
    began = time.monotonic()
    for turn in range(min(rounds, load.rounds)):
        for name in (name for name in wanted if turn < KINDS[name].rounds):
            samples = results["samples"].setdefault(load.name, {}).setdefault(name, [])
            try:
                samples.append(load.measure(env, env.running(name, load)))
            except Exception as error:  # whatever it is, the other loads are worth their while
                results["failed"].append(f"{load.name}, {name}, round {turn + 1}: {error}")
                print(f"  failed: {results['failed'][-1]}", file=sys.stderr)
                # Whatever state it is in, the next sample begins with a new one.
                with contextlib.suppress(Exception):
                    env.brokers[name].stop()
    env.end_of_load()
    results["seconds"][load.name] = results["seconds"].get(load.name, 0) + time.monotonic() - began
    for name in wanted:
        figures = {}
        for key in PRINTED:
            if values := report.quiet_values(results, load.name, name, key):
                figures[key] = statistics.median(values)
        print(f"  {name:13}", "  ".join(f"{key} {value:.3g}" for key, value in figures.items()), flush=True)
    print(f"  {time.monotonic() - began:.0f} s", flush=True)


def note_memory(env, results):
    """Notes how much memory the brokers have that are up for long."""
    for name, broker in env.brokers.items():
        if broker.process and not broker.fresh:
            megabytes = resident_kib(broker.pid) >> 10
            results["machine"].setdefault(f"Memory of {name}", f"{megabytes} MiB, after its first load")


def commit():
    """The commit that is measured, as far as git knows it."""
    with contextlib.suppress(RuntimeError, OSError):
        return run(["git", "-C", HERE, "describe", "--always", "--dirty"]).strip()
    return "unknown"


def brokers_of(load, arguments):
    """The brokers that this run does the load to: all if it is named, fewer if it has to be quick."""
    if arguments.only:
        brokers = load.brokers if load.name in arguments.only else ()
    elif arguments.quick and load.quick is not None:
        brokers = load.quick
    else:
        brokers = load.brokers
    if arguments.quick and not arguments.only:
        brokers = [name for name in brokers if not KINDS[name].late]
    builds = {"braid": "before", "braid-synced": "before-synced"} if arguments.before else {}
    return [*brokers, *(builds[name] for name in brokers if name in builds)]


def describe(arguments, private, rounds):
    """The machine, and what was compared."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    load_average = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    disk = run(["findmnt", "-no", "SOURCE,FSTYPE", "-T", arguments.scratch]).split()
    return {
        "CPU": f"{os.cpu_count()} × {cpu[1] if cpu else os.uname().machine}",
        "Memory": f"{int(memory[1]) / 2**20:.1f} GiB",
        "Kernel": os.uname().release,
        "Disk": f"{disk[1]} on {disk[0]}",
        "Load average before": load_average,
        "Network": "loopback, a namespace of its own, congestion control reno"
        if private
        else "loopback of the host, with its congestion control",
        "Priority": f"nice {os.nice(0)}",
        "Braid": f"{run([arguments.braid, '--version']).strip()}, commit {commit()}",
        "Apache Kafka": kafka_version(arguments.kafka) if os.path.isdir(arguments.kafka) else "not there",
        "Rounds": f"{rounds}{', short loads (--quick)' if arguments.quick else ''}",
    }


def arguments_of_run():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("braid", "programs", "kafka", "scratch"):
        parser.add_argument(f"--{name}", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="short loads, one round")
    parser.add_argument("--rounds", type=int, help=f"rounds of a load; {FULL_ROUNDS}, or 1 with --quick")
    parser.add_argument(
        "--only", nargs="+", metavar="LOAD", choices=[load.name for load in LOADS], help="these loads only"
    )
    parser.add_argument("--no-kafka", action="store_true", help="without Apache Kafka")
    parser.add_argument("--before", metavar="BINARY", help="another build of Braid, measured in turn with it")
    return parser.parse_args()


def main():
    arguments = arguments_of_run()
    # So that brokers are stopped, too, when we are.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rounds = arguments.rounds or (1 if arguments.quick else FULL_ROUNDS)
    private = private_network()
    env = Env(arguments)
    results = {"samples": {}, "failed": [], "seconds": {}, "machine": describe(arguments, private, rounds)}
    names = [name for name in KINDS if not (arguments.no_kafka and name.startswith("kafka"))]
    began = time.monotonic()
    try:
        for late in (False, True):
            kinds = [name for name in names if KINDS[name].late == late]
            for load in LOADS:
                wanted = [name for name in brokers_of(load, arguments) if name in kinds]
                if wanted:
                    measure(env, load, rounds, wanted, results, private)
                    note_memory(env, results)
                    (env.scratch / "results.json").write_text(json.dumps(results, indent=1))
            env.stop()
    finally:
        env.end_of_load()
        env.stop()
    # Only a whole run may replace the report that is kept.
    whole = not (arguments.quick or arguments.only or arguments.no_kafka or arguments.before)
    folder = HERE if whole else env.scratch
    report.write(results, folder, time.monotonic() - began)
    print(report.verdicts(results), f"\nwritten: {folder / 'REPORT.md'}", sep="\n")


if __name__ == "__main__":
    main()
