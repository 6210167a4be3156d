"""Announcer: keeps a worker's record in the registry true."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from penstock.errors import PenstockError
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.artifact_facts import AgreedFacts, ArtifactFacts
from penstock.scheduler.registry.registry import ANNOUNCE_EVERY_S, Registry

log = structlog.get_logger()


class Announcer:
    """One worker's record: announced when it changes, and every second.

    Attributes:
        on_unsplittable: is called when the cluster says why requests must not share a run of the
            artifact; maybe more than once.
    """

    def __init__(self, registry: Registry, record: pb.Worker) -> None:
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

    async def run(self) -> None:
        """Announce until cancelled, or gone; an outage of Redis is waited out."""
        while not self._left:
            try:
                await self._announce()
            except PenstockError as error:
                log.warning("announcing failed", error=str(error))
            await asyncio.sleep(ANNOUNCE_EVERY_S)

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
        """Say with the next announcement that requests must not share a run of the artifact."""
        if self._facts is not None and not self._facts.unsplittable:
            self._facts = replace(self._facts, unsplittable=why)

    def found_footprint(self, held_bytes: int) -> None:
        """Say with the next announcement how much of its device the worker holds."""
        if self._facts is not None:
            self._facts = replace(self._facts, footprint_bytes=held_bytes)

    async def leave(self) -> None:
        """Take the record out of the registry."""
        self._left = True
        await self._registry.withdraw(self._record)

    async def _announce(self) -> None:
        announced = self._facts
        agreed = await self._registry.announce(self._record, facts=announced)
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
