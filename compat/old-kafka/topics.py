"""Create the topics that an old Kafka is to leave, or say what groups have committed in them.

topics.py BROKER create [OLD_FORMAT]...     a topic `format-V` for each older format of records named
topics.py BROKER committed GROUP...         a line `group partition offset` for each partition of `old`
"""

import sys

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

broker, what, names = sys.argv[1], sys.argv[2], sys.argv[3:]
SMALL = {"segment.bytes": "1048576", "index.interval.bytes": "1024"}
COMPACT = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"}


def create():
    topics = [
        NewTopic("old", 3, 1, config=SMALL),
        NewTopic("compacted", 1, 1, config={**SMALL, **COMPACT}),
        NewTopic("txns", 1, 1, config=SMALL),
    ]
    for name in names:
        topics.append(NewTopic(f"format-{name}", 1, 1, config={**SMALL, "message.format.version": name}))
    admin = AdminClient({"bootstrap.servers": broker})
    for made in admin.create_topics(topics, operation_timeout=30).values():
        made.result(60)


def committed(group):
    consumer = Consumer({"bootstrap.servers": broker, "group.id": group})
    for partition in consumer.committed([TopicPartition("old", n) for n in range(3)], timeout=60):
        print(group, partition.partition, partition.offset)
    consumer.close()


if what == "create":
    create()
else:
    for name in names:
        committed(name)
