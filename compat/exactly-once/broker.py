"""The broker that a story kills and starts again, and small helps that the drivers share."""

import os
import pathlib
import queue
import signal
import subprocess
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

WAIT = 120  # seconds for what must happen; a Java client on a busy machine needs many to start


def eventually(what, probe):
    """The first result of probe that is true; a client's error counts as not yet."""
    deadline = time.monotonic() + WAIT
    last = None
    while time.monotonic() < deadline:
        try:
            last = probe()
            if last:
                return last
        except KafkaException as error:
            last = error
        time.sleep(0.02)
    raise AssertionError(f"not in {WAIT} s: {what}; last seen: {last}")


class Broker:
    """The broker that compat/lib.sh started: may it be killed, its address, the file that names its process,
    its log, its command line."""

    def __init__(self, mortal, address, pid_file, log, *command):
        self.mortal = mortal == "mortal"
        self.address, self.command = address, command
        self.pid_file, self.log = pathlib.Path(pid_file), pathlib.Path(log)
        self.child = None
        self.kills = 0

    def crash(self):
        """SIGKILL, so that there is no time to write or to say anything; and a new start."""
        if not self.mortal:
            return
        pid = int(self.pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        self.kills += 1
        if self.child:
            self.child.wait()
        else:
            eventually("the broker is gone", lambda: gone(pid))
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(self.command, stdout=log, stderr=log)
        self.pid_file.write_text(f"{self.child.pid}\n")
        admin = self.admin()
        eventually("the broker answers", lambda: admin.list_topics(timeout=2).brokers)

    def admin(self):
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def create(self, topic, partitions, **config):
        config = {key.replace("_", "."): value for key, value in config.items()}
        admin = self.admin()  # must live until the answer is there
        for done in admin.create_topics([NewTopic(topic, partitions, 1, config=config)]).values():
            done.result(WAIT)

    def reader(self, topic, partitions, isolation="read_committed", group="none"):
        """A consumer at the beginning of all partitions, which says when it is at the end of one."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group, "log_level": 0,
                             "isolation.level": isolation, "enable.auto.commit": False,
                             "enable.partition.eof": True, "auto.offset.reset": "error",
                             "check.crcs": True, "fetch.wait.max.ms": 50})
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        return consumer

    def read_all(self, topic, partitions, isolation="read_committed"):
        """Every record of a topic that nobody writes to."""
        consumer = self.reader(topic, partitions, isolation)
        records, at_end = [], set()
        deadline = time.monotonic() + WAIT
        while len(at_end) < partitions:
            assert time.monotonic() < deadline, f"{topic}: the end of {partitions - len(at_end)} partitions"
            for message in consumer.consume(10_000, 0.5):
                if not message.error():
                    records.append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    at_end.add(message.partition())
                elif not message.error().retriable():
                    raise KafkaException(message.error())
        consumer.close()
        return records

    def assert_all_stable(self, topic, partitions):
        """No transaction hangs: READ_COMMITTED reaches as far as READ_UNCOMMITTED."""
        def ends(isolation):
            consumer = self.reader(topic, partitions, isolation)
            found = [consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
                     for partition in range(partitions)]
            consumer.close()
            return found
        eventually("the last stable offset is the end",
                   lambda: ends("read_committed") == ends("read_uncommitted"))


def gone(pid):
    """Has the process ended, with all of its threads? The first may be a zombie before the last lets go of
    the port. A process that ends between opening a file of /proc and reading it is ESRCH instead of ENOENT."""
    process = pathlib.Path(f"/proc/{pid}")
    try:
        state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
        return state == "Z" and len(list((process / "task").iterdir())) == 1
    except (FileNotFoundError, ProcessLookupError):
        return True


class Program:
    """A client in a process of its own. It tells its steps, a line each; its complaints go to our stderr."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, text=True, bufsize=1, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.steps = queue.Queue()
        self.last = "start"
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.steps.put(line.strip())
        self.steps.put(None)

    def step(self, timeout=WAIT):
        """Its next step, or None if it has ended."""
        try:
            self.last = self.steps.get(timeout=timeout)
            return self.last
        except queue.Empty:
            raise AssertionError(f"the client took no step in {timeout} s after: {self.last}") from None

    def tell(self, line):
        try:
            self.process.stdin.write(line + "\n")
        except BrokenPipeError:
            pass  # it has ended, which the next step() tells

    def kill(self):
        self.process.kill()
        self.process.wait()
