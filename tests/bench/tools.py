"""What is done to a broker in one sample, with tools of others: Kafka's own and kcat."""

import re
import subprocess
import time

from brokers import TOOL_JVM, cpu_seconds
from programs import run
from samples import KB64

# Records of 1 KB that the tools send and read.
RECORDS = 900_000
# Settings for throughput, as guides to Kafka give them.
TUNED_PRODUCER = [
    "acks=all",
    "batch.size=65536",
    "linger.ms=5",
    "compression.type=none",
    "buffer.memory=67108864",
]
TUNED_CONSUMER = [f"{key}={10 << 20}" for key in ("max.partition.fetch.bytes", "fetch.max.bytes")]


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


def produce_tool(*settings):
    """kafka-producer-perf-test, by default or with settings of the producer."""

    def measure(env, broker):
        with env.topic(broker, 1) as topic:
            extra = ["--command-property", *settings] if settings else []
            return producer_tool(env, broker, topic, env.short(RECORDS, 200_000), *extra)

    return measure


def transactions_tool(env, broker):
    """The same in transactions of 100 ms."""
    with env.topic(broker, 1) as topic:
        extra = ["--transactional-id", f"bench-{topic}", "--transaction-duration-ms", 100]
        return producer_tool(env, broker, topic, env.short(RECORDS, 200_000), *extra)


def consume_tool(*settings):
    """kafka-consumer-perf-test, by default or with settings of the consumer."""

    def measure(env, broker):
        records = env.short(RECORDS, 200_000)
        extra = [word for setting in settings for word in ("--command-property", setting)]
        with env.topic(broker, 1) as topic:
            env.kgen(broker, "produce", topic=topic, mb=records * 11 // 10_000, secs=60, **KB64)
            size = ["--topic", topic, "--num-records", records]
            return consumed(*tool(env, broker, "ConsumerPerformance", *size, *extra))

    return measure


def consumed(text, cpu):
    """What kafka-consumer-perf-test has printed, with the broker's CPU."""
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


def kcat(env, broker, records, *arguments, **options):
    """Run kcat to its end; its rate, its start included, and the broker's CPU."""
    command = ["kcat", "-q", "-b", broker.addr, "-p", "0", *arguments]
    before, began = cpu_seconds(broker.pid), time.perf_counter()
    run(command, **options)
    seconds = time.perf_counter() - began
    gigabytes = records * 1024 / 1e9
    return {
        "mb_per_s": gigabytes * 1e3 / seconds,
        "records_per_s": records / seconds,
        "broker_cpu_per_gb": (cpu_seconds(broker.pid) - before) / gigabytes,
    }


def kcat_produce(env, broker):
    """Every line of a file is a record."""
    records = env.short(RECORDS, 200_000)
    with env.topic(broker, 1) as topic:
        return kcat(env, broker, records, "-P", "-t", topic, "-l", lines(env, records))


def kcat_consume(env, broker):
    """Every record from the beginning, to nowhere."""
    records = env.short(RECORDS, 200_000)
    with env.topic(broker, 1) as topic:
        env.kgen(broker, "produce", topic=topic, mb=records * 11 // 10_000, secs=60, **KB64)
        arguments = ["-C", "-t", topic, "-o", "beginning", "-e", "-c", records]
        return kcat(env, broker, records, *arguments, stdout=subprocess.DEVNULL)


def lines(env, records):
    """A file of lines of 1,024 bytes each, made once."""
    path = env.scratch / "lines"
    if not path.exists():
        line = bytes(32 + at * 7 % 95 for at in range(1024)) + b"\n"
        with open(path, "wb") as file:
            file.writelines(line for _ in range(records))
    return path
