"""The stories of compat/stories.md that every client tells, each told once: stories.py STORY.

`compat/lib.sh` runs it, as `driven STORY`. It speaks to the client through its driver: see client.py beside
this file. A story that fails raises. Those of groups are in members.py.
"""

import time

import members
from client import (
    BROKER, SAYS, WITHOUT, Refused, collect, eventually, note, nothing_more, numbers, read_all, records, refused, same,
)
from stage import TOPIC, client, end, kept, lines, opened, send


def metadata():
    one = client()
    one.create(topic=TOPIC, partitions=3)
    eventually("made", lambda: one.metadata(topic=TOPIC)["partitions"] == 3)
    seen = one.metadata(topic=TOPIC)
    if "brokers" not in WITHOUT:
        same(seen["brokers"], [BROKER])
    same(seen["partitions"], 3)
    note(refused([36], one.create, topic=TOPIC, partitions=3))
    one.delete(topic=TOPIC)
    eventually("deleted", lambda: TOPIC not in one.topics())


def roundtrip(codec):
    sender, sent = opened(codec=codec), lines(10_000)
    send(sender, [{"value": line} for line in sent])
    same([record["value"] for record in read_all(client(), TOPIC, len(sent))], sent)
    facts = kept(TOPIC)
    same((facts["records"], facts["codec"]), ("10000", codec))


OLD = {"retention.ms": "-1"} if "topic-configs" not in WITHOUT else {}  # keeps records that say they are old


def attributes():
    sender = opened(config=OLD)
    nothing = "" if "null-headers" in WITHOUT else None
    twice = [["a", "1"], ["b", "2"]] if "repeated-headers" in WITHOUT else [["a", "1"], ["b", ""], ["a", nothing]]
    sent = [
        {"key": "key", "value": "value", "headers": twice, "time": 1_600_000_000_123},
        {"key": "key", "value": None, "headers": [], "time": 1_600_000_000_122},
        {"key": None, "value": "value", "headers": [], "time": 1_599_999_000_000},
        {"key": "", "value": "", "headers": [["name", "no more"]], "time": 1_600_000_000_000},
    ]
    if "headers" in WITHOUT:
        sent = [{**record, "headers": []} for record in sent]
    if "empty-keys" in WITHOUT:
        sent.pop()
    at = send(sender, sent)
    same(at, list(range(len(sent)))) if at is not None else None  # not every client says so
    got = read_all(client(), TOPIC, len(sent))
    same([{name: record[name] for name in sent[0]} for record in got], sent)
    if left_out := {"null-headers", "repeated-headers", "headers", "empty-keys"} & set(WITHOUT):
        note("without " + ", ".join(left_out))


def large():
    sender = opened()
    sent = ["x" * 900_000, *(chr(97 + n % 26) * 50_000 for n in range(60)), "y" * 900_000]
    send(sender, [{"value": value} for value in sent])
    same([record["value"] for record in read_all(client(), TOPIC, len(sent))] == sent, True)


def offsets():
    sender, reader = opened(config=OLD), client()
    send(sender, [{"value": str(n), "time": 1_600_000_000_000 + n * 10} for n in range(100)])
    if "time-lookup" not in WITHOUT:
        for moment, offset in [(0, 0), (500, 50), (501, 51), (991, -1)]:
            same(reader.at_time(topic=TOPIC, partition=0, time=1_600_000_000_000 + moment), offset)
    same(reader.range(topic=TOPIC, partition=0), [0, 100])
    same([record["offset"] for record in read_all(reader, TOPIC, 90, 10)], list(range(10, 100)))
    same(numbers(read_all(reader, TOPIC, 1, 99)), [99])
    reader.assign(topic=TOPIC, partition=0, offset="latest")
    nothing_more(reader, 1500)
    send(sender, [{"value": "100"}])
    same(numbers(collect([reader], 1)), [100])


def acks():
    one, sent = client(), lines(2000)
    levels = ("0", "1", "all")
    if "acks" in WITHOUT:
        levels = ("all",)
        note("all alone")
    for level in levels:
        topic = f"acks-{level}"
        one.create(topic=topic, partitions=1)
        one.producer(acks=level)
        send(one, [{"value": line} for line in sent], topic)
        same([record["value"] for record in read_all(client(), topic, len(sent))], sent)


def waiting():
    sender, reader = opened(), client()
    reader.assign(topic=TOPIC, partition=0, offset="latest", min_bytes=1, wait_ms=8000)
    nothing_more(reader, 1500)
    reader.ask("poll", ms=8000)
    time.sleep(0.5)
    send(sender, [{"value": "1"}])
    began = time.monotonic()
    same(numbers(reader.answer()), [1])
    took = time.monotonic() - began
    assert took < 2, f"a record came only {took} s after it was written"
    reader.close()
    reader.assign(topic=TOPIC, partition=0, offset=1, min_bytes=500_000, wait_ms=2000)
    arrived, times = [], 0
    for n in range(10):
        send(sender, [{"value": str(n)}])
        part = reader.poll(ms=100)
        arrived, times = arrived + part, times + bool(part)
    while len(arrived) < 10:
        part = reader.poll(ms=3000)
        assert part, f"only {len(arrived)} of 10 records came"
        arrived, times = arrived + part, times + 1
    same(numbers(arrived), list(range(10)))
    assert times <= 3, f"10 records came in {times} pieces, though the fetches were to wait for more"
    note(f"{took * 1000:.0f} ms to a waiting consumer")


