"""Queue policies of dynamic_batching, as clients of a busy model meet them."""

import asyncio
import time

import grpc
import numpy as np
import pytest
from support.metrics import scrape
from support.models.ensembles import step, write_ensemble, write_scale
from support.models.python_models import config, write_python
from support.processes.cluster import Cluster
from support.waiting import until

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
TIMEOUT = "Request timeout expired"
LATE_S = 0.06
"""After so long every timeout that is meant to pass has passed."""

CODE = """
import time
from pathlib import Path


class Model:
    def load(self, context):
        self.gate = Path(context.parameters["gate"])

    def execute(self, inputs, parameters):
        if inputs["waits"].any():
            while not self.gate.exists():
                time.sleep(0.005)
            self.gate.unlink()
        return {"done": inputs["waits"]}
"""

LEVELS = """priority_levels: 2 default_priority_level: 2
    priority_queue_policy { key: 1 value { max_queue_size: 1 } }"""
ORDER = {"ordered": "true", "inner-ordered": "true", "unordered": "false"}
POLICIES = {
    "bounded": "default_queue_policy { max_queue_size: 1 }",
    "impatient": """default_queue_policy {
        default_timeout_microseconds: 60000000 allow_timeout_override: true }""",
    "strict": "default_queue_policy { default_timeout_microseconds: 50000 }",
    "patient": """default_queue_policy { timeout_action: DELAY
        default_timeout_microseconds: 60000000 allow_timeout_override: true }""",
    "delaying": """default_queue_policy { timeout_action: DELAY
        default_timeout_microseconds: 20000 }""",
    "levels": LEVELS,
    "inner-levels": LEVELS,
}
"""Models, each for one test: a worker whose pace is known takes its next job before it is free."""

ACCEPTED = "penstock_jobs_accepted_total"
WAITING = "nv_inference_pending_request_count"
ANSWERED = "nv_inference_request_success"

BEHIND = {
    "behind-delaying": "delaying",
    "behind-levels": "inner-levels",
    "behind-ordered": "inner-ordered",
}
"""Ensembles, and the model with a policy that their last step runs."""


def write_gated(models, gates, name, policy, *, count=1):
    """A model whose worker is busy with a request that waits until its gate opens, once."""
    tensor = "data_type: TYPE_FP32 dims: [ 1 ]"
    settings = config(
        {"waits": tensor},
        {"done": tensor},
        max_batch=1,
        more=f"dynamic_batching {{ {policy} }}\n"
        f'parameters {{ key: "gate" value {{ string_value: "{gates / name}" }} }}\n'
        f"instance_group {{ kind: KIND_CPU count: {count} }}",
    )
    write_python(models, name, CODE, settings)


@pytest.fixture(scope="module")
def gates(tmp_path_factory):
    """Where a file with the name of a model opens its gate."""
    return tmp_path_factory.mktemp("gates")


@pytest.fixture(scope="module")
def running(tmp_path_factory, gates):
    models = tmp_path_factory.mktemp("policy-models")
    for name, policy in POLICIES.items():
        write_gated(models, gates, name, policy)
    for name, ordered in ORDER.items():
        write_gated(models, gates, name, f"preserve_ordering: {ordered}", count=2)
    write_scale(models, "pass", 1, max_batch=1, width=1)
    for name, model in BEHIND.items():
        write_ensemble(
            models,
            name,
            step("pass", {"x": "waits"}, {"y": "passed"}),
            step(model, {"waits": "passed"}, {"done": "done"}),
            inputs=("waits",),
            outputs=("done",),
            max_batch=1,
            dims=(1,),
        )
    folder = tmp_path_factory.mktemp("policy-cluster")
    one = Cluster(folder, models, "--allow-python-models")
    with one.running():
        yield one


class Clients:
    """Requests to one model: what became of each, in the order in which they ended."""

    def __init__(self, stub, running, model, gates):
        self._stub, self._running, self._model = stub, running, model
        self._gate = gates / BEHIND.get(model, model)
        self._tasks = []
        self._before = {}
        self.ended = {}

    async def busy(self):
        """Keep the model's worker busy until `all`; returns once it is."""
        self._before = {name: await self._measured(name) for name in (ACCEPTED, ANSWERED)}
        self.ask("busy", waits=True)
        await until(self._is_busy)

    def ask(self, name, *, waits=False, **parameters):
        self._tasks.append(asyncio.ensure_future(self._ask(name, waits, parameters)))

    async def _ask(self, name, waits, parameters):
        request = pb.ModelInferRequest(model_name=self._model, id=name)
        request.inputs.add(name="waits", datatype="FP32", shape=[1, 1])
        request.raw_input_contents.append(np.float32(waits).tobytes())
        for key, value in parameters.items():
            request.parameters[key].int64_param = value
        try:
            await self._stub.ModelInfer(request, timeout=30)
        except grpc.aio.AioRpcError as error:
            self.ended[name] = error.code(), error.details()
        else:
            self.ended[name] = "answered"

    async def all(self):
        """Let the worker go on; what became of all of them."""
        self._gate.touch()
        await asyncio.gather(*self._tasks)
        return self.ended

    async def reworded(self, *names):
        """Until these have ended."""
        await until(lambda: self.ended.keys() >= set(names))

    async def waiting(self, count):
        """Until so many wait in the queue."""
        await until(lambda: self._is_waiting(count))

    async def late(self, count):
        """Until so many have entered the queue since `busy`, and every timeout has passed."""
        await until(lambda: self._more(ACCEPTED, 1 + count))
        over_s = time.monotonic() + LATE_S
        await until(lambda: time.monotonic() > over_s)

    async def answered(self, count):
        """Until workers have answered so many since `busy`."""
        await until(lambda: self._more(ANSWERED, count))

    async def _more(self, name, count):
        return await self._measured(name) >= self._before[name] + count

    async def _is_waiting(self, count):
        return await self._measured(WAITING) == count

    async def _is_busy(self):
        return await self._more(ACCEPTED, 1) and await self._is_waiting(0)

    async def _measured(self, name):
        found = await asyncio.to_thread(scrape, self._running.metrics_url())
        labels = (("model", BEHIND.get(self._model, self._model)), ("version", "1"))
        return found.get((name, labels), 0)


