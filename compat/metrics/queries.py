"""Ask a Prometheus every query of a Grafana dashboard; print those that return nothing, and fail if any does.

    queries.py DASHBOARD PROMETHEUS_URL
"""

import json
import math
import sys
import urllib.parse
import urllib.request

# What Grafana puts in for its variables.
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}


def queries(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            yield panel["title"], query


def values(prometheus, query):
    url = prometheus + "/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=10) as answer:
        result = json.load(answer)["data"]["result"]
    return [value for value in (float(one["value"][1]) for one in result) if not math.isnan(value)]


def main(dashboard, prometheus):
    with open(dashboard, encoding="utf-8") as file:
        asked = list(queries(json.load(file)))
    empty = [(title, query) for title, query in asked if not values(prometheus, query)]
    for title, query in empty:
        print(f"{title}: {query}")
    print(f"{len(asked) - len(empty)} of {len(asked)} queries return data")
    return 1 if empty or not asked else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
