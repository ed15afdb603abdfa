"""Records and groups for monitors to watch, and what they must say of them.

    monitors.py make BROKER             records an hour old, groups that have read none, some and all of them
    monitors.py stay BROKER             members of a classic group and of a new one, until they are told to end
    monitors.py more BROKER             another topic and group
    monitors.py drop BROKER             the oldest records go, though a group has not read them
    monitors.py exporter STORY URL      does klag-exporter tell what is so?
    monitors.py backstage STORY URL     does Backstage's Kafka page?
"""

import json
import re
import sys
import time
import urllib.request

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

SENT = {"orders": [100, 200, 300], "more": [10]}
COMMITTED = {"done": ("orders", [100, 200, 300]), "behind": ("orders", [40, 50, 60]), "more": ("more", [4])}
STAYING = {"classic": "classic", "new": "consumer"}  # groups with a member, and their protocol
STABLE, EMPTY = 3, 5  # as klag-exporter numbers the states
DROPPED = 70  # of partition 0 of orders
AGE = 3600  # seconds
WAIT = 60


def made(broker, topic):
    admin = AdminClient({"bootstrap.servers": broker})
    admin.create_topics([NewTopic(topic, len(SENT[topic]), 1)])[topic].result()
    producer = Producer({"bootstrap.servers": broker})
    for partition, count in enumerate(SENT[topic]):
        for n in range(count):
            producer.produce(topic, str(n), partition=partition, timestamp=int((time.time() - AGE) * 1000))
    producer.flush()
    for group, (of, offsets) in COMMITTED.items():
        if of == topic:
            reader = Consumer({"bootstrap.servers": broker, "group.id": group})
            places = [TopicPartition(topic, partition, offset) for partition, offset in enumerate(offsets)]
            patiently(lambda: reader.commit(offsets=places, asynchronous=False))
            reader.close()


def patiently(do):
    """Again, while it is refused: a broker that has just started may not know its groups yet."""
    for _ in range(100):
        try:
            return do()
        except KafkaException:
            time.sleep(0.2)
    return do()


def stay(broker):
    members = []
    for group, protocol in STAYING.items():
        member = Consumer({"bootstrap.servers": broker, "group.id": group, "group.protocol": protocol,
                           "auto.offset.reset": "earliest", "auto.commit.interval.ms": 200})
        member.subscribe(["orders"])
        members.append(member)
    while True:
        for member in members:
            member.consume(num_messages=1000, timeout=0.1)


def drop(broker):
    admin = AdminClient({"bootstrap.servers": broker})
    place = TopicPartition("orders", 0, DROPPED)
    admin.delete_records([place])[place].result()


def page(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def gauges(url):
    """{name: {(group, topic, partition): value}}, where what a gauge is not about is None."""
    found = {}
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)", page(url), re.MULTILINE):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        key = labels.get("group"), labels.get("topic"), labels.get("partition")
        found.setdefault(name, {})[key] = float(value)
    return found


def lags(groups):
    """What the gauges must say of the groups: committed offsets, lags and the sums of these."""
    expected = {"offset": {}, "lag": {}, "sum_lag": {}}
    for group in groups:
        topic, offsets = COMMITTED.get(group, ("orders", SENT["orders"]))
        for partition, (sent, offset) in enumerate(zip(SENT[topic], offsets)):
            expected["offset"][group, topic, str(partition)] = offset
            expected["lag"][group, topic, str(partition)] = sent - offset
        expected["sum_lag"][group, None, None] = sum(SENT[topic]) - sum(offsets)
    return {f"kafka_consumergroup_group_{name}": values for name, values in expected.items()}


def ranges(topic):
    places = [(None, topic, str(partition)) for partition in range(len(SENT[topic]))]
    return {"kafka_partition_latest_offset": dict(zip(places, SENT[topic])),
            "kafka_partition_earliest_offset": dict.fromkeys(places, 0)}


def states(groups):
    return {"kafka_consumergroup_group_state":
            {(group, None, None): STABLE if group in STAYING else EMPTY for group in groups}}


AT_FIRST = ("done", "behind", *STAYING)
LOST = {"messages_lost": DROPPED - 40, "retention_margin": 40 - DROPPED}
EXPORTER = {
    "lag": lags(AT_FIRST) | ranges("orders"),
    "states": states(AT_FIRST),
    "restart": lags(("more", "behind", *STAYING)) | ranges("more") | states(("more", *STAYING)),
    "lost": {"kafka_partition_earliest_offset": {(None, "orders", "0"): DROPPED}} | {
        f"kafka_consumergroup_group_{name}": {("behind", "orders", "0"): value} for name, value in LOST.items()},
}


def exporter(story, url):
    """What differs from what must be; of a time lag only how near it is can be said."""
    told = gauges(url)
    if story == "time":
        expected = {("behind", "orders", str(partition)): AGE for partition in range(3)}
        ages = told.get("kafka_consumergroup_group_lag_seconds", {})
        return {place: ages.get(place) for place in expected if not AGE <= ages.get(place, 0) < AGE + 600}
    return {(name, place): (told.get(name, {}).get(place), value)
            for name, places in EXPORTER[story].items() for place, value in places.items()
            if told.get(name, {}).get(place) != value}


def backstage(story, url):
    groups = {"offsets": [*AT_FIRST, "nobody"], "restart": ["more"]}[story]
    wrong = {}
    for group in groups:
        told = json.loads(page(f"{url}/{group}/offsets"))["offsets"]
        told = sorted((one["topic"], one["partitionId"], int(one["groupOffset"]), int(one["topicOffset"]))
                      for one in told)
        topic, offsets = COMMITTED.get(group, ("orders", SENT["orders"]))
        expected = [(topic, n, offset, SENT[topic][n]) for n, offset in enumerate(offsets)] if group != "nobody" else []
        if told != expected:
            wrong[group] = told, expected
    return wrong


def eventually_right(told, story, url):
    deadline = time.monotonic() + WAIT
    while True:
        try:
            wrong = told(story, url)
        except OSError as error:
            wrong = error
        if not wrong:
            return
        assert time.monotonic() < deadline, f"in {WAIT} s not right: told and expected {wrong}"
        time.sleep(0.3)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    {"make": lambda broker: made(broker, "orders"), "more": lambda broker: made(broker, "more"), "stay": stay,
     "drop": drop, "exporter": lambda *of: eventually_right(exporter, *of),
     "backstage": lambda *of: eventually_right(backstage, *of)}[what](*arguments)
