"""The least queue: what W1-one's goal leaves, once a request has gone through a store and back.

    python bench/least.py [--rounds N] [--seconds S]

Serves W1 with grpc.aio, one Valkey and one worker process, for one caller at a time:

lists    requests are pushed to a list, and their replies to another: no queue at all
scripts  the commands without which there is no queue with leases, in three scripts: enqueue, claim
         and settle. No deadline, priority, limit, cancellation, statistics or recovery; nothing is
         validated, nothing waits for others, and the worker does one thing at a time.
direct   requests go to the worker over a socket, and replies come back: no store at all

Prints by how many milliseconds the p50 of each is above the ceiling's, measured in turn.
"""

import argparse
import asyncio
import itertools
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import grpc
import hiredis
import numpy as np
import uvloop
from cases import CASES, load_of
from ceiling import default_reply
from inprocess import open_session
from models import ensure
from rich.console import Console
from servers import ceiling, run_by

from penstock.client.encoding import infer_request
from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.process.lifetime import bound_command, stop_signals, write_ready
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.store.conversation import Conversation
from penstock.scheduler.store.embedded import EmbeddedStore
from penstock.scheduler.store.scripts import Script
from penstock.transport.lane import Frames, Kind, frame, listen

KINDS: Final = ("lists", "scripts", "direct")
_ID_BYTES: Final = 8
_LANE: Final = "penstock-least"

_ENQUEUE: Final = Script.of(
    "enqueue",
    """#!lua
redis.call('HSET', KEYS[2] .. ARGV[1], 'state', 'waiting', 'payload', ARGV[2])
redis.call('ZADD', KEYS[1], 1, ARGV[1])
redis.call('RPUSH', KEYS[3], '1')
return 1
""",
)
_CLAIM: Final = Script.of(
    "claim",
    """#!lua
local id = redis.call('ZPOPMIN', KEYS[1])[1]
if not id then return {} end
redis.call('HSET', KEYS[2] .. id, 'state', 'leased', 'token', ARGV[1])
redis.call('ZADD', KEYS[3], 1, id)
return {id, redis.call('HGET', KEYS[2] .. id, 'payload')}
""",
)
_SETTLE: Final = Script.of(
    "settle",
    """#!lua
local v = redis.call('HMGET', KEYS[1] .. ARGV[1], 'state', 'token')
if v[1] ~= 'leased' or v[2] ~= ARGV[2] then return 0 end
redis.call('UNLINK', KEYS[1] .. ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('RPUSH', KEYS[3], ARGV[1] .. ARGV[3])
return 1
""",
)


def _command(*words: str | bytes) -> bytes:
    return hiredis.pack_command(words)


async def run(kind: str, ready_file: Path) -> None:
    """Run the store, a worker and a server until terminated; *ready_file* gets the address."""
    async with stop_signals() as stop, EmbeddedStore() as store:
        place = ["--socket", unquote(store.url.removeprefix("unix://"))]
        roles = [["--work", kind], ["--serve", kind, "--ready-file", str(ready_file)]]
        commands = [[sys.executable, __file__, *role, *place] for role in roles]
        for words in commands:
            await asyncio.create_subprocess_exec(*bound_command(*words))
        # They end together with this process.
        await stop.wait()


class Lane(asyncio.Protocol):
    """The worker's end of a socket: requests out, replies in, in frames."""

    def __init__(self, replied: Callable[[bytes], None]) -> None:
        self._replied, self._frames = replied, Frames()
        self.transport: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For the transport."""
        self.transport.set_result(transport)

    def data_received(self, data: bytes) -> None:
        """For the transport."""
        for _, reply in self._frames.feed(data):
            self._replied(reply)


async def serve(kind: str, path: str, ready_file: Path) -> None:
    """Take requests to the store or the worker, and replies from there."""
    loop, ids = asyncio.get_running_loop(), itertools.count()
    waiting: dict[bytes, asyncio.Future[bytes]] = {}
    next_reply = _command("BLPOP", "replies", "0")

    def replied(reply: bytes) -> None:
        waiting.pop(reply[:_ID_BYTES]).set_result(reply[_ID_BYTES:])

    def popped(answer: Any) -> None:
        back.write(next_reply)
        replied(answer[1])

    async def infer(request: bytes, _: Any) -> bytes:
        id_ = b"%0*d" % (_ID_BYTES, next(ids))
        waiting[id_] = loop.create_future()
        if kind == "direct":
            worker.writelines(frame(Kind.JOBS, id_, request))
        elif kind == "lists":
            out.write(_command("RPUSH", "requests", id_ + request))
        else:
            out.write(_command("EVALSHA", _ENQUEUE.sha, "3", "ready", "job:", "bell", id_, request))
        return await waiting[id_]

    out, _ = await loop.create_unix_connection(lambda: Conversation(lambda _: None), path)
    back, _ = await loop.create_unix_connection(lambda: Conversation(popped), path)
    if kind == "direct":
        lane = Lane(replied)
        listening = await loop.create_unix_server(lambda: lane, sock=listen(_LANE))
        worker = await lane.transport
        listening.close()
    out.write(_command("SCRIPT", "LOAD", _ENQUEUE.source))
    back.write(next_reply)
    method = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, method),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    write_ready(ready_file, f"127.0.0.1:{port}")
    await server.wait_for_termination()


def work(kind: str, path: str) -> None:
    """Answer one request after the other."""
    answer = _model()
    if kind == "direct":
        _work_directly(answer)
        return
    with socket.socket(socket.AF_UNIX) as store:
        store.connect(path)
        if kind == "lists":
            _work_on_lists(store, answer)
        else:
            _work_with_leases(store, answer)


def _model() -> Callable[[bytes], bytes]:
    """The model, from a request's bytes to those of its reply."""
    session = open_session(ensure("w1") / "1" / "model.onnx", threads=1)

    def answer(message: bytes) -> bytes:
        request = pb.ModelInferRequest.FromString(message)
        given = np.frombuffer(request.raw_input_contents[0], "<f4").reshape(1, -1)
        (output,) = session.run(["output"], {"input": given})
        reply = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
        reply.outputs.add(name="output", datatype="FP32", shape=output.shape)
        reply.raw_output_contents.append(output.tobytes())
        return reply.SerializeToString()

    return answer


