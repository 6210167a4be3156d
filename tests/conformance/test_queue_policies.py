"""Queue policies of dynamic_batching, as clients of a busy model meet them."""

import asyncio

import grpc
import numpy as np
import pytest
from support.cluster import Cluster
from support.ensembles import step, write_ensemble, write_scale
from support.metrics import scrape
from support.onnx_models import write_slow
from support.waiting import until

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
BUSY_S, SHORT_S = 1.5, 0.02
TIMEOUT = "Request timeout expired"

POLICIES = {
    "bounded": "default_queue_policy { max_queue_size: 1 }",
    "impatient": """default_queue_policy {
        default_timeout_microseconds: 60000000 allow_timeout_override: true }""",
    "strict": "default_queue_policy { default_timeout_microseconds: 50000 }",
    "patient": """default_queue_policy { timeout_action: DELAY
        default_timeout_microseconds: 60000000 allow_timeout_override: true }""",
    "delaying": """default_queue_policy { timeout_action: DELAY
        default_timeout_microseconds: 20000 }""",
    "levels": """priority_levels: 2 default_priority_level: 2
        priority_queue_policy { key: 1 value { max_queue_size: 1 } }""",
}

BEHIND = {f"behind-{name}": name for name in ("delaying", "levels", "ordered")}
"""Ensembles, and the model with a policy that their last step runs."""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    models = tmp_path_factory.mktemp("policy-models")
    for name, policy in POLICIES.items():
        entry = write_slow(models, name)
        more = f"dynamic_batching {{ {policy} }}\n"
        (entry / "config.pbtxt").write_text((entry / "config.pbtxt").read_text() + more)
    for name, ordered in (("ordered", "true"), ("unordered", "false")):
        entry = write_slow(models, name)
        more = (
            f"dynamic_batching {{ preserve_ordering: {ordered} }}\n"
            "instance_group { kind: KIND_CPU count: 2 }\n"
        )
        (entry / "config.pbtxt").write_text((entry / "config.pbtxt").read_text() + more)
    write_scale(models, "pass", 1, max_batch=1, width=1)
    for name, model in BEHIND.items():
        write_ensemble(
            models,
            name,
            step("pass", {"x": "seconds"}, {"y": "passed"}),
            step(model, {"seconds": "passed"}, {"done": "done"}),
            inputs=("seconds",),
            outputs=("done",),
            max_batch=1,
            dims=(1,),
        )
    one = Cluster(tmp_path_factory.mktemp("policy-cluster"), models)
    with one.running():
        yield one


class Clients:
    """Requests to one model: what became of each, in the order in which they ended."""

    def __init__(self, stub, running, model):
        self._stub, self._running, self._model = stub, running, model
        self._tasks = []
        self.ended = {}

    async def busy(self):
        """Keep the model's worker busy; returns once it is."""
        began = await self._begun()
        self.ask("busy", BUSY_S)
        await until(lambda: self._has_begun(began + 1))

    def ask(self, name, seconds=SHORT_S, **parameters):
        self._tasks.append(asyncio.ensure_future(self._ask(name, seconds, parameters)))

    async def _ask(self, name, seconds, parameters):
        request = pb.ModelInferRequest(model_name=self._model, id=name)
        request.inputs.add(name="seconds", datatype="FP32", shape=[1, 1])
        request.raw_input_contents.append(np.float32(seconds).tobytes())
        for key, value in parameters.items():
            request.parameters[key].int64_param = value
        try:
            await self._stub.ModelInfer(request, timeout=30)
        except grpc.aio.AioRpcError as error:
            self.ended[name] = error.code(), error.details()
        else:
            self.ended[name] = "answered"

    async def all(self):
        await asyncio.gather(*self._tasks)
        return self.ended

    async def waiting(self, count):
        """Until so many wait in the queue."""
        await until(lambda: self._is_waiting(count))

    async def _is_waiting(self, count):
        return await self._measured("nv_inference_pending_request_count") == count

    async def _has_begun(self, count):
        return await self._begun() == count

    async def _begun(self):
        """Requests that were accepted and no longer wait."""
        accepted = await self._measured("penstock_jobs_accepted_total")
        return accepted - await self._measured("nv_inference_pending_request_count")

    async def _measured(self, name):
        found = await asyncio.to_thread(scrape, self._running.metrics_url())
        labels = (("model", BEHIND.get(self._model, self._model)), ("version", "1"))
        return found.get((name, labels), 0)


@pytest.fixture
async def clients(running):
    async with grpc.aio.insecure_channel(running.url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        yield lambda model: Clients(stub, running, model)


async def test_a_full_queue_refuses(clients):
    crowd = clients("bounded")
    await crowd.busy()
    crowd.ask("waits")
    await crowd.waiting(1)

    crowd.ask("one too many")

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

    ended = await crowd.all()

    assert ended.pop("busy") == "answered"
    assert set(ended.values()) == {(UNAVAILABLE, TIMEOUT)}


async def test_a_request_may_ask_for_a_shorter_wait_where_the_policy_allows_it(clients):
    crowd = clients("impatient")
    await crowd.busy()
    crowd.ask("in a hurry", timeout=20_000)
    crowd.ask("has time")

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

    assert list(await crowd.all()) == order


class TestBehindAnotherStep:
    """What a model's owner says holds for requests that come through an ensemble as well."""

    async def test_who_is_late_is_served_all_the_same(self, clients):
        crowd = clients("behind-delaying")
        await crowd.busy()
        crowd.ask("late")

        assert await crowd.all() == {"busy": "answered", "late": "answered"}

    async def test_levels_go_first_and_have_their_own_bounds(self, clients):
        crowd = clients("behind-levels")
        await crowd.busy()
        for place in range(2):
            crowd.ask(f"usual {place}")
        crowd.ask("urgent", priority=1)
        await crowd.waiting(3)
        crowd.ask("too urgent", priority=1)
        ended = await crowd.all()

        assert list(ended)[:3] == ["too urgent", "busy", "urgent"]
        told = "[request id: too urgent] Exceeds maximum queue size"
        assert ended["too urgent"] == (UNAVAILABLE, f"in ensemble 'behind-levels', {told}")

    async def test_answers_keep_the_order_of_their_requests(self, clients):
        crowd = clients("behind-ordered")
        await crowd.busy()
        crowd.ask("short")

        assert list(await crowd.all()) == ["busy", "short"]
