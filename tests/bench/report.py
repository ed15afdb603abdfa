"""Turns samples into tests/bench/REPORT.md: the promised ratios, every figure behind them, and plots."""

import contextlib
import dataclasses
import statistics
from collections.abc import Callable

import plot
from loads import FULL_ROUNDS, LOADS

# A sample in which the rest of the machine used more than this share of it is not counted.
OTHER_PERCENT_MAX = 12
TITLES = {load.name: load.title for load in LOADS}


def quiet_values(results, load, broker, key):
    """The values of a figure in the samples that nobody disturbed; in all, if most were disturbed."""
    samples = [
        sample for sample in results["samples"].get(load, {}).get(broker, []) if sample.get(key) is not None
    ]
    quiet = [sample for sample in samples if sample.get("other_percent", 0) <= OTHER_PERCENT_MAX]
    return [sample[key] for sample in (quiet if 2 * len(quiet) > len(samples) else samples)]


class Missing(Exception):
    """A figure that this run did not measure."""


class Medians:
    """Medians of the quiet samples."""

    def __init__(self, results):
        self.results = results

    def of(self, load, broker, key):
        values = quiet_values(self.results, load, broker, key)
        if not values:
            raise Missing
        return statistics.median(values)

    def ratio(self, load, key, over="floor", ours="braid"):
        below = self.of(load, over, key)
        if not below:
            raise Missing
        return self.of(load, ours, key) / below


@dataclasses.dataclass
class Row:
    """One promise: `gate` must hold, `aim` is what we want. Without them it is only told."""

    what: str
    gate: float | None
    aim: float | None
    measured: Callable
    at_least: bool = False
    unit: str = ""

    def holds(self, value, bound):
        if bound is None:
            return None
        return value >= bound if self.at_least else value <= bound


def told(what, measured):
    """A figure without a bound."""
    return Row(what, None, None, measured)


def over(load, key, other="floor", ours="braid"):
    return lambda medians: medians.ratio(load, key, other, ours)


def figure(load, key, broker="braid"):
    return lambda medians: medians.of(load, broker, key)


def worst_throughput(loads):
    """The lowest ratio of rates to Kafka's in these loads."""

    def measured(medians):
        ratios = []
        for load in loads:
            with contextlib.suppress(Missing):
                ratios.append(medians.ratio(load.name, "mb_per_s", "kafka"))
        if not ratios:
            raise Missing
        return min(ratios)

    return measured


def synced_tail(medians):
    return medians.of("latency-2k", "braid-synced", "ack_p99") / medians.of("latency-2k", "kafka", "ack_p999")


