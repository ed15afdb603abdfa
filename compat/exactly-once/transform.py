"""Consume, transform, produce, in transactions, while the client and the broker are killed at random
moments.

    transform.py ROUNDS SEED TOPIC CLIENT-COMMAND -- mortal|immortal ADDRESS PID-FILE LOG BROKER-COMMAND...

The client is thin: clients/ has one for each library. It is given the address and a topic's name, reads
TOPIC-in in the group TOPIC, and writes each record, turned round, to TOPIC-out. It is its group's only
member, a static one, and uses TOPIC as transactional id and as instance id, so that a new one takes over
from a killed one at once. Before each of its steps it tells us and waits for our answer:

    begin COUNT   read so many records, has begun nothing; the answer is `commit-N` or `abort-N`, which says
                  how this transaction shall end, and is written into its records
    sent          (not franz-go) all records are acknowledged; the offsets are next
    ready         the offsets are sent too (franz-go: are next); commit or abort is next
    committed, aborted

So we know, and not only believe, which transactions cannot have been committed: those of abort-N, and those
that were never told to go on from `ready`. A round ends with a strike at a random step, before the answer
or up to 20 ms after it, at the client, the broker or both. Or the client is made a zombie: it gets no
answer until another has taken its place, and then goes on; it must not get through.

What must hold:
- all the time, for a READ_COMMITTED reader: no record of a transaction that cannot have been committed,
  none twice, each turned round rightly, and in the order of its input partition;
- after each strike, when a new transaction has not begun: the group's committed offset of each partition is
  the number of outputs that come from it, and these come from the offsets below;
- at the end: a fresh READ_COMMITTED reader finds the whole input, and no transaction hangs.
"""

import random
import sys
import threading
import time

from confluent_kafka import KafkaError, Producer, TopicPartition

from broker import Broker, Program, eventually

PARTITIONS = 4
BACKLOG = 500  # records that wait to be read when a round begins; more than a round reads
STRIKES = {"client": 45, "broker": 25, "both": 15, "zombie": 15}


class Watcher(threading.Thread):
    """Reads the output under READ_COMMITTED from beginning to end, all the time, and judges each record."""

    def __init__(self, broker, topic, inputs):
        super().__init__(daemon=True)
        self.consumer = broker.reader(topic, PARTITIONS)
        self.inputs = inputs  # (partition, offset) -> value
        self.may_be_seen = set()  # the transactions that were told to commit
        self.seen = [set() for _ in range(PARTITIONS)]  # the offsets of each input partition
        self.newest = {}  # (input partition, output partition) -> the offset seen last
        self.failure = None

    def run(self):
        try:
            while True:
                for message in self.consumer.consume(1000, 0.1):
                    if not message.error():
                        self.judge(message)
                    elif message.error().code() == KafkaError._AUTO_OFFSET_RESET:
                        raise AssertionError(message.error())
        except Exception as error:
            self.failure = error
            raise

    def judge(self, message):
        where = f"{message.key()} {message.value()} at {message.partition()}:{message.offset()}"
        partition, offset = map(int, message.key().split(b":"))
        transaction, value = message.value().decode().split(" ")
        assert transaction in self.may_be_seen, f"not committed, but seen: {where}"
        assert offset not in self.seen[partition], f"seen twice: {where}"
        assert value == self.inputs[partition, offset][::-1], f"wrong: {where}"
        way = partition, message.partition()
        assert offset > self.newest.get(way, -1), f"out of order: {where}"
        self.newest[way] = offset
        self.seen[partition].add(offset)


