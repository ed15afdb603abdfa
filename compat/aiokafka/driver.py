"""aiokafka: driver.py BROKER, which does what compat/drive/protocol.md says, each call in one event loop."""

import asyncio
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "drive"))

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import ProducerFenced, for_code

from driver import arrived, encoded, serve

BROKER = sys.argv[1]
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
admin_client = producer = consumer = None


def given(settings):
    """Those that are not left to the client."""
    return {name: value for name, value in settings.items() if value is not None}


async def admin():
    global admin_client
    if not admin_client:
        admin_client = AIOKafkaAdminClient(bootstrap_servers=BROKER)
        await admin_client.start()
    return admin_client


def check(code, text=""):
    """The admin client hands on what the broker answered, refusals too."""
    if code:
        raise for_code(code)(text)


async def create(topic, partitions, replicas=1, config=None):
    new = NewTopic(topic, partitions, replicas, topic_configs=config or {})
    check(*(await (await admin()).create_topics([new])).topic_errors[0][1:3])


async def delete(topic):
    check((await (await admin()).delete_topics([topic])).topic_error_codes[0][1])


async def topics():
    return await (await admin()).list_topics()


async def metadata(topic):
    brokers = (await (await admin()).describe_cluster())["brokers"]
    found = await (await admin()).describe_topics([topic])
    return {"brokers": [f"{node['host']}:{node['port']}" for node in brokers],
            "partitions": len(found[0]["partitions"])}


async def make_producer(acks="all", codec="none", idempotent=False, transactional_id=None, refresh_ms=None):
    global producer
    if producer:
        await producer.stop()
    producer = AIOKafkaProducer(
        bootstrap_servers=BROKER, acks=acks if acks == "all" else int(acks), linger_ms=5,
        max_request_size=2_000_000, request_timeout_ms=30_000,
        compression_type=None if codec == "none" else codec,
        **given({"enable_idempotence": idempotent or None, "transactional_id": transactional_id,
                 "metadata_max_age_ms": refresh_ms}))
    await producer.start()


async def send(topic, partition, records):
    sent = [await producer.send(topic, encoded(r.get("value")), encoded(r.get("key")), partition, r.get("time"),
                                [(name, encoded(value)) for name, value in r.get("headers", [])])
            for r in records]
    done = await asyncio.gather(*sent, return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException):
            raise one
    return [one.offset if one else None for one in done]


async def send_offsets(group, topic, partition, offset):
    await producer.send_offsets_to_transaction({TopicPartition(topic, partition): offset}, group)


async def make_consumer(group=None, topics=(), instance=None, session_ms=6000, refresh_ms=None, **other):
    global consumer
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=BROKER, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
        session_timeout_ms=session_ms, heartbeat_interval_ms=500,
        **given({"metadata_max_age_ms": refresh_ms, "group_instance_id": instance, **other}))
    # it waits for the group's first assignment, which may take the other members
    await consumer.start()


async def assign(topic, partition, offset, isolation=None, min_bytes=None, wait_ms=None):
    await make_consumer(isolation_level=isolation, fetch_min_bytes=min_bytes, fetch_max_wait_ms=wait_ms)
    place = TopicPartition(topic, partition)
    consumer.assign([place])
    if offset == "latest":
        await consumer.seek_to_end(place)
    elif offset == "earliest":
        await consumer.seek_to_beginning(place)
    else:
        consumer.seek(place, offset)


async def poll(ms):
    parts = await consumer.getmany(timeout_ms=ms, max_records=10_000)
    return [arrived(r.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
            for part in parts.values() for r in part]


async def assignment():
    return sorted(f"{place.topic}-{place.partition}" for place in consumer.assignment())


async def commit():
    await consumer.commit()


async def close():
    global consumer
    await consumer.stop()
    consumer = None


async def committed(group, topic, partitions):
    found = await (await admin()).list_consumer_group_offsets(group)
    return [getattr(found.get(TopicPartition(topic, partition)), "offset", -1) for partition in partitions]


async def looked_up(what, topic, partition, *time):
    place = TopicPartition(topic, partition)
    async with AIOKafkaConsumer(bootstrap_servers=BROKER) as reader:
        if time:
            return (await reader.offsets_for_times({place: time[0]}))[place]
        return [(await reader.beginning_offsets([place]))[place], (await reader.end_offsets([place]))[place]]


async def offset_range(topic, partition):
    return await looked_up("range", topic, partition)


async def at_time(topic, partition, time):
    return getattr(await looked_up("time", topic, partition, time), "offset", -1)


async def add_partitions(topic, total):
    check(*(await (await admin()).create_partitions({topic: NewPartitions(total)})).topic_errors[0][1:3])


async def get_config(topic, name):
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: None})
    return (await (await admin()).describe_configs([resource]))[0].resources[0][4][0][1]


async def set_config(topic, name, value):
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})
    check(*(await (await admin()).alter_configs([resource]))[0].resources[0][:2])


async def groups():
    return [name for name, _ in await (await admin()).list_consumer_groups()]


async def describe_group(group):
    _, _, state, _, _, members, *_ = (await (await admin()).describe_consumer_groups([group]))[0].groups[0]
    return {"state": state, "members": len(members)}


async def delete_records(topic, partition, before):
    await (await admin()).delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=before)})


async def stop():
    for each, end in ((consumer, "stop"), (producer, "stop"), (admin_client, "close")):
        if each:
            await getattr(each, end)()


async def begin():
    await producer.begin_transaction()


async def commit_transaction():
    await producer.commit_transaction()


async def abort_transaction():
    await producer.abort_transaction()


def in_loop(function):
    return lambda **arguments: loop.run_until_complete(function(**arguments))


serve({name: in_loop(function) for name, function in {
    "create": create, "delete": delete, "topics": topics, "metadata": metadata, "producer": make_producer,
    "send": send, "begin": begin, "commit_transaction": commit_transaction, "abort_transaction": abort_transaction,
    "send_offsets": send_offsets, "consumer": make_consumer, "assign": assign, "poll": poll,
    "assignment": assignment, "commit": commit, "close": close, "committed": committed, "range": offset_range,
    "at_time": at_time, "add_partitions": add_partitions, "get_config": get_config, "set_config": set_config,
    "groups": groups, "describe_group": describe_group, "delete_records": delete_records,
}.items()}, code=lambda error: 90 if isinstance(error, ProducerFenced) else getattr(error, "errno", None) or -1)
loop.run_until_complete(stop())
