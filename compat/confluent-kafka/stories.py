"""The stories of compat/stories.md as confluent-kafka tells them: stories.py BROKER STORY [ARGUMENT]...

A story that fails raises. What needs the broker's disk or a restart is in the run script beside this file.
"""

import hashlib
import itertools
import sys
import time

from confluent_kafka import (
    OFFSET_BEGINNING, OFFSET_END, TIMESTAMP_CREATE_TIME, Consumer, KafkaError, KafkaException, Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

BROKER = sys.argv[1]
WAIT = 30  # seconds, for everything that must happen soon
ADMIN = AdminClient({"bootstrap.servers": BROKER})


def create(topic, partitions=1):
    for done in ADMIN.create_topics([NewTopic(topic, partitions, 1)]).values():
        done.result(WAIT)


def producer(**settings):
    return Producer({"bootstrap.servers": BROKER, "linger.ms": 5, "delivery.report.only.error": True,
                     "error_cb": fail, **{key.replace("_", "."): value for key, value in settings.items()}})


def consumer(group="none", **settings):
    return Consumer({"bootstrap.servers": BROKER, "group.id": group, "auto.offset.reset": "earliest",
                     "session.timeout.ms": 6000, "error_cb": fail,
                     **{key.replace("_", "."): value for key, value in settings.items()}})


def fail(error, *_):
    """A broker that goes away is retried by the client; all else is a failure."""
    if error.code() not in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
        raise KafkaException(error)


def produce(topic, values, partition=0, keys=None, **settings):
    """Produce values, in order, and wait until the broker has answered for each of them."""
    sender = producer(**settings)
    for value, key in zip(values, keys or itertools.repeat(None)):
        while True:
            try:
                sender.produce(topic, value, key, partition, on_delivery=fail)
                break
            except BufferError:
                sender.poll(0.1)
    left = sender.flush(WAIT)
    assert left == 0, f"{left} records were not acknowledged"


def consume(topic, count, offset=OFFSET_BEGINNING, **settings):
    """Yield count messages of partition 0 from an offset on; fail if they take too long to come."""
    reader = consumer(**settings)
    reader.assign([TopicPartition(topic, 0, offset)])
    while count > 0:
        messages = reader.consume(min(count, 10_000), timeout=WAIT)
        assert messages, f"{count} records are missing"
        count -= len(messages)
        yield from map(checked, messages)
    extra = reader.consume(1, timeout=0.5)
    assert not extra, "there are more records than were produced"
    reader.close()


def checked(message):
    if message.error():
        raise KafkaException(message.error())
    return message


def lines(file, count):
    with open(file, "rb") as opened:
        return [line[:-1] for line in itertools.islice(opened, count)]


def same(got, expected):
    assert got == expected, f"got {got}, expected {expected}"


def eventually(what, happened):
    deadline = time.monotonic() + WAIT
    while not happened():
        assert time.monotonic() < deadline, f"in {WAIT} s not {what}"
        time.sleep(0.1)


def metadata():
    create("metadata", 3)
    seen = ADMIN.list_topics(timeout=WAIT)
    same([f"{broker.host}:{broker.port}" for broker in seen.brokers.values()], [BROKER])
    same(sorted(seen.topics["metadata"].partitions), [0, 1, 2])
    same({p.leader for p in seen.topics["metadata"].partitions.values()}, set(seen.brokers))
    try:
        create("metadata", 3)
        raise AssertionError("a topic was created twice")
    except KafkaException as refusal:
        same(refusal.args[0].code(), KafkaError.TOPIC_ALREADY_EXISTS)
    ADMIN.delete_topics(["metadata"])["metadata"].result(WAIT)
    eventually("deleted", lambda: "metadata" not in ADMIN.list_topics(timeout=WAIT).topics)


def roundtrip(codec, file):
    topic = f"roundtrip-{codec}"
    create(topic)
    sent, got = lines(file, 1_000_000), hashlib.sha256()
    produce(topic, sent, compression_type=codec)
    for message in consume(topic, len(sent)):
        got.update(message.value() + b"\n")
    with open(file, "rb") as opened:
        same(got.hexdigest(), hashlib.file_digest(opened, "sha256").hexdigest())


def attributes():
    create("attributes")
    sender = producer()
    sent = [
        (b"key", b"value", [("a", b"1"), ("b", b""), ("a", None)], 1_600_000_000_123),
        (b"key", None, None, 1_600_000_000_122),
        (None, b"value", None, 1),
        (b"", b"", [("", b"no name")], 1_600_000_000_000),
    ]
    for key, value, headers, timestamp in sent:
        sender.produce("attributes", value, key, 0, headers=headers, timestamp=timestamp, on_delivery=fail)
    same(sender.flush(WAIT), 0)
    got = [(m.key(), m.value(), m.headers(), m.timestamp()) for m in consume("attributes", len(sent))]
    same(got, [(*record, (TIMESTAMP_CREATE_TIME, timestamp)) for *record, timestamp in sent])


def offsets():
    create("offsets")
    sender = producer()
    for number in range(100):
        moment = 1_000_000 + number * 10
        sender.produce("offsets", str(number), partition=0, timestamp=moment, on_delivery=fail)
    same(sender.flush(WAIT), 0)
    place = TopicPartition("offsets", 0)
    reader = consumer()
    same(reader.get_watermark_offsets(place, WAIT), (0, 100))
    for moment, offset in [(0, 0), (1_000_500, 50), (1_000_501, 51), (1_000_991, OFFSET_END)]:
        place.offset = moment
        same(reader.offsets_for_times([place], WAIT)[0].offset, offset)
    same([m.offset() for m in consume("offsets", 90, 10)], list(range(10, 100)))
    same([m.value() for m in consume("offsets", 1, 99)], [b"99"])
    reader.assign([TopicPartition("offsets", 0, OFFSET_END)])
    same(reader.poll(1), None)
    produce("offsets", [b"newest"])
    same(checked(reader.poll(WAIT)).value(), b"newest")
    reader.close()


def acks(file):
    sent = lines(file, 10_000)
    for level in ("0", "1", "all"):
        topic = f"acks-{level}"
        create(topic)
        produce(topic, sent, acks=level)
        same([m.value() for m in consume(topic, len(sent))], sent)


def idempotent(file):
    sent = lines(file, 100_000)
    create("idempotent")
    produce("idempotent", sent, enable_idempotence=True)
    same([m.value() for m in consume("idempotent", len(sent))], sent)


def numbered(first, last):
    return [b"%d" % number for number in range(first, last + 1)]


def produce_spread(topic, values):
    """Over all partitions of the topic, by key."""
    produce(topic, values, partition=-1, keys=values)


def collect(members, count, values):
    """Poll the members in turn until count values have arrived in all."""
    deadline = time.monotonic() + WAIT
    while len(values) < count:
        assert time.monotonic() < deadline, f"{len(values)} of {count} records arrived"
        for member in members:
            values += [(member, checked(m).value()) for m in member.consume(1000, timeout=0.05)]


def shares(members, sizes):
    """Do the members own so many partitions? Polling them is what lets a rebalance go on."""
    for member in members:
        same(member.poll(0.1), None)
    return sorted(len(member.assignment()) for member in members) == sizes


def group():
    sharing("group", consumer)


def new_group():
    sharing("new-group", new_consumer)


def new_consumer(group):
    """A member of a KIP-848 group: there the broker says how long a session lasts."""
    return Consumer({"bootstrap.servers": BROKER, "group.id": group, "auto.offset.reset": "earliest",
                     "group.protocol": "consumer", "error_cb": fail})


def migration():
    """A classic member and a new one share a group, while one after the other comes and goes."""
    create("migration", 4)
    old, new = consumer("migration"), new_consumer("migration")
    values = []
    old.subscribe(["migration"])
    eventually("all to the old", lambda: shares([old], [4]))
    produce_spread("migration", numbered(1, 500))
    collect([old], 500, values)
    new.subscribe(["migration"])
    eventually("shared", lambda: shares([old, new], [2, 2]))
    produce_spread("migration", numbered(501, 1000))
    collect([old, new], 1000, values)
    new.close()
    eventually("all to the old again", lambda: shares([old], [4]))
    produce_spread("migration", numbered(1001, 1500))
    collect([old], 1500, values)
    old.close()
    same(sorted(int(value) for _, value in values), list(range(1, 1501)))


def sharing(topic, member):
    create(topic, 4)
    one, two = member(topic), member(topic)
    values = []
    one.subscribe([topic])
    eventually("all to one", lambda: shares([one], [4]))
    two.subscribe([topic])
    eventually("shared", lambda: shares([one, two], [2, 2]))
    produce_spread(topic, numbered(1, 1000))
    collect([one, two], 1000, values)
    same({member for member, _ in values}, {one, two})
    two.close()
    eventually("all to the one left", lambda: shares([one], [4]))
    produce_spread(topic, numbered(1001, 2000))
    collect([one], 2000, values)
    one.close()
    same(sorted(int(value) for _, value in values), list(range(1, 2001)))


def commit_all_of(topic, count):
    """Read count records as a member of a group, commit, and return their values."""
    member = consumer("restart", enable_auto_commit=False)
    member.subscribe([topic])
    values = []
    collect([member], count, values)
    member.commit(asynchronous=False)
    same(member.poll(1), None)
    member.close()
    return sorted(int(value) for _, value in values)


def before_restart():
    create("restart", 4)
    produce_spread("restart", numbered(1, 500))
    same(commit_all_of("restart", 500), list(range(1, 501)))


def after_restart():
    reader = consumer("restart")
    committed = reader.committed([TopicPartition("restart", p) for p in range(4)], WAIT)
    same(sum(place.offset for place in committed), 500)
    reader.close()
    produce_spread("restart", numbered(501, 1000))
    same(commit_all_of("restart", 500), list(range(501, 1001)))


STORIES = [metadata, roundtrip, attributes, offsets, acks, idempotent, group, new_group, migration, before_restart,
           after_restart]
{story.__name__: story for story in STORIES}[sys.argv[2]](*sys.argv[3:])
