"""A gRPC server in a process of its own that answers UNAVAILABLE to all inference, and counts.

Prints its address. For each line that it reads it prints, as JSON, what came since the line before:
by request id, the seconds at which its calls came. After "answer" it answers.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager

import grpc

from penstock.protos import grpc_service_pb2 as pb

METHOD = "/inference.GRPCInferenceService/ModelInfer"


class Refusing(grpc.GenericRpcHandler):
    def __init__(self, pushback):
        self.calls = defaultdict(list)
        self.answers = False
        self._trailers = (("grpc-retry-pushback-ms", pushback),) if pushback else ()

    def service(self, details):
        if details.method != METHOD:
            return None  # it says nothing of its health
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, message, context):
        request = pb.ModelInferRequest.FromString(message)
        self.calls[request.id].append(time.monotonic())
        if self.answers:
            return pb.ModelInferResponse(id=request.id).SerializeToString()
        context.set_trailing_metadata(self._trailers)
        context.set_details("nobody is served")
        context.set_code(grpc.StatusCode.UNAVAILABLE)
        return None


async def serve(pushback):
    refusing = Refusing(pushback)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((refusing,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        refusing.answers |= line.strip() == "answer"
        calls, refusing.calls = refusing.calls, defaultdict(list)
        print(json.dumps(calls), flush=True)
    await server.stop(None)


class Server:
    """The process, and its address."""

    def __init__(self, process):
        self._process = process
        self.url = process.stdout.readline().strip()

    def counted(self, word="count"):
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def refusing(pushback=""):
    command = [sys.executable, __file__, pushback]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Server(process)
        finally:
            process.stdin.close()
            process.wait(20)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
