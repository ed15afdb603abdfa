"""What is done to a broker in one sample, with our own load generator."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from brokers import resident_kib
from programs import run

# Records of 1 KB in batches of 16 KB, 64 KB and nearly 1 MB: Kafka takes no batch above 1 MiB.
KB16, KB64, MB1 = {"nrec": 16}, {"nrec": 64}, {"nrec": 1000}
# A batch that just fits into an answer of 64 KB.
ANSWER64 = {"nrec": 63}
# Megabytes of a sample: less than a segment, so that no sample has the cost of a new one and others not.
FILL = 800
# As many requests a second of 16 KB as are 50 MB/s.
RATE50 = {"rate": 3015, **KB16}


def produce(parts=1, conns=1, idle=0, mb=FILL, kind="produce", **options):
    """Fill a fresh topic, twice: the first time is thrown away, and leaves warm memory to the second."""

    def measure(env, broker):
        for _ in range(2):
            with env.topic(broker, parts) as topic, env.idle(broker, idle):
                size = {"mb": env.short(mb, 400)} if mb else {}
                sample = env.kgen(
                    broker,
                    kind,
                    topic=topic,
                    parts=parts,
                    conns=conns,
                    **{"secs": env.short(3, 1), **size, **options},
                )
        return sample

    return measure


def beside_itself(special):
    """A load, right after the same broker's plain one: 64 KB, one partition, one connection."""

    def measure(env, broker):
        plain = produce(**KB64)(env, broker)
        sample = special(env, broker)
        return {**sample, "own_ratio": sample["broker_cpu_per_gb"] / plain["broker_cpu_per_gb"]}

    return measure


def paced(kind="produce", secs=6, **options):
    """An open loop: a fixed rate, the same for all, in a fresh topic."""

    def measure(env, broker):
        parts, conns = options.get("parts", 1), options.get("conns", 1)
        with env.topic(broker, parts) as topic:
            given = {"parts": parts, "conns": conns, "inflight": 500, "warm": 1, **options}
            return env.kgen(broker, kind, topic=topic, secs=env.short(secs, 2), **given)

    return measure


def fetch(maxbytes, conns=1, **batches):
    """Read a topic again and again that was just written: from the page cache, as catching up mostly is."""

    def measure(env, broker):
        with env.topic(broker, 1) as topic:
            env.kgen(broker, "produce", topic=topic, mb=env.short(FILL, 400), secs=60, **batches)
            return env.kgen(
                broker,
                "fetch",
                topic=topic,
                conns=conns,
                warm=env.short(1, 0.3),
                secs=env.short(3, 1),
                maxbytes=maxbytes,
                **batches,
            )

    return measure


def awake(measure_asleep):
    """The same while no CPU goes to sleep: on each something runs that gives way to everything else."""
    spin = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"

    def measure(env, broker):
        with contextlib.ExitStack() as stack:
            for _ in range(os.cpu_count()):
                spinner = subprocess.Popen([sys.executable, "-c", spin])
                stack.callback(spinner.wait)
                stack.callback(spinner.kill)
            sample = measure_asleep(env, broker)
        # What spins would count as a neighbour.
        return {**sample, "other_percent": 0}

    return measure


@contextlib.contextmanager
def writer(env, broker, topic):
    """Writes 50 MB/s to the topic meanwhile, in an open loop; what is given has its report, afterwards."""
    command = env.generator(broker, "produce", topic=topic, inflight=500, warm=1, secs=600, **RATE50)
    pipe, report = subprocess.PIPE, {}
    with subprocess.Popen([*command, "--stdin"], stdin=pipe, stdout=pipe, text=True) as program:
        time.sleep(1.2)
        yield report
        printed, _ = program.communicate()
    report |= json.loads(printed)


