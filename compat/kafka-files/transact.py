"""Fill a topic with transactions: transact.py BROKER TOPIC COUNT

Two producers in turn, each with a transaction open while the other writes; every third transaction is aborted.
What was committed ends with C. Prints how many records that were.
"""

import random
import sys

from confluent_kafka import Producer

broker, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
dice = random.Random(topic)
settings = {"bootstrap.servers": broker, "linger.ms": 1}
producers = [Producer({**settings, "transactional.id": f"{topic}-{n}"}) for n in range(2)]
for producer in producers:
    producer.init_transactions()


def write(producer, number, records):
    for n in range(records):
        fate = "A" if number % 3 == 0 else "C"
        text = f"{number}-{n}-{dice.randbytes(150).hex()}{fate}"
        producer.produce(topic, key=f"k{(number + n) % 50}", value=text, partition=0)
    producer.flush()


def end(producer, number):
    if number % 3 == 0:
        producer.abort_transaction()
    else:
        producer.commit_transaction()


committed = 0
for number in range(count):
    producer, size = producers[number % 2], 1 + number * 31 % 200
    producer.begin_transaction()
    write(producer, number, size)
    if number > 0:
        end(producers[(number - 1) % 2], number - 1)
    committed += size if number % 3 else 0
end(producers[(count - 1) % 2], count - 1)
print(committed)
