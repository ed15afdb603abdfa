"""Judges a group by what its members said (hosts.py) and by when which of them were killed.

A member owns a partition from when its callback for the assignment begins until its callback for the revocation
ends; what it lost it has had until then. A killed member owns what it owned until the broker may believe it gone:
its session timeout after its last heartbeat. That is at the latest a session timeout after the kill, and at the
earliest two heartbeat intervals before that: one for the heartbeat that was due, one for a machine that is late.

- Nobody is assigned what another owns, or reads or commits what it does not own; nobody who beats loses anything.
  (What the Java client gives back when it leaves during a rebalance it calls lost, and has not committed.)
- A change is when the coordinator lets a member in or knows that one is gone. Braid's log says when that was; of
  another broker a change is a join, a leave, or the end of a killed member's session, whenever in that time it was.
  Nothing is unowned for longer than a heartbeat interval, counted from the last change: so long others may need to
  hear of it. A fault is only what took LATE and SLACK more; soak.py reports how many took LATE more. Of cooperative
  members two intervals: one whose SyncGroup comes when another, that had to give something, has already joined
  again, gets its share a round later. (How long a fresh group needs for its first assignment is latency.py's to
  say.)
- The first record that a new owner reads is the one where the last commit was, and what it reads is without gap. Each
  commit begins where the one before ended. After a killed member, or a commit without an answer, it may or may
  not have been done: then the next owner says which.
"""

LATE = 0.05  # seconds by which a client's timer may send a heartbeat late, and hear the answer
SLACK = 1.0  # seconds more, for a busy machine


class Judge:
    def __init__(self, partitions, session, heartbeat, rounds, known):
        """`known` are the times of changes that the broker's log has; none of a broker whose log does not say."""
        self.partitions, self.session, self.heartbeat = partitions, session, heartbeat
        self.unowned_max = rounds * heartbeat + LATE + SLACK
        self.faults = []
        self.owner = {}  # partition -> member
        self.free_since = {}
        self.dead = {}  # member -> when it was killed
        self.known = bool(known)
        self.changes = [(at, at) for at in known]  # (when at the earliest, when at the latest)
        self.committed = dict.fromkeys(range(partitions), 0)
        self.perhaps = {}  # partition -> where a commit without an answer would have put it
        self.committing = {}  # member -> {partition: to}
        self.leaving = {}  # member -> since when
        self.leaves = []  # for how long they took
        self.waits = []  # for how long partitions had no owner
        self.counts = {}

    def judge(self, events):
        for event in sorted(events, key=lambda event: event.at):
            self.counts[event.what] = self.counts.get(event.what, 0) + 1
            getattr(self, f"on_{event.what}")(event, *self.read(event))
        for partition in range(self.partitions):
            if partition in self.owner or partition not in self.free_since:
                self.fault(event, f"{partition} is not let go")

    @staticmethod
    def read(event):
        """What the words say: partitions, or of each its offsets."""
        if event.what in ("assigned", "revoked", "lost"):
            return [[int(word) for word in event.words]]
        if event.what in ("first", "gap", "committing"):
            pairs = (word.split(":") for word in event.words)
            return [{int(p): [int(offset) for offset in offsets.split("-")] for p, offsets in pairs}]
        return []

    def fault(self, event, words):
        self.faults.append(f"{event.at:.3f} {event.member}: {words}")

    def change(self, earliest, latest):
        """What a member's words say of a change, if the log does not say more."""
        if not self.known:
            self.changes.append((earliest, latest))

    def on_joining(self, event):
        self.change(event.at, event.at)

    def on_leaving(self, event):
        self.leaving[event.member] = event.at

    def on_left(self, event):
        self.change(self.leaving[event.member], event.at)
        self.leaves.append(event.at - self.leaving[event.member])

    def on_killed(self, event):
        self.dead[event.member] = event.at
        latest = event.at + self.session
        self.change(latest - 2 * self.heartbeat, latest)

    def on_assigned(self, event, partitions):
        for p in partitions:
            owner = self.owner.get(p)
            if owner in self.dead:
                self.free_since[p] = self.dead[owner] + self.session
                if event.at < self.free_since[p] - 2 * self.heartbeat:
                    self.fault(event, f"is given {p} before the session of {owner} can have ended")
            elif owner is not None:
                self.fault(event, f"is given {p}, which {owner} owns")
            self.owner[p] = event.member
        self.judge_waits(event, partitions)

    def judge_waits(self, event, partitions):
        late = {}
        changes = [min(latest, event.at) for earliest, latest in self.changes if earliest <= event.at]
        if not changes:
            self.fault(event, "is given partitions before anybody is known")
        changed = max(changes, default=event.at)
        for p in self.free_since.keys() & partitions:
            since = max(min(self.free_since[p], event.at), changed)
            self.waits.append(event.at - since)
            if event.at - since > self.unowned_max:
                late.setdefault(since, []).append(p)
        for since, which in late.items():
            self.fault(event, f"{which} had no owner for {event.at - since:.3f} s since {since:.3f}")

    def on_revoked(self, event, partitions):
        for p in partitions:
            if self.owner.get(p) != event.member:
                self.fault(event, f"gives {p}, which {self.owner.get(p)} owns")
            else:
                del self.owner[p]
                self.free_since[p] = event.at

    def on_lost(self, event, partitions):
        self.on_revoked(event, partitions)
        if partitions and event.member not in self.leaving:
            self.fault(event, f"lost {partitions}")

    def on_first(self, event, offsets):
        self.judge_owner(event, offsets)
        for p, (offset,) in offsets.items():
            if offset not in (self.committed[p], self.perhaps.get(p)):
                self.fault(event, f"begins {p} at {offset}, where {self.committed[p]} is committed"
                                  f" and perhaps {self.perhaps.get(p)}")
            self.committed[p] = offset
            self.perhaps.pop(p, None)

    def on_gap(self, event, offsets):
        for p, (expected, offset) in offsets.items():
            self.fault(event, f"reads {offset} of {p}, not {expected}")

    def judge_owner(self, event, partitions):
        for p in partitions:
            if self.owner.get(p) != event.member:
                self.fault(event, f"is at work on {p}, which {self.owner.get(p)} owns")

    def on_committing(self, event, offsets):
        self.judge_owner(event, offsets)
        for p, (begin, to) in offsets.items():
            if begin != self.committed[p]:
                self.fault(event, f"commits {p} from {begin}, where {self.committed[p]} is committed")
            self.perhaps[p] = to
        self.committing[event.member] = {p: to for p, (_, to) in offsets.items()}

    def on_committed(self, event):
        self.settle(event.member, done=True)

    def on_refused(self, event):
        if event.words[1] == "known":
            self.settle(event.member, done=False)

    def settle(self, member, done):
        for p, to in self.committing.pop(member).items():
            del self.perhaps[p]
            if done:
                self.committed[p] = to

    def on_error(self, event):
        self.fault(event, f"poll says {event.words}")
