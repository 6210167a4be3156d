"""Clients that keep asking for digits while a test does something to the cluster."""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import grpc
import numpy as np
import onnxruntime

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

DIGITS = Path(__file__).parents[3] / "examples" / "digits"
_CLIENTS = 16


@cache
def images():
    """The 360 held-out images, [360, 1, 8, 8]."""
    return np.load(DIGITS / "heldout.npz")["images"]


@cache
def expected():
    """What the whole model says of each, run in this process."""
    session = onnxruntime.InferenceSession(str(DIGITS / "models" / "digits" / "1" / "model.onnx"))
    (probabilities,) = session.run(["probabilities"], {"image": images()})
    return probabilities


def digit_request(place, version="2", model="digits"):
    """The request for one image."""
    image = images()[place : place + 1]
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=str(place))
    request.inputs.add(name="image", datatype="FP32", shape=image.shape)
    request.outputs.add(name="probabilities")
    request.raw_input_contents.append(image.tobytes())
    return request


@dataclass
class Answers:
    """What came back.

    ``longest_s`` is the longest time that any call took; ``pids`` counts the workers that ended
    requests.
    """

    right: int = 0
    wrong: int = 0
    errors: Counter = field(default_factory=Counter)
    longest_s: float = 0.0

    @property
    def failed(self):
        """Calls that ended with an error."""
        return self.errors.total()


class Load:
    """Sixteen clients that ask without pause until `stop`; after an error, with a short one.

    For other models, subclasses say what is asked, and what has to come.
    """

    def __init__(
        self, url, *, version="2", deadline_s=30.0, clients=_CLIENTS, pause_s=0.01, model="digits"
    ):
        self.answers = Answers()
        self._url = url
        self._version = version
        self._model = model
        self._deadline_s = deadline_s
        self._clients = clients
        self._pause_s = pause_s
        self._stopping = False
        self._moved = asyncio.Condition()
        self._tasks = []

    async def __aenter__(self):
        self._channel = grpc.aio.insecure_channel(self._url)
        stub = pb_grpc.GRPCInferenceServiceStub(self._channel)
        self._tasks = [asyncio.create_task(self._ask(stub, i)) for i in range(self._clients)]
        await self.more(self._clients)
        return self

    async def __aexit__(self, *_):
        await self.stop()

    async def stop(self):
        """Let each client have its last answer."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self._channel.close()
        return self.answers

    async def more(self, count, within_s=60.0):
        """Wait until so many more right answers have come."""
        wanted = self.answers.right + count
        async with asyncio.timeout(within_s), self._moved:
            await self._moved.wait_for(lambda: self.answers.right >= wanted)

    async def _ask(self, stub, start):
        place = start
        while not self._stopping:
            place = (place + 7) % len(images())
            began = time.monotonic()
            try:
                reply = await stub.ModelInfer(self._request(place), timeout=self._deadline_s)
            except grpc.aio.AioRpcError as error:
                self.answers.errors[f"{error.code().name}: {error.details()}"] += 1
                # A server that is away would be asked thousands of times a second.
                await asyncio.sleep(self._pause_s)
            else:
                self._judge(place, reply)
            self.answers.longest_s = max(self.answers.longest_s, time.monotonic() - began)
            async with self._moved:
                self._moved.notify_all()

    def _judge(self, place, reply):
        found = np.frombuffer(reply.raw_output_contents[0], "<f4")
        if reply.id == str(place) and np.allclose(found, self._expected(place), atol=1e-4):
            self.answers.right += 1
        else:
            self.answers.wrong += 1

    def _request(self, place):
        return digit_request(place, self._version, self._model)

    def _expected(self, place):
        return expected()[place]


async def eventually(check, within_s=30.0, every_s=0.05):
    """Wait until *check*, a function or a coroutine function, gives something true."""
    deadline = time.monotonic() + within_s
    found = None
    while time.monotonic() < deadline:
        with contextlib.suppress(grpc.RpcError):
            found = check()
            found = await found if asyncio.iscoroutine(found) else found
            if found:
                return found
        await asyncio.sleep(every_s)
    raise AssertionError(f"not within {within_s:.0f} s: {check}")
