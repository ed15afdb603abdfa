"""kafka-python, 2.0.2 and 3.x: driver.py BROKER, which does what compat/drive/protocol.md says."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "drive"))

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
from kafka.structs import OffsetAndMetadata

from driver import arrived, encoded, serve

NEW = not kafka.__version__.startswith("2.0")
BROKER = sys.argv[1]
QUICKLY = {"bootstrap_servers": BROKER, "retry_backoff_ms": 100, "reconnect_backoff_max_ms": 1000}
admin_client = producer = consumer = None


def given(settings):
    """Those that are not left to the client."""
    return {name: value for name, value in settings.items() if value is not None}


def admin():
    global admin_client
    admin_client = admin_client or KafkaAdminClient(**QUICKLY)
    return admin_client


def raised(code, text=""):
    if code:
        raise errors.for_code(code)(text)


def create(topic, partitions, replicas=1, config=None):
    admin().create_topics([NewTopic(topic, partitions, replicas, topic_configs=config or {})])


def delete(topic):
    admin().delete_topics([topic])


def metadata(topic):
    brokers = [f"{node['host']}:{node['port']}" for node in admin().describe_cluster()["brokers"]]
    return {"brokers": brokers, "partitions": len(admin().describe_topics([topic])[0]["partitions"])}


def make_producer(acks="all", codec="none", idempotent=False, transactional_id=None, refresh_ms=None):
    global producer
    if producer:
        producer.close()
    settings = {"metadata_max_age_ms": refresh_ms, "transactional_id": transactional_id,
                "compression_type": None if codec == "none" else codec}
    if NEW:
        settings["enable_idempotence"] = bool(idempotent or transactional_id)
    else:
        settings["retries"] = 1000  # 2.0.2 does not retry by itself
    producer = KafkaProducer(**QUICKLY, acks=acks if acks == "all" else int(acks), linger_ms=5, max_block_ms=10_000,
                             max_request_size=2_000_000, **given(settings))
    if transactional_id:
        producer.init_transactions()


def send(topic, partition, records):
    sent = [producer.send(topic, encoded(r.get("value")), encoded(r.get("key")),
                          [(name, encoded(value)) for name, value in r.get("headers", [])],
                          partition, r.get("time")) for r in records]
    return [future.get(60).offset for future in sent]


def send_offsets(group, topic, partition, offset):
    producer.send_offsets_to_transaction({TopicPartition(topic, partition): OffsetAndMetadata(offset, "")}, group)


def make_consumer(group=None, topics=(), assignor=None, instance=None, session_ms=6000, refresh_ms=None, **other):
    global consumer
    settings = {"metadata_max_age_ms": refresh_ms, "group_instance_id": instance, **other}
    if assignor == "cooperative":
        from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
        settings["partition_assignment_strategy"] = [CooperativeStickyAssignor]
    consumer = KafkaConsumer(*topics, **QUICKLY, group_id=group, auto_offset_reset="earliest",
                             enable_auto_commit=False, session_timeout_ms=session_ms, heartbeat_interval_ms=500,
                             **given(settings))


def assign(topic, partition, offset, isolation=None, min_bytes=None, wait_ms=None):
    make_consumer(isolation_level=isolation, fetch_min_bytes=min_bytes, fetch_max_wait_ms=wait_ms)
    place = TopicPartition(topic, partition)
    consumer.assign([place])
    if offset == "latest":
        consumer.seek_to_end(place)
        consumer.position(place)
    elif offset == "earliest":
        consumer.seek_to_beginning(place)
    else:
        consumer.seek(place, offset)


def poll(ms):
    if consumer.config["group_id"]:
        # 3.0.12 forgets an assignment whose answer comes when its poll has just timed out: it is given time to join.
        ms = max(ms, 1000)
    return [arrived(r.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
            for part in consumer.poll(ms, max_records=10_000).values() for r in part]


def assignment():
    return sorted(f"{place.topic}-{place.partition}" for place in consumer.assignment())


def close():
    global consumer
    consumer.close(autocommit=False)
    consumer = None


def looking():
    """A consumer that only asks."""
    return KafkaConsumer(**QUICKLY)


def committed(group, topic, partitions):
    ask = admin().list_group_offsets if NEW else admin().list_consumer_group_offsets
    found = ask(group)
    found = found[group] if NEW else found
    return [getattr(found.get(TopicPartition(topic, partition)), "offset", -1) for partition in partitions]


def offset_range(topic, partition):
    place, reader = TopicPartition(topic, partition), looking()
    try:
        return [reader.beginning_offsets([place])[place], reader.end_offsets([place])[place]]
    finally:
        reader.close()


def at_time(topic, partition, time):
    place, reader = TopicPartition(topic, partition), looking()
    try:
        return getattr(reader.offsets_for_times({place: time})[place], "offset", -1)
    finally:
        reader.close()


def add_partitions(topic, total):
    admin().create_partitions({topic: NewPartitions(total)})


def get_config(topic, name):
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: None} if not NEW else [name])
    if NEW:
        return admin().describe_configs([resource], config_filter="all")["topic"][topic][name]["value"]
    return admin().describe_configs([resource])[0].resources[0][4][0][1]


def set_config(topic, name, value):
    answer = admin().alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})])
    if not NEW:
        raised(*answer.resources[0][:2])
    elif answer["topic"][topic] != "OK":  # words: "[Error 40] ..."
        raised(int(answer["topic"][topic].split("]")[0].removeprefix("[Error ")), answer["topic"][topic])


def groups():
    if NEW:
        return [group["group_id"] for group in admin().list_groups()]
    return [name for name, _ in admin().list_consumer_groups()]


def describe_group(group):
    if NEW:
        found = admin().describe_groups([group])[group]
        return {"state": found["group_state"], "members": len(found["members"])}
    found = admin().describe_consumer_groups([group])[0]
    return {"state": found.state, "members": len(found.members)}


def delete_group(group):
    if NEW:
        result = admin().delete_groups([group])[group]
        if result != "OK":
            raise getattr(errors, result)
    else:
        raised(admin().delete_consumer_groups([group])[0][1].errno)


def alter_offsets(group, topic, partition, offset):
    place = TopicPartition(topic, partition)
    raised(admin().alter_group_offsets(group, {place: OffsetAndMetadata(offset, "")})[place].errno)


def delete_records(topic, partition, before):
    admin().delete_records({TopicPartition(topic, partition): before})


serve({
    "create": create, "delete": delete, "topics": lambda: admin().list_topics(), "metadata": metadata,
    "producer": make_producer, "send": send, "begin": lambda: producer.begin_transaction(),
    "commit_transaction": lambda: producer.commit_transaction(),
    "abort_transaction": lambda: producer.abort_transaction(), "send_offsets": send_offsets,
    "consumer": make_consumer, "assign": assign, "poll": poll, "assignment": assignment,
    "commit": lambda: consumer.commit(), "close": close, "committed": committed, "range": offset_range,
    "at_time": at_time, "add_partitions": add_partitions, "get_config": get_config, "set_config": set_config,
    "groups": groups, "describe_group": describe_group, "delete_group": delete_group,
    "alter_offsets": alter_offsets, "delete_records": delete_records,
}, code=lambda error: getattr(error, "errno", None) or -1)
if consumer:
    consumer.close(autocommit=False)
