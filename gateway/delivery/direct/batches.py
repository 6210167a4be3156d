"""Direct batches: jobs for one stage that go together to a worker beside this gateway.

A call costs more than a job, so batches grow with the load. A worker has one at a time, and a
gateway that is busy lets a batch wait for most of those who may come, which it knows from the last
moments. A lone request waits for nobody.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from penstock.gateway.delivery.direct.busyness import Busyness
from penstock.gateway.delivery.direct.worker_connections import DirectJob, WorkerConnection

log = structlog.get_logger()

PATIENCE_S: Final = 0.03
"""How long a job waits for a worker beside its gateway before others may have it.

Longer than a busy machine lets a process wait for a core: a job that leaves takes those after it
along, since its worker then has to do with its queue, and each costs the store a hundred times as
much there.
"""

GATHERING_S: Final = 0.004
"""How long a batch waits for more jobs."""

_ENOUGH: Final = 16
_MOST_OF_THEM: Final = 0.75
_HALF_LIFE_S: Final = 0.05
"""The most jobs that were waited for at once count half after this time."""


class DirectBatches:
    """The jobs that wait for one of the workers of a stage.

    Attributes:
        connections: with these workers.
    """

    def __init__(
        self, queue_up: Callable[[list[DirectJob]], None], busyness: Busyness | None = None
    ) -> None:
        """*queue_up* gets what no worker here takes; *busyness* is the gateway's."""
        self._queue_up = queue_up
        self._busyness = busyness or Busyness()
        self._jobs: dict[str, DirectJob] = {}
        self._most = 0.0
        self._seen_s = 0.0
        self._due = False
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

    @property
    def are_empty(self) -> bool:
        """Whether no job waits to be handed over."""
        return not self._jobs

    def add(self, direct: DirectJob, in_flight: int) -> bool:
        """Hand a job over as soon as a worker is free, with others if there are many.

        Args:
            in_flight: jobs of this stage that the gateway waits for, this one included.

        Returns:
            False if none of the workers takes jobs at present: it has to go another way.
        """
        self._busyness.count()
        if not self._jobs and not self._busyness.busy:
            for connection in self.connections:
                if connection.is_free:
                    connection.hand([direct])
                    return True
        if not self.are_welcome:
            return False
        self._jobs[direct.job.id] = direct
        now_s = asyncio.get_running_loop().time()
        faded = self._most * 0.5 ** ((now_s - self._seen_s) / _HALF_LIFE_S)
        self._most, self._seen_s = max(faded, in_flight), now_s
        self.hand_out()
        return True

    def remove(self, job: str) -> bool:
        """Take back a job that has not left yet; whether there was one."""
        return self._jobs.pop(job, None) is not None

    def hand_out(self) -> None:
        """Give batches to the workers that are free, and all to the queue where none takes any."""
        for connection in self.connections:
            if self._jobs and connection.is_free and self._are_enough():
                self._hand(connection, list(self._next(connection.room)))
                self._wait_anew()
        if not self._jobs:
            self._wait_anew()
        elif not self.are_welcome:
            self._leave()
        elif self._timer is None:
            self._wait(GATHERING_S, self._become_due)

    def _hand(self, connection: WorkerConnection, jobs: list[DirectJob]) -> None:
        try:
            connection.hand(jobs)
        except Exception:
            # The queue finds out which of them is not to be sent, and tells it alone.
            log.exception("jobs cannot be sent directly, they are queued", jobs=len(jobs))
            self._queue_up(jobs)

    def _are_enough(self) -> bool:
        if self._due or not self._busyness.busy:
            return True
        return len(self._jobs) >= min(_ENOUGH, _MOST_OF_THEM * self._most)

    def _next(self, rows: int) -> Iterator[DirectJob]:
        """The jobs that have waited longest, of so many rows; one in any case."""
        for id_, direct in list(self._jobs.items()):
            yield direct
            del self._jobs[id_]
            rows -= direct.job.rows
            if rows <= 0:
                return

    def _become_due(self) -> None:
        """Whoever is there is enough, as soon as a worker is free."""
        self._due = True
        self._wait(PATIENCE_S - GATHERING_S, self._leave)
        self.hand_out()

    def _leave(self) -> None:
        self._wait_anew()
        jobs, self._jobs = list(self._jobs.values()), {}
        if jobs:
            self._queue_up(jobs)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _wait_anew(self) -> None:
        self._due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
