"""How long the only member of a fresh group waits from subscribe() to its first record.

    latency.py ADDRESS HOST-COMMAND... ADDRESS TOPIC MODE SESSION-MS HEARTBEAT-MS

The median of five, after one that is not counted, each in a group of its own, of a topic that has records.
"""

import statistics
import sys
import threading
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from hosts import Host

ADDRESS, COMMAND = sys.argv[1], sys.argv[2:]
TRIES = 6
topic = COMMAND[-4] = f"{COMMAND[-4]}-{time.monotonic_ns()}"

admin = AdminClient({"bootstrap.servers": ADDRESS})
admin.create_topics([NewTopic(topic, 1)])[topic].result(60)
producer = Producer({"bootstrap.servers": ADDRESS})
for _ in range(100):
    producer.produce(topic, b"record")
assert producer.flush(60) == 0

heard = {what: threading.Event() for what in ("first", "left")}
times = {}


def hear(event):
    times[event.what] = event.at
    if event.what in heard:
        heard[event.what].set()


host = Host(COMMAND, hear)
waits = []
for number in range(TRIES):
    for event in heard.values():
        event.clear()
    host.join(str(number), f"{topic}-{number}")
    assert heard["first"].wait(60), "no record came"
    waits.append((times["first"] - times["joining"]) * 1000)
    host.leave(str(number))
    assert heard["left"].wait(60), "it does not leave"
host.end()
print(f"{statistics.median(waits[1:]):.0f} ms")
