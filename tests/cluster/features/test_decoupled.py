"""Replies in parts, while processes die: in order, without a gap or a repeat, or an error."""

import os
import signal
import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from support.clients.asked import Asked
from support.clients.load import eventually
from support.models.decoupled import Stream, numbers, write_counter
from support.processes.cluster import Cluster
from support.processes.roles import whole

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

QUIET_S = 1.0
PARTS = 250
"""Of a reply that takes some seconds."""


@pytest.fixture(scope="module")
def counters(tmp_path_factory):
    """A cluster with two workers of `counter`, and the folder of its notes."""
    folder = tmp_path_factory.mktemp("decoupled")
    notes = folder / "notes"
    notes.mkdir()
    write_counter(folder / "models", notes, count=2)
    options = ("--allow-python-models", "--lease-ms", "2000")
    with Cluster(folder / "cluster", folder / "models", *options).running() as cluster:
        yield cluster, notes


@pytest.fixture
def notes(counters):
    return counters[1]


@pytest.fixture
def gate(request):
    """Of this test alone: a worker may still stand at another's."""
    return request.node.name


@pytest.fixture
async def running(counters):
    """A cluster that has got over what other tests did to it."""
    await whole(counters[0], workers=2)
    return counters[0]


@pytest.fixture
def client(running):
    with triton.InferenceServerClient(running.url) as client:
        yield client
        client.stop_stream(cancel_requests=True)


@pytest.fixture
def stream(client):
    return Stream(client)


async def workers_at(gate, notes, count=1):
    """The processes that have come to *gate*, once there are so many."""

    def there():
        pids = {int(path.name.rpartition("-")[2]) for path in notes.glob(f"{gate}-*")}
        return pids if len(pids) >= count else None

    return await eventually(there)


def kill(pid, number=signal.SIGKILL):
    os.kill(pid, number)


async def test_another_worker_goes_on_where_a_killed_one_was(stream, notes, gate):
    stream.ask(40, gate=gate, gate_at=20)
    before = [stream.next()[0] for _ in range(20)]
    (first,) = await workers_at(gate, notes)

    kill(first)
    both = await workers_at(gate, notes, 2)
    (notes / gate).touch()
    after, error = stream.all()

    assert len(both) == 2
    assert error is None
    assert numbers([*before, *after]) == list(range(40))


async def test_a_reply_that_comes_out_otherwise_is_broken_off(stream, notes, gate):
    stream.ask(40, gate=gate, gate_at=20, salt=1)
    before = [stream.next()[0] for _ in range(20)]
    (first,) = await workers_at(gate, notes)

    kill(first)
    await workers_at(gate, notes, 2)
    (notes / gate).touch()
    found, error = stream.all()
    stream.ask(3, "after")

    assert numbers(before) == list(range(20))
    assert found == []
    assert "differs from what was sent already: send the request again" in error.message()
    assert numbers(stream.all()[0]) == [0, 1, 2]


async def test_nothing_was_sent_so_another_worker_may_answer_otherwise(stream, notes, gate):
    stream.ask(10, gate=gate, gate_at=0, salt=1)
    (first,) = await workers_at(gate, notes)

    kill(first)
    (second,) = await workers_at(gate, notes, 2) - {first}
    (notes / gate).touch()
    found, error = stream.all()

    assert error is None
    assert {int(one.as_numpy("data")[0]) for one in found} == {second}


async def test_a_worker_that_lost_its_lease_is_not_heard(stream, notes, gate):
    stream.ask(40, gate=gate, gate_at=20)
    before = [stream.next()[0] for _ in range(20)]
    (first,) = await workers_at(gate, notes)

    kill(first, signal.SIGSTOP)
    await workers_at(gate, notes, 2)
    (notes / gate).touch()
    kill(first, signal.SIGCONT)
    after, error = stream.all()

    assert error is None
    assert numbers([*before, *after]) == list(range(40))
    assert stream.empty()


async def test_a_worker_that_is_stopped_in_order_hands_the_reply_over(stream, running):
    stream.ask(PARTS, pause=0.01)
    before = [stream.next()[0] for _ in range(5)]
    async with Asked(running.url) as asked:
        pids = (await asked.pids())["counter", 1]
    for pid in pids:
        # Both: which of them answers is not told; the one that comes back takes over.
        kill(pid, signal.SIGTERM)
    after, error = stream.all()

    assert error is None
    assert numbers([*before, *after]) == list(range(PARTS))


async def test_a_killed_store_costs_a_reply_nothing(stream, running):
    stream.ask(PARTS, pause=0.01)
    before = [stream.next()[0] for _ in range(50)]

    running.kill("store")
    after, error = stream.all()

    assert error is None
    assert numbers([*before, *after]) == list(range(PARTS))


def request(count, **parameters):
    asked = pb.ModelInferRequest(model_name="counter")
    asked.inputs.add(name="count", datatype="INT32", shape=[1])
    asked.raw_input_contents.append(np.array([count], np.int32).tobytes())
    for name, value in parameters.items():
        kind = "string_param" if isinstance(value, str) else "int64_param"
        setattr(asked.parameters[name], kind, value)
    return asked


async def test_a_client_that_does_not_read_holds_up_the_model(running, notes):
    mib, count = 1 << 18, 100

    def made():
        text = (notes / "progress").read_text() if (notes / "progress").exists() else ""
        return int(text or 0)

    with grpc.insecure_channel(running.url) as channel:
        call = pb_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(
            iter([request(count, size=mib, progress="progress")])
        )
        first = next(call)
        await eventually(still(made))
        held_at = made()
        rest = list(call)

    assert held_at < count // 2
    indices = [
        int(np.frombuffer(r.infer_response.raw_output_contents[0], np.int32)[0])
        for r in [first, *rest]
    ]
    assert indices == list(range(count))


def still(value):
    """Whether *value* has been the same for a while, and is something."""
    since = [value(), time.monotonic()]

    def check():
        now = value()
        if now != since[0]:
            since[:] = [now, time.monotonic()]
        return now and time.monotonic() - since[1] > QUIET_S

    return check
