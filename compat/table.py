"""Put story results into a Markdown table: table.py RESULTS README.

RESULTS has lines `client story pass|fail seconds [note]`. The table stands in README between two marker
lines, one row for each story and one column for each client. The columns of the clients in RESULTS are
made anew; the others stay.
"""

import pathlib
import sys

BEGIN, END = "<!-- results: scripts/compat --write -->", "<!-- end of results -->"

readme = pathlib.Path(sys.argv[2])
before, rest = readme.read_text().split(BEGIN + "\n")
old, after = rest.split(END)

cells = {}  # (client, story) -> what the table says; its order is the order of columns and rows
rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in old.splitlines()]
for story, *row in rows[2:]:
    cells |= {(client, story): cell for client, cell in zip(rows[0][1:], row)}
told = [line.split(maxsplit=4) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
fresh = {client for client, *_ in told}
cells = {key: cell for key, cell in cells.items() if key[0] not in fresh and cell}
for client, story, result, seconds, *note in told:
    cells[client, story] = ", ".join([result if result == "pass" else "**fail**", f"{seconds} s", *note])

clients = sorted({client for client, _ in cells})
stories = list(dict.fromkeys(story for _, story in cells))
table = [["story", *clients], ["--"] * (len(clients) + 1)]
table += [[story, *(cells.get((client, story), "") for client in clients)] for story in stories]
lines = "".join("| " + " | ".join(row) + " |\n" for row in table)
readme.write_text(f"{before}{BEGIN}\n{lines}{END}{after}")
