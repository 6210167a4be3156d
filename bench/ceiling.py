"""The ceiling: what grpc.aio itself can do on this machine, with nothing behind it.

A server built as Penstock's gateway builds its own (grpc.aio on uvloop, the generated servicer, the
same message limit). For each ModelInfer it does what any Python server must: gRPC parses the
ModelInferRequest, calls the handler, and serializes the ModelInferResponse that the handler
returns, which is always the same one. It validates nothing, looks at no tensor and waits for
nothing. How much of its throughput a real server keeps is what that server's own work costs.

    python bench/ceiling.py --reply FILE --ready-file FILE

*reply* holds the serialized response, usually one that the cluster gave to the same request.
"""

import argparse
from pathlib import Path
from typing import Any

import grpc
import uvloop

from penstock.process.lifetime import write_ready
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

_MESSAGE_BYTES = 64 * 1024 * 1024


class Constant(pb_grpc.GRPCInferenceServiceServicer):
    """Answers every request with *reply*."""

    def __init__(self, reply: pb.ModelInferResponse) -> None:
        self._reply = reply

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> Any:  # noqa: ARG002, N802
        """The reply."""
        return self._reply


async def serve(reply: pb.ModelInferResponse, ready_file: Path) -> None:
    """Serve on a free port of the loopback until terminated; *ready_file* gets the address."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", _MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MESSAGE_BYTES),
        ]
    )
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(Constant(reply), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    write_ready(ready_file, f"127.0.0.1:{port}")
    await server.wait_for_termination()


def default_reply() -> pb.ModelInferResponse:
    """W1's: ten numbers."""
    reply = pb.ModelInferResponse(model_name="w1", model_version="1")
    reply.outputs.add(name="output", datatype="FP32", shape=[1, 10])
    reply.raw_output_contents.append(bytes(40))
    return reply


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description="A grpc.aio server that answers a constant.")
    parser.add_argument("--reply", type=Path, help="a serialized ModelInferResponse")
    parser.add_argument("--ready-file", type=Path, required=True)
    options = parser.parse_args()
    reply = default_reply()
    if options.reply is not None:
        reply = pb.ModelInferResponse.FromString(options.reply.read_bytes())
    uvloop.run(serve(reply, options.ready_file))


if __name__ == "__main__":
    main()
