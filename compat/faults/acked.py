#!/usr/bin/env python3
"""Produces with acks=all and keeps what was acknowledged, to compare it with what is there.

acked.py BROKER produce TOPIC FILE N    so many records; each must be acknowledged
acked.py BROKER fill TOPIC FILE         until the broker refuses ten, and it must be for its disk
acked.py BROKER check TOPIC FILE        all that is in the file is there, at its offset, and nothing else is
"""

import hashlib
import sys

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

RECORD_BYTES = 100_000
FILL_MAX = 10_000


def value(n):
    """A record that does not compress and tells its number."""
    return (hashlib.sha256(str(n).encode()).hexdigest() * (RECORD_BYTES // 64 + 1))[:RECORD_BYTES].encode()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def produce(broker, topic, path, count, may_fail):
    errors = []
    with open(path, "a+", encoding="ascii") as acked:
        acked.seek(0)
        begin = len(acked.readlines())

        def delivered(error, message):
            if error is not None:
                errors.append(error)
            else:
                print(message.offset(), digest(message.value()), file=acked)

        # Without retries, since those would wait for the disk to heal.
        producer = Producer({"bootstrap.servers": broker, "acks": "all", "retries": 0, "linger.ms": 0})
        for n in range(begin, begin + count):
            producer.produce(topic, value(n), partition=0, on_delivery=delivered)
            assert producer.flush(30) == 0, "no answer"
            if errors and (not may_fail or len(errors) >= 10):
                break
    print(len(errors), "refused:", {str(error) for error in errors})
    assert bool(errors) == may_fail
    assert all(error.code() == KafkaError.KAFKA_STORAGE_ERROR for error in errors)


def check(broker, topic, path):
    with open(path, encoding="ascii") as acked:
        expected = [tuple(line.split()) for line in acked]
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "none", "enable.auto.commit": False})
    end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1]
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    while len(found) < end:
        message = consumer.poll(10)
        assert message is not None, f"{len(found)} of {end} records, and no more"
        assert message.error() is None, message.error()
        found.append((str(message.offset()), digest(message.value())))
    consumer.close()
    print(len(found), "found,", len(expected), "acknowledged")
    assert found == expected


def main():
    broker, verb, topic, path, *rest = sys.argv[1:]
    match verb:
        case "produce":
            produce(broker, topic, path, int(rest[0]), may_fail=False)
        case "fill":
            produce(broker, topic, path, FILL_MAX, may_fail=True)
        case "check":
            check(broker, topic, path)


main()
