"""Five members of a group join, leave and are killed at random, while records are written to its topic.

    soak.py SECONDS SEED ADDRESS SHARES HOST-COMMAND... ADDRESS TOPIC MODE SESSION-MS HEARTBEAT-MS

SHARES says how many members each host holds; a host is killed with all of its members. A change comes each few
seconds, also while the one before has not settled, but a kill only when all is settled: a member that dies while it
waits for others to join has its session renewed when that ends, and nobody could say until when it owned. One
member always stays. In the end all is read and committed, all leave, and judge.py judges what they said.
"""

import random
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from hosts import Event, Host, eventually
from judge import Judge

SECONDS, SEED, ADDRESS, SHARES = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
COMMAND = sys.argv[5:]
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


class Slots:
    """Where members are: in each slot of each host one or none. The owners as heard so far."""

    def __init__(self, group):
        self.group, self.events, self.owners, self.count = group, [], {}, 0
        self.hosts = []  # [host, {slot: name}, number of slots]
        for share in SHARES.split(","):
            self.hosts.append([Host(COMMAND, self.hear), {}, int(share)])
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
        return [name for _, members, _ in self.hosts for name in members.values()]

    def settled(self):
        """Has every partition a living owner, and are all changes a while ago?"""
        return (time.monotonic() - self.changed > 2 * HEARTBEAT and len(self.owners) == PARTITIONS
                and set(self.owners.values()) <= set(self.members()))

    def join(self, host, slot):
        self.count += 1
        host[1][slot] = f"{slot}.{self.count}"
        host[0].join(host[1][slot], self.group)
        self.changed = time.monotonic()

    def leave(self, host, slot):
        host[0].leave(host[1].pop(slot))
        self.changed = time.monotonic()

    def kill(self, host):
        eventually(SESSION + 10, self.settled)
        at = time.monotonic()
        host[0].kill()
        gone = {event.member for event in self.events if event.what == "left"}
        for name in set(host[1].values()) - gone:
            self.events.append(Event(at, name, "killed", []))
        host[0], host[1] = Host(COMMAND, self.hear), {}
        self.changed = time.monotonic()

    def change(self, dice, kill):
        """Does something at random to a random slot."""
        host = dice.choice(self.hosts)
        slot = dice.randrange(host[2])
        if kill:
            able = [host for host in self.hosts if host[1] and len(host[1]) < len(self.members())]
            if able:
                self.kill(dice.choice(able))
        elif slot not in host[1]:
            self.join(host, slot)
        elif len(self.members()) > 1:
            self.leave(host, slot)


def committed(group, topic):
    """What is committed; none while nobody can say, as the coordinator only begins."""
    reader = Consumer({"bootstrap.servers": ADDRESS, "group.id": group})
    try:
        return [p.offset for p in reader.committed([TopicPartition(topic, p) for p in range(PARTITIONS)], timeout=30)]
    except KafkaException:
        return None
    finally:
        reader.close()


def main():
    topic = f"{TOPIC}-{MODE}-{time.monotonic_ns()}"
    COMMAND[-4] = topic
    admin = AdminClient({"bootstrap.servers": ADDRESS})
    admin.create_topics([NewTopic(topic, PARTITIONS)])[topic].result(60)
    assert eventually(60, lambda: committed(topic, topic)), "no coordinator"  # to wait for it is not the story
    dice = random.Random(SEED)
    feed, slots = Feed(topic), Slots(topic)
    feed.start()
    for host in slots.hosts:
        for slot in range(host[2]):
            slots.join(host, slot)
    begin, killed = time.monotonic(), False
    while (now := time.monotonic()) < begin + SECONDS:
        time.sleep(dice.uniform(*CHANGES))
        kill = dice.random() < KILLS or not killed and now > begin + SECONDS / 2
        slots.change(dice, kill)
        killed = killed or kill
    settled = eventually(SESSION + 10, slots.settled)
    feed.stopped.set()
    feed.join()
    drained = eventually(30, lambda: committed(topic, topic) == feed.acknowledged)
    for host, members, _ in slots.hosts:
        for name in members.values():
            host.leave(name)
    for host, _, _ in slots.hosts:
        host.end()
    with open("events", "w", encoding="ascii") as events:
        events.writelines(f"{e.at:.9f} {e.member} {e.what} {' '.join(e.words)}\n" for e in sorted(slots.events))
    judge = Judge(PARTITIONS, SESSION, HEARTBEAT)
    judge.judge(slots.events)
    faults = judge.faults
    if not settled:
        faults.append(f"not settled: {slots.owners}")
    told = [judge.committed[p] for p in range(PARTITIONS)]
    if not drained or told != feed.acknowledged:
        faults.append(f"written {feed.acknowledged}, said to be committed {told}, committed {committed(topic, topic)}")
    report(judge, sum(feed.acknowledged), faults)


def report(judge, records, faults):
    for fault in faults[:20]:
        print(fault)
    counts = {what: judge.counts.get(what, 0) for what in ("joining", "left", "killed", "refused")}
    print(f"seed {SEED}: {records} records, {counts['joining']} joins, {counts['left']} leaves, {counts['killed']} kills, "
          f"{len(judge.waits)} partitions given, without an owner for at most {max(judge.waits):.2f} s; "
          f"{counts['refused']} commits refused, leaving took at most {max(judge.leaves):.2f} s; {len(faults)} faults")
    sys.exit(bool(faults))


main()
