"""The client of transform.py with aiokafka. It ends at the first error, as a crash would."""

import asyncio
import os
import sys
import traceback

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

PARTITIONS = 4


async def step(name):
    print(name, flush=True)
    return (await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)).strip()


async def transform(batches, producer, consumer, topic):
    fate = await step(f"begin {sum(map(len, batches.values()))}")
    await producer.begin_transaction()
    sent = []
    for place, records in batches.items():
        for record in records:
            sent.append(await producer.send(
                f"{topic}-out", f"{fate} {record.value.decode()[::-1]}".encode(),
                f"{place.partition}:{record.offset}".encode(),
                (place.partition + record.offset) % PARTITIONS))
    await asyncio.gather(*sent)
    await step("sent")
    await producer.send_offsets_to_transaction(
        {place: records[-1].offset + 1 for place, records in batches.items()}, topic)
    await step("ready")
    if fate.startswith("commit"):
        await producer.commit_transaction()
        await step("committed")
    else:
        await producer.abort_transaction()
        for place, records in batches.items():
            consumer.seek(place, records[0].offset)
        await step("aborted")


async def main():
    broker, topic = sys.argv[1:]
    producer = AIOKafkaProducer(bootstrap_servers=broker, transactional_id=topic)
    await producer.start()  # takes over the transactional id
    consumer = AIOKafkaConsumer(f"{topic}-in", bootstrap_servers=broker, group_id=topic,
                                group_instance_id=topic, session_timeout_ms=20000,
                                isolation_level="read_committed", enable_auto_commit=False,
                                auto_offset_reset="earliest")
    await consumer.start()
    while True:
        if batches := await consumer.getmany(timeout_ms=200, max_records=50):
            await transform(batches, producer, consumer, topic)


try:
    asyncio.run(main())
except BaseException:
    traceback.print_exc()
    os._exit(1)  # without waiting for the thread that reads our answers