CPU, RATE, THROUGHPUT = "broker_cpu_per_gb", "requests_per_s", "mb_per_s"
OPEN_LOOPS = ("latency", "end-to-end", "memory", "start")
CLOSED = [load for load in LOADS if not load.name.startswith(OPEN_LOOPS)]
# Those of all rounds; with fewer, noise would decide about a gate.
JUDGED = [load for load in CLOSED if load.rounds >= FULL_ROUNDS]
ROWS = {
    "Broker CPU per GB ÷ the floor's": [
        Row("produce, 64 KB", 1.6, 1.25, over("produce-64k", CPU)),
        Row("produce, 16 KB, 4 connections × 4 partitions", 1.7, 1.3, over("produce-16k-4x4", CPU)),
        Row("produce, 1 MB", 1.5, 1.2, over("produce-1m", CPU)),
        Row("fetch, answers of 1 MB", 1.5, 1.15, over("fetch-1m", CPU)),
        Row("fetch, answers of 1 MB, 4 connections", 1.5, 1.15, over("fetch-1m-x4", CPU)),
        Row("fetch, answers of 64 KB", 1.5, 1.2, over("fetch-64k", CPU)),
    ],
    "Rates ÷ the floor's": [
        Row("records/s, 100 B × 150", 0.6, 0.85, over("produce-100b", "records_per_s"), True),
        Row("single-record requests/s, 50 in flight", 0.55, 0.8, over("single-50", RATE), True),
        Row("single-record requests/s, 16 × 5 in flight", 0.55, 0.8, over("single-16x5", RATE), True),
        Row(
            "synced requests/s, 5 in flight",
            0.8,
            1.0,
            over("synced-5", RATE, "floor-synced", "braid-synced"),
            True,
        ),
        Row(
            "synced requests/s, 50 in flight",
            0.8,
            1.0,
            over("synced-50", RATE, "floor-synced", "braid-synced"),
            True,
        ),
    ],
    "Latency ÷ the floor's": [
        Row("ack p50 at 2,000/s", 1.4, 1.15, over("latency-2k", "ack_p50")),
        Row("ack p99 at 2,000/s", 1.6, 1.2, over("latency-2k", "ack_p99")),
        Row("ack p99.9 at 2,000/s", 2, 1.3, over("latency-2k", "ack_p999")),
        Row("ack p50, 1 in flight, one core", 1.6, 1.25, over("single-1-pinned", "ack_p50")),
        Row("end to end p50 at 100 MB/s", 1.4, 1.15, over("end-to-end", "end_p50")),
        Row("end to end p99 at 100 MB/s", 1.6, 1.2, over("end-to-end", "end_p99")),
    ],
    "Braid ÷ Apache Kafka, with the same promise": [
        Row("CPU per GB produced, 16 KB", 0.5, 0.25, over("produce-16k", CPU, "kafka")),
        Row("CPU per GB produced, 1 MB", 0.7, 0.5, over("produce-1m", CPU, "kafka")),
        Row("CPU per GB fetched, 1 MB", 0.8, 0.5, over("fetch-1m", CPU, "kafka")),
        Row("single-record requests/s, 50 in flight", 2, 5, over("single-50", RATE, "kafka"), True),
        Row("ack p99 at 100 MB/s", 0.5, 0.5, over("end-to-end", "ack_p99", "kafka")),
        Row("throughput in the worst cell", 1, 1, worst_throughput(JUDGED), True),
        Row("p99 of synced Braid ÷ p99.9 of Kafka, 2,000/s", 1, 1, synced_tail),
    ],
    "Size": [
        Row("CPU per GB, 1,000 partitions ÷ one", 1.5, 1.2, figure("partitions-1000", "own_ratio")),
        Row("CPU per GB beside 2,000 idle connections ÷ none", 1.15, 1.05, figure("idle-2000", "own_ratio")),
        Row("idle memory", 12, 8, figure("memory", "idle_mib"), unit=" MiB"),
        Row("memory of an idle connection", 24, 8, figure("memory", "connection_kib"), unit=" KiB"),
        Row("memory of a partition", 16, 4, figure("memory", "partition_kib"), unit=" KiB"),
        Row(
            "start to the first Metadata answer, empty folder",
            20,
            10,
            figure("start", "start_ms"),
            unit=" ms",
        ),
        Row("the same, 1,000 partitions and 10 GB", 300, 100, figure("start-full", "start_ms"), unit=" ms"),
        Row(
            "after kill -9 ÷ reading all bytes once",
            2,
            1.2,
            lambda medians: (
                medians.of("start-killed", "braid", "start_ms")
                / medians.of("start-killed", "braid", "read_ms")
            ),
        ),
    ],
    "Without a gate: Braid ÷ Apache Kafka with a heap of 6 GiB": [
        told("CPU per GB produced, 16 KB", over("produce-16k", CPU, "kafka-6g")),
        told("CPU per GB produced, 64 KB", over("produce-64k", CPU, "kafka-6g")),
        told("CPU per GB fetched, 1 MB", over("fetch-1m", CPU, "kafka-6g")),
        told("single-record requests/s, 50 in flight", over("single-50", RATE, "kafka-6g")),
        told("ack p99 at 2,000/s", over("latency-2k", "ack_p99", "kafka-6g")),
        told("ack p99 at 100 MB/s", over("end-to-end", "ack_p99", "kafka-6g")),
    ],
    "Without a gate: Braid ÷ Apache Kafka": [
        told("throughput in the worst cell of all", worst_throughput(CLOSED)),
        told("MB/s fetched, 64 KB, no CPU asleep", over("fetch-64k-awake", THROUGHPUT, "kafka")),
        told("MB/s of kafka-producer-perf-test, tuned", over("perf-producer-tuned", THROUGHPUT, "kafka")),
        told("MB/s of kafka-consumer-perf-test, tuned", over("perf-consumer-tuned", THROUGHPUT, "kafka")),
        told("MB/s of kcat -P", over("kcat-produce", THROUGHPUT, "kafka")),
        told("MB/s of kcat -C", over("kcat-consume", THROUGHPUT, "kafka")),
        told("MB/s of kcat -P ÷ the floor's", over("kcat-produce", THROUGHPUT)),
        told("MB/s of kcat -C ÷ the floor's", over("kcat-consume", THROUGHPUT)),
        told("MB/s of a reader beside a writer", over("catch-up", THROUGHPUT, "kafka")),
        told("ack p99 of the writer", over("catch-up", "ack_p99", "kafka")),
        told("MB/s of a reader from the disk, beside a writer", over("catch-up-cold", THROUGHPUT, "kafka")),
        told("ack p99 of the writer then", over("catch-up-cold", "ack_p99", "kafka")),
    ],
    "Without a gate: Braid ÷ itself": [
        told("CPU per GB beside 10,000 idle connections ÷ none", figure("idle-10000", "own_ratio")),
        told("CPU per GB fetched, READ_COMMITTED ÷ all records", figure("read-committed", "own_ratio")),
    ],
}

