"""A thousand topics of three partitions, and five hundred groups that have committed ten offsets each.

    many.py BROKER
"""

import sys

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


def main(broker):
    admin = AdminClient({"bootstrap.servers": broker})
    for first in range(0, 1000, 100):
        topics = [NewTopic(f"many-{n}", 3, 1) for n in range(first, first + 100)]
        for created in admin.create_topics(topics).values():
            created.result()
    for group in range(500):
        consumer = Consumer({"bootstrap.servers": broker, "group.id": f"many-{group}"})
        places = [TopicPartition(f"many-{(group + n) % 1000}", n % 3, 0) for n in range(10)]
        consumer.commit(offsets=places, asynchronous=False)
        consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
