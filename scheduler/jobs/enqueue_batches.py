"""Gathering: jobs for one queue travel together, since a call costs more than a job.

Whoever is alone leaves at once, a few at the end of the event-loop turn. Where many requests are
in flight, a lot waits until it holds a share of them, or for some milliseconds: then calls grow
with the load instead of their number, and a request waits for a small part of the time that it
takes anyway.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from penstock.scheduler.jobs.types import NewJob, QueueLimits
from penstock.scheduler.store.keys import StageRef

SHARE: Final = 6
"""A lot leaves when it holds one of so many of the jobs that its gateway waits for."""

PATIENCE_S: Final = 0.004
"""It leaves after this time in any case."""

LOT_BYTES: Final = 256 * 1024
"""So many bytes of payloads are enough for a call of their own."""

Answered = Callable[[str | Exception | None], None]
"""Told how an enqueue ended: None when the job is new, its state when it was known, an error."""

Entry = tuple[NewJob, Answered]


class Line(NamedTuple):
    """What one call can carry: jobs of one gateway, for one queue, under the same limits.

    Attributes:
        ensemble: that they are for; empty for none.
        crashed: boot id of the worker that had them from their gateway, and died; empty for none.
        letter: entry, and job, of the dead letter that they are a retry of; None for none.
    """

    ref: StageRef
    gateway: str
    limits: QueueLimits
    ensemble: str
    crashed: str = ""
    letter: tuple[str, str] | None = None


Send = Callable[[Line, list[Entry]], None]


def put_apart(send: Send, line: Line, entries: list[Entry]) -> None:
    """*send* entries together; where that fails each by itself, so that the culprit alone hears it.

    *send* may come twice with the same job.
    """
    try:
        send(line, entries)
    except Exception as error:  # noqa: BLE001 - who waits for the job is told
        if len(entries) == 1:
            entries[0][1](error)
            return
        for entry in entries:
            put_apart(send, line, [entry])


@dataclass(slots=True)
class _Lot:
    """Jobs of one line that have not left yet, and what will make them leave."""

    entries: list[Entry] = field(default_factory=list)
    payload_bytes: int = 0
    leaving: asyncio.Handle | None = None


class Gathering:
    """Jobs on their way into the queue."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lots: dict[Line, _Lot] = {}

    def __len__(self) -> int:
        return sum(len(lot.entries) for lot in self._lots.values())

    def add(self, job: NewJob, limits: QueueLimits, answered: Answered, crowd: int) -> None:
        """Take *job* along with the next call; *answered* is told how that ended.

        Args:
            crowd: jobs of this queue that the gateway waits for, this one included.
        """
        line = Line(job.ref, job.gateway, limits, job.ensemble)
        lot = self._lots.get(line)
        if lot is None:
            lot = self._lots[line] = _Lot()
        lot.entries.append((job, answered))
        lot.payload_bytes += len(job.payload)
        loop = asyncio.get_running_loop()
        if crowd == 1:
            self._leave(line)
        elif len(lot.entries) * SHARE >= crowd or lot.payload_bytes >= LOT_BYTES:
            self._leave_soon(line, lot, loop)
        elif lot.leaving is None:
            lot.leaving = loop.call_later(PATIENCE_S, self._leave, line)

    def remove(self, job_id: str) -> bool:
        """Take back a job that has not left yet; whether there was one."""
        for lot in self._lots.values():
            for entry in lot.entries:
                if entry[0].id == job_id:
                    lot.entries.remove(entry)
                    lot.payload_bytes -= len(entry[0].payload)
                    return True
        return False

    def _leave_soon(self, line: Line, lot: _Lot, loop: asyncio.AbstractEventLoop) -> None:
        """At the end of this turn, with whoever else comes in it."""
        if isinstance(lot.leaving, asyncio.TimerHandle) or lot.leaving is None:
            if lot.leaving is not None:
                lot.leaving.cancel()
            lot.leaving = loop.call_soon(self._leave, line)

    def _leave(self, line: Line) -> None:
        # Lines are few, but versions come and go.
        lot = self._lots.pop(line)
        if lot.leaving is not None:
            lot.leaving.cancel()
        if lot.entries:
            self._send(line, lot.entries)
