"""What the stories share: the story's topic, its broker, the clients in it, and what is sent by them."""

import itertools
import os
import subprocess
import sys

from client import Broker, Client

TOPIC = sys.argv[1]  # each story has a topic of its own name
broker = Broker()
cast = []


def client():
    cast.append(Client())
    return cast[-1]


def opened(partitions=1, config=None, **settings):
    """A client with the story's topic made and a producer."""
    one = client()
    one.create(topic=TOPIC, partitions=partitions, config=config or {})
    one.producer(**settings)
    return one


def send(sender, sent, topic=None, partition=0):
    return sender.send(topic=topic or TOPIC, partition=partition, records=sent)


def spread(sender, sent, topic=None):
    """Over all partitions, by key."""
    return send(sender, sent, topic, None)


def lines(count):
    with open(os.environ["RECORDS"], encoding="ascii") as file:
        return [line.rstrip("\n") for line in itertools.islice(file, count)]


def kept(topic):
    """What the broker keeps of a topic's partition 0."""
    folder = os.path.join(os.environ["DATA"], f"{topic}-0")
    segments = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".log")]
    here = os.path.dirname(os.path.abspath(__file__))
    words = subprocess.check_output([sys.executable, os.path.join(here, "..", "batches.py"), *segments], text=True)
    return dict(word.split("=") for word in words.split())


def end():
    """Let all clients leave, also those of a story that failed."""
    for each in cast:
        each.end()
