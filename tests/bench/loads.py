"""The loads: what is done to a broker in one sample, and which brokers it is done to."""

import dataclasses
import re
import signal
import time
from collections.abc import Callable

from brokers import TOOL_JVM, cpu_seconds, resident_kib

WRITTEN = ("braid", "floor", "kafka")
SYNCED = ("braid-synced", "floor-synced")
# Records of 1 KB in batches of 16 KB, 64 KB and nearly 1 MB: Kafka takes no batch above 1 MiB.
KB16, KB64, MB1 = {"nrec": 16}, {"nrec": 64}, {"nrec": 1000}
# A batch that just fits into an answer of 64 KB.
ANSWER64 = {"nrec": 63}
# Megabytes of a sample: less than a segment, so that no sample has the cost of a new one and others not.
FILL = 800
# Records of 1 KB that Kafka's tools send and read.
RECORDS = 900_000


@dataclasses.dataclass
class Load:
    """A load; `measure` takes the environment and a broker, and returns one sample."""

    name: str
    title: str
    brokers: tuple
    measure: Callable
    # The command in front of broker and generator.
    prefix: tuple = ()
    congestion: str = "reno"
    rounds: int = 99
    # Which brokers --quick does it to, if not to all of them.
    quick: tuple | None = None


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


def paced(kind="produce", **options):
    """An open loop: a fixed rate, the same for all, in a fresh topic."""

    def measure(env, broker):
        parts, conns = options.get("parts", 1), options.get("conns", 1)
        with env.topic(broker, parts) as topic:
            given = {"parts": parts, "conns": conns, "inflight": 500, "warm": 1, **options}
            return env.kgen(broker, kind, topic=topic, secs=env.short(6, 2), **given)

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


def tool(env, broker, main, *arguments):
    """Run one of Kafka's tools; return what it printed, and the broker's CPU seconds."""
    before = cpu_seconds(broker.pid)
    text = env.java(TOOL_JVM, f"org.apache.kafka.tools.{main}", *arguments, "--bootstrap-server", broker.addr)
    return text, cpu_seconds(broker.pid) - before


def producer_tool(env, broker, topic, records, *arguments):
    """kafka-producer-perf-test with records of 1 KB and its defaults."""
    size = ["--num-records", records, "--record-size", 1024, "--throughput", -1]
    text, cpu = tool(env, broker, "ProducerPerformance", "--topic", topic, *size, *arguments)
    found = re.search(
        rf"{records} records sent, ([\d.]+) records/sec.*?([\d.]+) ms 99th, ([\d.]+) ms 99.9th", text
    )
    rate, p99, p999 = map(float, found.groups())
    return {
        "mb_per_s": rate * 1024 / 1e6,
        "records_per_s": rate,
        "ack_p99": p99 * 1e3,
        "ack_p999": p999 * 1e3,
        "broker_cpu_per_gb": cpu / (records * 1024 / 1e9),
    }


def produce_tool(env, broker):
    """kafka-producer-perf-test."""
    with env.topic(broker, 1) as topic:
        return producer_tool(env, broker, topic, env.short(RECORDS, 200_000))


def transactions_tool(env, broker):
    """The same in transactions of 100 ms."""
    with env.topic(broker, 1) as topic:
        extra = ["--transactional-id", f"bench-{topic}", "--transaction-duration-ms", 100]
        return producer_tool(env, broker, topic, env.short(RECORDS, 200_000), *extra)


