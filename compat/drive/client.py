"""A client under test as its stories see it: a process, the driver, that does one thing after another.

A driver is a small program in the client's language and idiom. It is given the broker's address, reads one call
per line from its input, `{"do": "create", "topic": "a", "partitions": 3}`, and answers each with one line,
`{"ok": ...}` or `{"error": {"code": 36, "type": "TopicAlreadyExists", "text": "..."}}`: the code is Kafka's,
the type the client's own name for it. What it says on its standard error goes into the story's log. One driver
has at most one producer and one consumer; `protocol.md` beside this file lists the calls.
"""

import json
import os
import select
import shlex
import subprocess
import sys
import time

BROKER = os.environ["BROKER"]
DRIVER = shlex.split(os.environ["DRIVER"])
WITHOUT = os.environ.get("WITHOUT", "").split()  # what this client has not, and some stories then leave out
# what the client's own errors are called, by what is refused: there may be several, as "a|b", and a space is a dash
SAYS = dict(word.split("=") for word in os.environ.get("SAYS", "").split())
WAIT = 30  # seconds, for everything that must happen soon
LONGEST = 90  # seconds, for one call


class Refused(Exception):
    """What the client's own exception said."""

    def __init__(self, call, error):
        super().__init__(f"{call}: {error['type']} ({error['code']}): {error['text']}")
        self.code, self.type = error["code"], error["type"]


class Client:
    def __init__(self):
        self.process = subprocess.Popen([*DRIVER, BROKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.asked, self.asked_at, self.unread = None, 0, b""

    def __getattr__(self, name):
        return lambda **arguments: self.ask(name, **arguments).answer()

    def ask(self, name, /, **arguments):
        """Begin a call; `answer` waits for its end."""
        assert self.asked is None, f"{self.asked} is not done yet"
        self.asked, self.asked_at = name, time.monotonic()
        self.process.stdin.write(json.dumps({"do": name, **arguments}).encode() + b"\n")
        self.process.stdin.flush()
        return self

    def answer(self):
        name, self.asked = self.asked, None
        answer = json.loads(self.line(name))
        if "error" in answer:
            raise Refused(name, answer["error"])
        return answer["ok"]

    def has_answered(self, seconds):
        assert time.monotonic() < self.asked_at + LONGEST, f"{self.asked} took longer than {LONGEST} s"
        return b"\n" in self.unread or select.select([self.process.stdout], [], [], seconds)[0]

    def line(self, name):
        deadline = time.monotonic() + LONGEST
        pieces = [self.unread]
        while b"\n" not in pieces[-1]:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{name} took longer than {LONGEST} s"
            pieces.append(os.read(self.process.stdout.fileno(), 1 << 20))
            assert pieces[-1], f"the driver is gone in {name}"
        line, self.unread = b"".join(pieces).split(b"\n", 1)
        return line

    def kill(self):
        """As a crash does: nothing is said to the broker."""
        self.process.kill()
        self.process.wait()

    def end(self):
        """Let it leave: the driver closes what it has at the end of its input."""
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.kill()


class Broker:
    """The broker of the story: lib.sh does to it what is asked here."""

    def ask(self, what):
        os.write(3, what.encode() + b"\n")

    def answered(self, seconds=0):
        if not select.select([4], [], [], seconds)[0]:
            return False
        assert os.read(4, 100) == b"done\n", "the broker could not be controlled"
        return True

    def do(self, what):
        self.ask(what)
        assert self.answered(LONGEST), f"the broker did not {what}"


def note(words):
    os.write(3, f"note {words}\n".encode())
    assert os.read(4, 100) == b"done\n"


def same(got, expected):
    assert got == expected, f"got {str(got)[:2000]}, expected {str(expected)[:2000]}"


def eventually(what, happened, seconds=WAIT):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"in {seconds} s not {what}"
        time.sleep(0.1)


def refused(codes, call, /, says=None, **arguments):
    """The call must be refused with one of the codes, -1 for any that is none of Kafka's, and with the client's own
    name for what it is, where its `run` says that; the name is the answer."""
    try:
        call(**arguments)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        assert max(refusal.code, -1) in codes, f"expected one of {codes}: {refusal}"
        if says and SAYS:
            assert says in SAYS, f"what does this client say of {says}? {refusal}"
            assert refusal.type.replace(" ", "-") in SAYS[says].split("|"), f"expected {SAYS[says]}: {refusal}"
        return refusal.type
    raise AssertionError(f"{arguments} was accepted, expected one of {codes}")


def records(first, last, **attributes):
    """Records whose values, and keys, are the numbers first to last."""
    return [{"value": str(n), "key": str(n), **attributes} for n in range(first, last + 1)]


def numbers(polled):
    return [int(record["value"]) for record in polled]


def poll_all(members, ms):
    """Poll all at once, and again until each has answered: some clients' poll ends only when a rebalance does,
    and that takes all members."""
    arrived = []
    for member in members:
        member.ask("poll", ms=ms)
    waiting = list(members)
    while waiting:
        for member in members:
            if member not in waiting:
                arrived += member.poll(ms=50)
            elif member.has_answered(0.05):
                arrived += member.answer()
                waiting.remove(member)
    return arrived


def collect(members, count, into=None):
    """Poll the members until count records have arrived in all; the answer is the records."""
    arrived = [] if into is None else into
    deadline = time.monotonic() + LONGEST
    while len(arrived) < count:
        assert time.monotonic() < deadline, f"{len(arrived)} of {count} records arrived"
        arrived += poll_all(members, 200)
    return arrived


def nothing_more(member, ms=500):
    same(member.poll(ms=ms), [])


def read_all(reader, topic, count, offset="earliest", **settings):
    """Read the count records of partition 0 from an offset on; there must not be more."""
    reader.assign(topic=topic, partition=0, offset=offset, **settings)
    arrived = collect([reader], count)
    nothing_more(reader)
    reader.close()
    return arrived


def shares(members, sizes):
    """Do the members own so many partitions? Polling them is what lets a rebalance go on."""
    same(poll_all(members, 100), [])
    return sorted(len(member.assignment()) for member in members) == sizes
