"""Load for a dashboard: a producer, a classic group and a KIP-848 group, and a request that is refused, until the
process is told to end.

    load.py BROKER
"""

import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition


def consumer(broker, group, **settings):
    reader = Consumer({"bootstrap.servers": broker, "group.id": group, "auto.offset.reset": "earliest",
                       "auto.commit.interval.ms": 500, **settings})
    reader.subscribe(["load"])
    return reader


def main(broker):
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 5})
    producer.produce("load", b"first")
    producer.flush()
    readers = [consumer(broker, "classic"), consumer(broker, "new", **{"group.protocol": "consumer"})]
    lost = Consumer({"bootstrap.servers": broker, "group.id": "lost"})
    while True:
        for n in range(100):
            producer.produce("load", f"record {n}".encode(), key=str(n))
        producer.flush()
        for reader in readers:
            reader.consume(num_messages=100, timeout=0.2)
        try:
            # A commit in the name of a generation that there never was.
            lost.commit(offsets=[TopicPartition("no-such-topic", 0, 1)], asynchronous=False)
        except KafkaException:
            pass
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