def consume_tool(env, broker):
    """kafka-consumer-perf-test with its defaults, of records of 1 KB."""
    records = env.short(RECORDS, 200_000)
    with env.topic(broker, 1) as topic:
        env.kgen(broker, "produce", topic=topic, mb=records * 11 // 10_000, secs=60, **KB64)
        size = ["--topic", topic, "--num-records", records]
        text, cpu = tool(env, broker, "ConsumerPerformance", *size)
    fields = text.strip().splitlines()[-1].split(",")
    # Its megabytes are 2^20 bytes, and its rate includes the time to join a group: the last two rates do not.
    megabytes, count = float(fields[2]) * 1.048576, float(fields[4])
    return {
        "mb_per_s": float(fields[8]) * 1.048576,
        "records_per_s": float(fields[9]),
        "with_join_mb_per_s": float(fields[3]) * 1.048576,
        "records": count,
        "broker_cpu_per_gb": cpu / (megabytes / 1e3),
    }


SMALL = {"rec": 100, "nrec": 1, "mb": 0}
LOADS = [
    Load("produce-16k", "Produce, batches of 16 KB", WRITTEN, produce(**KB16)),
    Load("produce-64k", "Produce, batches of 64 KB", WRITTEN, produce(**KB64)),
    Load("produce-1m", "Produce, batches of 1 MB", WRITTEN, produce(**MB1)),
    Load("produce-16k-4x4", "Produce, 16 KB, 4 connections, 4 partitions", WRITTEN, produce(4, 4, **KB16)),
    Load(
        "produce-16k-64x16",
        "Produce, 16 KB, 64 connections, 16 partitions",
        WRITTEN,
        produce(16, 64, **KB16),
        quick=(),
    ),
    Load("produce-100b", "Produce, 150 records of 100 B a batch", WRITTEN, produce(rec=100, nrec=150)),
    Load(
        "single-1",
        "Produce, one record of 100 B a request, 1 in flight",
        WRITTEN,
        produce(inflight=1, **SMALL),
        quick=(),
    ),
    Load(
        "single-50",
        "Produce, one record of 100 B a request, 50 in flight",
        WRITTEN,
        produce(inflight=50, **SMALL),
    ),
    Load(
        "single-16x5",
        "The same, 16 connections with 5 in flight each",
        WRITTEN,
        produce(conns=16, inflight=5, **SMALL),
        quick=(),
    ),
    Load(
        "single-1-pinned",
        "One in flight, all on one core: no wake-up of another",
        ("braid", "floor"),
        produce(inflight=1, **SMALL),
        prefix=("taskset", "-c", "0"),
    ),
    Load("synced-5", "Synced, 16 KB, 5 in flight", SYNCED, produce(inflight=5, **KB16)),
    Load("synced-50", "Synced, 16 KB, 50 in flight", SYNCED, produce(inflight=50, **KB16)),
    Load("fetch-1m", "Fetch, answers of 1 MB", WRITTEN, fetch(1 << 20, **KB64)),
    Load(
        "fetch-1m-x4",
        "Fetch, answers of 1 MB, 4 connections",
        WRITTEN,
        fetch(1 << 20, conns=4, **KB64),
        quick=(),
    ),
    Load("fetch-64k", "Fetch, answers of 64 KB", WRITTEN, fetch(1 << 16, **ANSWER64)),
    Load(
        "latency-1k",
        "Latency at 1,000 requests/s of one record of 1 KB",
        WRITTEN,
        paced(rate=1000, nrec=1),
        quick=(),
    ),
    Load(
        "latency-2k",
        "Latency at 2,000 requests/s of one record of 1 KB",
        (*WRITTEN, "braid-synced"),
        paced(rate=2000, nrec=1),
    ),
    Load(
        "latency-20k",
        "Latency at 20,000 records/s, 10 records of 1 KB a request",
        WRITTEN,
        paced(rate=2000, nrec=10),
        quick=(),
    ),
    Load(
        "latency-100k",
        "Latency at 100,000 records/s, 16 records of 1 KB a request",
        WRITTEN,
        paced(rate=6250, conns=4, parts=4, nrec=16),
        quick=(),
    ),
    Load(
        "end-to-end",
        "100 MB/s in 16 KB, 4 partitions, a consumer at each one's end",
        (*WRITTEN, "braid-synced"),
        paced("e2e", rate=6030, conns=4, parts=4, nrec=16),
    ),
    Load(
        "partitions-1000",
        "Produce, 64 KB, 1,000 partitions in turn",
        ("braid", "kafka"),
        beside_itself(produce(parts=1000, **KB64)),
        quick=("braid",),
    ),
    Load(
        "idle-2000",
        "Produce, 64 KB, beside 2,000 idle connections",
        ("braid", "kafka"),
        beside_itself(produce(idle=2000, **KB64)),
        quick=("braid",),
    ),
    Load(
        "produce-64k-bbr",
        "Produce, 64 KB, congestion control bbr",
        ("braid", "floor"),
        produce(**KB64),
        congestion="bbr",
        quick=(),
    ),
    Load(
        "fetch-64k-bbr",
        "Fetch, answers of 64 KB, congestion control bbr",
        ("braid", "floor"),
        fetch(1 << 16, **ANSWER64),
        congestion="bbr",
        quick=(),
    ),
    Load(
        "sustained",
        "Produce, 64 KB, 6 GB without a pause",
        ("braid", "floor", "kafka"),
        produce(mb=6000, secs=60, **KB64),
        rounds=1,
        quick=(),
    ),
    Load("memory", "Memory of a fresh broker", ("braid", "floor"), memory),
    Load("start", "Start in an empty folder", WRITTEN, start_empty),
    Load("start-full", "Start after a clean stop, 1,000 partitions", ("braid",), start_full),
    Load("start-killed", "Start after kill -9", ("braid",), start_killed),
    Load("perf-producer", "kafka-producer-perf-test, records of 1 KB", ("braid", "kafka"), produce_tool),
    Load("perf-consumer", "kafka-consumer-perf-test, records of 1 KB", ("braid", "kafka"), consume_tool),
    Load(
        "perf-transactions",
        "kafka-producer-perf-test, transactions of 100 ms",
        ("braid", "kafka"),
        transactions_tool,
        quick=(),
    ),
]
