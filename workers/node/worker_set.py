"""The workers of one node, kept equal to what is placed there."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import structlog

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import worker_id
from penstock.workers.node.supervisor import WorkerSupervisor

log = structlog.get_logger()


@dataclass(slots=True)
class _Entry:
    supervisor: WorkerSupervisor
    task: "asyncio.Task[None]"
    stop: asyncio.Event


class WorkerSet:
    """The workers of one node.

    Attributes:
        broken: fails when a supervisor does, which is a defect.
    """

    def __init__(self, supervisor_of: Callable[[pb.Placement], WorkerSupervisor]) -> None:
        """*supervisor_of* makes the supervisor of a placement; the set runs it."""
        self._supervisor_of = supervisor_of
        self._entries: dict[str, _Entry] = {}
        self._wanted: dict[str, pb.Placement] = {}
        self._closed = False
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"WorkerSet({len(self)} workers, {len(self._wanted)} wanted)"

    @property
    def wanted(self) -> list[pb.Placement]:
        """What shall run here."""
        return list(self._wanted.values())

    @property
    def pids(self) -> list[int]:
        """Their processes."""
        return [entry.supervisor.pid for entry in self._entries.values() if entry.supervisor.pid]

    def live(self, now_s: float) -> list[str]:
        """The names of those that have given a sign of life lately."""
        return [id_ for id_, entry in self._entries.items() if entry.supervisor.lives(now_s)]

    def follow(self, placements: Iterable[pb.Placement]) -> None:
        """Start what is new among *placements*, and stop what is no longer there.

        A worker whose placement changed is stopped first, and started anew once it has ended.
        """
        self._wanted = {worker_id(placement): placement for placement in placements}
        for id_, entry in self._entries.items():
            if entry.supervisor.placement != self._wanted.get(id_):
                entry.stop.set()
        self._start_missing()

    async def stop(self) -> None:
        """Stop all workers in order, and wait for their ends."""
        self._closed = True
        for entry in self._entries.values():
            entry.stop.set()
        tasks = [entry.task for entry in self._entries.values()]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start_missing(self) -> None:
        if self._closed:
            return
        for id_, placement in self._wanted.items():
            if id_ not in self._entries:
                supervisor, stop = self._supervisor_of(placement), asyncio.Event()
                task = asyncio.create_task(supervisor.run(stop), name=f"supervisor {id_}")
                self._entries[id_] = _Entry(supervisor, task, stop)
                task.add_done_callback(partial(self._ended, id_))

    def _ended(self, id_: str, task: "asyncio.Task[None]") -> None:
        del self._entries[id_]
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.broken.done():
            self.broken.set_exception(error)
        self._start_missing()