METHOD = """\
- **Same for all.** One machine, one disk, one load generator (`src/bin/kgen`: one thread, batches encoded
  once), brokers in turn, A B C A B C; acks=all. Kafka and `braid` promise the same: the page cache.
  `braid-synced` and `floor-synced` answer after fdatasync. Kafka has its start script's default heap and
  collector, and stays up for the whole run, warmed before, so that its code is compiled; the others start
  anew for every load. Only deletion is hurried for all.
- **Kafka with more heap**: `kafka-6g` has the heap and the settings of the JVM that its documentation advises
  for production, in the principal loads. It runs after all the others, in turn with nobody, since its heap
  would take memory from their page cache; three rounds.
- **The floor** (`src/bin/floord`) does what no broker can leave out: receive, check the checksum, append,
  answer, sendfile.
- **CPU** is user and system time of all threads, /proc/PID/stat; 1 GB is 10^9 bytes of batches. Writeback
  runs in kernel threads and is in nobody's account.
- **Latency** counts from the moment a request was due, not from when it could be sent: an open loop. The
  first second is not counted.
- **Cold memory.** On a VM that gives freed memory back to its host, memory touched first costs several
  times as much. Every closed-loop sample is therefore the second of two same-sized fillings of a fresh
  topic; the first is thrown away with its files. Fills stay below 1 GB, one segment; `sustained` shows what
  comes after.
- **TCP.** Loopback under bbr costs two to three times as much on streams: the run has a network namespace
  of its own with reno; the cells named bbr show the difference.
- **Wake-ups.** Waking an idle virtual CPU costs about 25 µs, so that ping-pong cells get *faster* beside a
  busy neighbour. Hence the turns, one cell where all runs on one core, and one (`awake`) where something of the
  lowest priority keeps every CPU from sleeping. A broker at a fixed rate may flip between two figures, by
  whether the kernel finds room for it and the generator on one CPU or spreads them over two that sleep in
  between: look at the spread of `end-to-end` before its median.
- **Neighbours.** A sample in which anything but broker and generator used more than 12 % of the machine is
  left out, unless most are such; the column `samples` counts the undisturbed ones. fdatasync is the disk's:
  only ratios of one run mean anything.
- **Noise.** Rates differ by 15 to 20 % between rounds, CPU per GB by 10 %: a smaller difference is no
  finding.
- **Reads** come from the page cache, as those of consumers that keep up do. `catch-up-cold` reads from the
  disk: its files were synced and dropped from the cache (POSIX_FADV_DONTNEED). A disk that is a file of
  another machine may still come from that one's cache. In both, the reader and the writer of 50 MB/s are two
  processes, and CPU is per GB read or written.
- **Rounds.** Loads behind a gate have all rounds, the others three or two, `sustained` one: see `samples`.
- **Tools of others.** kcat's rates include its start; those of kafka-producer-perf-test and
  kafka-consumer-perf-test, by default and tuned, are what they print. How busy the rest of the machine was is
  not known of these samples: none of them is left out.
"""

NOT_MEASURED = """\
more than one machine. Allocations per request are stated and counted in tests/allocations.rs, instructions of
the hot paths in tests/bench/instructions.txt.
"""

COLUMNS = {
    "mb_per_s": ("MB/s", 0),
    "requests_per_s": ("requests/s", 0),
    "records_per_s": ("records/s", 0),
    "written_mb_per_s": ("written MB/s", 0),
    CPU: ("CPU s/GB", 3),
    "own_ratio": ("÷ plain", 2),
    "client_cpu_per_gb": ("client s/GB", 3),
    "broker_us_per_request": ("CPU µs/request", 1),
    "ack_p50": ("ack p50 µs", 0),
    "ack_p99": ("p99", 0),
    "ack_p999": ("p99.9", 0),
    "end_p50": ("end p50 µs", 0),
    "end_p99": ("p99", 0),
    "idle_mib": ("idle MiB", 1),
    "connection_kib": ("KiB/connection", 1),
    "partition_kib": ("KiB/partition", 1),
    "start_ms": ("start ms", 1),
    "read_ms": ("read ms", 1),
    "other_percent": ("other %", 0),
}


def undisturbed(samples):
    """How many samples nobody disturbed."""
    return sum(sample.get("other_percent", 0) <= OTHER_PERCENT_MAX for sample in samples)


