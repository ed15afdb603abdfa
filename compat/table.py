"""Put story results into the Markdown tables of a README: table.py RESULTS README braid|kafka.

RESULTS has lines `client story pass|fail seconds [note]` and `client story absent`. The tables stand between two
marker lines for each broker: one with a row for each story that clients share and a column for each client, and
one with a row for each story of those that tell stories of their own. What is said of the stories in RESULTS is
made anew; the rest stays, with the day on which it was told.
"""

import datetime
import pathlib
import sys

results, readme, broker = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
BEGIN, END = f"<!-- results of {broker}: scripts/compat --write -->\n", f"<!-- end of results of {broker} -->"
SHARED = "metadata"  # who tells it tells the stories that clients share
DAY = "told on"
SINCE = "<!-- told since then by "
ABSENT = "–"


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read(old):
    """{client: {story: (what the table says, the day it was told)}}, in the order of the tables."""
    told, header, since = {}, [], {}
    for line in old.splitlines():
        row = cells_of(line)
        if line.startswith(SINCE):
            client, stories = line.removeprefix(SINCE).removesuffix(" -->").split(": ")
            since[client] = dict(story.split(" ") for story in stories.split(", "))
        elif not line.startswith("|"):
            header = []
        elif not header:
            header = row
        elif row[0] != "--" and header[0] == "story":
            for client, cell in zip(header[1:], row[1:]):
                told.setdefault(client, {}).update({row[0]: (cell, "")} if cell else {})
        elif row[0] != "--":
            told.setdefault(row[0], {})[row[1]] = (row[2], row[3])
    for client, stories in told.items():
        if SHARED in stories:
            (day, _) = stories.pop(DAY, ("", ""))
            told[client] = {story: (cell, since.get(client, {}).get(story, day)) for story, (cell, _) in stories.items()}
    return told


def fresh(lines):
    told, today = {}, datetime.date.today().isoformat()
    for client, story, result, *rest in (line.split(maxsplit=4) for line in lines):
        words = {"pass": "pass", "fail": "**fail**", "absent": ABSENT}[result]
        cell = words if result == "absent" else ", ".join([words, f"{rest[0]} s", *rest[1:]])
        told.setdefault(client, {})[story] = (cell, today)
    return told


def table(rows):
    return "".join("| " + " | ".join(row) + " |\n" for row in [rows[0], ["--"] * len(rows[0]), *rows[1:]])


def shared(told):
    """Only how it ended: how long it took is of interest where a story is about that. A client's day is that of the
    story that it told longest ago; what it told later is said in a comment below."""
    clients = sorted(client for client in told if SHARED in told[client])
    names = dict.fromkeys(story for client in clients for story in told[client])
    rows = [[story, *(told[client].get(story, ("", ""))[0].split(",")[0] for client in clients)] for story in names]
    days, later = [], ""
    for client in clients:
        stories = {story: day for story, (cell, day) in told[client].items() if cell != ABSENT}
        days.append(min(stories.values()))
        newer = ", ".join(f"{story} {day}" for story, day in stories.items() if day != days[-1])
        later += f"{SINCE}{client}: {newer} -->\n" if newer else ""
    return table([["story", *clients], *rows, [DAY, *days]]) + later


def own(told):
    rows = [[client, story, cell, day] for client in sorted(told) if SHARED not in told[client]
            for story, (cell, day) in told[client].items()]
    return table([["client", "its own story", "", DAY], *rows])


before, rest = readme.read_text().split(BEGIN)
old, after = rest.split(END)
told = read(old)
for client, stories in fresh(results.read_text().splitlines()).items():
    told[client] = {**told.get(client, {}), **stories}
readme.write_text(f"{before}{BEGIN}{shared(told)}\n{own(told)}{END}{after}")
