"""Transfers between accounts: tellers that commit, abort, die and come back, hang, and a broker that is
killed.

    bank.py ROUNDS SEED -- mortal|immortal ADDRESS PID-FILE LOG BROKER-COMMAND...

The accounts are spread over the partitions of one topic. A transfer is one transaction: a teller locks two
accounts (the locks are our own, in memory), reads them and a third one through a READ_COMMITTED reader, and
writes the new balances, some of them twice: first a provisional one, then the final one. Each record names
its transaction, the version of the account that it follows, and all that the transaction read. Some
transfers are aborted. Some tellers turn into zombies: another producer with the transactional id takes
over, the accounts are unlocked, and later the old producer writes more and commits. Some hang past the
transaction's timeout: when a READ_COMMITTED reader gets past its records, the accounts are unlocked, and
later it wakes and commits. If a teller does not know how its transaction ended, a new producer with its id
takes over, which settles it, and the reader tells. A round is 50 transfers, while a new reader reads
everything; each fourth begins with the broker's death.

What is counted, and must be none. An account is an object in Adya's sense, a record is a version of it,
unique by its transaction, and the order of versions is that of their offsets in the account's partition.

G0   dirty write: a cycle of "wrote the next version after" over the committed transactions.
G1a  aborted read: a READ_COMMITTED reader, at any time, gets a record of a transaction that was not told to
     commit by the one who held its transactional id; or a transaction read a version that no reader finds
     in the end.
G1b  intermediate read: when a reader is at the last stable offset, the newest version of an account is a
     provisional one; or a reader misses a part of a transaction that was known to be committed when it
     began.
G1c  circular information flow: a cycle of "wrote the next version after" and "read a version written by".
sum  each reader applies a transaction when it has all of it and has applied all that came before it in its
     accounts; after each the sum of all balances must be the same.
lost a version does not follow the one that its transaction read (a lost update).
zombie  a commit by one who had been fenced or timed out is accepted.
"""

import collections
import graphlib
import itertools
import json
import queue
import random
import sys
import threading
import time

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from broker import Broker, eventually

TOPIC = "bank"
PARTITIONS = 4
ACCOUNTS = 16
TELLERS = 8
OPENING = 1000
TRANSFERS_PER_ROUND = 50
TIMEOUT_MS = 3000
FATES = {"commit": 840, "abort": 120, "zombie": 30, "hang": 10}


class Bank:
    """What all the threads share."""

    def __init__(self, broker, seed):
        self.broker = broker
        self.random = random.Random(seed)
        self.anomalies = collections.Counter({name: 0 for name in "G0 G1a G1b G1c sum lost zombie".split()})
        self.outcomes = {}  # transaction -> open, told (to commit), committed or aborted
        self.locks = [threading.Lock() for _ in range(ACCOUNTS)]
        self.ledger = [None] * ACCOUNTS  # the transaction that wrote the account last, by who held its lock
        self.counts = collections.Counter()
        self.numbers = itertools.count(1)
        self.zombies = queue.Queue()
        self.failures = []
        self.left = threading.Semaphore(0)  # the transfers still to be made in this round
        self.made = threading.Semaphore(0)
        self.closing = False

    def anomaly(self, kind, what):
        self.anomalies[kind] += 1
        print(f"{kind}: {what}", flush=True)

    def ends(self):
        """How far the partitions reach, whether stable or not."""
        consumer = self.broker.reader(TOPIC, PARTITIONS, "read_uncommitted")
        found = eventually("ends of partitions", lambda: [
            consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=5)[1]
            for partition in range(PARTITIONS)])
        consumer.close()
        return found