def idempotent():
    sender, sent = opened(idempotent=True), lines(10_000)
    send(sender, [{"value": line} for line in sent])
    same([record["value"] for record in read_all(client(), TOPIC, len(sent))], sent)
    same(kept(TOPIC)["producer"], "yes")


def transactions():
    one, two, reader = opened(transactional_id="transactions"), client(), client()
    for first, end in ((1, "commit_transaction"), (11, "abort_transaction"), (21, "commit_transaction")):
        one.begin()
        send(one, records(first, first + 9))
        getattr(one, end)()
    committed = [*range(1, 11), *range(21, 31)]
    same(numbers(read_all(reader, TOPIC, 20, isolation="read_committed")), committed)
    same(numbers(read_all(reader, TOPIC, 30, isolation="read_uncommitted")), list(range(1, 31)))
    one.begin()
    send(one, records(31, 35))
    same(numbers(read_all(reader, TOPIC, 20, isolation="read_committed")), committed)
    if "transaction-offsets" not in WITHOUT:
        one.send_offsets(group="in-transaction", topic=TOPIC, partition=0, offset=7)
        one.commit_transaction()
        offset = lambda: two.committed(group="in-transaction", topic=TOPIC, partitions=[0])
        eventually("committed", lambda: offset() == [7]) # the broker says yes before it is done
        aborted_offsets(one, two)
    else:
        one.commit_transaction()
    same(numbers(read_all(reader, TOPIC, 25, isolation="read_committed")), [*committed, *range(31, 36)])
    one.begin()
    send(one, records(36, 40))
    two.producer(transactional_id="transactions")
    two.begin()
    send(two, records(41, 45))
    two.commit_transaction()
    note(refused([47, 90], one.commit_transaction, says="fenced"))
    committed += [*range(31, 36), *range(41, 46)]
    if "two-aborts" not in WITHOUT:
        same(numbers(read_all(reader, TOPIC, 30, isolation="read_committed")), committed)


def aborted_offsets(sender, watcher):
    """They are not committed, not even when the next transaction is, which begins when the abort is done."""
    none = lambda: same(watcher.committed(group="aborted", topic=TOPIC, partitions=[0]), [-1])
    watcher.create(topic="transactions-more", partitions=1)
    def begun(group, offset): # with a record too: sarama 1.38 does nothing in a transaction that has none
        sender.begin()
        send(sender, records(1, 1), "transactions-more")
        sender.send_offsets(group=group, topic=TOPIC, partition=0, offset=offset)
    begun("aborted", 3)
    sender.abort_transaction()
    none()
    begun("in-transaction", 8)
    sender.commit_transaction()
    offset = lambda: watcher.committed(group="in-transaction", topic=TOPIC, partitions=[0])
    eventually("committed", lambda: offset() == [8])
    none()


def admin_topics():
    one = opened(2)
    one.add_partitions(topic=TOPIC, total=4)
    eventually("four", lambda: one.metadata(topic=TOPIC)["partitions"] == 4)
    refused([37], one.add_partitions, topic=TOPIC, total=3)
    refused([40], one.create, topic="admin-bad", partitions=1, config={"retention.ms": "soon"})
    refused([38], one.create, topic="admin-bad", partitions=1, replicas=3)
    refused([17], one.create, topic="no/name", partitions=1)
    refused([3], one.delete, topic="admin-none")
    same("admin-bad" in one.topics(), False)


def admin_configs():
    one = client()
    one.create(topic=TOPIC, partitions=1, config={"retention.ms": "3600000"})
    same(one.get_config(topic=TOPIC, name="retention.ms"), "3600000")
    one.set_config(topic=TOPIC, name="max.message.bytes", value="5000")
    eventually("set", lambda: one.get_config(topic=TOPIC, name="max.message.bytes") == "5000")
    wrong = {"topic": TOPIC, "name": "retention.ms", "value": "soon"}
    if "config-refusals" in WITHOUT:  # the client says yes whatever the broker said
        one.set_config(**wrong)
    else:
        refused([-1 if "config-codes" in WITHOUT else 40], one.set_config, **wrong)
    same(one.get_config(topic=TOPIC, name="retention.ms") == "soon", False)