def table(rows):
    """A Markdown table; the first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def judged(results):
    """Every row: what was measured, in words, and whether its gate holds; None if it was not measured."""
    medians = Medians(results)
    for section, rows in ROWS.items():
        for row in rows:
            try:
                value = row.measured(medians)
            except Missing:
                yield section, row, "not measured", None, ""
                continue
            gate = row.holds(value, row.gate)
            verdict = {None: "", False: "**missed**", True: "gate"}[gate]
            verdict = "aim" if row.holds(value, row.aim) else verdict
            yield section, row, f"{value:.3g}{row.unit}", gate, verdict


def bounds(row):
    sign = "≥ " if row.at_least else "≤ "
    return ["–" if bound is None else f"{sign}{bound:g}{row.unit}" for bound in (row.gate, row.aim)]


def verdicts(results):
    """The rows as text, for the terminal."""
    lines = [
        f"{row.what:52} {words:>12}  gate {bounds(row)[0]:>10}  {verdict.strip('*')}"
        for _, row, words, gate, verdict in judged(results)
        if gate is not None
    ]
    return "\n".join(lines)


def promises(results):
    parts, seen = [], None
    for section, row, words, _, verdict in judged(results):
        if section != seen:
            parts.append([["" + section, "gate", "aim", "measured", "holds"]])
            seen = section
        parts[-1].append([row.what, *bounds(row), words, verdict])
    return "\n\n".join(table(part) for part in parts)


def spread(values, digits):
    """The median, and the lowest and highest."""
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) < 2 else f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def figures(results):
    parts = []
    for load, brokers in results["samples"].items():
        keys = [
            key
            for key in COLUMNS
            if any(sample.get(key) is not None for samples in brokers.values() for sample in samples)
        ]
        rows = [["broker", *(COLUMNS[key][0] for key in keys), "samples"]]
        for broker, samples in brokers.items():
            cells = [
                spread(values, COLUMNS[key][1])
                if (values := quiet_values(results, load, broker, key))
                else "–"
                for key in keys
            ]
            rows.append([broker, *cells, f"{undisturbed(samples)} of {len(samples)}"])
        parts.append(f"### {TITLES[load]}\n\n`{load}`\n\n{table(rows)}")
    return "\n\n".join(parts)


def plots(results, folder):
    """Write the plots; their Markdown."""
    medians, written = Medians(results), []

    def draw(name, title, key, loads, brokers, unit, log=False):
        groups = []
        for load in loads:
            bars = {}
            for broker in brokers:
                values = quiet_values(medians.results, load, broker, key)
                if values:
                    bars[broker] = (statistics.median(values), min(values), max(values))
            if bars:
                groups.append((load, bars))
        if groups:
            (folder / f"{name}.svg").write_text(plot.bars(title, unit, groups, brokers, log))
            written.append(f"![{title}]({folder.name}/{name}.svg)")

    folder.mkdir(exist_ok=True)
    produce = ["produce-16k", "produce-64k", "produce-1m", "produce-16k-4x4", "fetch-1m", "fetch-64k"]
    single = ["single-1", "single-50", "single-16x5"]
    paced = ["latency-1k", "latency-2k", "latency-20k", "latency-100k", "end-to-end"]
    three, four = ["floor", "braid", "kafka"], ["floor", "braid", "braid-synced", "kafka"]
    draw("cpu", "Broker CPU per GB: lower is better", CPU, produce, three, "s/GB")
    draw("throughput", "Throughput: higher is better", "mb_per_s", produce, three, "MB/s")
    draw("requests", "Requests of one record: higher is better", RATE, single, three, "requests/s")
    draw("latency", "Ack p99 at fixed rates: lower is better", "ack_p99", paced, four, "µs", True)
    draw("tail", "Ack p99.9 at fixed rates: lower is better", "ack_p999", paced, four, "µs", True)
    return "\n\n".join(written)


def write(results, folder, seconds):
    """Write REPORT.md and its plots into the folder."""
    missed = [
        f"- {row.what}: {words}, gate {bounds(row)[0]}"
        for _, row, words, gate, _ in judged(results)
        if gate is False
    ]
    machine = table([["", ""], *([key, str(value)] for key, value in results["machine"].items())])
    loads = results["samples"].values()
    every = [sample for brokers in loads for samples in brokers.values() for sample in samples]
    disturbed = f"{len(every) - undisturbed(every)} of {len(every)} samples"
    failed = [f"- {' '.join(line.split())[:300]}" for line in results["failed"]]
    text = f"""\
# How fast Braid is

Written by `scripts/bench`, which repeats it on your machine; medians of interleaved rounds. It took
{seconds / 60:.0f} minutes.

{machine}

Disturbed by something else on the machine, at more than {OTHER_PERCENT_MAX} % of it: {disturbed}.

## What is promised, and what was measured

{promises(results)}

Missed gates:

{chr(10).join(missed) or "none."}

Samples that failed:

{chr(10).join(failed) or "none."}

## Plots

{plots(results, folder / "plots")}

## How it was measured

{METHOD}
Not measured: {NOT_MEASURED}
## Every figure

Medians, and in parentheses the lowest and the highest. `braid` is Braid with `braid.durability=written`,
`braid-synced` with its default.

{figures(results)}
"""
    (folder / "REPORT.md").write_text(text)
