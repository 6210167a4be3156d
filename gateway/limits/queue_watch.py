"""Keeps forecasts of the queues that this gateway has requests in.

It looks ten times a second, twice as often while jobs wait. Once nothing does it looks again when
another request has come: answers may be under way for minutes, and a look takes a turn of the
gateway's and of the store's. A model whose queue is empty has no forecast.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from penstock.clock import monotonic
from penstock.errors import PenstockError
from penstock.gateway.limits.forecast import Caution, Forecast, QueueSample, Speed, speed_of
from penstock.gateway.models.catalog import Catalog
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.observe.queue_samples import Waiting, batch_times_of, waiting_in
from penstock.scheduler.registry.snapshot import stage_of
from penstock.scheduler.requests.pending import PendingTable

log = structlog.get_logger()

_EVERY_S, _EVERY_BUSY_S = 0.1, 0.05
_NO_LONGER_S: Final = 0.5


class QueueWatch:
    """Looks at queues in which requests of this gateway are.

    Attributes:
        forecasts: first stage of a version -> its forecast; only where jobs wait, and where the
            times of live workers are known.
    """

    def __init__(self, queue: Queue, catalog: Catalog, pending: PendingTable) -> None:
        self._queue = queue
        self._catalog = catalog
        self._pending = pending
        self.forecasts: dict[StageRef, Forecast] = {}
        self._cautions: dict[StageRef, Caution] = {}
        self._nothing_waits = True

    async def run(self) -> None:
        """Look until cancelled; of queues whose server is away, nothing is foreseen."""
        begun = 0
        while True:
            if self._nothing_waits:
                await self._pending.until_another(begun)
            await asyncio.sleep(_EVERY_BUSY_S if self.forecasts else _EVERY_S)
            begun = self._pending.begun
            self.forecasts = await self.look()

    async def look(self) -> dict[StageRef, Forecast]:
        """Forecasts as of now."""
        refs = self._pending.refs()
        self._nothing_waits = True
        found = await asyncio.gather(*(self._tried(ref) for ref in refs))
        self._cautions = {ref: self._cautions[ref] for ref in refs if ref in self._cautions}
        return {ref: one for ref, one in zip(refs, found, strict=True) if one is not None}

    async def _tried(self, ref: StageRef) -> Forecast | None:
        try:
            async with asyncio.timeout(_NO_LONGER_S):
                return await self._look_at(ref)
        except (PenstockError, TimeoutError) as error:
            log.debug("a queue cannot be read", model=ref.model, error=str(error))
            self._nothing_waits = False
            return None

    async def _look_at(self, ref: StageRef) -> Forecast | None:
        served = self._catalog.serving(ref)
        if served is None:
            return None
        deployment = served.deployment
        stages = [ref._replace(stage=index) for index in range(len(deployment.stages))]
        waiting = await waiting_in(self._queue, stages)
        taken_s = monotonic()
        if not any(one.jobs for one in waiting.values()):
            return None
        self._nothing_waits = False
        speeds = await self._speeds(deployment.config, waiting)
        samples = [
            QueueSample(one, speed) if one.jobs and speed is not None else None
            for one, speed in zip(waiting.values(), speeds, strict=True)
        ]
        if not any(samples):
            return None
        caution = self._cautions.setdefault(ref, Caution())
        safety = caution.safety(self._pending.overdue.pop(ref, 0), taken_s)
        gateways = len(self._catalog.snapshot.live_gateways())
        return Forecast(samples, taken_s, gateways, safety)

    async def _speeds(
        self, config: ModelConfig, waiting: dict[StageRef, Waiting]
    ) -> list[Speed | None]:
        workers = [_claiming(ref, self._catalog.snapshot.live_workers()) for ref in waiting]
        ids = [id_ for group in workers for id_ in group]
        if not ids:
            return [None] * len(waiting)
        (first, *_) = waiting
        batch_times = dict(
            zip(ids, await batch_times_of(self._queue, first.model, ids), strict=True)
        )
        most_rows = config.max_batch_size if config.HasField("dynamic_batching") else 0
        return [
            speed_of([batch_times[id_] for id_ in group], most_rows, one.rows)
            for group, one in zip(workers, waiting.values(), strict=True)
        ]


def _claiming(ref: StageRef, workers: Iterable[pb.Worker]) -> Sequence[str]:
    """Boot ids of the workers that take jobs of this stage."""
    return [
        worker.boot_id
        for worker in workers
        if worker.state == pb.WORKER_STATE_READY and stage_of(worker) == ref
    ]
