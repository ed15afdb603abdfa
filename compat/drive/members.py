"""The stories of groups, and of brokers that are stopped and killed: see stories.py beside this."""

import time

from client import collect, eventually, note, nothing_more, numbers, poll_all, read_all, records, same, shares
from stage import TOPIC, broker, client, opened, send, spread


def group(**settings):
    sender, one, two = opened(4), client(), client()
    one.consumer(group=TOPIC, topics=[TOPIC], **settings)
    eventually("all to one", lambda: shares([one], [4]))
    # It must know where to begin in all of them before it loses two. librdkafka asks for that one partition after
    # the other, behind a fetch that waits for half a second; an answer that comes when the partition is gone makes it
    # ask again, half a second later, and what it is told then moves it to the beginning if the partition is back.
    spread(sender, records(1, 100))
    first = collect([one], 100)
    same(len({record["partition"] for record in first}), 4)
    one.commit()
    two.consumer(group=TOPIC, topics=[TOPIC], **settings)
    eventually("shared", lambda: shares([one, two], [2, 2]))
    settle(one, two)
    spread(sender, records(101, 1000))
    both = collect([one, two], 900)
    same(len({record["partition"] for record in both}), 4)
    for member in (one, two):
        member.commit()
    two.close()
    eventually("all to the one left", lambda: shares([one], [4]))
    settle(one)
    spread(sender, records(1001, 2000))
    rest = collect([one], 1000)
    same(sorted(numbers(first + both + rest)), list(range(1, 2001)))
    one.close()


def settle(*members):
    """@platformatic/kafka asks for committed offsets while a fetch is under way, and what that brings it reads again."""
    same(poll_all(members, 1500), [])


def new_group():
    group(protocol="consumer")


def migration():
    """A classic member and a new one share a group, while one after the other comes and goes."""
    sender, old, new = opened(4), client(), client()
    old.consumer(group=TOPIC, topics=[TOPIC])
    eventually("all to the old", lambda: shares([old], [4]))
    spread(sender, records(1, 500))
    arrived = collect([old], 500)
    old.commit()
    new.consumer(group=TOPIC, topics=[TOPIC], protocol="consumer")
    eventually("shared", lambda: shares([old, new], [2, 2]))
    spread(sender, records(501, 1000))
    arrived += collect([old, new], 500)
    for member in (old, new):
        member.commit()
    new.close()
    eventually("all to the old again", lambda: shares([old], [4]))
    spread(sender, records(1001, 1500))
    arrived += collect([old], 500)
    same(sorted(numbers(arrived)), list(range(1, 1501)))


def cooperative():
    """What one keeps it never loses: an eager rebalance would take all for a moment."""
    sender, one, two = opened(4), client(), client()
    settings = {"group": TOPIC, "topics": [TOPIC], "assignor": "cooperative"}
    one.consumer(**settings)
    eventually("all to one", lambda: shares([one], [4]))
    two.consumer(**settings)
    least = 4
    def shared():
        nonlocal least
        least = min(least, len(one.assignment()))
        return shares([one, two], [2, 2])
    eventually("shared", shared)
    same(least, 2) if least < 4 else None
    spread(sender, records(1, 1000))
    same(sorted(numbers(collect([one, two], 1000))), list(range(1, 1001)))


def commits():
    sender, one, watcher = opened(2), client(), client()
    spread(sender, records(1, 500))
    one.consumer(group=TOPIC, topics=[TOPIC])
    same(sorted(numbers(collect([one], 500))), list(range(1, 501)))
    one.commit()
    def lag():
        committed = watcher.committed(group=TOPIC, topic=TOPIC, partitions=[0, 1])
        return sum(watcher.range(topic=TOPIC, partition=p)[1] - max(0, committed[p]) for p in (0, 1))
    same(lag(), 0)
    one.close()
    spread(sender, records(501, 700))
    same(lag(), 200)
    same(watcher.committed(group="nobody", topic=TOPIC, partitions=[0, 1]), [-1, -1])
    two = client()
    two.consumer(group=TOPIC, topics=[TOPIC])
    same(sorted(numbers(collect([two], 200))), list(range(501, 701)))
    nothing_more(two)


