"""Tells the cluster which outgoing revisions this gateway needs no more.

A revision's workers are stopped when every gateway has left it. A gateway leaves one once it sends
nothing there any more, and nothing that it sent is unanswered; then it never goes back.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from penstock.errors import PenstockError
from penstock.gateway.models.catalog import Catalog
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.snapshot import Outgoing
from penstock.scheduler.requests.pending import PendingTable

log = structlog.get_logger()

_LOOK_EVERY_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Retirement:
    """Keeps the revisions that this gateway has left in its *record*."""

    _catalog: Catalog
    _pending: PendingTable
    _registry: Registry
    _record: pb.Gateway

    async def run(self) -> None:
        """Look, and tell, until cancelled."""
        while True:
            if self._catalog.snapshot.outgoing or self._catalog.left:
                await asyncio.sleep(_LOOK_EVERY_S)
            else:
                await self._catalog.turn()
            if not self.look():
                continue
            try:
                await self._registry.announce(self._record)
            except PenstockError as error:
                # The gateway's next word in a second says it as well.
                log.warning("announcing failed", error=str(error))

    def look(self) -> bool:
        """Bring the record up to date; returns whether it changed."""
        outgoing = self._catalog.snapshot.outgoing
        leaving = {one.left for one in self._catalog.rollout.leaving if self._is_quiet(one)}
        left = frozenset(
            one.left for one in outgoing if one.left in leaving or one.left in self._catalog.left
        )
        if left == self._catalog.left:
            return False
        self._catalog.left = left
        self._record.left[:] = sorted(left)
        return True

    def _is_quiet(self, one: Outgoing) -> bool:
        record = one.record
        return not self._pending.waiting_for(
            StageRef(record.model, record.version, 0, record.revision_id)
        )
