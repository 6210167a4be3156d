"""Questions to one gateway, about what the cluster serves."""

import grpc

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
