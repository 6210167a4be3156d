"""What happened in a run: one event a line, from any number of processes, put together by time.

Times are of the machine's monotonic clock, which all its processes share. A line is written at
once and as a whole, so that the history of a process that is killed lacks nothing but, perhaps, its
last line.

=========== ================================================= ===================================
operation   invoke tells                                      ok, fail or unknown tells
=========== ================================================= ===================================
run         ``allowed``, ``lossy``: what the run may show
fault       ``name``                                          the same, when it is over
infer       ``place``, ``deadline_s``, ``allowed``            ``answer``, or ``code`` and ``text``
cancel                                                        (the client went away on purpose)
chunk                                                         ``index``; id is its request's
key         (a client wants its reply)                        ``made``: the execution it is from
execute     ``made``; id is the key's                         ``made``
enqueue     ``deadline_s``                                    nothing, or ``code``
claim                                                         ``token``, ``attempts``
settle      ``token``                                         ``held``
advance     ``token``                                         ``held``
reply                                                         ``code``, ``body``: as delivered
rest                                                          ``keys``, ``counters``, ``live``
gauge                                                         ``name``, ``value``, ``most``
=========== ================================================= ===================================
"""

import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

INVOKE, OK, FAIL, UNKNOWN = "invoke", "ok", "fail", "unknown"
KINDS = (INVOKE, OK, FAIL, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that one process saw.

    Attributes:
        kind: a call begins (invoke) and ends: done (ok), refused (fail), or who knows (unknown).
    """

    at_s: float
    process: str
    operation: str
    id: str
    kind: str
    facts: dict = field(default_factory=dict)


class Recorder:
    """Writes the events of one process into a file of its own."""

    def __init__(self, folder, process):
        self.process = process
        path = Path(folder) / f"{process}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.told = Counter()

    def write(self, operation, id_, kind, **facts):
        event = Event(time.monotonic(), self.process, operation, str(id_), kind, facts)
        os.write(self._file, json.dumps(asdict(event)).encode() + b"\n")
        self.told[operation, kind] += 1
        return event

    def close(self):
        os.close(self._file)


def read(folder):
    """All events below *folder*, in the order of their times."""
    events = []
    for path in sorted(Path(folder).glob("*.jsonl")):
        lines = path.read_bytes().split(b"\n")
        # What follows the last line break was being written when its process was killed.
        events += [Event(**json.loads(line)) for line in lines[:-1]]
    return sorted(events, key=lambda event: event.at_s)
