"""The stories of groups, and of brokers that are stopped and killed: see stories.py beside this."""

import sys
import time

from client import (
    WITHOUT, Refused, collect, eventually, note, nothing_more, numbers, poll_all, read_all, records, same, shares,
)
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
    """@platformatic/kafka asks for committed offsets while a fetch is under way; what that brings it reads again."""
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
    settle(old, new)
    spread(sender, records(501, 1000))
    arrived += collect([old, new], 500)
    for member in (old, new):
        member.commit()
    new.close()
    eventually("all to the old again", lambda: shares([old], [4]))
    settle(old)
    spread(sender, records(1001, 1500))
    arrived += collect([old], 500)
    same(sorted(numbers(arrived)), list(range(1, 1501)))


def cooperative():
    """What one keeps it never loses: an eager rebalance would take all for a moment, and give it again from the last
    commit, which there is none of here."""
    sender, one, two = opened(4), client(), client()
    settings = {"group": TOPIC, "topics": [TOPIC], "assignor": "cooperative"}
    one.consumer(**settings)
    eventually("all to one", lambda: shares([one], [4]))
    spread(sender, records(1, 400))
    first = collect([one], 400)
    two.consumer(**settings)
    later, least = [], 4
    def shared():
        nonlocal least
        later.extend(poll_all([one, two], 100))
        least = min(least, len(one.assignment()))
        return (len(one.assignment()), len(two.assignment())) == (2, 2)
    eventually("shared", shared)
    same(least, 2)
    moved = {int(name.rsplit("-", 1)[1]) for name in two.assignment()}
    again = [record for record in first if record["partition"] in moved]
    spread(sender, records(401, 1000))
    collect([one, two], len(again) + 600, later)
    later.extend(poll_all([one, two], 500))
    same(sorted(numbers(later)), sorted([*numbers(again), *range(401, 1001)]))


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
    began = time.monotonic()
    eventually("all to the one left", lambda: shares([one], [4]))
    took = time.monotonic() - began
    assert took >= 4, f"taken over after {took} s, before the session of 6 s could have ended"
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


def sent_while(sender, what, first, meanwhile=lambda: None):
    """Send numbered records, twenty at a time, while the broker is done something to, and some after it."""
    send(sender, records(first, first + 19))
    broker.ask(what)
    number, rounds_after = first + 20, 0
    while rounds_after < 5:
        sender.ask("send", topic=TOPIC, partition=0, records=records(number, number + 19))
        meanwhile()
        sender.answer()
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


def alone(what):
    """The next two stories for a client without groups, which reads a partition and keeps in mind where it is: it is
    given what is in the log once and in order, though the sender may have put some of it there twice."""
    sender, stays = opened(), client()
    stays.assign(topic=TOPIC, partition=0, offset="earliest")
    number, arrived = 1, []
    def read(ms=200):
        arrived.extend(numbers(stays.poll(ms=ms)))
    def all_read():
        read()
        return len(arrived) >= end
    def next_offset():
        return client().range(topic=TOPIC, partition=0)[1] # a new one each time, which knew no broker before
    for _ in range(2):
        first, number = number, number + 100
        send(sender, records(first, number - 1))
        end = before = next_offset()
        eventually("all given before", all_read, 60)
        number = sent_while(sender, what, number, read)
        end = next_offset()
        later = numbers(read_all(client(), TOPIC, end - before, before)) # none of what was read before
        same(set(later), set(range(first + 100, number)))
    eventually("all given to the one that stays", all_read, 60)
    log = numbers(read_all(client(), TOPIC, end))
    same(set(log), set(range(1, number)))
    same(arrived, log)
    note(f"without groups, {number - 1} records acknowledged")


def restart():
    if "groups" in WITHOUT:
        alone("restart_broker")
        return
    sender, one, stays = opened(4), client(), client()
    spread(sender, records(1, 500))
    for member, group_id in ((one, TOPIC), (stays, "restart-stays")):
        member.consumer(group=group_id, topics=[TOPIC])
        same(sorted(numbers(collect([member], 500))), list(range(1, 501)))
        member.commit()
    one.close()
    broker.do("restart_broker")
    spread(sender, records(501, 1000))
    given = set() # some twice, if it has to join again when it has begun
    def all_given():
        given.update(numbers(stays.poll(ms=500)))
        return given >= set(range(501, 1001))
    eventually("all given to the one that stays", all_given, 60)
    same(given, set(range(501, 1001)))
    for group_id, first in ((TOPIC, 501), ("another", 1)):
        member = client()
        member.consumer(group=group_id, topics=[TOPIC])
        same(sorted(numbers(collect([member], 1001 - first))), list(range(first, 1001)))
        nothing_more(member)


def killed():
    """In the middle of producing and consuming; a record may come twice, but none is lost, and no commit."""
    if "groups" in WITHOUT:
        alone("kill_broker 1")
        return
    sender, member = opened(), client()
    member.consumer(group=TOPIC, topics=[TOPIC])
    number, arrived = 1, set()
    def read(ms):
        arrived.update(numbers(member.poll(ms=ms)))
    def tried():
        try:
            read(200)
        except Refused as refusal: # a client may say that the broker is away
            print(refusal, file=sys.stderr)
    def all_arrived():
        read(500)
        return arrived >= set(range(1, number))
    def committed(asking):
        return asking.committed(group=TOPIC, topic=TOPIC, partitions=[0])[0]
    for _ in range(2):
        send(sender, records(number, number + 99))
        number += 100
        eventually("all given to the group", all_arrived, 60)
        watcher = client() # a new one each time, which knew no broker before
        end = watcher.range(topic=TOPIC, partition=0)[1]
        def all_committed():
            try:
                read(200)
                member.commit()
            except Refused as refusal: # the member may have to join again
                print(refusal, file=sys.stderr)
            return committed(watcher) == end
        eventually("all committed", all_committed)
        number = sent_while(sender, "kill_broker 1", number, tried) # it is down for a second
        same(committed(client()), end)
    eventually("all given to the group", all_arrived, 60)
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


def subscribed_early():
    """The topic comes into being only when it is waited for."""
    sender, member = client(), client()
    member.consumer(group=TOPIC, topics=[TOPIC], refresh_ms=1000)
    nothing_more(member, 2000)
    sender.create(topic=TOPIC, partitions=2)
    sender.producer()
    spread(sender, records(1, 100))
    same(sorted(numbers(collect([member], 100))), list(range(1, 101)))
    member.commit()
    same(sum(sender.committed(group=TOPIC, topic=TOPIC, partitions=[0, 1])), 100)
