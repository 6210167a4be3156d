"""More requests for the slow model than it can answer, from a process of its own.

``python -m support.clients.flood URL '[[per_s, seconds, deadline_s], ...]'`` sends so many in each
phase, however long they take, and prints a JSON list of [phase, code, seconds, text, pushback in
ms].
"""

import asyncio
import json
import sys
from pathlib import Path

import grpc
from support.models.onnx_models import slow_request

from penstock.protos import grpc_service_pb2_grpc as pb_grpc

TAKES_S = 0.02


async def flood(url, phases):
    """What became of each request of *phases*."""
    loop, told = asyncio.get_running_loop(), []
    async with grpc.aio.insecure_channel(url) as channel, asyncio.TaskGroup() as tasks:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        for phase, (per_s, seconds, deadline_s) in enumerate(phases):
            began_s = loop.time()
            for place in range(int(per_s * seconds)):
                await asyncio.sleep(began_s + place / per_s - loop.time())
                tasks.create_task(_ask(stub, deadline_s, phase, told))
    return told


async def _ask(stub, deadline_s, phase, told):
    request = slow_request(TAKES_S, f"{phase}")
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        await stub.ModelInfer(request, timeout=deadline_s)
    except grpc.aio.AioRpcError as error:
        pushback = dict(error.trailing_metadata() or ()).get("grpc-retry-pushback-ms")
        outcome = error.code().name, loop.time() - began_s, error.details(), pushback
    else:
        outcome = "OK", loop.time() - began_s, "", None
    told.append((phase, *outcome))


async def flooded(url, phases):
    """`flood`, in another process."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.clients.flood", url, json.dumps(phases)),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await program.communicate()
    assert program.returncode == 0
    return json.loads(out)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(flood(sys.argv[1], json.loads(sys.argv[2])))))
