"""Clients of what lies beside the plain queue: keys, sequences, ensembles, large requests.

Their places tell them apart: ``("key", number)``, ``("sequence", id, at)``, ``("chain", number)``,
``("bulk", number)``.
"""

import asyncio
import itertools

import grpc
import numpy as np
from chaos.engine.clients import Crowd
from chaos.engine.history import INVOKE, OK
from support.models.ensembles import WIDTH, step, write_ensemble, write_scale
from support.models.onnx_models import PATIENT, write_accumulator, write_sum
from support.models.python_models import config, write_python

from penstock.client import AsyncClient, RetryPolicy
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

AWAY = "UNAVAILABLE"
SET_ASIDE = "INTERNAL: job"
LENGTH = 8
"""Requests of a sequence."""

MODELS = ("once", "accumulator", "double", "triple", "sum")
CHAIN = "chain"
"""Twice `double` with `triple` between: IN * 12."""

_WORKERS = "instance_group [{ count: 2 kind: KIND_CPU }]\n"
VALUES = 25_600
"""Of a large request: 100 KB, which its gateway lends."""

_TRIES = 200
PAUSE_S = 0.05
"""The faults are to be slow, not the machine."""

_ONCE = """
import json
import os
import time

import numpy as np


class Model:
    def load(self, context):
        self.process = f"worker-{os.getpid()}"
        path = f"{context.parameters['history']}/{self.process}.jsonl"
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def execute(self, inputs, parameters):
        number, made = int(inputs["number"][0]), time.monotonic_ns()
        self.tell(number, "invoke", made)
        time.sleep(0.02 * (1 + number % 5))
        self.tell(number, "ok", made)
        return {"twice": np.array([2 * number]), "made": np.array([made])}

    def tell(self, number, kind, made):
        event = {"at_s": time.monotonic(), "process": self.process, "operation": "execute"}
        event |= {"id": f"key-{number}", "kind": kind, "facts": {"made": made}}
        os.write(self.file, json.dumps(event).encode() + b"\\n")
"""
"""Writes into the history when it runs; *made* tells one execution from another."""


def write_models(folder, history):
    """A repository with two workers of each of `MODELS`, and the ensemble."""
    root = folder / "models"
    number = "data_type: TYPE_INT64 dims: [ 1 ]"
    told = f'parameters {{ key: "history" value {{ string_value: "{history}" }} }}\n'
    outputs = {"twice": number, "made": number}
    write_python(root, "once", _ONCE, config({"number": number}, outputs, more=told + _WORKERS))
    write_accumulator(root, batching=PATIENT)
    for name, factor in (("double", 2), ("triple", 3)):
        write_scale(root, name, factor)
    write_sum(root)
    for name in MODELS[1:]:
        with (root / name / "config.pbtxt").open("a") as file:
            file.write(_WORKERS)
    steps = (("double", "IN", "two"), ("triple", "two", "six"), ("double", "six", "OUT"))
    write_ensemble(root, CHAIN, *(step(m, {"x": i}, {"y": o}) for m, i, o in steps))
    return root


def expected(place):
    """The right answer to any of these clients."""
    kind, number, *more = place
    if kind == "key":
        return [2 * number]
    if kind == "chain":
        return [12.0 * (number + column) for column in range(WIDTH)]
    if kind == "bulk":
        return [float(VALUES * _each(number))]
    (at,) = more
    done = range(at + 1) if at < LENGTH else [at]
    starts, ends = at in (0, LENGTH), at >= LENGTH - 1
    return [sum(_addend(number, one) for one in done), starts, ends, True, number]


def _addend(sequence, at):
    """What a request adds to its sequence; no two sums of one are equal."""
    return 1000 * sequence + (at + 1) ** 2


def _each(number):
    """What a large request is full of: sums of it are exact, and those of neighbours differ."""
    return number % 100


