"""The client of transform.py with confluent-kafka, of whatever version. It ends at the first error, as a
crash would. Calls have a timeout because librdkafka 2.16 may forget to connect again to send offsets, when
the broker was killed."""

import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

PARTITIONS = 4
BATCH = 50
WAIT = 30  # seconds


def step(name):
    print(name, flush=True)
    return sys.stdin.readline().strip()


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
    producer.flush(WAIT)
    step("sent")
    source = records[0].topic()
    producer.send_offsets_to_transaction([TopicPartition(source, *place) for place in following.items()],
                                         consumer.consumer_group_metadata(), WAIT)
    step("ready")
    if fate.startswith("commit"):
        producer.commit_transaction(WAIT)
        step("committed")
    else:
        producer.abort_transaction(WAIT)
        for place in first.items():
            consumer.seek(TopicPartition(source, *place))
        step("aborted")


def main():
    broker, topic = sys.argv[1:]
    producer = Producer({"bootstrap.servers": broker, "transactional.id": topic, "linger.ms": 0})
    producer.init_transactions(WAIT)
    consumer = Consumer({"bootstrap.servers": broker, "group.id": topic, "group.instance.id": topic,
                         "session.timeout.ms": 20000, "isolation.level": "read_committed",
                         "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    consumer.subscribe([f"{topic}-in"])
    while True:
        if records := read(consumer):
            transform(records, producer, consumer, f"{topic}-out")


main()
