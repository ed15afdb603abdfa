"""Starts the processes that hold members, tells them what to do, and gathers what their members say.

A member says, each in a line `event NANOSECONDS NAME WORDS`, by the clock that all processes share:

    joining                        it calls subscribe
    assigned P...                  its callback for that begins
    revoked P..., lost P...        its callback for that ends; before `revoked` it commits
    first P:OFFSET                 the first record it reads of a partition since that was assigned
    gap P:EXPECTED-OFFSET          a record that is not the next
    committing P:FROM-TO...        it commits synchronously what it read since it last could
    committed                      done
    refused ERROR known|unknown    not done; or nobody knows, as no answer came
    error NAME                     what poll said instead of a record
    leaving                        it commits, and closes
    left                           it has closed
"""

import subprocess
import sys
import threading
import time
from typing import NamedTuple


class Event(NamedTuple):
    at: float  # seconds of the monotonic clock
    member: str
    what: str
    words: list


class Host:
    """A process that holds members. `heard` is called with each event, from a thread of the host's own."""

    def __init__(self, command, heard):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.heard = heard
        self.ear = threading.Thread(target=self.hear, daemon=True)
        self.ear.start()

    def hear(self):
        for line in self.process.stdout:
            if line.startswith("event "):
                _, nanoseconds, member, what, *words = line.split()
                self.heard(Event(int(nanoseconds) / 1e9, member, what, words))
            else:
                print(line, end="", file=sys.stderr)

    def join(self, name, group):
        self.process.stdin.write(f"join {name} {group}\n")

    def leave(self, name):
        self.process.stdin.write(f"leave {name}\n")

    def kill(self):
        """Kills it; returns when all that it had said is heard."""
        self.process.kill()
        self.process.wait()
        self.ear.join()

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.ear.join()


def eventually(seconds, condition):
    """Waits until the condition holds; false if it does not in that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
