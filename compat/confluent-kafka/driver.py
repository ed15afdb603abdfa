"""confluent-kafka for Python, 2.0.2 and current: driver.py BROKER, which does what compat/drive/protocol.md says."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "drive"))

from confluent_kafka import (
    OFFSET_BEGINNING, OFFSET_END, Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer,
    TopicPartition, admin as kinds,
)
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, NewPartitions, NewTopic

from driver import arrived, encoded, serve

BROKER = sys.argv[1]
QUICKLY = {"bootstrap.servers": BROKER, "reconnect.backoff.max.ms": 1000, "topic.metadata.refresh.interval.ms": 30_000}
WAIT = 60
PLACES = {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END}
admin = AdminClient(QUICKLY)
producer = consumer = None


def given(settings):
    """Those that are not left to the client."""
    return {name: value for name, value in settings.items() if value is not None}


def done(futures):
    """The one result of an admin call, which raises what the broker refused."""
    (future,) = futures.values()
    return future.result(WAIT)


def create(topic, partitions, replicas=1, config=None):
    done(admin.create_topics([NewTopic(topic, partitions, replicas, config=config or {})]))


def metadata(topic):
    seen = admin.list_topics(timeout=WAIT)
    brokers = [f"{broker.host}:{broker.port}" for broker in seen.brokers.values()]
    return {"brokers": brokers, "partitions": len(seen.topics[topic].partitions)}


def make_producer(acks="all", codec="none", idempotent=False, transactional_id=None, refresh_ms=None):
    global producer
    if producer:
        producer.flush(WAIT)
    producer = Producer({
        **QUICKLY, "acks": acks, "compression.type": codec, "linger.ms": 5, "message.max.bytes": 2_000_000,
        "enable.idempotence": bool(idempotent or transactional_id), "topic.metadata.propagation.max.ms": 5000,
        **given({"transactional.id": transactional_id, "topic.metadata.refresh.interval.ms": refresh_ms}),
    })
    if transactional_id:
        producer.init_transactions(WAIT)


def send(topic, partition, records):
    reports = {}
    for n, r in enumerate(records):
        headers = [(name, encoded(value)) for name, value in r.get("headers", [])]
        producer.produce(topic, encoded(r.get("value")), encoded(r.get("key")), -1 if partition is None else partition,
                         on_delivery=lambda error, message, n=n: reports.update({n: error or message.offset()}),
                         timestamp=r.get("time") or 0, headers=headers)
    left = producer.flush(WAIT)
    assert left == 0, f"{left} records were not acknowledged"
    for report in reports.values():
        if isinstance(report, KafkaError):
            raise KafkaException(report)
    return [reports[n] for n in range(len(records))]


def send_offsets(group, topic, partition, offset):
    reader = Consumer({**QUICKLY, "group.id": group})
    producer.send_offsets_to_transaction([TopicPartition(topic, partition, offset)], reader.consumer_group_metadata())
    reader.close()


def make_consumer(group="none", topics=(), protocol="classic", assignor=None, instance=None, session_ms=6000,
                  refresh_ms=None, **other):
    global consumer
    settings = {"group.protocol": protocol}  # then the broker says how long a session lasts
    if protocol == "classic":
        settings = {"session.timeout.ms": session_ms, "heartbeat.interval.ms": 500}
    strategy = "cooperative-sticky" if assignor == "cooperative" else None
    consumer = Consumer({
        **QUICKLY, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False, **settings,
        **given({"partition.assignment.strategy": strategy, "group.instance.id": instance,
                 "topic.metadata.refresh.interval.ms": refresh_ms, **other}),
    })
    if topics:
        consumer.subscribe(topics)


def assign(topic, partition, offset, isolation="read_uncommitted", min_bytes=None, wait_ms=None):
    make_consumer(**{"isolation.level": isolation, "fetch.min.bytes": min_bytes, "fetch.wait.max.ms": wait_ms})
    consumer.assign([TopicPartition(topic, partition, PLACES.get(offset, offset))])


def poll(ms):
    messages = consumer.consume(1, ms / 1000)
    messages += consumer.consume(10_000, 0.01) if messages else []
    for error in (message.error() for message in messages):
        if error and error.fatal():  # of all else, such as a broker that is away for long, it recovers alone
            raise KafkaException(error)
    return [arrived(m.partition(), m.offset(), m.key(), m.value(), m.headers() or [], m.timestamp()[1])
            for m in messages if not m.error()]


def close():
    global consumer
    consumer.close()
    consumer = None


def looking(ask):
    """The answer of a consumer that only asks."""
    reader = Consumer({**QUICKLY, "group.id": "none"})
    try:
        return ask(reader)
    finally:
        reader.close()


def committed(group, topic, partitions):
    places = [TopicPartition(topic, partition) for partition in partitions]
    found = done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]))
    return [max(place.offset, -1) for place in found.topic_partitions]


def offset_range(topic, partition):
    return looking(lambda reader: list(reader.get_watermark_offsets(TopicPartition(topic, partition), WAIT)))


def at_time(topic, partition, time):
    (found,) = looking(lambda reader: reader.offsets_for_times([TopicPartition(topic, partition, time)], WAIT))
    return -1 if found.offset == OFFSET_END else found.offset


def get_config(topic, name):
    return done(admin.describe_configs([ConfigResource("topic", topic)]))[name].value


def set_config(topic, name, value):
    if not hasattr(admin, "incremental_alter_configs"):  # 2.0.2
        return done(admin.alter_configs([ConfigResource("topic", topic, set_config={name: value})]))
    entry = ConfigEntry(name, value, incremental_operation=kinds.AlterConfigOpType.SET)
    return done(admin.incremental_alter_configs([ConfigResource("topic", topic, incremental_configs=[entry])]))


def describe_group(group):
    found = done(admin.describe_consumer_groups([group]))
    return {"state": found.state.name.title(), "members": len(found.members)}


def alter_offsets(group, topic, partition, offset):
    place = TopicPartition(topic, partition, offset)
    (answer,) = done(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [place])])).topic_partitions
    if answer.error:
        raise KafkaException(answer.error)


def code(error):
    if not isinstance(error, KafkaException):
        return -1
    own = {KafkaError._FENCED: 90}  # librdkafka says so in its own way
    return own.get(error.args[0].code(), error.args[0].code())


def name(error):
    return error.args[0].name() if isinstance(error, KafkaException) else type(error).__name__


serve({
    "create": create, "delete": lambda topic: done(admin.delete_topics([topic])),
    "topics": lambda: list(admin.list_topics(timeout=WAIT).topics), "metadata": metadata,
    "producer": make_producer, "send": send, "begin": lambda: producer.begin_transaction(),
    "commit_transaction": lambda: producer.commit_transaction(WAIT),
    "abort_transaction": lambda: producer.abort_transaction(WAIT), "send_offsets": send_offsets,
    "consumer": make_consumer, "assign": assign, "poll": poll,
    "assignment": lambda: sorted(f"{place.topic}-{place.partition}" for place in consumer.assignment()),
    "commit": lambda: consumer.commit(asynchronous=False) and None, "close": close, "committed": committed,
    "range": offset_range, "at_time": at_time,
    "add_partitions": lambda topic, total: done(admin.create_partitions([NewPartitions(topic, total)])),
    "get_config": get_config, "set_config": set_config,
    "groups": lambda: [group.group_id for group in admin.list_consumer_groups().result(WAIT).valid],
    "describe_group": describe_group, "delete_group": lambda group: done(admin.delete_consumer_groups([group])),
    "alter_offsets": alter_offsets,
    "delete_records": lambda topic, partition, before:
        done(admin.delete_records([TopicPartition(topic, partition, before)])) and None,
}, code=code, name=name)
if consumer:
    consumer.close()
