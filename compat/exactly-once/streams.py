"""Kafka Streams with exactly_once_v2, killed and started again.

    streams.py ROUNDS SEED APPLICATION-COMMAND -- mortal|immortal ADDRESS PID-FILE LOG BROKER-COMMAND...

clients/Streams.java counts the words of `sentences` into `counts` and joins `left` and `right`, where times
are at most 10 s apart, into `joined`. In each round there is new input; at a random moment, while its
stores are restored or while it works, the application is killed, or the broker, or both. All the time a
READ_COMMITTED reader must see each word's count go up by one, and no pair twice. In the end the counts and
pairs must be those computed from the input without Kafka, and no transaction may hang.
"""

import collections
import random
import sys
import threading
import time

from confluent_kafka import KafkaError, Producer

from broker import Broker, Program, eventually

PARTITIONS = 4
WINDOW_MS = 10_000
WORDS = [f"word{n}" for n in range(50)]
KEYS = [f"key{n}" for n in range(20)]
STRIKES = {"application": 60, "broker": 20, "both": 20}


class Results:
    """What should come out, computed from the input, and what has come out."""

    def __init__(self):
        self.words = collections.Counter()
        self.sides = {"left": [], "right": []}  # (time, key, value)
        self.counts = collections.Counter()
        self.pairs = set()

    def wanted_pairs(self):
        by_key = collections.defaultdict(list)
        for moment, key, value in self.sides["right"]:
            by_key[key].append((moment, value))
        return {f"{key} {value}|{other}" for moment, key, value in self.sides["left"]
                for then, other in by_key[key] if abs(moment - then) <= WINDOW_MS}

    def see(self, message):
        key, value = message.key().decode(), message.value().decode()
        if message.topic() == "counts":
            assert int(value) == self.counts[key] + 1, f"{key} is {value} after {self.counts[key]}"
            self.counts[key] += 1
        else:
            assert f"{key} {value}" not in self.pairs, f"{key} {value} again"
            self.pairs.add(f"{key} {value}")


class Watcher(threading.Thread):
    def __init__(self, broker, topic, results):
        super().__init__(daemon=True)
        self.consumer, self.results, self.failure = broker.reader(topic, PARTITIONS), results, None

    def run(self):
        try:
            while True:
                for message in self.consumer.consume(1000, 0.1):
                    if not message.error():
                        self.results.see(message)
                    elif message.error().code() == KafkaError._AUTO_OFFSET_RESET:
                        raise AssertionError(message.error())
        except Exception as error:
            self.failure = error
            raise


class Story:
    def __init__(self, broker, command, seed):
        self.broker, self.random = broker, random.Random(seed)
        self.command = [*command, broker.address, "state"]
        for topic in ("sentences", "left", "right", "counts", "joined"):
            broker.create(topic, PARTITIONS)
        self.producer = Producer({"bootstrap.servers": broker.address, "enable.idempotence": True,
                                  "partitioner": "murmur2_random", "log_level": 0})
        self.now = int(time.time() * 1000) - 3_600_000
        self.results = Results()
        self.watchers = [Watcher(broker, topic, self.results) for topic in ("counts", "joined")]
        for watcher in self.watchers:
            watcher.start()
        self.starts = self.kills = 0
        self.start()

    def start(self):
        self.application = Program(self.command)
        self.starts += 1

    def feed(self):
        for _ in range(100):
            sentence = self.random.choices(WORDS, k=5)
            self.results.words.update(sentence)
            self.producer.produce("sentences", " ".join(sentence))
            self.now += self.random.randrange(500)
            side, key = self.random.choice(["left", "right"]), self.random.choice(KEYS)
            value = f"{side}{len(self.results.sides[side])}"
            self.results.sides[side].append((self.now, key, value))
            self.producer.produce(side, value, key, timestamp=self.now)
        eventually("all is fed", lambda: self.producer.flush(1) == 0)

    def run(self, rounds):
        for number in range(rounds):
            self.feed()
            if self.random.random() < 0.8:
                self.until_running()
            time.sleep(self.random.random() * 2)
            self.strike()
            self.check()
            print(f"round {number}: {self.results.counts.total()} words, {len(self.results.pairs)} pairs",
                  flush=True)
        wanted = len(self.results.wanted_pairs())
        eventually("all results", lambda: self.finished(wanted))
        self.application.kill()
        self.judge()

    def until_running(self):
        while self.application.last != "RUNNING":
            if self.application.step() is None:
                self.start()

    def strike(self):
        target = self.random.choices(list(STRIKES), STRIKES.values())[0]
        if target != "broker":
            self.application.kill()
            self.kills += 1
        if target != "application":
            self.broker.crash()
        if target != "broker" or self.application.process.poll() is not None:
            self.start()

    def check(self):
        for watcher in self.watchers:
            assert watcher.failure is None, watcher.failure

    def finished(self, pairs):
        self.check()
        if self.application.process.poll() is not None:
            self.start()
        return (self.results.counts.total() >= self.results.words.total()
                and len(self.results.pairs) >= pairs)

    def judge(self):
        results = Results()
        for topic in ("counts", "joined"):
            self.broker.assert_all_stable(topic, PARTITIONS)
            for message in self.broker.read_all(topic, PARTITIONS):
                results.see(message)
        wanted = self.results.wanted_pairs()
        assert results.counts == self.results.words
        assert results.pairs == wanted, f"{len(results.pairs)} pairs, {len(wanted)} wanted"
        print(f"{results.counts.total()} words counted, {len(wanted)} pairs joined, {self.starts} starts,",
              f"{self.kills} kills, {self.broker.kills} broker kills")


def main():
    split = sys.argv.index("--")
    rounds, seed, *command = sys.argv[1:split]
    print("seed", seed)
    Story(Broker(*sys.argv[split + 1:]), command, int(seed)).run(int(rounds))


main()
