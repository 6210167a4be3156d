"""The placer: turns each new picture of the cluster into placements, where they must change."""

import contextlib
import time
import uuid
from typing import Final

import structlog

from penstock.errors import PenstockError
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.eviction import evictions
from penstock.scheduler.decisions.placement import Plan
from penstock.scheduler.decisions.readiness import plan_for
from penstock.scheduler.decisions.rollout import retired
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.snapshot import Snapshot, empty_snapshot

log = structlog.get_logger()

_SWEEP_EVERY_S: Final = 10.0


class Placer:
    """Places what is published on the nodes that live."""

    def __init__(
        self, registry: Registry, load_requests: LoadRequests, *, kept: frozenset[str] | None = None
    ) -> None:
        """*kept*: models that never make room for others; None where none ever does."""
        self._registry = registry
        self._load_requests = load_requests
        self._kept = kept
        self._logged: frozenset[str] = frozenset()
        self._swept_at_s = time.monotonic()
        self._last = empty_snapshot()
        self._rests = False

    async def run(self) -> None:
        """Place, and forget what was silent for long, until cancelled."""
        async with contextlib.aclosing(self._registry.watch()) as snapshots:
            async for snapshot in snapshots:
                try:
                    if not (self._rests and snapshot.says_the_same(self._last)):
                        self._rests = False
                        retires = await self._retire(snapshot)
                        self._rests = await self._place(snapshot) and not retires
                    self._last = snapshot
                    await self._sweep(snapshot)
                except PenstockError as error:
                    log.warning("placing failed, looking again", error=str(error))

    async def _retire(self, snapshot: Snapshot) -> bool:
        done = retired(snapshot)
        if done and await self._registry.retire(done):
            log.info("retired", revisions=[one.field for one in done])
        return bool(done)

    async def _place(self, snapshot: Snapshot) -> bool:
        """Returns whether there was nothing to do, and will not be until something changes."""
        plan = plan_for(snapshot)
        self._log_once(plan)
        if plan.refusals and self._kept is not None:
            await self._make_room(snapshot, plan, self._kept)
        if not plan.moves:
            return not plan.refusals
        moves = f"{plan.moves} placement(s) changed"
        revision = await self._registry.place(snapshot.revision, plan.placements, moves)
        if revision is not None:
            log.info("placed", moves=plan.moves, workers=len(plan.placements), revision=revision)
        return False

    async def _make_room(self, snapshot: Snapshot, plan: Plan, kept: frozenset[str]) -> None:
        for model, reason in evictions(snapshot, plan, kept):
            before = snapshot.load_requests.get(model)
            # What came with the last load request comes back with the next request.
            load_request = pb.LoadRequest()
            if before is not None:
                load_request.CopyFrom(before)
            load_request.model, load_request.reason, load_request.unload = model, reason, True
            load_request.id, load_request.time_ms = uuid.uuid4().hex[:16], snapshot.now_ms
            if await self._load_requests.replace(before, load_request):
                log.info("unloading", model=model, reason=reason)

    def _log_once(self, plan: Plan) -> None:
        """Log each refusal once, when it is new."""
        refusals = frozenset(f"{ref.queue}: {why}" for ref, why in plan.refusals.items())
        for refusal in sorted(refusals - self._logged):
            log.info("cannot be placed", stage=refusal)
        self._logged = refusals

    async def _sweep(self, snapshot: Snapshot) -> None:
        if time.monotonic() - self._swept_at_s < _SWEEP_EVERY_S:
            return
        self._swept_at_s = time.monotonic()
        forgotten = await self._registry.sweep(snapshot)
        await self._load_requests.tidy(snapshot)
        if forgotten:
            log.info("forgot silent processes", count=forgotten)
