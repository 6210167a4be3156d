"""penstock.v1.Cluster: what is running, and what has happened."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from penstock.gateway.catalog import Catalog
from penstock.gateway.depths import depths_of
from penstock.gateway.status import Context, abort
from penstock.protos import cluster_pb2 as pb
from penstock.protos import cluster_pb2_grpc
from penstock.scheduler.jobs import Depth
from penstock.scheduler.keys import StageRef
from penstock.scheduler.queue import Queue
from penstock.scheduler.registry import Registry
from penstock.scheduler.snapshot import VersionId


class ClusterService(cluster_pb2_grpc.ClusterServicer):
    """Answers from the catalog, with the queues' depths read anew."""

    def __init__(self, catalog: Catalog, registry: Registry, queue: Queue) -> None:
        self._catalog = catalog
        self._registry = registry
        self._queue = queue

    async def Status(self, request: pb.StatusRequest, context: Any) -> pb.StatusResponse:  # noqa: N802
        """One consistent picture of the cluster."""
        try:
            return await self._status(request.model)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the table of statuses decides
            await abort(context, error)

    async def Events(self, request: pb.EventsRequest, context: Any) -> AsyncIterator[pb.Event]:  # noqa: N802
        """What happens, as it happens."""
        try:
            async for event in self._registry.events(request.after_id):
                yield event
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the table of statuses decides
            await _end(context, error)

    async def _status(self, model: str) -> pb.StatusResponse:
        snapshot = self._catalog.snapshot
        wanted = [(i, v) for i, v in self._catalog.records() if model in ("", i.model)]
        contents = [v for v in snapshot.contents() if model in ("", v.model)]
        depths = await depths_of(self._queue, contents)
        return pb.StatusResponse(
            nodes=snapshot.live_nodes(),
            gateways=snapshot.live_gateways(),
            schedulers=snapshot.live_schedulers(),
            versions=[self._version_status(id_, record, depths) for id_, record in wanted],
        )

    def _version_status(
        self, id_: VersionId, record: pb.ModelVersion, depths: dict[StageRef, Depth]
    ) -> pb.VersionStatus:
        state = self._catalog.states[id_]
        return pb.VersionStatus(
            model=id_.model,
            version=id_.version,
            state=state.state,
            reason=state.reason,
            stages=[
                self._stage_status(
                    record, stage, depths.get(StageRef(*id_, stage.index), Depth(0, 0))
                )
                for stage in record.stages
            ],
        )

    def _stage_status(
        self, record: pb.ModelVersion, stage: pb.Stage, depth: Depth
    ) -> pb.StageStatus:
        place = (record.model, record.version, stage.index)
        return pb.StageStatus(
            index=stage.index,
            artifact=stage.artifact,
            artifact_bytes=stage.artifact_bytes,
            workers=[
                worker
                for worker in self._catalog.snapshot.live_workers()
                if (worker.model, worker.version, worker.stage) == place
            ],
            replicas_wanted=record.replicas,
            waiting=depth.waiting,
            oldest_waiting_ms=depth.oldest_ms,
        )


async def _end(context: Context, error: Exception) -> None:
    await abort(context, error)
