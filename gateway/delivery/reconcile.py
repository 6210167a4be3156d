"""Reconciliation: asks the queue for jobs that have not been heard of for a while.

All that wait are asked for, whoever waited longest since it was last asked for first; so many at a
time, and more at once only while the store turns out to have lost jobs, or has just come back.
Each partition is asked for itself: none waits for a server of another one.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final

import structlog

from penstock.clock import Clock
from penstock.errors import PenstockError
from penstock.gateway.delivery.waiting import Pending
from penstock.scheduler.jobs.queue import Queue

log = structlog.get_logger()

LOOK_EVERY_S: Final = 0.25
ASK_AFTER_S: Final = 1.0
MOST_QUESTIONS: Final = 256

Conclude = Callable[[Pending, str | None], bool]
"""Gets a request and the state of its job; whether the job had been lost, and is queued again."""


class Reconciliation:
    """Of the requests of one gateway process with the jobs of the store."""

    def __init__(
        self, queue: Queue, waiting: Mapping[str, Pending], conclude: Conclude, clock: Clock
    ) -> None:
        """*waiting*: all requests, by their jobs; it changes while this runs."""
        self._queue = queue
        self._waiting = waiting
        self._conclude = conclude
        self._clock = clock
        self._generations: dict[str, int] = {}
        self._asking: set[str] = set()

    async def run(self) -> None:
        """Ask until cancelled; an outage of the store is waited out."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                for tag, due in self._due().items():
                    self._asking.add(tag)
                    tasks.create_task(self._ask(tag, due))

    def _due(self) -> dict[str, list[Pending]]:
        """The requests whose jobs are to be asked for, by partition; not where that goes on."""
        due: defaultdict[str, list[Pending]] = defaultdict(list)
        now_s, places = self._clock(), dict[str, str | None]()
        returned = set[str]()
        for pending in self._waiting.values():
            model = pending.job.ref.model
            if model not in places:
                places[model] = self._place(model, returned)
            tag = places[model]
            if tag is None or pending.answer.done():
                continue
            if tag in returned:
                pending.ask_s = 0.0
            if pending.ask_s <= now_s:
                due[tag].append(pending)
        return due

    def _place(self, model: str, returned: set[str]) -> str | None:
        """The partition of *model*, if it can be asked now; those that were away are *returned*."""
        link, tag = self._queue.link_of(model), self._queue.keys_of(model).tag
        if not link.up or tag in self._asking:
            return None
        if self._generations.setdefault(tag, link.generation) != link.generation:
            self._generations[tag] = link.generation
            returned.add(tag)
        return tag

    async def _ask(self, tag: str, due: list[Pending]) -> None:
        due.sort(key=attrgetter("ask_s"))
        try:
            for some in _in_steps(due):
                if not await self._ask_for(some):
                    return
        except PenstockError as error:
            log.warning("asking for jobs failed", partition=tag, error=str(error))
        finally:
            self._asking.discard(tag)

    async def _ask_for(self, some: Sequence[Pending]) -> bool:
        """Ask for the jobs of *some* requests; whether the next ones should not wait."""
        some = [pending for pending in some if not pending.answer.done()]
        after_outage = not some or some[-1].ask_s == 0.0
        states = await asyncio.gather(*(self._state(pending) for pending in some))
        lost, now_s = False, self._clock()
        for pending, state in zip(some, states, strict=True):
            pending.ask_s = now_s + ASK_AFTER_S
            if not pending.answer.done():
                lost |= self._conclude(pending, state)
        return lost or after_outage

    async def _state(self, pending: Pending) -> str | None:
        first, *later = pending.job.models
        return await pending.door.state(first, pending.job.id, *later)


def _in_steps(due: Sequence[Pending]) -> Iterator[Sequence[Pending]]:
    for start in range(0, len(due), MOST_QUESTIONS):
        yield due[start : start + MOST_QUESTIONS]
