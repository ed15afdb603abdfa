"""Just enough of Kafka's protocol to knock on a broker's door, with nothing but a socket.

    wire.py first-answer BROKER COMMAND...   start COMMAND, stop it, print the milliseconds from exec until
                                             it first named itself in a Metadata answer
    wire.py idle BROKER COUNT READY DONE     open COUNT connections, let each be answered once, create the
                                             file READY, wait for the file DONE, let each be answered again
"""

import pathlib
import resource
import socket
import struct
import subprocess
import sys
import time

METADATA, API_VERSIONS = 3, 18
WAIT = 60  # seconds, for everything


def address(broker):
    host, port = broker.rsplit(":", 1)
    return host, int(port)


def ask(connection, api, version, body=b""):
    """Send a request with header version 1 and return the answer's body."""
    header = struct.pack(">hhih", api, version, 7, 4) + b"wire"
    connection.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
    size, correlation = struct.unpack(">ii", exactly(connection, 8))
    assert correlation == 7, f"the correlation id is {correlation}"
    return exactly(connection, size - 4)


def exactly(connection, count):
    read = b""
    while len(read) < count:
        part = connection.recv(count - len(read))
        if not part:
            raise ConnectionResetError("closed by the broker")
        read += part
    return read


def names_itself(connection, broker):
    """Does Metadata (version 1, no topics asked for) list one broker, at the address we called?"""
    answer = ask(connection, METADATA, 1, struct.pack(">i", 0))
    if struct.unpack_from(">i", answer) != (1,): # Apache Kafka answers before it knows itself
        return False
    (size,) = struct.unpack_from(">h", answer, 8)
    host, (port,) = answer[10:10 + size].decode(), struct.unpack_from(">i", answer, 10 + size)
    return (host, port) == address(broker)


def first_answer(broker, *command):
    began = time.monotonic()
    with subprocess.Popen(command, stdout=sys.stderr) as process:
        try:
            wait_for_name(broker, process, began + WAIT)
            print(f"{(time.monotonic() - began) * 1000:.1f}")
        finally:
            process.terminate()


def wait_for_name(broker, process, deadline):
    while True:
        assert process.poll() is None, "the broker stopped"
        assert time.monotonic() < deadline, f"no answer in {WAIT} s"
        try:
            with socket.create_connection(address(broker), WAIT) as connection:
                if names_itself(connection, broker):
                    return
        except ConnectionError:
            pass
        time.sleep(0.0005)


def idle(broker, count, ready, done):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = [socket.create_connection(address(broker), WAIT) for _ in range(int(count))]

    def all_answered():
        for connection in connections:
            error, apis = struct.unpack_from(">hi", ask(connection, API_VERSIONS, 0))
            assert error == 0 and apis > 0, f"ApiVersions: error {error}, {apis} APIs"

    all_answered()
    pathlib.Path(ready).touch()
    deadline = time.monotonic() + WAIT
    while not pathlib.Path(done).exists():
        assert time.monotonic() < deadline, "nobody said that it is done"
        time.sleep(0.1)
    all_answered()


{"first-answer": first_answer, "idle": idle}[sys.argv[1]](*sys.argv[2:])
