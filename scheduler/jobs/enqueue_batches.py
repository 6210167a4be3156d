"""EnqueueBatcher: jobs for one queue travel together, since a call costs more than a job.

Whoever is alone leaves at once, a few at the end of the event-loop turn. Where many requests are
in flight, a batch waits until it holds a share of them, or for some milliseconds: then calls grow
with the load instead of their number, and a request waits for a small part of the time that it
takes anyway.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.types import NewJob

SHARE: Final = 6
"""A batch leaves when it holds one of so many of the jobs that its gateway waits for."""

PATIENCE_S: Final = 0.004
"""It leaves after this time in any case."""

BATCH_BYTES: Final = 256 * 1024
"""So many bytes of payloads are enough for a call of their own."""

Answered = Callable[[str | Exception | None], None]
"""Told how an enqueue ended: None when the job is new, its state when it was known, an error."""

Entry = tuple[NewJob, Answered]


class BatchKey(NamedTuple):
    """What the jobs of one call have in common: gateway, queue, and limits.

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


Send = Callable[[BatchKey, list[Entry]], None]


def put_apart(send: Send, key: BatchKey, entries: list[Entry]) -> None:
    """*send* entries together; where that fails each by itself, so that the culprit alone hears it.

    *send* may come twice with the same job.
    """
    try:
        send(key, entries)
    except Exception as error:  # noqa: BLE001 - who waits for the job is told
        if len(entries) == 1:
            entries[0][1](error)
            return
        for entry in entries:
            put_apart(send, key, [entry])


@dataclass(slots=True)
class _Batch:
    """Jobs with one key that have not left yet, and what will make them leave."""

    entries: list[Entry] = field(default_factory=list)
    payload_bytes: int = 0
    leaving: asyncio.Handle | None = None


class EnqueueBatcher:
    """Jobs on their way into the queue."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._batches: defaultdict[BatchKey, _Batch] = defaultdict(_Batch)

    def __len__(self) -> int:
        return sum(len(batch.entries) for batch in self._batches.values())

    def add(self, job: NewJob, limits: QueueLimits, answered: Answered, in_flight: int) -> None:
        """Take *job* along with the next call; *answered* is told how that ended.

        Args:
            in_flight: jobs of this queue that the gateway waits for, this one included.
        """
        key = BatchKey(job.ref, job.gateway, limits, job.ensemble)
        batch = self._batches[key]
        batch.entries.append((job, answered))
        batch.payload_bytes += len(job.payload)
        loop = asyncio.get_running_loop()
        if in_flight == 1:
            self._leave(key)
        elif len(batch.entries) * SHARE >= in_flight or batch.payload_bytes >= BATCH_BYTES:
            self._leave_soon(key, batch, loop)
        elif batch.leaving is None:
            batch.leaving = loop.call_later(PATIENCE_S, self._leave, key)

    def remove(self, job_id: str) -> bool:
        """Take back a job that has not left yet; whether there was one."""
        for batch in self._batches.values():
            for entry in batch.entries:
                if entry[0].id == job_id:
                    batch.entries.remove(entry)
                    batch.payload_bytes -= len(entry[0].payload)
                    return True
        return False

    def _leave_soon(self, key: BatchKey, batch: _Batch, loop: asyncio.AbstractEventLoop) -> None:
        """At the end of this turn, with whoever else comes in it."""
        if isinstance(batch.leaving, asyncio.TimerHandle) or batch.leaving is None:
            if batch.leaving is not None:
                batch.leaving.cancel()
            batch.leaving = loop.call_soon(self._leave, key)

    def _leave(self, key: BatchKey) -> None:
        # Lines are few, but versions come and go.
        batch = self._batches.pop(key)
        if batch.leaving is not None:
            batch.leaving.cancel()
        if batch.entries:
            self._send(key, batch.entries)
