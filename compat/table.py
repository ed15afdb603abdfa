"""Put story results into the Markdown tables of a README: table.py RESULTS README braid|kafka.

RESULTS has lines `client story pass|fail seconds [note]` and `client story absent`. The tables stand between two
marker lines for each broker: one with a row for each story that clients share and a column for each client, and
one with a row for each story of those that tell stories of their own. What is said of the clients in RESULTS is
made anew; the rest stays.
"""

import datetime
import pathlib
import sys

results, readme, broker = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
BEGIN, END = f"<!-- results of {broker}: scripts/compat --write -->\n", f"<!-- end of results of {broker} -->"
SHARED = "metadata"  # who tells it tells the stories that clients share
DAY = "told on"


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read(old):
    """{client: {story: what the table says}}, in the order of the tables."""
    told, header = {}, []
    for line in old.splitlines():
        row = cells_of(line)
        if not line.startswith("|"):
            header = []
        elif not header:
            header = row
        elif row[0] != "--" and header[0] == "story":
            for client, cell in zip(header[1:], row[1:]):
                told.setdefault(client, {}).update({row[0]: cell} if cell else {})
        elif row[0] != "--":
            told.setdefault(row[0], {}).update({row[1]: row[2], DAY: row[3]})
    return told


def fresh(lines):
    told = {}
    for client, story, result, *rest in (line.split(maxsplit=4) for line in lines):
        mine = told.setdefault(client, {})
        words = {"pass": "pass", "fail": "**fail**", "absent": "–"}[result]
        mine[story] = words if result == "absent" else ", ".join([words, f"{rest[0]} s", *rest[1:]])
    return told


def table(rows):
    return "".join("| " + " | ".join(row) + " |\n" for row in [rows[0], ["--"] * len(rows[0]), *rows[1:]])


def shared(told):
    """Only how it ended: how long it took is of interest where a story is about that."""
    clients = sorted(client for client in told if SHARED in told[client])
    stories = dict.fromkeys(story for client in clients for story in told[client] if story != DAY)
    rows = [[story, *(told[client].get(story, "").split(",")[0] for client in clients)] for story in [*stories, DAY]]
    return table([["story", *clients], *rows])


def own(told):
    rows = [[client, story, cell, told[client].get(DAY, "")] for client in sorted(told) if SHARED not in told[client]
            for story, cell in told[client].items() if story != DAY]
    return table([["client", "its own story", "", DAY], *rows])


before, rest = readme.read_text().split(BEGIN)
old, after = rest.split(END)
told = read(old)
for client, stories in fresh(results.read_text().splitlines()).items():
    kept = told.get(client, {})
    told[client] = {**kept, **stories, DAY: datetime.date.today().isoformat()}
readme.write_text(f"{before}{BEGIN}{shared(told)}\n{own(told)}{END}{after}")