class Reader:
    """A READ_COMMITTED reader of everything, which judges what it gets."""

    def __init__(self, bank):
        self.bank = bank
        self.known = [name for name, outcome in list(bank.outcomes.items()) if outcome == "committed"]
        self.consumer = bank.broker.reader(TOPIC, PARTITIONS)
        self.fresh = [[] for _ in range(PARTITIONS)]  # seen since the last stable offset was reached
        self.stable = [0] * PARTITIONS
        self.latest = {}  # account -> its newest version when the last stable offset was reached
        self.versions = [[] for _ in range(ACCOUNTS)]  # all, in order
        self.missing = {}  # transaction -> how many of its records are still to come
        self.accounts = {}  # transaction -> its accounts
        self.waiting = [collections.deque() for _ in range(ACCOUNTS)]  # not applied yet
        self.applied = [{"name": None, "balance": 0} for _ in range(ACCOUNTS)]
        self.opened = False

    def poll(self):
        for message in self.consumer.consume(1000, 0.05):
            if not message.error():
                self.see(message.partition(), json.loads(message.value()))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                self.reach(message.partition(), message.offset())
            elif message.error().code() == KafkaError._AUTO_OFFSET_RESET:
                raise KafkaException(message.error())

    def read_to(self, ends):
        deadline = time.monotonic() + 120
        while any(have < end for have, end in zip(self.stable, ends)):
            assert time.monotonic() < deadline, f"readers get no further than {self.stable} of {ends}"
            self.poll()
        self.consumer.close()
        for name in self.known:
            if self.missing.get(name, 1):
                missing = self.missing.get(name, "all")
                self.bank.anomaly("G1b", f"{name} is committed, {missing} of it not seen")

    def see(self, partition, record):
        name = record["name"]
        if self.bank.outcomes[name] not in ("told", "committed"):
            self.bank.anomaly("G1a", f"{record} is {self.bank.outcomes[name]}")
        self.fresh[partition].append(record)
        self.versions[record["account"]].append(record)
        self.waiting[record["account"]].append(record)
        self.accounts.setdefault(name, set()).add(record["account"])
        self.missing[name] = self.missing.get(name, record["of"]) - 1
        self.apply([name])

    def reach(self, partition, offset):
        changed = {record["account"]: record for record in self.fresh[partition]}
        self.fresh[partition].clear()
        for record in changed.values():
            if not record["final"]:
                self.bank.anomaly("G1b", f"{record} is the newest")
        self.latest.update(changed)
        self.stable[partition] = offset

    def apply(self, names):
        """Apply these transactions and those that waited for them, if complete and next everywhere."""
        while names:
            name = names.pop()
            heads = [self.waiting[account] for account in self.accounts[name]]
            if self.missing[name] or any(not head or head[0]["name"] != name for head in heads):
                continue
            for head in heads:
                self.apply_account(name, head)
                names += [head[0]["name"]] if head else []
            self.opened = self.opened or name == "opening"
            if self.opened and sum(one["balance"] for one in self.applied) != ACCOUNTS * OPENING:
                self.bank.anomaly("sum", f"after {name}: {[one['balance'] for one in self.applied]}")

    def apply_account(self, name, head):
        while head and head[0]["name"] == name:
            record = head.popleft()
            before = self.applied[record["account"]]
            if before["name"] not in (name, record["reads"].get(str(record["account"]))):
                self.bank.anomaly("lost", f"{record} follows {before['name']}")
            self.applied[record["account"]] = record


class View(threading.Thread):
    """The reader that tellers read accounts through, and that always looks."""

    def __init__(self, bank):
        super().__init__(daemon=True)
        self.bank, self.reader = bank, Reader(bank)

    def run(self):
        with failing(self.bank):
            while True:
                self.reader.poll()

    def latest(self, account):
        return self.reader.latest.get(account, {"name": None})

    def read(self, account):
        """The newest version, when it is the one that the ledger knows of."""
        eventually(f"{self.bank.ledger[account]} is seen",
                   lambda: self.latest(account)["name"] == self.bank.ledger[account])
        return self.latest(account)

    def pass_by(self, ends):
        """Wait until all that is there is stable."""
        eventually(f"stable up to {ends}", lambda: all(
            have >= end for have, end in zip(self.reader.stable, ends)))


class failing:
    """What goes wrong in a thread ends the story."""

    def __init__(self, bank):
        self.bank = bank

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error:
            self.bank.failures.append(error)


