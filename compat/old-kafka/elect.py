"""Raise the leader epoch of `old` while its broker is down: elect.py ZOOKEEPER_PORT

With ZooKeeper a broker alone gets a new epoch at a restart only from Kafka 0.11. What elections among several
brokers would have left in ZooKeeper is written there, in its own protocol.
"""

import socket
import struct
import sys

STATE = b'{"controller_epoch":1,"leader":1,"version":1,"leader_epoch":4,"isr":[1]}'
OK, SET_DATA, ANY_VERSION = 0, 5, -1


def text(data):
    return struct.pack(">i", len(data)) + data


def ask(request):
    connection.sendall(text(request))
    size = struct.unpack(">i", answers.read(4))[0]
    return answers.read(size)


with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30) as connection:
    answers = connection.makefile("rb")
    ask(struct.pack(">iqiq", 0, 0, 10_000, 0) + text(bytes(16)))
    for partition in range(3):
        path = f"/brokers/topics/old/partitions/{partition}/state".encode()
        request = struct.pack(">ii", partition + 1, SET_DATA) + text(path) + text(STATE)
        answer = ask(request + struct.pack(">i", ANY_VERSION))
        (_, _, error) = struct.unpack_from(">iqi", answer)
        assert error == OK, error
