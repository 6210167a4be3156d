"""Reconciliation: asks the queue for jobs that have not been heard of for a while.

All that wait are asked for, whoever waited longest since it was last asked for first; so many at a
time, and more at once only while the store turns out to have lost jobs, or has just come back.
Each partition is asked for itself: none waits for a server of another one.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import structlog

from penstock.clock import Clock
from penstock.errors import PenstockError
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.requests.waiting import Pending

log = structlog.get_logger()

ASK_AFTER_S: Final = 1.0
MOST_QUESTIONS: Final = 256

_ASK_S: Final = attrgetter("ask_s")

PutRight = Callable[[Pending, str | None], bool]
"""Gets a request and the state of its job; whether the job had been lost, and is queued again."""


class Reconciliation:
    """Of the requests of one gateway process with the jobs of the store."""

    def __init__(
        self, queue: Queue, waiting: Mapping[str, Pending], put_right: PutRight, clock: Clock
    ) -> None:
        """*waiting*: all requests, by their jobs; it changes while this runs."""
        self._queue = queue
        self._waiting = waiting
        self._put_right = put_right
        self._clock = clock
        self._connections_made: dict[str, int] = {}
        self._asking: set[str] = set()

    def questions(
        self, due: Iterable[Pending], models: Iterable[str]
    ) -> Iterator[Coroutine[Any, Any, None]]:
        """Asks for the jobs of requests, of each partition apart; not where that goes on.

        Args:
            due: who has not been heard of for a while. Where a server was away, all are asked for.
            models: that requests wait for.
        """
        returned = set[str]()
        places = {model: self._place(model, returned) for model in models}
        groups: defaultdict[str, list[Pending]] = defaultdict(list)
        now_s = self._clock()
        for pending in self._waiting.values() if returned else due:
            tag = places.get(pending.job.ref.model)
            if tag in returned:
                pending.ask_s = 0.0
            if tag is not None and pending.ask_s <= now_s:
                groups[tag].append(pending)
        for tag, group in groups.items():
            self._asking.add(tag)
            # Of more than can be asked for in a second, those asked first are due again by then.
            yield self._ask(tag, sorted(group, key=_ASK_S))

    def _place(self, model: str, returned: set[str]) -> str | None:
        """The partition of *model*, if it can be asked now; those that were away are *returned*."""
        link, tag = self._queue.link_of(model), self._queue.keys_of(model).tag
        if not link.up or tag in self._asking:
            return None
        if self._connections_made.setdefault(tag, link.connections_made) != link.connections_made:
            self._connections_made[tag] = link.connections_made
            returned.add(tag)
        return tag

    async def _ask(self, tag: str, due: list[Pending]) -> None:
        try:
            for start in range(0, len(due), MOST_QUESTIONS):
                if not await self._ask_for(due[start : start + MOST_QUESTIONS]):
                    return
        except PenstockError as error:
            log.warning("asking for jobs failed", partition=tag, error=str(error))
        finally:
            self._asking.discard(tag)

    async def _ask_for(self, some: Sequence[Pending]) -> bool:
        """Ask for the jobs of *some* requests; whether the next ones should not wait."""
        some = [pending for pending in some if not pending.answer.done()]
        after_outage = not some or some[-1].ask_s == 0.0
        states = await asyncio.gather(*(_state(pending) for pending in some))
        lost, now_s = False, self._clock()
        for pending, state in zip(some, states, strict=True):
            pending.ask_s = now_s + ASK_AFTER_S
            if not pending.answer.done():
                lost |= self._put_right(pending, state)
        return lost or after_outage


async def _state(pending: Pending) -> str | None:
    first, *later = pending.job.models
    return await pending.sink.state(first, pending.job.id, *later)
