"""A process that holds members of groups, with librdkafka: what Members.java does, in Python.

    members.py ADDRESS TOPIC consumer|eager|cooperative SESSION-MS HEARTBEAT-MS

It is told `join NAME GROUP` and `leave NAME` on stdin, and ends when stdin does. hosts.py says what it prints.
"""

import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

ADDRESS, TOPIC, MODE, SESSION_MS, HEARTBEAT_MS = sys.argv[1:]
COMMIT_EACH = 0.5  # seconds
MODES = {
    "consumer": {"group.protocol": "consumer"},
    "eager": {"partition.assignment.strategy": "range"},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky"},
}


class Member(threading.Thread):
    def __init__(self, name, group):
        super().__init__()
        self.name, self.group = name, group
        self.leaving = threading.Event()
        self.committed, self.position = {}, {}  # of what it owns and has read of

    def tell(self, *words):
        sys.stdout.write(f"event {time.monotonic_ns()} {self.name} {' '.join(map(str, words))}\n")
        sys.stdout.flush()

    def run(self):
        classic = {} if MODE == "consumer" else {
            "session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": HEARTBEAT_MS}
        self.consumer = Consumer({
            "bootstrap.servers": ADDRESS, "group.id": self.group, "client.id": self.name,
            "auto.offset.reset": "earliest", "enable.auto.commit": False, **classic, **MODES[MODE]})
        self.tell("joining")
        self.consumer.subscribe([TOPIC], on_assign=self.assigned, on_revoke=self.revoked, on_lost=self.lost)
        due = time.monotonic() + COMMIT_EACH
        while not self.leaving.is_set():
            message = self.consumer.poll(0.1)
            if message is not None:
                self.read(message)
            if time.monotonic() > due:
                self.commit()
                due = time.monotonic() + COMMIT_EACH
        self.tell("leaving")
        self.commit()
        self.consumer.close()
        self.tell("left")

    def read(self, message):
        if message.error():
            self.tell("error", message.error().name())
            return
        partition, offset = message.partition(), message.offset()
        if partition not in self.position:
            self.tell("first", f"{partition}:{offset}")
            self.committed[partition] = offset
        elif self.position[partition] != offset:
            self.tell("gap", f"{partition}:{self.position[partition]}-{offset}")
        self.position[partition] = offset + 1

    def commit(self):
        moved = {p: to for p, to in self.position.items() if to != self.committed[p]}
        if not moved:
            return
        self.tell("committing", *(f"{p}:{self.committed[p]}-{to}" for p, to in moved.items()))
        try:
            self.consumer.commit(offsets=[TopicPartition(TOPIC, p, to) for p, to in moved.items()],
                                 asynchronous=False)
        except KafkaException as refusal:
            error = refusal.args[0]
            self.tell("refused", error.name(), "unknown" if error.code() < 0 else "known")
        else:
            self.committed.update(moved)
            self.tell("committed")

    def assigned(self, _, partitions):
        self.tell("assigned", *(p.partition for p in partitions))

    def revoked(self, _, partitions):
        self.commit()
        self.forget("revoked", partitions)

    def lost(self, _, partitions):
        self.forget("lost", partitions)

    def forget(self, how, partitions):
        for p in partitions:
            self.position.pop(p.partition, None)
            self.committed.pop(p.partition, None)
        self.tell(how, *(p.partition for p in partitions))


members = {}
for line in sys.stdin:
    what, name, *group = line.split()
    if what == "join":
        members[name] = Member(name, *group)
        members[name].start()
    else:
        members[name].leaving.set()
