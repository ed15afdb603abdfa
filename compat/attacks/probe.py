"""An honest client: produces, fetches and asks for metadata every 20 ms over one connection, opens a new
connection and asks for /healthz every half second, and says how long each of them took.

    probe.py PORT HTTP_PORT SECONDS        one line of JSON
"""

import http.client
import json
import sys
import threading
import time

import wire
from wire import array, i8, i32, i64, text

TOPIC = "honest"


def steady(address, until, took, errors):
    """The old connection; a new one if it breaks."""
    record = wire.batch(wire.record(b"x" * 100))
    offset, s = 0, None
    while time.time() < until:
        try:
            s = s or wire.connect(address)
            began = time.perf_counter()
            answered = wire.call(s, wire.produce(TOPIC, [(0, record)]))
            # Correlation id, one topic with its name, one partition with its number.
            at = 4 + 4 + 2 + len(TOPIC) + 4 + 4
            if answered[at : at + 2] != b"\0\0":
                raise ValueError(f"Produce: error {int.from_bytes(answered[at:at + 2])}")
            offset = int.from_bytes(answered[at + 2 : at + 10])
            took["produce"].append(time.perf_counter() - began)
            began = time.perf_counter()
            wire.call(s, wire.fetch([(TOPIC, array([i32(0) + i64(offset) + i32(1 << 20)]))], 0, 0))
            took["fetch"].append(time.perf_counter() - began)
            began = time.perf_counter()
            wire.call(s, wire.metadata([TOPIC]))
            took["metadata"].append(time.perf_counter() - began)
        except (OSError, ValueError) as error:
            errors.append(f"{type(error).__name__}: {error}")
            s = None
            time.sleep(0.2)
        time.sleep(0.02)


def fresh(address, until, took, errors):
    while time.time() < until:
        try:
            began = time.perf_counter()
            with wire.connect(address) as s:
                wire.call(s, wire.frame(18, 0, b""))
            took["connect"].append(time.perf_counter() - began)
        except OSError as error:
            errors.append(f"connect: {type(error).__name__}: {error}")
        time.sleep(0.5)


def health(port, until, took, errors):
    while port and time.time() < until:
        try:
            began = time.perf_counter()
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            asked.request("GET", "/healthz")
            status = asked.getresponse().status
            if status != 200:
                raise OSError(f"/healthz says {status}")
            took["health"].append(time.perf_counter() - began)
        except (OSError, http.client.HTTPException) as error:
            errors.append(f"health: {type(error).__name__}: {error}")
        time.sleep(0.5)


def main():
    port, http_port, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    address, until = ("127.0.0.1", port), time.time() + seconds
    took = {name: [] for name in ("produce", "fetch", "metadata", "connect", "health")}
    errors = []
    tasks = [
        threading.Thread(target=steady, args=(address, until, took, errors), daemon=True),
        threading.Thread(target=fresh, args=(address, until, took, errors), daemon=True),
        threading.Thread(target=health, args=(http_port, until, took, errors), daemon=True),
    ]
    for task in tasks:
        task.start()
    stuck = False
    for task in tasks:
        task.join(max(0.0, until + 15 - time.time()))
        stuck |= task.is_alive()
    if stuck:
        errors.append("a request was not answered in 15 s")
    print(json.dumps({"took": took, "errors": errors}))


main()
