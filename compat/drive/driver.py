"""What the drivers of the Python clients share: calls come in, answers go out. See protocol.md beside this."""

import json
import sys
import traceback


def serve(calls, code, name=lambda error: type(error).__name__):
    """Answer the calls on the input, each with the function of its name; `code` gives an error's Kafka code, and `name`
    what the client calls it."""
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = {"ok": calls[call.pop("do")](**call)}
        except Exception as error:  # whatever it is, the story is told
            traceback.print_exc()
            answer = {"error": {"code": code(error), "type": name(error), "text": str(error)}}
        print(json.dumps(answer), flush=True)


def encoded(text):
    return None if text is None else text.encode()


def decoded(octets):
    return None if octets is None else octets.decode()


def arrived(partition, offset, key, value, headers, time):
    """A record as `poll` answers it."""
    return {"partition": partition, "offset": offset, "key": decoded(key), "value": decoded(value),
            "headers": [[name, decoded(octets)] for name, octets in headers], "time": time}