@pytest.fixture
async def clients(running, gates):
    async with grpc.aio.insecure_channel(running.url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        yield lambda model: Clients(stub, running, model, gates)


async def test_a_full_queue_refuses(clients):
    crowd = clients("bounded")
    await crowd.busy()
    crowd.ask("waits")
    await crowd.waiting(1)

    crowd.ask("one too many")
    await crowd.reworded("one too many")

    ended = await crowd.all()
    assert list(ended) == ["one too many", "busy", "waits"]
    assert ended["one too many"] == (
        UNAVAILABLE,
        "[request id: one too many] Exceeds maximum queue size",
    )
    assert ended["waits"] == "answered"


async def test_who_waits_longer_than_the_policy_says_is_rejected(clients):
    crowd = clients("strict")
    await crowd.busy()
    crowd.ask("late")
    crowd.ask("a longer wait is not to be had", timeout=60_000_000)
    await crowd.late(2)

    ended = await crowd.all()

    assert ended.pop("busy") == "answered"
    assert set(ended.values()) == {(UNAVAILABLE, TIMEOUT)}


async def test_a_request_may_ask_for_a_shorter_wait_where_the_policy_allows_it(clients):
    crowd = clients("impatient")
    await crowd.busy()
    crowd.ask("in a hurry", timeout=20_000)
    crowd.ask("has time")
    await crowd.late(2)

    ended = await crowd.all()

    assert ended == {
        "in a hurry": (UNAVAILABLE, TIMEOUT),
        "busy": "answered",
        "has time": "answered",
    }


async def test_who_is_late_is_served_after_the_others_where_the_policy_delays(clients):
    crowd = clients("patient")
    await crowd.busy()
    crowd.ask("late", timeout=20_000)
    await crowd.waiting(1)
    crowd.ask("in time")
    crowd.ask("in time too")
    await crowd.late(3)

    ended = await crowd.all()

    assert set(ended.values()) == {"answered"}
    assert next(iter(ended)) == "busy"
    assert list(ended)[-1] == "late"


async def test_levels_go_first_and_have_their_own_bounds(clients):
    crowd = clients("levels")
    await crowd.busy()
    for place in range(2):
        crowd.ask(f"usual {place}")
    crowd.ask("urgent", priority=1)
    await crowd.waiting(3)
    crowd.ask("too urgent", priority=1)
    crowd.ask("usual 2", priority=2)
    await crowd.reworded("too urgent")

    ended = await crowd.all()

    assert list(ended)[:3] == ["too urgent", "busy", "urgent"]
    assert ended.pop("too urgent") == (
        UNAVAILABLE,
        "[request id: too urgent] Exceeds maximum queue size",
    )
    assert set(ended.values()) == {"answered"}


@pytest.mark.parametrize(
    ("model", "order"),
    [("ordered", ["busy", "short"]), ("unordered", ["short", "busy"])],
)
async def test_answers_keep_the_order_of_their_requests_if_the_model_says_so(clients, model, order):
    crowd = clients(model)
    await crowd.busy()
    crowd.ask("short")
    await crowd.answered(1)
    if model == "unordered":
        await crowd.reworded("short")

    assert list(await crowd.all()) == order


class TestBehindAnotherStep:
    """What a model's owner says holds for requests that come through an ensemble as well."""

    async def test_who_is_late_is_served_all_the_same(self, clients):
        crowd = clients("behind-delaying")
        await crowd.busy()
        crowd.ask("late")
        await crowd.late(1)

        assert await crowd.all() == {"busy": "answered", "late": "answered"}

    async def test_levels_go_first_and_have_their_own_bounds(self, clients):
        crowd = clients("behind-levels")
        await crowd.busy()
        for place in range(2):
            crowd.ask(f"usual {place}")
        crowd.ask("urgent", priority=1)
        await crowd.waiting(3)
        crowd.ask("too urgent", priority=1)
        await crowd.reworded("too urgent")
        ended = await crowd.all()

        assert list(ended)[:3] == ["too urgent", "busy", "urgent"]
        told = "[request id: too urgent] Exceeds maximum queue size"
        assert ended["too urgent"] == (UNAVAILABLE, f"in ensemble 'behind-levels', {told}")

    async def test_answers_keep_the_order_of_their_requests(self, clients):
        crowd = clients("behind-ordered")
        await crowd.busy()
        crowd.ask("short")
        await crowd.answered(1)

        assert list(await crowd.all()) == ["busy", "short"]