def catch_up(cold):
    """Read a topic from its start while it is written to: again and again from the page cache, or, cold, once
    from the disk.
    """

    def measure(env, broker):
        megabytes = env.short(1500 if cold else 2000, 400)
        with env.topic(broker, 1) as topic:
            env.kgen(broker, "produce", topic=topic, mb=megabytes, secs=60, **KB64)
            if cold:
                forget(broker.folder)
            once = {"warm": 0, "mb": megabytes, "secs": 60}
            again = {"warm": 0.5, "secs": env.short(4, 1)}
            with writer(env, broker, topic) as written:
                read = env.kgen(broker, "fetch", topic=topic, **(once if cold else again))
        return both(read, written)

    return measure


def both(read, written):
    """The reader's rate, the writer's latency, and the broker's CPU for the bytes of both."""
    gigabytes = read["mb_per_s"] * read["seconds"] / 1e3
    share = gigabytes / (gigabytes + written["mb_per_s"] * read["seconds"] / 1e3)
    writers_cpu = written["client_cpu_per_gb"] * written["mb_per_s"] / 1e3
    return {
        "mb_per_s": read["mb_per_s"],
        "written_mb_per_s": written["mb_per_s"],
        "broker_cpu_per_gb": read["broker_cpu_per_gb"] * share,
        **{f"ack_{key}": value for key, value in written["ack_us"].items()},
        # To the reader's generator the writer's is something else.
        "other_percent": max(read["other_percent"] - writers_cpu / os.cpu_count() * 100, 0),
    }


def forget(folder):
    """Have the page cache forget the files of a folder, once they are on disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_committed(env, broker):
    """Read a topic of transactions, of which every tenth is aborted: what is committed, beside all."""
    with env.topic(broker, 1) as topic:
        run(env.generator(broker, "transactions", topic=topic, mb=env.short(FILL, 100), **KB64))
        given = {"topic": topic, "warm": 0.3, "secs": env.short(2, 1), **KB64}
        every, committed = (env.kgen(broker, "fetch", isolation=level, **given) for level in (0, 1))
    # There is no telling how many records they had: markers are batches, too.
    del committed["records_per_s"]
    return {**committed, "own_ratio": committed["broker_cpu_per_gb"] / every["broker_cpu_per_gb"]}


def memory(env, broker):
    """Memory of a fresh broker: idle, with 1,000 partitions, with 2,000 connections that have asked once."""
    twin = broker.twin("memory")
    twin.start()
    try:
        time.sleep(env.short(2, 1))
        idle = resident_kib(twin.pid)
        with env.idle(twin, 2000):
            time.sleep(0.5)
            connected = resident_kib(twin.pid)
        before = resident_kib(twin.pid)
        parts = 1000 if broker.name.startswith("braid") else 1
        env.create(twin, "many", parts)
        time.sleep(1)
        per_partition = (resident_kib(twin.pid) - before) / parts if parts > 1 else None
        return {
            "idle_mib": idle / 1024,
            "connection_kib": (connected - idle) / 2000,
            "partition_kib": per_partition,
        }
    finally:
        twin.stop()


def start_empty(env, broker):
    """From before the process to after its first Metadata answer, in an empty folder."""
    twin = broker.twin("start")
    twin.prepare()
    try:
        return env.start_time(twin)
    finally:
        twin.stop()


def start_full(env, broker):
    """The same, after a clean stop with 1,000 partitions and much data, written once for all rounds."""
    twin = env.kept(broker, "full")
    if twin.process is None and not twin.folder.exists():
        twin.start()
        env.create(twin, "many", 1000)
        gigabytes = env.short(10, 0.5)
        env.kgen(twin, "produce", topic="many", parts=1000, secs=300, mb=int(gigabytes * 1000), **KB64)
        twin.end()
    return env.start_time(twin)


def start_killed(env, broker):
    """The same after kill -9 in the middle of writing, beside the time to read the folder's bytes once."""
    twin = broker.twin("killed")
    twin.start()
    try:
        env.create(twin, "one", 1)
        env.kgen(twin, "produce", topic="one", secs=60, mb=env.short(2000, 300), **KB64)
        twin.end(signal.SIGKILL)
        sample = env.start_time(twin)
        began = time.perf_counter()
        for path in twin.folder.rglob("*.log"):
            with open(path, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass
        return {**sample, "read_ms": (time.perf_counter() - began) * 1e3}
    finally:
        twin.stop()
