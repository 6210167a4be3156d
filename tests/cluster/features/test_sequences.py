"""A sequence's state survives the process that holds it."""

import asyncio
import os
import signal

import grpc
import numpy as np
import pytest
from support.models.onnx_models import write_accumulator
from support.processes.cluster import Cluster
from support.processes.roles import whole
from support.waiting import until

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

RUNNING = 100
LENGTH = 12
BATCHING = "oldest { max_candidate_sequences: 128 } max_sequence_idle_microseconds: 60000000"


def request(sequence, place):
    """Request number *place* of a sequence; each has numbers of its own."""
    made = pb.ModelInferRequest(model_name="accumulator", id=f"{sequence}/{place}")
    made.inputs.add(name="INPUT", datatype="INT32", shape=[1, 1])
    made.raw_input_contents.append(np.int32(number(sequence, place)).tobytes())
    made.parameters["sequence_id"].int64_param = sequence
    made.parameters["sequence_start"].bool_param = place == 0
    made.parameters["sequence_end"].bool_param = place == LENGTH - 1
    return made


def number(sequence, place):
    return sequence * 1000 + place * place


def undisturbed(sequence):
    """The sums that a sequence must have."""
    return np.cumsum([number(sequence, place) for place in range(LENGTH)]).tolist()


class Sequences:
    """So many sequences at once, each request sent when the one before it was answered."""

    def __init__(self, url, count=RUNNING):
        self._url = url
        self._count = count
        self.answered = 0
        self.sums = {}

    async def run(self):
        async with grpc.aio.insecure_channel(self._url) as channel:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)
            await asyncio.gather(*(self._one(stub, n) for n in range(1, self._count + 1)))

    async def _one(self, stub, sequence):
        found = self.sums[sequence] = []
        for place in range(LENGTH):
            answer = await stub.ModelInfer(request(sequence, place), timeout=60)
            found.append(int(np.frombuffer(answer.raw_output_contents[0], np.int32)[0]))
            self.answered += 1

    def right(self):
        return {sequence: undisturbed(sequence) for sequence in range(1, self._count + 1)}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Two workers, so that one goes on while the other is started anew."""
    folder = tmp_path_factory.mktemp("sequences")
    entry = write_accumulator(folder / "models", batching=BATCHING)
    config = entry / "config.pbtxt"
    config.write_text(config.read_text() + "instance_group { count: 2 }")
    with Cluster(folder / "cluster", folder / "models").running() as cluster:
        yield cluster


@pytest.fixture
async def accumulators(running):
    """A cluster that has got over what other tests did to it."""
    await whole(running, workers=2)
    return running


@pytest.mark.parametrize("role", ["worker", "every worker", "scheduler", "node"])
async def test_100_sequences_end_as_if_nobody_had_died(accumulators, role):
    sequences = Sequences(accumulators.url)
    running = asyncio.create_task(sequences.run())
    await until(lambda: sequences.answered > RUNNING * LENGTH // 4, 60)
    if role == "every worker":
        for pid in accumulators.processes()["worker"]:
            os.kill(pid, signal.SIGKILL)
    else:
        accumulators.kill(role)
    answered_then = sequences.answered
    await running

    assert answered_then < RUNNING * LENGTH
    assert sequences.sums == sequences.right()


async def test_workers_killed_again_and_again_change_no_number(accumulators):
    sequences = Sequences(accumulators.url, count=30)
    running = asyncio.create_task(sequences.run())
    for part in range(1, 4):
        await until(lambda part=part: sequences.answered > 30 * LENGTH * part // 4, 60)
        accumulators.kill("worker")
    await running

    assert sequences.sums == sequences.right()


async def test_a_stream_survives_a_worker_too(accumulators):
    async with grpc.aio.insecure_channel(accumulators.url) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        call = stub.ModelStreamInfer(timeout=60)
        found = {sequence: [] for sequence in range(1, 6)}
        for place in range(LENGTH):
            for sequence in found:
                await call.write(request(sequence, place))
            if place == LENGTH // 2:
                accumulators.kill("worker")
        await call.done_writing()
        async for answer in call:
            assert not answer.error_message
            raw = answer.infer_response.raw_output_contents[0]
            sequence = int(answer.infer_response.id.partition("/")[0])
            found[sequence].append(int(np.frombuffer(raw, np.int32)[0]))

    assert found == {sequence: undisturbed(sequence) for sequence in found}
