"""Counters: what gateways count themselves, added to the cluster's statistics once a second.

Everything that the queue's scripts see, they count. What never reaches them, a request that is
turned away at the door, costs no call of its own.
"""

import asyncio
from collections import Counter, defaultdict
from typing import Final

import structlog

from penstock.errors import PenstockError
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.observe.counters import add_counts

log = structlog.get_logger()

_TELL_EVERY_S: Final = 1.0

RESUBMITTED: Final = "resubmitted"
REFUSED_FULL: Final = "refused_full"
REFUSED_LATE: Final = "refused_late"
PROMPT_TOKENS: Final = "prompt_tokens"
GENERATED_TOKENS: Final = "generated_tokens"
CACHED_TOKENS: Final = "cached_tokens"
FIRST_NS: Final = "first_token_ns"
NEXT_NS: Final = "output_token_ns"


class GatewayCounters:
    """Counts by model version and name, as docs/redis.md names them."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)

    def count(self, ref: StageRef, name: str, more: int = 1) -> None:
        """One more, or so many."""
        self._counts[ref.model, ref.version][name] += more

    async def run(self, queue: Queue) -> None:
        """Tell *queue* until cancelled; an outage of Redis is waited out."""
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            await self.send(queue)

    async def send(self, queue: Queue) -> None:
        """Add what was counted since the last time; it is kept while Redis is away."""
        counts, self._counts = self._counts, defaultdict(Counter)
        # At once: the servers of some models may be away.
        await asyncio.gather(*(self._add(queue, *one, counted) for one, counted in counts.items()))

    async def _add(self, queue: Queue, model: str, version: int, counted: Counter[str]) -> None:
        try:
            await add_counts(queue, model, version, counted)
        except PenstockError as error:
            log.debug("counts cannot be written yet", error=str(error))
            self._counts[model, version] += counted
