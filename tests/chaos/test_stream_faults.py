"""Faults under replies in parts: each is whole and in order, whoever made which part of it."""

import asyncio
import contextlib
import itertools
import os
import signal

import grpc
import numpy as np
import pytest
from chaos.engine.clients import Crowd
from chaos.engine.deployment import LEASE_MS, Deployment
from chaos.engine.history import OK
from support.models.decoupled import write_counter

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

MODEL = "counter"
MOST_PARTS = 150
# Chance may kill a worker twice under the same job, the second time alone: I7 sets it aside.
SET_ASIDE = "INTERNAL: job"


class Readers(Crowd):
    """Clients that ask for so many parts as their place says, and write each of them down."""

    pause_s = 0.005

    def __init__(self, run, url, deadline_s, *, clients=6):
        super().__init__(run, clients)
        self.deadline_s = deadline_s
        self._url = url

    def parts(self, place):
        """How many parts the reply to a place has."""
        return place % MOST_PARTS

    async def __aenter__(self):
        self._channel = grpc.aio.insecure_channel(self._url)
        self._stub = pb_grpc.GRPCInferenceServiceStub(self._channel)
        return await super().__aenter__()

    async def _answer(self, place, id_):
        request = pb.ModelInferRequest(model_name=MODEL, id=id_)
        request.inputs.add(name="count", datatype="INT32", shape=[1])
        request.raw_input_contents.append(np.int32(self.parts(place)).tobytes())
        request.parameters["triton_enable_empty_final_response"].bool_param = True
        request.parameters["pause"].double_param = self.pause_s
        call = self._stub.ModelStreamInfer(
            iter([request]), metadata=(("triton_grpc_error", "true"),)
        )
        parts = itertools.count()
        async for response in call:
            answer = response.infer_response
            if answer.parameters["triton_final_response"].bool_param:
                return [next(parts)] if answer.id == id_ else []
            number = int(np.frombuffer(answer.raw_output_contents[0], "<i4")[0])
            self._run.recorder.write("chunk", id_, OK, index=number)
            next(parts)
        return []

    async def _close(self):
        await self._channel.close()


@pytest.fixture
def models(tmp_path):
    write_counter(tmp_path / "models", tmp_path, count=3)
    return tmp_path / "models"


async def test_replies_in_parts_outlive_all_of_it(run, chance, size, store, models, tmp_path):
    """Workers are killed, stopped in order, and stopped for longer than a lease; the store dies."""
    run.may(SET_ASIDE)
    run.expected = lambda place: [place % MOST_PARTS]

    async def kill(pid):
        os.kill(pid, signal.SIGKILL)

    async def end(pid):
        os.kill(pid, signal.SIGTERM)

    async def stop(pid):
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(1.5 * LEASE_MS / 1000)
        os.kill(pid, signal.SIGCONT)

    async def kill_store(_):
        store.kill()
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        await asyncio.to_thread(store.start)

    faults = [kill, end, stop, kill_store]
    options = {"deadline_s": 60.0, "node_words": ("--allow-python-models",)}
    async with Deployment(tmp_path, store.url, models, **options) as penstock:
        async with Readers(run, penstock.urls[0], penstock.deadline_s) as readers:
            for number in range(size(8, 80)):
                await asyncio.sleep(chance.uniform(0.2, 1.0))
                # Each at least once, however few there are.
                hurt = faults[number] if number < len(faults) else chance.choice(faults)
                with run.fault(hurt.__name__), contextlib.suppress(IndexError, ProcessLookupError):
                    await hurt(chance.choice(penstock.worker_pids()))
                await readers.more(3)
        await penstock.rest(run, model=MODEL, version=1)
