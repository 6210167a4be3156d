"""A gRPC server for the client's tests: every output is the input of the same name.

Run as a program, it prints its address and serves until its standard input ends. The
name of a model can describe it: "x:FP32:-1,10;y:INT64:-1" has these inputs. What it does
beyond echoing is asked for by parameters of the request:

- ``fail``: status number of a refusal, with ``text`` and, if given, ``pushback`` in the trailers
- ``pushbacks``: how many refusals of a request id have it; all if not given
- ``times``: how many calls with this request id are refused before one is answered
- ``wait_s``: seconds before the answer
- ``leaves_s``: seconds for which the server says from then on that it takes no requests; answers in
  that time have the parameter ``away``
"""

import asyncio
import math
import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from functools import partial

import grpc
from grpc_health.v1 import health_pb2_grpc

from penstock.gateway.fronts.grpc.health import Health
from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.protos import cluster_pb2, cluster_pb2_grpc
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as rpc

_STATUS = {status.value[0]: status for status in grpc.StatusCode}


class Echo(rpc.GRPCInferenceServiceServicer):
    def __init__(self, health):
        self.calls = Counter()
        self._health = health
        self._away = False

    async def ModelInfer(self, request, context):  # noqa: N802
        self.calls[request.id] += 1
        asked = request.parameters
        await self._refuse(request, context)
        if "leaves_s" in asked:
            self._leave(away=True)
            back = partial(self._leave, away=False)
            asyncio.get_running_loop().call_later(asked["leaves_s"].double_param, back)
        if "wait_s" in asked:
            await asyncio.sleep(asked["wait_s"].double_param)
        response = pb.ModelInferResponse(
            model_name=request.model_name,
            model_version=request.model_version or "1",
            id=request.id,
            raw_output_contents=request.raw_input_contents,
        )
        wanted = [output.name for output in request.outputs]
        for tensor in request.inputs:
            response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.parameters["calls"].int64_param = self.calls[request.id]
        response.parameters["wanted"].string_param = ",".join(wanted)
        response.parameters["server"].int64_param = os.getpid()
        if self._away:
            response.parameters["away"].bool_param = True
        for key in asked:
            response.parameters[key].CopyFrom(asked[key])
        return response

    def _leave(self, *, away):
        self._away = away
        self._health.say(serving=not away)

    async def _refuse(self, request, context):
        asked = request.parameters
        if "fail" not in asked:
            return
        if "times" in asked and self.calls[request.id] > asked["times"].int64_param:
            return
        pushbacks = asked["pushbacks"].int64_param if "pushbacks" in asked else math.inf
        trailers = (
            (("grpc-retry-pushback-ms", asked["pushback"].string_param),)
            if "pushback" in asked and self.calls[request.id] <= pushbacks
            else ()
        )
        await context.abort(
            _STATUS[asked["fail"].int64_param], asked["text"].string_param, trailers
        )

    async def ServerLive(self, _request, _context):  # noqa: N802
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _request, _context):  # noqa: N802
        return pb.ServerReadyResponse(ready=True)

    async def ModelReady(self, request, _context):  # noqa: N802
        return pb.ModelReadyResponse(ready=request.name == "echo")

    async def ServerMetadata(self, _request, _context):  # noqa: N802
        return pb.ServerMetadataResponse(name="echo", version="1")

    async def ModelMetadata(self, request, _context):  # noqa: N802
        metadata = pb.ModelMetadataResponse(name=request.name, versions=[request.version])
        for described in filter(None, request.name.split(";")):
            name, colon, rest = described.partition(":")
            if colon:
                datatype, _, shape = rest.partition(":")
                sizes = [int(size) for size in shape.split(",") if size]
                metadata.inputs.add(name=name, datatype=datatype, shape=sizes)
                metadata.outputs.add(name=name, datatype=datatype, shape=sizes)
        return metadata

    async def ModelConfig(self, request, _context):  # noqa: N802
        response = pb.ModelConfigResponse()
        response.config.name = request.name
        return response

    async def ModelStatistics(self, request, _context):  # noqa: N802
        return pb.ModelStatisticsResponse(model_stats=[pb.ModelStatistics(name=request.name)])

    async def RepositoryIndex(self, _request, _context):  # noqa: N802
        entry = pb.RepositoryIndexResponse.ModelIndex(name="echo", version="1", state="READY")
        return pb.RepositoryIndexResponse(models=[entry])


class Cluster(cluster_pb2_grpc.ClusterServicer):
    async def Status(self, request, _context):  # noqa: N802
        return cluster_pb2.StatusResponse(
            versions=[cluster_pb2.VersionStatus(model=request.model or "echo", version=1)]
        )


@contextmanager
def running():
    """The server in a process of its own; its address."""
    words = [sys.executable, __file__]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


async def serve():
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    health = Health(SERVICE)
    health.say(serving=True)
    rpc.add_GRPCInferenceServiceServicer_to_server(Echo(health), server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    cluster_pb2_grpc.add_ClusterServicer_to_server(Cluster(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve())