def _work_on_lists(store: socket.socket, answer: Callable[[bytes], bytes]) -> None:
    answers = _answers(store)
    sleep = _command("BLPOP", "requests", "0")
    store.sendall(sleep)
    while True:
        _, job = next(answers)
        reply = job[:_ID_BYTES] + answer(job[_ID_BYTES:])
        store.sendall(_command("RPUSH", "replies", reply) + sleep)
        next(answers)


def _work_with_leases(store: socket.socket, answer: Callable[[bytes], bytes]) -> None:
    answers = _answers(store)
    for script in (_CLAIM, _SETTLE):
        store.sendall(_command("SCRIPT", "LOAD", script.source))
        next(answers)
    sleep = _command("BLPOP", "bell", "0")
    sleep += _command("EVALSHA", _CLAIM.sha, "3", "ready", "job:", "lease", "token")
    store.sendall(sleep)
    while True:
        next(answers)
        id_, message = next(answers)
        place = ("3", "job:", "lease", "replies", id_, "token")
        store.sendall(_command("EVALSHA", _SETTLE.sha, *place, answer(message)) + sleep)
        next(answers)


def _answers(store: socket.socket) -> Iterator[Any]:
    """What the store answers, one after the other."""
    reader = hiredis.Reader()
    while True:
        while (found := reader.gets()) is False:
            reader.feed(store.recv(1 << 16))
        yield found


def _work_directly(answer: Callable[[bytes], bytes]) -> None:
    """Answer what comes over the lane, once its other end is there."""
    frames = Frames()
    with socket.socket(socket.AF_UNIX) as lane:
        while lane.connect_ex(f"\0{_LANE}"):
            time.sleep(0.05)
        while data := lane.recv(1 << 16):
            for _, body in frames.feed(data):
                reply = answer(body[_ID_BYTES:])
                lane.sendall(b"".join(frame(Kind.ENDED, body[:_ID_BYTES], reply)))


def measure(rounds: int, seconds: float) -> None:
    """Print by how much each is above the ceiling."""
    case = next(case for case in CASES if case.name == "W1-one")
    request = infer_request("w1", {"input": np.zeros((1, 64), np.float32)})
    requests = (request.SerializeToString(),)
    with (
        ceiling(default_reply().SerializeToString()) as nothing,
        ExitStack() as stack,
    ):
        servers = [nothing, *(stack.enter_context(run_by("least.py", kind)) for kind in KINDS)]
        sides = [load_of(case, one.address, requests) for one in servers]
        taken = [[once(seconds) for once in sides] for _ in range(rounds)]
    console = Console(highlight=False)
    for place, kind in enumerate(KINDS, 1):
        above = [one[place] - one[0] for one in taken]
        console.print(
            f"{kind:8} {statistics.median(above):.3f} ms above the ceiling "
            f"({min(above):.3f}..{max(above):.3f}); W1-one's goal is {case.goal} ms"
        )


def main() -> None:
    """Measure, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description="What the least queue costs a lone request.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--run", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--work", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--ready-file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--socket", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        asyncio.run(run(options.run, options.ready_file))
    elif options.serve:
        uvloop.run(serve(options.serve, options.socket, options.ready_file))
    elif options.work:
        work(options.work, options.socket)
    else:
        measure(options.rounds, options.seconds)


if __name__ == "__main__":
    main()
