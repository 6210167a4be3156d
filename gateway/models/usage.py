"""Tells the cluster which models this gateway has requests for, once a second.

Only where models are loaded on demand: who is used is not unloaded to make room. One call a
second for all of them, and none while there are no requests.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from penstock.clock import monotonic
from penstock.errors import PenstockError
from penstock.gateway.models.catalog import Catalog
from penstock.gateway.models.control import Control
from penstock.gateway.models.on_demand import OnDemand
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.requests.pending import PendingTable

log = structlog.get_logger()

_TELL_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Collects what is used, and tells it."""

    _catalog: Catalog
    _pending: PendingTable
    _on_demand: OnDemand
    _control: Control
    _load_requests: LoadRequests

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            ago_ms = self.take()
            if not ago_ms or self._catalog.mode != "on-demand":
                continue
            try:
                await self._load_requests.use(ago_ms)
            except PenstockError as error:
                log.warning("reporting which models are used failed", error=str(error))

    def take(self) -> dict[str, int]:
        """How long ago each model was used, in ms, of those that were since the last call.

        A model that requests wait for is used now.
        """
        now_s = monotonic()
        used_s, self._catalog.used_s = self._catalog.used_s, {}
        ago_ms = {model: int((now_s - at_s) * 1000) for model, at_s in used_s.items()}
        now = self._pending.models() | self._on_demand.waiting.keys() | self._control.waiting.keys()
        return ago_ms | dict.fromkeys(now, 0)
