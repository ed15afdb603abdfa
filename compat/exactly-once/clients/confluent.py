"""The client of transform.py with confluent-kafka, of whatever version. It ends at the first error, as a
crash would, and when it waits for long: librdkafka 2.16 may never send offsets after the broker was killed,
and keeps to no timeout then (its issues 5456 and 5511)."""

import faulthandler
import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

PARTITIONS = 4
BATCH = 50
WAIT = 20  # seconds


def step(name):
    faulthandler.cancel_dump_traceback_later()
    print(name, flush=True)
    answer = sys.stdin.readline().strip()
    faulthandler.dump_traceback_later(WAIT, exit=True)
    return answer


def read(consumer):
    """What there is, up to a batch; nothing if nothing comes soon."""
    records = []
    while len(records) < BATCH and (record := consumer.poll(0 if records else 0.2)):
        if record.error():
            raise KafkaException(record.error())
        records.append(record)
    return records


def transform(records, producer, consumer, output):
    fate = step(f"begin {len(records)}")
    producer.begin_transaction()
    first, following = {}, {}
    for record in records:
        first.setdefault(record.partition(), record.offset())
        following[record.partition()] = record.offset() + 1
        producer.produce(output, f"{fate} {record.value().decode()[::-1]}",
                         f"{record.partition()}:{record.offset()}",
                         (record.partition() + record.offset()) % PARTITIONS)
    producer.flush()
    step("sent")
    source = records[0].topic()
    producer.send_offsets_to_transaction([TopicPartition(source, *place) for place in following.items()],
                                         consumer.consumer_group_metadata())
    step("ready")
    if fate.startswith("commit"):
        producer.commit_transaction()
        step("committed")
    else:
        producer.abort_transaction()
        for place in first.items():
            consumer.seek(TopicPartition(source, *place))
        step("aborted")


def main():
    broker, topic = sys.argv[1:]
    faulthandler.dump_traceback_later(WAIT, exit=True)
    producer = Producer({"bootstrap.servers": broker, "transactional.id": topic, "linger.ms": 0})
    producer.init_transactions()
    consumer = Consumer({"bootstrap.servers": broker, "group.id": topic, "group.instance.id": topic,
                         "session.timeout.ms": 20000, "isolation.level": "read_committed",
                         "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    consumer.subscribe([f"{topic}-in"])
    while True:
        if records := read(consumer):
            transform(records, producer, consumer, f"{topic}-out")


main()