class Teller(threading.Thread):
    def __init__(self, bank, view, number, seed):
        super().__init__(daemon=True)
        self.bank, self.view, self.id = bank, view, f"teller-{number}"
        self.random = random.Random(seed)
        self.producer = None

    def run(self):
        with failing(self.bank):
            while True:
                self.bank.left.acquire()
                if self.bank.closing:
                    return
                self.transfer()
                self.bank.made.release()

    def take_over(self):
        """Be the one who holds the transactional id; what was open before is ended then."""
        def attempt():
            self.producer = Producer({
                "bootstrap.servers": self.bank.broker.address, "transactional.id": self.id, "linger.ms": 0,
                "transaction.timeout.ms": TIMEOUT_MS, "socket.timeout.ms": TIMEOUT_MS, "log_level": 0})
            self.producer.init_transactions(30)
            return True
        eventually(f"{self.id} takes over", attempt)

    def transfer(self):
        giver, taker, other = self.random.sample(range(ACCOUNTS), 3)
        low, high = sorted([giver, taker])
        with self.bank.locks[low], self.bank.locks[high]:
            if self.producer is None:
                self.take_over()
            records = self.records(giver, taker, other)
            name = records[0]["name"]
            self.bank.outcomes[name] = "open"
            fate = self.random.choices(list(FATES), FATES.values())[0]
            try:
                self.write(records)
                getattr(self, fate)(name)
            except KafkaException as error:
                self.bank.counts["errors"] += 1
                print(f"{name}, to {fate}: {error}", flush=True)
                self.settle(name)
            if self.bank.outcomes[name] == "committed":
                self.bank.ledger[giver] = self.bank.ledger[taker] = name

    def records(self, giver, taker, other):
        old = {account: self.view.read(account) for account in (giver, taker)}
        reads = {account: version["name"] for account, version in old.items()}
        reads[other] = self.view.latest(other)["name"]
        amount = self.random.randint(1, 100)
        name = f"{self.id}-{next(self.bank.numbers)}"
        balances = [(giver, old[giver]["balance"] - amount, True),
                    (taker, old[taker]["balance"] + amount, True)]
        if self.random.random() < 0.3:
            balances.insert(0, (giver, -1_000_000, False))
        return [{"name": name, "account": account, "balance": balance, "final": final, "reads": reads,
                 "of": len(balances)} for account, balance, final in balances]

    def write(self, records):
        self.producer.begin_transaction()
        self.places = []
        for record in records:
            send(self.producer, record, self.delivered)
        self.producer.flush(30)
        if len(self.places) != len(records):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "not all is acknowledged"))

    def delivered(self, error, message):
        if error is None:
            self.places.append((message.partition(), message.offset()))

    def commit(self, name):
        self.bank.outcomes[name] = "told"
        self.producer.commit_transaction(30)
        self.bank.outcomes[name] = "committed"
        self.bank.counts["committed"] += 1

    def abort(self, name):
        self.producer.abort_transaction(30)
        self.bank.outcomes[name] = "aborted"
        self.bank.counts["aborted"] += 1

    def zombie(self, name):
        old = self.producer
        self.take_over()
        self.bank.outcomes[name] = "aborted"
        self.bank.counts["zombies"] += 1
        self.bank.zombies.put((time.monotonic() + self.random.random() * 3, old))

    def hang(self, name):
        """Only when readers are past our records others may have the accounts."""
        def passed():
            return all(self.view.reader.stable[partition] > offset for partition, offset in self.places)
        eventually(f"{name} is timed out", passed)
        self.bank.outcomes[name] = "aborted"
        self.bank.counts["hung"] += 1
        self.bank.zombies.put((time.monotonic() + self.random.random() * 3, self.producer))
        self.producer = None

    def settle(self, name):
        """We do not know how it ended. Whoever takes over ends it, and then the readers tell."""
        self.take_over()
        self.view.pass_by(self.bank.ends())
        seen = name in self.view.reader.missing
        if seen and self.bank.outcomes[name] == "open":
            self.bank.anomaly("G1a", f"{name} was not told to commit")
        self.bank.outcomes[name] = "committed" if seen else "aborted"
        self.bank.counts["settled"] += 1


class Zombies(threading.Thread):
    """Wakes the fenced and the timed out: they write more and commit as if nothing had happened."""

    def __init__(self, bank):
        super().__init__(daemon=True)
        self.bank = bank
        self.woken = 0

    def run(self):
        with failing(self.bank):
            while (zombie := self.bank.zombies.get()) is not None:
                time.sleep(max(0, zombie[0] - time.monotonic()))
                self.wake(zombie[1])

    def wake(self, producer):
        self.bank.outcomes["zombie"] = "aborted"
        record = {"name": "zombie", "account": 0, "balance": 0, "final": True, "reads": {}, "of": 1}
        self.woken += 1
        try:
            if self.woken % 2:
                send(producer, record, lambda *_: None)
            producer.commit_transaction(10)
            self.bank.anomaly("zombie", "committed")
        except KafkaException:
            pass