def admin_groups():
    sender, one = opened(), client()
    send(sender, records(1, 100))
    one.consumer(group=TOPIC, topics=[TOPIC])
    collect([one], 100)
    one.commit()
    same(TOPIC in sender.groups(), True)
    same(sender.describe_group(group=TOPIC), {"state": "Stable", "members": 1})
    if "delete-groups" not in WITHOUT:
        refused([68], sender.delete_group, group=TOPIC)
    one.close()
    eventually("empty", lambda: sender.describe_group(group=TOPIC) == {"state": "Empty", "members": 0})
    if "alter-offsets" not in WITHOUT:
        sender.alter_offsets(group=TOPIC, topic=TOPIC, partition=0, offset=42)
        same(sender.committed(group=TOPIC, topic=TOPIC, partitions=[0]), [42])
    if "delete-groups" not in WITHOUT:
        sender.delete_group(group=TOPIC)
        same(TOPIC in sender.groups(), False)


def delete_records():
    one = opened()
    send(one, records(0, 99))
    one.delete_records(topic=TOPIC, partition=0, before=60)
    same(one.range(topic=TOPIC, partition=0), [60, 100])
    same(numbers(read_all(client(), TOPIC, 40)), list(range(60, 100)))


def recreated():
    sender, reader = opened(1, refresh_ms=1000), client()
    send(sender, records(1, 100))
    other = client()
    other.delete(topic=TOPIC)
    eventually("deleted", lambda: TOPIC not in other.topics())
    other.create(topic=TOPIC, partitions=1)
    def accepted():
        try:
            send(sender, records(101, 101))
        except Refused as refusal: # what is there now is not what the client knew
            assert refusal.code != -1, refusal
            return False
        return True
    eventually("accepted", accepted)
    send(sender, records(102, 110))
    arrived = read_all(reader, TOPIC, reader.range(topic=TOPIC, partition=0)[1])
    same(sorted(set(numbers(arrived))), list(range(101, 111)))


def unknown_topic():
    one = client()
    one.create(topic=TOPIC, partitions=1)
    one.producer()
    # some clients give up waiting for it
    note(refused([3, 7, -1], send, says="unknown-topic", sender=one, sent=records(1, 1), topic="there-is-none"))
    send(one, records(1, 10))
    same(numbers(read_all(client(), TOPIC, 10)), list(range(1, 11)))


def refusals():
    if "topic-configs" in WITHOUT:
        too_large_by_default()
        return
    one = client()
    one.create(topic="refuse-large", partitions=1, config={"max.message.bytes": "2000"})
    one.create(topic="refuse-keyless", partitions=1, config={"cleanup.policy": "compact"})
    one.producer()
    keyless = [-1 if "invalid-record" in WITHOUT else 87]
    names = [
        refused([10, 18], send, says="too-large", sender=one, sent=[{"value": "x" * 3000}], topic="refuse-large"),
        refused(keyless, send, says="keyless", sender=one, sent=[{"value": "x"}], topic="refuse-keyless"),
    ]
    send(one, [{"value": "x" * 100}], "refuse-large")
    send(one, [{"key": "k", "value": "x"}], "refuse-keyless")
    wrong = {"compression.type": "none-such"}
    names.append(refused([40], one.create, topic="refuse-codec", partitions=1, config=wrong))
    same("refuse-codec" in one.topics(), False)
    note(", ".join([*names, *bad_codecs()]))


def too_large_by_default():
    """What is refused of a client that makes no topics with settings: a record that no topic takes."""
    one = opened()
    name = refused([10, 18], send, says="too-large", sender=one, sent=[{"value": "x" * 2_000_000}])
    note(f"too large alone: {name}")
    send(one, records(1, 10))
    same(numbers(read_all(client(), TOPIC, 10)), list(range(1, 11)))


def bad_codecs():
    """A name that the client does not know, and, where it can send it, a number that the broker does not know."""
    def sent_with(codec):
        one = client()
        one.producer(codec=codec)
        send(one, records(1, 1), "refuse-keyless")
    if "codec-names" not in WITHOUT:
        yield refused([-1], sent_with, says="codec", codec="zstd" if "zstd" in WITHOUT else "none-such")
    if "codec-number" in SAYS:
        yield refused([-1, 87], sent_with, says="codec-number", codec="5")
        same(numbers([r for r in read_all(client(), "refuse-keyless", 1) if r["key"] != "k"]), [])


CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
STORIES = {f"roundtrip-{codec}": lambda codec=codec: roundtrip(codec) for codec in CODECS} | {
    told.__name__.replace("_", "-"): told for told in (
        metadata, attributes, large, acks, offsets, waiting, idempotent, transactions, admin_topics, admin_configs,
        admin_groups, delete_records, recreated, unknown_topic, refusals, members.group, members.new_group,
        members.migration, members.cooperative, members.commits, members.crash, members.static_member,
        members.idempotent_restarts, members.restart, members.killed, members.new_partitions, members.subscribed_early,
    )
}
if __name__ == "__main__":
    try:
        STORIES[TOPIC]()
    finally:
        end()
