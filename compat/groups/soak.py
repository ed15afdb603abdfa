"""Five members of a group join, leave and are killed at random, while records are written to its topic.

    soak.py SECONDS SEED LOG ADDRESS SHARES HOST-COMMAND... ADDRESS TOPIC MODE SESSION-MS HEARTBEAT-MS

LOG is the broker's. SHARES, as `3,2`, says how many members each host holds; a host is killed with all of its
members. A change comes each few seconds, also while the one before has not settled, but a kill only when all is
settled: a member that dies while it waits for others to join has its session renewed when that ends, and nobody
could say until when it owned. One member always stays. A cooperative member leaves only while it owns something:
librdkafka sends no LeaveGroup if it owns nothing, neither to Apache Kafka, and the others wait until its session
ends. In the end all is read and committed, all leave, and judge.py judges what they said.
"""

import random
import re
import sys
import threading
import time
from datetime import datetime

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from hosts import Event, Host, eventually
from judge import LATE, Judge

SECONDS, SEED, LOG, ADDRESS, SHARES = float(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]
COMMAND = sys.argv[6:]
TOPIC, MODE, SESSION, HEARTBEAT = COMMAND[-4], COMMAND[-3], *(int(ms) / 1000 for ms in COMMAND[-2:])
PARTITIONS = 30
RECORDS_PER_SECOND = 150
CHANGES = 0.2, 5  # seconds between them
KILLS = 0.25  # of the changes