def send(producer, record, delivered):
    producer.produce(TOPIC, json.dumps(record), str(record["account"]), record["account"] % PARTITIONS,
                     on_delivery=delivered)


def open_accounts(bank):
    producer = Producer({"bootstrap.servers": bank.broker.address, "transactional.id": "opening"})
    producer.init_transactions(60)
    producer.begin_transaction()
    bank.outcomes["opening"] = "told"
    for account in range(ACCOUNTS):
        send(producer, {"name": "opening", "account": account, "balance": OPENING, "final": True, "reads": {},
                        "of": ACCOUNTS}, lambda *_: None)
    producer.commit_transaction(60)
    bank.outcomes["opening"] = "committed"
    bank.ledger = ["opening"] * ACCOUNTS


def cycles(kind, bank, edges):
    """Count the cycles, each once; a cycle is broken at one of its edges to find the next."""
    before = collections.defaultdict(set)
    for earlier, later in edges:
        if earlier != later:
            before[later].add(earlier)
    while True:
        try:
            graphlib.TopologicalSorter(before).prepare()
            return
        except graphlib.CycleError as error:
            cycle = error.args[1]
            bank.anomaly(kind, f"cycle {cycle}")
            before[cycle[1]].discard(cycle[0])


def judge_history(bank, reader):
    """The last reader has seen everything."""
    found = set(reader.missing)
    for name, outcome in bank.outcomes.items():
        if (outcome == "committed") != (name in found):
            bank.anomaly("G1b" if outcome == "committed" else "G1a", f"{name} is {outcome}")
    writes = [pair for versions in reader.versions
              for pair in itertools.pairwise(record["name"] for record in versions)]
    records = [record for versions in reader.versions for record in versions]
    reads = {(version, record["name"]) for record in records for version in record["reads"].values()}
    for version, name in reads:
        if version not in found:
            bank.anomaly("G1a", f"{name} read of {version}")
    cycles("G0", bank, writes)
    cycles("G1c", bank, itertools.chain(writes, reads))
    stuck = sum(map(len, reader.waiting))
    assert stuck == 0, f"{stuck} records could not be applied"


def play(bank, rounds, seed):
    bank.broker.create(TOPIC, PARTITIONS)
    open_accounts(bank)
    view, zombies = View(bank), Zombies(bank)
    tellers = [Teller(bank, view, number, seed * 1000 + number) for number in range(TELLERS)]
    for thread in (view, zombies, *tellers):
        thread.start()
    for number in range(rounds):
        bank.left.release(TRANSFERS_PER_ROUND)
        if number % 4 == 3:
            time.sleep(bank.random.random())
            bank.broker.crash()
        Reader(bank).read_to(bank.ends())
        for _ in range(TRANSFERS_PER_ROUND):
            while not bank.made.acquire(timeout=1):
                assert not bank.failures, bank.failures
        print(f"round {number}: {dict(bank.counts)}, {dict(bank.anomalies)}", flush=True)
    bank.closing = True
    bank.left.release(TELLERS)
    bank.zombies.put(None)
    for thread in (zombies, *tellers):
        thread.join()
    assert not bank.failures, bank.failures
    return zombies.woken


def main():
    rounds, seed = map(int, sys.argv[1:3])
    print("seed", seed)
    bank = Bank(Broker(*sys.argv[4:]), seed)
    woken = play(bank, rounds, seed)
    last = Reader(bank)
    last.read_to(bank.ends())
    judge_history(bank, last)
    bank.broker.assert_all_stable(TOPIC, PARTITIONS)
    counts = ", ".join(f"{count} {what}" for what, count in bank.counts.items())
    found = ", ".join(f"{count} {kind}" for kind, count in bank.anomalies.items())
    print(f"{counts}, {woken} woken, {bank.broker.kills} broker kills; anomalies: {found}")
    assert not sum(bank.anomalies.values())


main()
