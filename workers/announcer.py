"""Announcer: keeps a worker's record in the registry true."""

import asyncio

import structlog

from penstock.errors import PenstockError
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry import ANNOUNCE_EVERY_S, Registry

log = structlog.get_logger()


class Announcer:
    """One worker's record: announced when it changes, and every second."""

    def __init__(self, registry: Registry, record: pb.Worker) -> None:
        self._registry = registry
        self._record = record
        self._signature: pb.Signature | None = None
        self._left = False

    @property
    def record(self) -> pb.Worker:
        """What is announced at present."""
        return self._record

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
        signature: pb.Signature | None = None,
    ) -> None:
        """Announce a new state now."""
        self._record.state = state
        self._record.reason = reason
        if signature is not None:
            self._signature = signature
            self._record.memory_bytes = signature.parameter_bytes
        await self._announce()

    async def leave(self) -> None:
        """Take the record out of the registry."""
        self._left = True
        await self._registry.withdraw(self._record)

    async def _announce(self) -> None:
        await self._registry.announce(self._record, signature=self._signature)
