"""Keep the results of a suite beside those of other runs, write RESULTS.md, and judge.

Usage: judge.py braid|kafka SUITE RESULTS

RESULTS has lines `TEST pass|fail|skip SECONDS`. They become lines of braid.txt or kafka.txt, the suite in
front, instead of what was there of the suite, or of the same tests if the environment's ONLY has chosen some.
The exit status is 1 if a test passes on Kafka and not on Braid and FINDINGS.md says nothing, or if nothing
passed. The last line that is printed is the summary.
"""

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
FINDINGS = HERE.parent / "FINDINGS.md"
EXCEPTIONS = "# Tests of the clients' own suites that pass on Kafka and not on Braid"
HEAD = """# The clients' own suites

Written by `compat/suites/judge.py`; `compat/README.md` says how the suites are run. A test that is skipped in
a suite has not passed. The seconds are those of the tests, several of which run at a time.

| suite | tests | pass on Kafka | pass on Braid | of Kafka's, on Braid | seconds on Kafka | on Braid |
| -- | -- | -- | -- | -- | -- | -- |"""


def load(broker):
    """{(suite, test): (result, seconds)} of a broker's list."""
    file = HERE / f"{broker}.txt"
    rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return {(suite, test): (result, seconds) for suite, test, result, seconds in rows}


def merge(broker, suite, results):
    """Put the results of a run into the broker's list."""
    everything = load(broker)
    if os.environ.get("ONLY", ".") == ".":
        everything = {key: value for key, value in everything.items() if key[0] != suite}
    everything.update({(suite, test): (result, seconds) for test, result, seconds in results})
    lines = [" ".join((*key, *value)) for key, value in sorted(everything.items())]
    (HERE / f"{broker}.txt").write_text("\n".join(lines) + "\n")


def exceptions():
    """{(suite, pattern): reason}, the rows of the table in FINDINGS.md."""
    table = FINDINGS.read_text().partition(EXCEPTIONS)[2].partition("\n#")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return {(suite.strip("` "), test.strip("` ")): reason for suite, test, reason in rows}


def compare(suite, braid, kafka):
    """The tests of a suite, and those that pass on Kafka and on Braid."""
    tests = {test for name, test in {**braid, **kafka} if name == suite}
    passed = [{test for test in tests if run.get((suite, test), [""])[0] == "pass"} for run in (kafka, braid)]
    return tests, *passed


def spent(suite, run):
    """The seconds of a suite's tests."""
    return sum(float(seconds) for (name, _), (_, seconds) in run.items() if name == suite)


def reasons(suite, tests, known):
    """{test: why it is known to fail on Braid}."""
    return {
        test: why
        for test in tests
        for (name, pattern), why in known.items()
        if name == suite and re.fullmatch(pattern, test)
    }


def report(braid, kafka, known):
    """Write RESULTS.md."""
    table, lists = [], []
    for suite in sorted({suite for suite, _ in {**braid, **kafka}}):
        tests, on_kafka, on_braid = compare(suite, braid, kafka)
        seconds = [f"{spent(suite, run):.0f}" for run in (kafka, braid)]
        both = f"{len(on_kafka & on_braid)} of {len(on_kafka)}"
        cells = [suite, len(tests), len(on_kafka), len(on_braid), both, *seconds]
        table.append("| " + " | ".join(map(str, cells)) + " |")
        why = reasons(suite, on_kafka - on_braid, known)
        only = {"Kafka and not on Braid": on_kafka - on_braid, "Braid and not on Kafka": on_braid - on_kafka}
        for title, ones in only.items():
            lists += [f"\n## {suite}: what passes on {title}\n"] if ones else []
            lists += [f"- `{test}`" + (f": {why[test]}" if test in why else "") for test in sorted(ones)]
    (HERE / "RESULTS.md").write_text("\n".join([HEAD, *table, *lists]) + "\n")


def main(broker, suite, results):
    """Do it all, and tell the exit status."""
    rows = [line.split() for line in Path(results).read_text().splitlines()]
    merge(broker, suite, rows)
    braid, kafka, known = load("braid"), load("kafka"), exceptions()
    report(braid, kafka, known)
    for test, result, _ in rows:
        if result == "fail":
            print("failed:", test)
    passed = sum(result == "pass" for _, result, _ in rows)
    summary = f"{passed} of {len(rows)} passed"
    bad = set()
    if broker == "braid":
        _, on_kafka, on_braid = compare(suite, braid, kafka)
        bad = on_kafka - on_braid - set(reasons(suite, on_kafka, known))
        summary += f", {len(on_kafka & on_braid)} of the {len(on_kafka)} that pass on Kafka"
    for test in sorted(bad):
        print("passes on Kafka, not on Braid, and nobody says why:", test)
    print(summary)
    return 1 if bad or not passed else 0


sys.exit(main(*sys.argv[1:]))
