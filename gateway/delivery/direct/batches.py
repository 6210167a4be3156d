"""Direct batches: jobs for one stage that go together to a worker beside this gateway.

A call costs more than a job, so batches grow with the load: a worker has one at a time, and whoever
comes meanwhile waits for the next. Nobody waits while a worker is free.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from penstock.gateway.delivery.direct.worker_connections import DirectJob, WorkerConnection

log = structlog.get_logger()

PATIENCE_S: Final = 0.01
"""How long a job waits for a worker beside its gateway before others may have it."""


class DirectBatches:
    """The jobs that wait for one of the workers of a stage.

    Attributes:
        connections: with these workers.
    """

    def __init__(self, queue_up: Callable[[list[DirectJob]], None]) -> None:
        """*queue_up* gets what no worker here takes."""
        self._queue_up = queue_up
        self._jobs: dict[str, DirectJob] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.connections: list[WorkerConnection] = []

    def __repr__(self) -> str:
        return f"DirectBatches({len(self._jobs)} jobs, {self.connections})"

    def __contains__(self, job: str) -> bool:
        return job in self._jobs

    @property
    def are_welcome(self) -> bool:
        """Whether any of the workers takes jobs at present."""
        return any(connection.room for connection in self.connections)

    def add(self, direct: DirectJob) -> bool:
        """Hand a job over as soon as a worker is free, with whoever else waits by then.

        Returns:
            False if none of the workers takes jobs at present: it has to go another way.
        """
        if not self._jobs:
            for connection in self.connections:
                if connection.is_free:
                    connection.hand([direct])
                    return True
        if not self.are_welcome:
            return False
        self._jobs[direct.job.id] = direct
        self.hand_out()
        return True

    def remove(self, job: str) -> bool:
        """Take back a job that has not left yet; whether there was one."""
        return self._jobs.pop(job, None) is not None

    def hand_out(self) -> None:
        """Give batches to the workers that are free, and all to the queue where none takes any."""
        for connection in self.connections:
            if self._jobs and connection.is_free:
                self._hand(connection, list(self._next(connection.room)))
                self._wait_anew()
        if not self._jobs:
            self._wait_anew()
        elif not self.are_welcome:
            self._leave()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(PATIENCE_S, self._leave)

    def _hand(self, connection: WorkerConnection, jobs: list[DirectJob]) -> None:
        try:
            connection.hand(jobs)
        except Exception:
            # The queue finds out which of them is not to be sent, and tells it alone.
            log.exception("jobs cannot be sent directly, they are queued", jobs=len(jobs))
            self._queue_up(jobs)

    def _next(self, rows: int) -> Iterator[DirectJob]:
        """The jobs that have waited longest, of so many rows; one in any case."""
        for id_, direct in list(self._jobs.items()):
            yield direct
            del self._jobs[id_]
            rows -= direct.job.rows
            if rows <= 0:
                return

    def _leave(self) -> None:
        self._wait_anew()
        jobs, self._jobs = list(self._jobs.values()), {}
        if jobs:
            self._queue_up(jobs)

    def _wait_anew(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