def crash():
    sender, one, two = opened(4), client(), client()
    one.consumer(group=TOPIC, topics=[TOPIC])
    two.consumer(group=TOPIC, topics=[TOPIC])
    eventually("shared", lambda: shares([one, two], [2, 2]))
    two.kill()
    eventually("all to the one left", lambda: shares([one], [4]))
    spread(sender, records(1, 500))
    same(sorted(numbers(collect([one], 500))), list(range(1, 501)))


def static_member():
    sender, one, two, again = opened(4), client(), client(), client()
    settings = {"group": TOPIC, "topics": [TOPIC], "session_ms": 30_000}
    one.consumer(instance="one", **settings)
    eventually("all to one", lambda: shares([one], [4]))
    two.consumer(instance="two", **settings)
    eventually("shared", lambda: shares([one, two], [2, 2]))
    before = one.assignment(), two.assignment()
    two.kill()
    began = time.monotonic()
    again.consumer(instance="two", **settings)
    eventually("back", lambda: shares([one, again], [2, 2]))
    took = time.monotonic() - began
    assert took < 20, f"it took {took} s: the session of the one that was killed had to end"
    same((one.assignment(), again.assignment()), before)
    spread(sender, records(1, 500))
    same(sorted(numbers(collect([one, again], 500))), list(range(1, 501)))


def sent_while(sender, what, first):
    """Send numbered records, twenty at a time, while the broker is done something to, and some after it."""
    send(sender, records(first, first + 19))
    broker.ask(what)
    number, rounds_after = first + 20, 0
    while rounds_after < 5:
        send(sender, records(number, number + 19))
        number += 20
        rounds_after += 1 if rounds_after or broker.answered() else 0
    return number


def idempotent_restarts():
    sender, reader = opened(idempotent=True), client()
    number = 1
    for _ in range(2):
        number = sent_while(sender, "restart_broker", number)
    same(numbers(read_all(reader, TOPIC, number - 1)), list(range(1, number)))
    note(f"{number - 1} records")


def restart():
    sender, one = opened(4), client()
    spread(sender, records(1, 500))
    one.consumer(group=TOPIC, topics=[TOPIC])
    same(sorted(numbers(collect([one], 500))), list(range(1, 501)))
    one.commit()
    one.close()
    broker.do("restart_broker")
    spread(sender, records(501, 1000))
    for group_id, first in ((TOPIC, 501), ("another", 1)):
        member = client()
        member.consumer(group=group_id, topics=[TOPIC])
        same(sorted(numbers(collect([member], 1001 - first))), list(range(first, 1001)))
        nothing_more(member)


def killed():
    """In the middle of producing and consuming; a record may come twice, but none is lost."""
    sender, member = opened(), client()
    member.consumer(group=TOPIC, topics=[TOPIC])
    number, arrived = 1, set()
    for _ in range(2):
        number = sent_while(sender, "kill_broker", number)
        arrived |= set(numbers(member.poll(ms=500)))
    def all_arrived():
        arrived.update(numbers(member.poll(ms=500)))
        return arrived >= set(range(1, number))
    eventually("all given to the group", all_arrived, 60)
    member.commit()
    reader = client()
    reader.assign(topic=TOPIC, partition=0, offset="earliest")
    same(set(numbers(collect([reader], reader.range(topic=TOPIC, partition=0)[1]))), set(range(1, number)))
    note(f"{number - 1} records acknowledged")


def new_partitions():
    sender, member = opened(1, refresh_ms=1000), client()
    member.consumer(group=TOPIC, topics=[TOPIC], refresh_ms=1000)
    eventually("one", lambda: shares([member], [1]))
    client().add_partitions(topic=TOPIC, total=3)
    arrived, number = [], 0
    def all_used():
        nonlocal number
        spread(sender, records(number + 1, number + 100))
        number += 100
        arrived.extend(member.poll(ms=500))
        return {record["partition"] for record in arrived} == {0, 1, 2}
    eventually("written to and read", all_used)
    def all_arrived(): # some twice: nothing was committed when the new partitions made the group rebalance
        arrived.extend(member.poll(ms=500))
        return sorted(set(numbers(arrived))) == list(range(1, number + 1))
    eventually("all read", all_arrived)
