"""What clients do during a soak: all kinds of calls, good and bad, through one gateway."""

import asyncio
import contextlib
import random
import urllib.request
from collections import Counter

import grpc
import numpy as np
from soak.writing import Writing
from support.clients.load import digit_request, expected

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub

LARGE = 150_000
"""Numbers in a large request: 600 KB."""

PAUSE_S = 0.02
"""Between two calls of one client: a soak is long rather than loud."""

OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]


class Traffic:
    """The clients of one gateway, until they are cancelled.

    Attributes:
        answered: right answers, by kind.
        wrong: what should not have been, by what it was.
    """

    def __init__(self, url, http_url, repository):
        self._url = url
        self._http_url = http_url
        self._chance = random.Random(url)  # noqa: S311
        self._writing = Writing(repository, http_url, self._chance)
        self.answered = Counter()
        self.wrong = Counter()

    async def run(self):
        """All kinds beside each other."""
        kinds = (
            *(self._small, self._small, self._large, self._stream, self._given_up),
            *(self._late, self._refused, self._damaged, self._comes_and_goes),
            *self._writing.kinds,
        )
        async with asyncio.TaskGroup() as tasks:
            for kind in kinds:
                tasks.create_task(self._again_and_again(kind))
            if self._http_url is not None:
                tasks.create_task(self._again_and_again(self._over_http))

    async def _again_and_again(self, kind):
        name = kind.__name__.strip("_")
        async with grpc.aio.insecure_channel(self._url, OPTIONS) as channel:
            while True:
                try:
                    await kind(channel)
                except (grpc.RpcError, OSError, AssertionError) as error:
                    text = f"{error.code().name}: {error.details()}" if _is_call(error) else error
                    self.wrong[f"{name}: {text}"] += 1
                else:
                    self.answered[name] += 1
                await asyncio.sleep(PAUSE_S * self._chance.uniform(0.5, 1.5))

    async def _small(self, channel):
        place = self._chance.randrange(360)
        reply = await GRPCInferenceServiceStub(channel).ModelInfer(digit_request(place), timeout=30)
        _check_digit(reply, place)

    async def _large(self, channel):
        request = pb.ModelInferRequest(model_name="identity")
        request.inputs.add(name="input", datatype="FP32", shape=[LARGE])
        sent = np.full(LARGE, self._chance.random(), "<f4").tobytes()
        request.raw_input_contents.append(sent)
        reply = await GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=30)
        assert reply.raw_output_contents[0] == sent

    async def _stream(self, channel):
        places = [self._chance.randrange(360) for _ in range(self._chance.randrange(1, 30))]
        stub = GRPCInferenceServiceStub(channel)
        call = stub.ModelStreamInfer(iter([digit_request(place) for place in places]), timeout=30)
        replies = [reply.infer_response async for reply in call]
        assert len(replies) == len(places)
        for reply, place in zip(replies, places, strict=True):
            _check_digit(reply, place)

    async def _given_up(self, channel):
        """A client that takes its call back; not more often than any server lets it."""
        stub = GRPCInferenceServiceStub(channel)
        call = stub.ModelInfer(digit_request(0), timeout=30)
        await asyncio.sleep(self._chance.uniform(0, 0.002))
        call.cancel()
        # Not the call itself: that it was cancelled looks like the end of this task.
        await call.code()
        await asyncio.sleep(0.1)

    async def _late(self, channel):
        """A deadline that passes, or does not."""
        call = GRPCInferenceServiceStub(channel).ModelInfer(digit_request(1), timeout=0.001)
        with contextlib.suppress(grpc.RpcError):
            await call
        assert await call.code() in (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED)
        # For the same reason: a passed deadline is a call that is taken back.
        await asyncio.sleep(0.1)

    async def _refused(self, channel):
        request = digit_request(2, model=f"nobody-{self._chance.randrange(10**6)}")
        call = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=30)
        with contextlib.suppress(grpc.RpcError):
            await call
        assert await call.code() is grpc.StatusCode.NOT_FOUND

    async def _damaged(self, channel):
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(
            self._chance.randbytes(200), timeout=30
        )
        with contextlib.suppress(grpc.RpcError):
            await call
        assert await call.code() is not grpc.StatusCode.OK

    async def _comes_and_goes(self, _):
        async with grpc.aio.insecure_channel(self._url, OPTIONS) as own:
            await self._small(own)

    async def _over_http(self, _):
        url = f"http://{self._http_url}/v2/models/digits/stats"
        status = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=30).status)
        assert status == 200


def _check_digit(reply, place):
    found = np.frombuffer(reply.raw_output_contents[0], "<f4")
    assert np.allclose(found, expected()[place], atol=1e-4), "a wrong answer"


def _is_call(error):
    return isinstance(error, grpc.aio.AioRpcError)
