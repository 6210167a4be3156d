"""Clients that ask for digits and write down what they hear."""

import asyncio
import contextlib
import itertools

import grpc
import numpy as np
from chaos.engine.checker import HUNG
from chaos.engine.deployment import MODEL, VERSION
from chaos.engine.history import FAIL, INVOKE, OK, UNKNOWN
from support.clients.load import digit_request, eventually, images
from support.models.onnx_models import slow_request

from penstock.client import AsyncClient
from penstock.errors import PenstockError
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

PAUSE_S = 0.01
HUNG_S = 5.0
"""A call is given up so long after its deadline; the checker has called it late by then."""

_BROKEN = ("Socket closed", "recvmsg", "failed to connect", "Connection reset", "connections to")


class Crowd:
    """Some clients that ask in turn, each with a pause after an answer; see its subclasses.

    Attributes:
        answered: how many calls were.
        name: its calls' ids begin with it.
    """

    name = "call"

    def __init__(self, run, clients):
        self._run = run
        self._count = clients
        self.answered = 0
        self._ids = itertools.count()
        self._stopping = False
        self._tasks = []

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._ask(i)) for i in range(self._count)]
        await self.more(self._count)
        return self

    async def __aexit__(self, *_):
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self._close()

    async def more(self, count, within_s=60.0):
        """Wait for so many more answers."""
        wanted = self.answered + count
        await eventually(lambda: self.answered >= wanted, within_s)

    async def _ask(self, place):
        while not self._stopping:
            place = (place + 7) % len(images())
            await self.ask(place)
            await asyncio.sleep(PAUSE_S)

    async def ask(self, place, name=None, allowed=()):
        """One call, from its beginning to its end; whether it was answered."""
        id_ = f"{name or self.name}-{next(self._ids)}"
        write = self._run.recorder.write
        facts = {"allowed": allowed} if allowed else {}
        write("infer", id_, INVOKE, place=place, deadline_s=self.deadline_s, **facts)
        try:
            async with asyncio.timeout(self.deadline_s + HUNG_S):
                answer = await self._answer(place, id_)
        except TimeoutError:
            write("infer", id_, UNKNOWN, code=HUNG, text="no end at all")
        except asyncio.CancelledError:
            write("infer", id_, UNKNOWN, code="CANCELLED", text="")
            raise
        except grpc.aio.AioRpcError as error:
            kind = UNKNOWN if error.details().startswith(_BROKEN) else FAIL
            write("infer", id_, kind, code=error.code().name, text=error.details())
        except PenstockError as error:
            write("infer", id_, FAIL, code=error.code.name, text=str(error))
        else:
            write("infer", id_, OK, answer=answer)
            self.answered += 1
            return True
        return False


class Callers(Crowd):
    """Plain stubs of one gateway; no deadline but the gateway's own, and no retries."""

    def __init__(self, run, url, deadline_s, *, clients=8, version=VERSION):
        super().__init__(run, clients)
        self.deadline_s = deadline_s
        self._url = url
        self._version = version

    async def __aenter__(self):
        self._channel = grpc.aio.insecure_channel(self._url)
        self._stub = pb_grpc.GRPCInferenceServiceStub(self._channel)
        return await super().__aenter__()

    async def _answer(self, place, id_):
        request = digit_request(place, str(self._version), MODEL)
        request.id = id_
        reply = await self._stub.ModelInfer(request)
        return _numbers(reply.raw_output_contents[0]) if reply.id == id_ else []

    async def _close(self):
        await self._channel.close()


class Patients(Callers):
    """Callers of a model that computes for as many seconds as they say; that is their place."""

    def __init__(self, run, url, deadline_s):
        super().__init__(run, url, deadline_s, clients=0)
        run.expected = lambda seconds: np.float32([seconds]).tolist()

    async def _answer(self, place, id_):
        reply = await self._stub.ModelInfer(slow_request(place, id_))
        return _numbers(reply.raw_output_contents[0]) if reply.id == id_ else []


class Customers(Crowd):
    """Penstock's own client on all gateways, which tries again as it does."""

    def __init__(self, run, urls, *, clients=8, deadline_s=30.0):
        super().__init__(run, clients)
        self.deadline_s = deadline_s
        self._urls = urls

    async def __aenter__(self):
        self._client = AsyncClient(self._urls, deadline_s=self.deadline_s)
        return await super().__aenter__()

    async def _answer(self, place, id_):
        result = await self._client.infer(
            MODEL,
            {"image": images()[place : place + 1]},
            version=VERSION,
            outputs=["probabilities"],
            request_id=id_,
        )
        return result["probabilities"][0].tolist()

    async def _close(self):
        await self._client.close()


async def cancelled_at_random(crowd, chance, count, longest_s):
    """So many calls, nine in ten of which are given up at a random moment."""

    async def one():
        call = asyncio.create_task(crowd.ask(chance.randrange(len(images()))))
        if chance.random() < 0.9:
            await asyncio.wait({call}, timeout=chance.uniform(0, longest_s))
            call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call

    for start in range(0, count, 32):
        await asyncio.gather(*(one() for _ in range(min(32, count - start))))


def _numbers(raw):
    return np.frombuffer(raw, "<f4").tolist()
