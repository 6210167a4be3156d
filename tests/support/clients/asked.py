"""Questions to one gateway, about what the cluster serves."""

import asyncio

import grpc
import numpy as np

from penstock.protos import cluster_pb2, cluster_pb2_grpc
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc


class Asked:
    """Asks over one channel; use it in an ``async with``."""

    def __init__(self, url):
        self._channel = grpc.aio.insecure_channel(url)
        self.stub = pb_grpc.GRPCInferenceServiceStub(self._channel)
        self.cluster = cluster_pb2_grpc.ClusterStub(self._channel)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self._channel.close()

    async def index(self):
        """(name, version) -> the repository's entry."""
        answer = await self.stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=5)
        return {(entry.name, entry.version): entry for entry in answer.models}

    async def state(self, model, version):
        """The version's state; None when the repository does not know it."""
        entry = (await self.index()).get((model, version))
        return None if entry is None else entry.state

    async def workers(self):
        """All workers, by (model, version)."""
        status = await self.cluster.Status(cluster_pb2.StatusRequest(), timeout=5)
        return {
            (v.model, v.version): [w for stage in v.stages for w in stage.workers]
            for v in status.versions
        }

    async def pids(self):
        """The processes of all workers that are ready, by (model, version)."""
        return {
            version: {w.pid for w in workers if w.state == cluster_pb2.WORKER_STATE_READY}
            for version, workers in (await self.workers()).items()
        }


async def counted(url, model):
    """Executions, hits, misses and successes of a model, on the whole cluster."""
    async with Asked(url) as asked:
        answer = await asked.stub.ModelStatistics(pb.ModelStatisticsRequest(name=model))
    (one,) = answer.model_stats
    stats = one.inference_stats
    counts = (stats.cache_hit.count, stats.cache_miss.count, stats.success.count)
    assert stats.queue.count == stats.success.count
    assert stats.compute_infer.count == stats.success.count - stats.cache_hit.count
    return np.array([one.execution_count, *counts])


async def at_rest(url, model):
    """The same, once gateways have told what they counted themselves, as they do once a second."""
    found = await counted(url, model)
    while True:
        await asyncio.sleep(1.2)
        before, found = found, await counted(url, model)
        if before.tolist() == found.tolist():
            return found
