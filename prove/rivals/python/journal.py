"""Starts and effects of a run of `prove`, and the trouble that each message makes, for workers in Python."""

import json
import os
import signal
import time

FOLDER = os.environ["PROVE_DIR"]
SOURCE, QUEUE = os.environ["PROVE_SOURCE"], os.environ["PROVE_QUEUE"]
STORE, SCHEMA = os.environ["PROVE_STORE"], os.environ["PROVE_SCHEMA"]
LEASE = int(os.environ["PROVE_LEASE_MS"]) / 1000
POINT, _, NTH = os.environ.get("ACKONCE_CRASH_AT", "").partition(":")

passes = {}


def append(path, entry):
    """One write: lines of several processes do not mix. The newline before it ends a line that a kill has torn."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, f"\n{json.dumps(entry)}\n".encode())
    os.close(file)


def micros():
    return time.time_ns() // 1000


def point(name):
    """A named point: the harness may have this process die at its n-th pass."""
    passes[name] = passes.get(name, 0) + 1
    if name == POINT and passes[name] == int(NTH or 1):
        hit = {"pid": os.getpid(), "point": name, "stops": False, "at": micros()}
        append(os.environ["ACKONCE_POINT_LOG"], hit)
        os.kill(os.getpid(), signal.SIGKILL)


def handle(message_id, redelivered):
    """The handler of every rival: an effect between two points."""
    claimed, number = micros(), int(message_id[1:])
    entry = {"id": message_id, "key": message_id, "attempt": 1 + redelivered, "fence": claimed, "pid": os.getpid()}
    append(f"{FOLDER}/starts.jsonl", entry | {"at": claimed})
    if number % 401 == 11:
        return  # refused: without an effect
    if not redelivered and (number % 211 == 7 or number % 97 == 5):
        raise RuntimeError("fails once, as planned")
    time.sleep(0.002)
    point("before-effect")
    append(f"{FOLDER}/effects.jsonl", entry | {"at": micros()})
    point("after-effect")
    time.sleep(0.002)
