"""Print a line `FILE:TEST pass|fail|skip SECONDS` for each test in a report as JUnit writes them.

Usage: junit.py FILE REPORT. A report that is not there, or not whole, is a failed test by the name of
the file. The environment's ONLY is a regular expression: only the tests that match are printed.
"""

import os
import re
import sys
import xml.etree.ElementTree as xml

FAILED, SKIPPED = {"failure", "error"}, {"skipped"}


def lines(file, report):
    """The lines of a report; a test that is told twice, as a hook is, must pass twice."""
    try:
        cases = list(xml.parse(report).iter("testcase"))
    except (OSError, xml.ParseError):
        return [f"{file} fail 0.0"]
    found = {}
    for case in cases:
        tags = {child.tag for child in case}
        result = "fail" if tags & FAILED else "skip" if tags & SKIPPED else "pass"
        name = re.sub(r"\s+", "_", f"{file}:{case.get('name')}")
        before, seconds = found.get(name, ("pass", 0.0))
        found[name] = before if before != "pass" else result, seconds + float(case.get("time") or 0)
    return [f"{name} {result} {seconds:.1f}" for name, (result, seconds) in found.items()]


for line in lines(*sys.argv[1:]):
    if re.search(os.environ.get("ONLY", "."), line.split()[0]):
        print(line)