class KeyHolders(Crowd):
    """Clients that give each request a key, and send it again, through the next gateway, until it
    is answered; and once more after that."""

    def __init__(self, run, urls, deadline_s, *, clients=4):
        super().__init__(run, clients)
        self.deadline_s = deadline_s
        self._urls = urls
        self._numbers = itertools.count()

    async def __aenter__(self):
        self._channels = [grpc.aio.insecure_channel(url) for url in self._urls]
        self._gateways = itertools.cycle(map(pb_grpc.GRPCInferenceServiceStub, self._channels))
        return await super().__aenter__()

    async def _ask(self, place):
        del place
        while not self._stopping:
            number = next(self._numbers)
            self._run.recorder.write("key", f"key-{number}", INVOKE)
            for _ in range(_TRIES):
                if await self.ask(("key", number), "key", allowed=[AWAY]):
                    break
                await asyncio.sleep(PAUSE_S)
            await self.ask(("key", number), "key", allowed=[AWAY])
            await asyncio.sleep(PAUSE_S)

    async def _answer(self, place, id_):
        _, number = place
        key = f"key-{number}"
        request = pb.ModelInferRequest(model_name="once", id=id_)
        request.inputs.add(name="number", datatype="INT64", shape=[1])
        request.raw_input_contents.append(np.int64(number).tobytes())
        reply = await next(self._gateways).ModelInfer(request, metadata=(("idempotency-key", key),))
        twice, made = (int(np.frombuffer(raw, "<i8")[0]) for raw in reply.raw_output_contents)
        self._run.recorder.write("key", key, OK, made=made)
        return [twice] if reply.id == id_ else []

    async def _close(self):
        for channel in self._channels:
            await channel.close()


class Customers(Crowd):
    """Clients of Penstock's own client, which tries again where that is safe."""

    def __init__(self, run, urls, deadline_s, *, clients=4):
        super().__init__(run, clients)
        self.deadline_s = deadline_s
        self._urls = urls
        self._numbers = itertools.count(1)

    async def __aenter__(self):
        # As long as the deadline lasts: a gateway may take its time to come back.
        policy = RetryPolicy(attempts=_TRIES, longest_delay_s=0.5)
        self._client = AsyncClient(self._urls, deadline_s=self.deadline_s, retry=policy)
        return await super().__aenter__()

    async def _close(self):
        await self._client.close()


class Sequences(Customers):
    """Each client runs one sequence after the other, each request after the answer before it."""

    async def _ask(self, place):
        del place
        while not self._stopping:
            number = next(self._numbers)
            for at in range(LENGTH):
                if not await self._step(number, at):
                    # Begun anew, and ended at once: nothing is left of it.
                    await self._step(number, LENGTH)
                    break
                await asyncio.sleep(PAUSE_S)

    async def _step(self, number, at):
        return await self.ask(("sequence", number, at), "sequence", allowed=[SET_ASIDE])

    async def _answer(self, place, id_):
        _, number, at = place
        _, starts, ends, *_ = expected(place)
        result = await self._client.infer(
            "accumulator",
            {"INPUT": np.int32([[_addend(number, at)]])},
            request_id=id_,
            parameters={"sequence_id": number, "sequence_start": starts, "sequence_end": ends},
        )
        return [*result["OUTPUT"][0].tolist(), *result["SEEN"][0].tolist()]


class Chains(Customers):
    """Clients of the ensemble."""

    async def _ask(self, place):
        del place
        while not self._stopping:
            await self.ask(("chain", next(self._numbers)), "chain", allowed=[SET_ASIDE])
            await asyncio.sleep(PAUSE_S)

    async def _answer(self, place, id_):
        _, number = place
        values = number + np.arange(WIDTH, dtype=np.float32)
        result = await self._client.infer(CHAIN, {"IN": values[None]}, request_id=id_)
        return result["OUT"][0].tolist() if result.id == id_ else []


class Bulk(Customers):
    """Clients that send large requests."""

    async def _ask(self, place):
        del place
        while not self._stopping:
            await self.ask(("bulk", next(self._numbers)), "bulk", allowed=[SET_ASIDE])
            await asyncio.sleep(PAUSE_S)

    async def _answer(self, place, id_):
        _, number = place
        values = np.full((1, VALUES), _each(number), np.float32)
        result = await self._client.infer("sum", {"values": values}, request_id=id_)
        return result["total"][0].tolist() if result.id == id_ else []