class Story:
    def __init__(self, broker, topic, command, seed):
        self.broker, self.topic = broker, topic
        self.command = [*command, broker.address, topic]
        self.random = random.Random(seed)
        self.inputs = {}
        broker.create(f"{topic}-in", PARTITIONS)
        broker.create(f"{topic}-out", PARTITIONS)
        self.producer = Producer({"bootstrap.servers": broker.address, "enable.idempotence": True,
                                  "log_level": 0})
        self.watcher = Watcher(broker, f"{topic}-out", self.inputs)
        self.watcher.start()
        self.transactions = 0
        self.counts = dict.fromkeys(["committed", "aborted", "client kills", "gave up", "zombies"], 0)
        self.doubt = True  # there was a strike since the last agreement
        self.zombies = []  # with the step each waits at
        self.fate = None
        self.idle = 0  # seconds without a step when all is to be read
        self.client = Program(self.command)

    def feed(self):
        """Fill the input up to the backlog."""
        def delivered(error, message):
            assert error is None, error
            self.inputs[message.partition(), message.offset()] = message.value().decode()
        have = len(self.inputs) - sum(map(len, self.watcher.seen))
        begin = len(self.inputs)
        for n in range(begin, begin + BACKLOG - have):
            self.producer.produce(f"{self.topic}-in", f"record-{n}", on_delivery=delivered,
                                  partition=self.random.randrange(PARTITIONS))
        eventually("all is fed", lambda: self.producer.flush(1) == 0)

    def step(self):
        """The client's next step, with what must hold there. A client that gave up is followed by another."""
        while (step := self.client.step()) is None:
            self.counts["gave up"] += 1
            self.restart_client()
        assert self.watcher.failure is None, self.watcher.failure
        if step.startswith("begin") and self.doubt:
            self.agree()
        if step in ("committed", "aborted"):
            assert step == "aborted" or self.fate.startswith("commit"), f"{self.fate} was {step}"
            self.counts[step] += 1
        for zombie in [each for each in self.zombies if self.random.random() < 0.4]:
            self.wake(*zombie)
        return step

    def answer(self, step):
        if step.startswith("begin"):
            self.transactions += 1
            fate = "abort" if self.random.random() < 0.2 else "commit"
            self.fate = f"{fate}-{self.transactions}"
            self.client.tell(self.fate)
            return
        if step == "ready" and self.fate.startswith("commit"):
            self.watcher.may_be_seen.add(self.fate)
        self.client.tell("go")

    def agree(self):
        """The group's offsets and the output say the same."""
        committed = eventually("committed offsets", self.committed)
        seen = self.watcher.seen
        eventually(f"output up to {committed}", lambda: self.watcher.failure or all(
            len(offsets) >= below for offsets, below in zip(seen, committed)))
        found = [(len(offsets), max(offsets, default=-1) + 1) for offsets in seen]
        assert found == [(below, below) for below in committed], f"offsets {committed}, output {found}"
        self.doubt = False

    def committed(self):
        """As a new member would be told: not before transactions that wrote offsets have ended."""
        group = self.broker.reader(f"{self.topic}-in", PARTITIONS, group=self.topic)
        try:
            places = [TopicPartition(f"{self.topic}-in", partition) for partition in range(PARTITIONS)]
            return [max(place.offset, 0) for place in group.committed(places, timeout=10)]
        finally:
            group.close()

    def restart_client(self):
        self.client = Program(self.command)
        self.doubt = True

    def strike(self, step):
        target = self.random.choices(list(STRIKES), STRIKES.values())[0]
        if target == "zombie" and step.split()[0] in ("begin", "sent", "ready"):
            self.zombies.append((self.client, step))
            self.restart_client()
            return
        answered = self.random.random() < 0.5
        if answered:
            self.answer(step)
            time.sleep(self.random.random() * 0.02)
        if target != "broker":
            self.client.kill()
            self.counts["client kills"] += 1
        if target in ("broker", "both"):
            self.broker.crash()
        if target != "broker":
            self.restart_client()
        elif not answered:
            self.answer(step)
        self.doubt = True

    def wake(self, zombie, step):
        """Another has taken the zombie's place: it goes on, and must not get through."""
        self.zombies.remove((zombie, step))
        self.counts["zombies"] += 1
        deadline = time.monotonic() + 20
        while step is not None and time.monotonic() < deadline:
            zombie.tell("commit-zombie" if step.startswith("begin") else "go")
            try:
                step = zombie.step(timeout=1)
            except AssertionError:
                continue  # it waits for something; in the end it is killed
            assert step != "committed", "a zombie's commit was accepted"
        zombie.kill()

    def run(self, rounds):
        for number in range(rounds):
            self.feed()
            for _ in range(self.random.randrange(1, 13)):
                step = self.step()
                self.answer(step)
            self.strike(self.step())
            print(f"round {number}: {self.counts}, {self.broker.kills} broker kills", flush=True)
        while sum(map(len, self.watcher.seen)) < len(self.inputs):
            self.drain()
        self.doubt = True
        self.agree()
        self.client.kill()
        self.judge_end()

    def drain(self):
        """One step, or a moment for the watcher to see the last of the output."""
        try:
            step = self.client.step(timeout=1)
        except AssertionError:
            committed = sum(map(len, self.watcher.seen))
            self.idle += 1
            assert self.idle < 120, f"{committed} of {len(self.inputs)} records, and no more"
            return
        self.idle = 0
        if step is None:
            self.counts["gave up"] += 1
            self.restart_client()
        else:
            self.answer(step)

    def judge_end(self):
        topic = f"{self.topic}-out"
        output = self.broker.read_all(topic, PARTITIONS)
        found = sorted((message.key().decode(), message.value().decode().split(" ")[1]) for message in output)
        wanted = sorted((f"{partition}:{offset}", value[::-1])
                        for (partition, offset), value in self.inputs.items())
        assert found == wanted, f"{len(found)} records, {len(wanted)} wanted"
        self.broker.assert_all_stable(topic, PARTITIONS)
        assert self.watcher.failure is None, self.watcher.failure
        discarded = len(self.broker.read_all(topic, PARTITIONS, "read_uncommitted")) - len(output)
        assert discarded > 0, "nothing was ever aborted"
        print(f"{len(wanted)} records once, {discarded} of aborted transactions never,",
              *(f"{count} {what}," for what, count in self.counts.items()),
              f"{self.broker.kills} broker kills")


def main():
    split = sys.argv.index("--")
    rounds, seed, topic, *command = sys.argv[1:split]
    print("seed", seed)
    Story(Broker(*sys.argv[split + 1:]), topic, command, int(seed)).run(int(rounds))


main()