class Feed(threading.Thread):
    """Writes records to all partitions in turn, until it is stopped; `acknowledged` counts them by partition."""

    def __init__(self, topic):
        super().__init__(daemon=True)
        self.producer = Producer({"bootstrap.servers": ADDRESS, "enable.idempotence": True, "linger.ms": 5})
        self.topic, self.acknowledged, self.stopped = topic, [0] * PARTITIONS, threading.Event()

    def run(self):
        sent = 0
        while not self.stopped.wait(0.1):
            for _ in range(RECORDS_PER_SECOND // 10):
                self.producer.produce(self.topic, b"%d" % sent, partition=sent % PARTITIONS, on_delivery=self.heard)
                sent += 1
            self.producer.poll(0)
        self.producer.flush(60)

    def heard(self, error, message):
        assert error is None, error
        self.acknowledged[message.partition()] += 1


class Place:
    """A host, and who is in which of its slots."""

    def __init__(self, size, hear):
        self.size, self.hear = size, hear
        self.open()

    def open(self):
        self.host = Host(COMMAND, self.hear)
        self.members = {}  # slot -> name
        self.held = set()  # the names of all whom this host has held


class Group:
    """The members, wherever they are, what they said, and the owners by what is heard so far."""

    def __init__(self, name):
        self.name, self.events, self.owners, self.count = name, [], {}, 0
        self.places = [Place(int(size), self.hear) for size in SHARES.split(",")]
        self.changed = time.monotonic()

    def hear(self, event):
        self.events.append(event)
        if event.what == "assigned":
            self.owners.update(dict.fromkeys(event.words, event.member))
        elif event.what in ("revoked", "lost"):
            for p in event.words:
                if self.owners.get(p) == event.member:
                    del self.owners[p]

    def members(self):
        return [name for place in self.places for name in place.members.values()]

    def settled(self):
        """Has every partition a living owner, and are all changes a while ago?"""
        return (time.monotonic() - self.changed > 2 * HEARTBEAT and len(self.owners) == PARTITIONS
                and set(self.owners.values()) <= set(self.members()))

    def join(self, place, slot):
        self.count += 1
        place.members[slot] = name = f"{slot}.{self.count}"
        place.held.add(name)
        place.host.join(name, self.name)
        self.changed = time.monotonic()

    def leave(self, place, slot):
        place.host.leave(place.members.pop(slot))
        self.changed = time.monotonic()

    def kill(self, place):
        eventually(SESSION + 10, self.settled)
        at = time.monotonic()
        place.host.kill()
        gone = {event.member for event in self.events if event.what == "left"}
        self.events += [Event(at, name, "killed", []) for name in place.held - gone]
        place.open()
        self.changed = time.monotonic()

    def change(self, dice, kill):
        """Does something at random to a random slot."""
        place = dice.choice(self.places)
        slot = dice.randrange(place.size)
        if kill:
            able = [place for place in self.places if 0 < len(place.members) < len(self.members())]
            if able:
                self.kill(dice.choice(able))
        elif slot not in place.members:
            self.join(place, slot)
        elif len(self.members()) > 1 and self.may_leave(place.members[slot]):
            self.leave(place, slot)

    def may_leave(self, name):
        return MODE != "cooperative" or name in self.owners.values()

    def end(self):
        """All leave."""
        for place in self.places:
            for slot in list(place.members):
                self.leave(place, slot)
        for place in self.places:
            place.host.end()


def committed(group, topic):
    """What is committed; none while nobody can say, as the coordinator only begins."""
    reader = Consumer({"bootstrap.servers": ADDRESS, "group.id": group})
    try:
        return [p.offset for p in reader.committed([TopicPartition(topic, p) for p in range(PARTITIONS)], timeout=30)]
    except KafkaException:
        return None
    finally:
        reader.close()


def known_changes(group):
    """When, by the monotonic clock, the broker's log says that members joined or were gone."""
    to_monotonic = time.monotonic() - time.time()
    line = re.compile(rf'(\S+Z) +DEBUG .*member (?:joined|gone) group="{group}"')
    with open(LOG, encoding="utf-8") as log:
        stamps = [found[1] for found in map(line.match, log) if found]
    return [datetime.fromisoformat(stamp).timestamp() + to_monotonic for stamp in stamps]


def main():
    topic = f"{TOPIC}-{MODE}-{time.monotonic_ns()}"
    COMMAND[-4] = topic
    admin = AdminClient({"bootstrap.servers": ADDRESS})
    admin.create_topics([NewTopic(topic, PARTITIONS)])[topic].result(60)
    assert eventually(60, lambda: committed(topic, topic)), "no coordinator"  # to wait for it is not the story
    feed, group = Feed(topic), Group(topic)
    feed.start()
    shake(group)
    settled = eventually(SESSION + 10, group.settled)
    feed.stopped.set()
    feed.join()
    drained = eventually(30, lambda: committed(topic, topic) == feed.acknowledged)
    group.end()
    with open("events", "w", encoding="ascii") as events:
        events.writelines(f"{e.at:.9f} {e.member} {e.what} {' '.join(e.words)}\n" for e in group.events)
    rounds = 2 if MODE == "cooperative" else 1
    judge = Judge(PARTITIONS, SESSION, HEARTBEAT, rounds, known_changes(topic))
    judge.judge(group.events)
    if not settled:
        judge.faults.append(f"not settled: {group.owners}")
    told = [judge.committed[p] for p in range(PARTITIONS)]
    if not drained or told != feed.acknowledged:
        judge.faults.append(f"written {feed.acknowledged}, committed {committed(topic, topic)}, told so {told}")
    report(judge, sum(feed.acknowledged))


def shake(group):
    """Five members join; then there are changes until the time is over, and a kill at half of it at the latest."""
    dice = random.Random(SEED)
    for place in group.places:
        for slot in range(place.size):
            group.join(place, slot)
    begin, killed = time.monotonic(), False
    while time.monotonic() < begin + SECONDS:
        time.sleep(dice.uniform(*CHANGES))
        kill = dice.random() < KILLS or (not killed and time.monotonic() > begin + SECONDS / 2)
        group.change(dice, kill)
        killed = killed or kill


def report(judge, records):
    for fault in judge.faults[:20]:
        print(fault)
    joins, leaves, kills, refused = (judge.counts.get(what, 0) for what in ("joining", "left", "killed", "refused"))
    late = sum(wait > HEARTBEAT + LATE for wait in judge.waits)
    print(f"seed {SEED}: {records} records, {joins} joins, {leaves} leaves, {kills} kills, {len(judge.waits)}"
          f" partitions changed hands, without an owner for at most {max(judge.waits):.3f} s, {late} of them for longer"
          f" than a heartbeat interval and {LATE} s, counted from what the {'log' if judge.known else 'members'} said;"
          f" {refused} commits refused; leaving took at most {max(judge.leaves):.2f} s; {len(judge.faults)} faults")
    sys.exit(bool(judge.faults))


main()
