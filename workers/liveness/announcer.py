"""Announcer: keeps a worker's record in the registry true."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from penstock.clock import monotonic
from penstock.errors import PenstockError
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.artifact_facts import AgreedFacts, ArtifactFacts
from penstock.scheduler.registry.registry import ANNOUNCE_EVERY_S, Registry
from penstock.workers.liveness.heartbeat_pipe import BEAT_S, RESTING_BEAT_S

log = structlog.get_logger()

VOUCHED_EVERY_S: Final = 3.0
"""How often a worker says what it is whose node says that it lives: the registry may forget."""

RESTING_EVERY_S: Final = RESTING_BEAT_S + 2 * BEAT_S
"""How often one does that rests, while the registry hears it: with each of its beats, or else
soon after. A process of hundreds that rest costs a core's time whenever it wakes."""

_AT_FIRST: Final = 10


class Announcer:
    """One worker's record: announced when it changes, and every few seconds.

    Attributes:
        on_unsplittable: is called when the cluster says why requests must not share a run of the
            artifact; maybe more than once.
        rests: tells whether the worker has nothing to do.
    """

    def __init__(self, registry: Registry, record: pb.Worker, *, vouched: bool = False) -> None:
        """*vouched*: its node says that it lives."""
        self._pause_s = VOUCHED_EVERY_S if vouched else ANNOUNCE_EVERY_S
        self._at_first = _AT_FIRST
        self._news = asyncio.Event()
        self._heard_until_s = 0.0
        self.rests: Callable[[], bool] = lambda: False
        self._registry = registry
        self._record = record
        self._left = False
        self._facts: ArtifactFacts | None = None
        self.on_unsplittable: Callable[[str], None] | None = None

    @property
    def record(self) -> pb.Worker:
        """What is announced at present."""
        return self._record

    @property
    def unsplittable(self) -> str:
        """Why requests must not share a run, as far as it is known here; empty if they may."""
        return self._facts.unsplittable if self._facts is not None else ""

    @property
    def is_heard(self) -> bool:
        """Whether the registry has heard it lately."""
        return monotonic() < self._heard_until_s

    async def run(self) -> None:
        """Announce until cancelled, or gone; an outage of Redis is waited out."""
        while not self._left:
            self._news.clear()
            try:
                await self._announce()
            except PenstockError as error:
                log.warning("announcing failed", error=str(error))
            # Its node has yet to hear it.
            self._at_first = max(0, self._at_first - 1)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._news.wait()

    def announce_soon(self) -> None:
        """Announce now: there is news, or the registry may have forgotten."""
        self._news.set()

    def _pause(self) -> float:
        """Seconds until the next announcement."""
        if self._at_first:
            return ANNOUNCE_EVERY_S
        if self._pause_s == VOUCHED_EVERY_S and self.is_heard and self.rests():
            return RESTING_EVERY_S
        return self._pause_s

    async def become(
        self,
        state: pb.WorkerState,
        *,
        reason: str = "",
        facts: ArtifactFacts | None = None,
    ) -> None:
        """Announce a new state now."""
        self._record.state = state
        self._record.reason = reason
        if facts is not None:
            self._facts = facts
            self._record.memory_bytes = facts.signature.parameter_bytes
        await self._announce()

    def found_unsplittable(self, why: str) -> None:
        """Announce that requests must not share a run of the artifact."""
        if self._facts is not None and not self._facts.unsplittable:
            self._facts = replace(self._facts, unsplittable=why)
            self.announce_soon()

    def found_footprint(self, held_bytes: int) -> None:
        """Announce how much of its device the worker holds."""
        if self._facts is not None:
            self._facts = replace(self._facts, footprint_bytes=held_bytes)
            self.announce_soon()

    async def leave(self) -> None:
        """Take the record out of the registry."""
        self._left = True
        await self._registry.withdraw(self._record)

    async def _announce(self) -> None:
        announced = self._facts
        agreed = await self._registry.announce(self._record, facts=announced)
        self._heard_until_s = monotonic() + 2 * max(VOUCHED_EVERY_S, self._pause())
        if announced is None or self._facts is None:
            return
        # What stands is announced again, should the store forget it.
        proof = agreed.proof or self._facts.proof
        why = agreed.unsplittable or self._facts.unsplittable or _disagreement(announced, agreed)
        self._facts = replace(self._facts, proof=proof, unsplittable=why)
        if why and self.on_unsplittable is not None:
            self.on_unsplittable(why)


def _disagreement(own: ArtifactFacts, agreed: AgreedFacts) -> str:
    """Why requests must not share a run here, though another worker proved that they may."""
    proved = agreed.proof is not None and agreed.proof.proved
    return own.proof.why if proved and own.proof is not None and not own.proof.proved else ""
