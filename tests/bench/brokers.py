"""The brokers that are compared: how each is started, on which port, and with which promise."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

# What Kafka's own start script gives a broker by default: heap, collector, and their goals.
KAFKA_JVM = [
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
]
# The same for Kafka's tools.
TOOL_JVM = ["-Xmx512M", *KAFKA_JVM[2:]]
# What Kafka's documentation advises for production.
TUNED_JVM = [
    "-Xmx6G",
    "-Xms6G",
    *KAFKA_JVM[2:],
    "-XX:MetaspaceSize=96M",
    "-XX:G1HeapRegionSize=16M",
    "-XX:MinMetaspaceFreeRatio=50",
    "-XX:MaxMetaspaceFreeRatio=80",
]
# Deleted logs must not stay in the page cache beside the next one.
SETTINGS = {"log.segment.delete.delay.ms": 100}


class Broker:
    """One broker process. `stop` also deletes its folder."""

    name = ""
    # Whether it is started anew for every load. A JVM is not: its code would never get warm.
    fresh = True
    # Whether it is measured after all the others, because its memory would be taken from their page cache.
    late = False
    # The most rounds.
    rounds = 99

    def __init__(self, env, port, folder):
        self.env, self.port, self.folder = env, port, folder
        self.process, self.prefix = None, []

    @property
    def addr(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def twin(self, label):
        """Another one of the same kind beside this one."""
        return type(self)(self.env, self.port + 100, self.folder.with_name(f"{self.name}-{label}"))

    def command(self):
        raise NotImplementedError

    def prepare(self):
        """What must be done once before the first start in a folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def start(self, prefix=()):
        self.prefix = list(prefix)
        self.prepare()
        self.launch()

    def launch(self):
        with open(self.env.scratch / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen([*self.prefix, *self.command()], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self.env.answers(self):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start; see {log.name}")
            time.sleep(0.02)

    def end(self, how=signal.SIGTERM):
        if self.process is not None:
            process, self.process = self.process, None
            process.send_signal(how)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise

    def stop(self):
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class Braid(Broker):
    """Braid with Kafka's promise on one node: what is answered is in the page cache."""

    name, durability = "braid", "written"

    def command(self):
        settings = {
            "listeners": f"PLAINTEXT://{self.addr}",
            "http.listeners": "",
            "log.dirs": self.folder,
            "braid.durability": self.durability,
            "max.connections.per.ip": 20000,
            **SETTINGS,
        }
        pairs = [f"--override={key}={value}" for key, value in settings.items()]
        return [self.env.braid, *pairs]


class BraidSynced(Braid):
    """Braid by default: what is answered is on stable storage."""

    name, durability = "braid-synced", "synced"


class Before(Braid):
    """Another build of Braid, which --before names, to see what a change did to a figure."""

    name = "before"

    def command(self):
        return [self.env.before, *super().command()[1:]]


class BeforeSynced(Before):
    """The same, with what is answered on stable storage."""

    name, durability = "before-synced", "synced"


class Floor(Broker):
    """The least a broker must do; see src/bin/floord."""

    name, options = "floor", []

    def command(self):
        return [self.env.programs / "floord", "--port", str(self.port), "--dir", self.folder, *self.options]


class FloorSynced(Floor):
    """The same, with fdatasync before it answers."""

    name, options = "floor-synced", ["--synced"]


class Kafka(Broker):
    """Apache Kafka, one node that is its own controller, with the heap and the settings it has by default."""

    name, fresh, jvm = "kafka", False, KAFKA_JVM

    def prepare(self):
        super().prepare()
        controller = f"127.0.0.1:{self.port + 1000}"
        replication = {
            f"{topic}.replication.factor": 1
            for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
        }
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "log.dirs": self.folder / "log",
            "listeners": f"PLAINTEXT://{self.addr},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.addr}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@{controller}",
            "transaction.state.log.min.isr": 1,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            **replication,
            **SETTINGS,
        }
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self.folder / "server.properties").write_text(text)
        format_ = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"]
        self.env.java(KAFKA_JVM, *format_, self.folder / "server.properties")

    def command(self):
        return [
            "java",
            *self.jvm,
            "-cp",
            self.env.kafka_classes,
            "kafka.Kafka",
            self.folder / "server.properties",
        ]


class KafkaTuned(Kafka):
    """The same with the heap that is advised for production."""

    name, jvm, late, rounds = "kafka-6g", TUNED_JVM, True, 3


BRAIDS = (Braid, BraidSynced, Before, BeforeSynced)
KINDS = {kind.name: kind for kind in (*BRAIDS, Floor, FloorSynced, Kafka, KafkaTuned)}


def kafka_version(jars):
    """The version of the jars."""
    names = [re.fullmatch(r"kafka_2\.13-(.+)\.jar", name) for name in os.listdir(jars)]
    return next(name[1] for name in names if name)


def cpu_seconds(pid):
    """CPU seconds that a process has used, user and system, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid):
    """Resident memory of a process."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
