"""The loads: what each is called, which brokers it is done to, and how often."""

import dataclasses
from collections.abc import Callable

from samples import (
    ANSWER64,
    KB16,
    KB64,
    MB1,
    awake,
    beside_itself,
    catch_up,
    fetch,
    memory,
    paced,
    produce,
    read_committed,
    start_empty,
    start_full,
    start_killed,
)
from tools import (
    TUNED_CONSUMER,
    TUNED_PRODUCER,
    consume_tool,
    kcat_consume,
    kcat_produce,
    produce_tool,
    transactions_tool,
)

WRITTEN = ("braid", "floor", "kafka")
SYNCED = ("braid-synced", "floor-synced")
# How often the loads are done that a gate stands on.
FULL_ROUNDS = 5
# Kafka with a large heap, in the principal loads.
TUNED = "kafka-6g"


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


SMALL = {"rec": 100, "nrec": 1, "mb": 0}
LOADS = [
    Load("produce-16k", "Produce, batches of 16 KB", (*WRITTEN, TUNED), produce(**KB16)),
    Load("produce-64k", "Produce, batches of 64 KB", (*WRITTEN, TUNED), produce(**KB64)),
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
        (*WRITTEN, TUNED),
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
    Load("fetch-1m", "Fetch, answers of 1 MB", (*WRITTEN, TUNED), fetch(1 << 20, **KB64)),
    Load(
        "fetch-1m-x4",
        "Fetch, answers of 1 MB, 4 connections",
        WRITTEN,
        fetch(1 << 20, conns=4, **KB64),
        quick=(),
    ),
    Load("fetch-64k", "Fetch, answers of 64 KB", WRITTEN, fetch(1 << 16, **ANSWER64)),
    Load(
        "fetch-64k-awake",
        "Fetch, answers of 64 KB, while no CPU goes to sleep",
        WRITTEN,
        awake(fetch(1 << 16, **ANSWER64)),
        rounds=3,
        quick=(),
    ),
    Load(
        "latency-1k",
        "Latency at 1,000 requests/s of one record of 1 KB",
        WRITTEN,
        paced(rate=1000, nrec=1),
        rounds=2,
        quick=(),
    ),
    Load(
        "latency-2k",
        "Latency at 2,000 requests/s of one record of 1 KB",
        (*WRITTEN, "braid-synced", TUNED),
        paced(rate=2000, nrec=1, secs=10),
    ),
    Load(
        "latency-20k",
        "Latency at 20,000 records/s, 10 records of 1 KB a request",
        WRITTEN,
        paced(rate=2000, nrec=10),
        rounds=2,
        quick=(),
    ),
    Load(
        "latency-100k",
        "Latency at 100,000 records/s, 16 records of 1 KB a request",
        WRITTEN,
        paced(rate=6250, conns=4, parts=4, nrec=16),
        rounds=2,
        quick=(),
    ),
    Load(
        "end-to-end",
        "100 MB/s in 16 KB, 4 partitions, a consumer at each one's end",
        (*WRITTEN, "braid-synced", TUNED),
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
        "idle-10000",
        "Produce, 64 KB, beside 10,000 idle connections",
        ("braid", "kafka"),
        beside_itself(produce(idle=10_000, **KB64)),
        rounds=3,
        quick=(),
    ),
    Load(
        "catch-up",
        "Read from the start, beside a writer of 50 MB/s",
        WRITTEN,
        catch_up(cold=False),
        rounds=3,
        quick=(),
    ),
    Load(
        "catch-up-cold",
        "The same, once, and not in the page cache",
        WRITTEN,
        catch_up(cold=True),
        rounds=3,
        quick=(),
    ),
    Load(
        "read-committed",
        "Fetch, answers of 1 MB, READ_COMMITTED beside READ_UNCOMMITTED",
        ("braid", "kafka"),
        read_committed,
        rounds=3,
        quick=(),
    ),
    Load(
        "produce-64k-bbr",
        "Produce, 64 KB, congestion control bbr",
        ("braid", "floor"),
        produce(**KB64),
        congestion="bbr",
        rounds=3,
        quick=(),
    ),
    Load(
        "fetch-64k-bbr",
        "Fetch, answers of 64 KB, congestion control bbr",
        ("braid", "floor"),
        fetch(1 << 16, **ANSWER64),
        congestion="bbr",
        rounds=3,
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
    Load("perf-producer", "kafka-producer-perf-test, records of 1 KB", ("braid", "kafka"), produce_tool()),
    Load("perf-consumer", "kafka-consumer-perf-test, records of 1 KB", ("braid", "kafka"), consume_tool()),
    Load(
        "perf-transactions",
        "kafka-producer-perf-test, transactions of 100 ms",
        ("braid", "kafka"),
        transactions_tool,
        quick=(),
    ),
    Load(
        "perf-producer-tuned",
        f"kafka-producer-perf-test, {' '.join(TUNED_PRODUCER)}",
        ("braid", "kafka"),
        produce_tool(*TUNED_PRODUCER),
        rounds=3,
        quick=(),
    ),
    Load(
        "perf-consumer-tuned",
        f"kafka-consumer-perf-test, {' '.join(TUNED_CONSUMER)}",
        ("braid", "kafka"),
        consume_tool(*TUNED_CONSUMER),
        rounds=3,
        quick=(),
    ),
    Load("kcat-produce", "kcat -P -l, lines of 1 KB", WRITTEN, kcat_produce, rounds=3, quick=()),
    Load("kcat-consume", "kcat -C -e, records of 1 KB", WRITTEN, kcat_consume, rounds=3, quick=()),
]
