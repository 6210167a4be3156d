"""The response cache and idempotency keys on a cluster of several gateways."""

import asyncio
import os
import shutil
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from support.clients.asked import Asked, at_rest, counted
from support.clients.load import DIGITS, digit_request, eventually, expected, images
from support.models.onnx_models import slow_request, write_slow
from support.models.repositories import add_digits
from support.processes.roles import all_ready, gateway, starting, two_gateways
from support.processes.stores import redis, valkey

from penstock.client import AsyncClient, CallFailed
from penstock.errors import Code, InvalidRequest, PenstockError
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.store.link import Links

CROWD = 64
CACHED = "\nresponse_cache { enable: true }\n"


def write_models(root):
    """`digits` version 1 and `slow`, both with a cache, and `plain`, slow without one."""
    shutil.copytree(DIGITS / "models" / "digits", root / "digits")
    shutil.rmtree(root / "digits" / "2")
    for name in ("slow", "plain"):
        write_slow(root, name)
    for name in ("slow", "digits"):
        with (root / name / "config.pbtxt").open("a") as file:
            file.write(CACHED)
    return root


@pytest.fixture
def models(tmp_path):
    return write_models(tmp_path / "models")


@pytest.fixture
def role(tmp_path, redis_server):
    with starting(tmp_path, redis_server) as start:
        yield start


@dataclass
class Shared:
    """A cluster; each test has keys and inputs of its own.

    Attributes:
        urls: addresses of its two gateways.
        role: starts more of it.
        models: its repository, which is looked at several times a second.
    """

    urls: list
    store_url: str
    role: object
    models: Path


@pytest.fixture(scope="module", params=["valkey", "redis"])
def shared(request, tmp_path_factory):
    made = {"valkey": valkey, "redis": redis}[request.param]()
    if made is None:
        pytest.skip("redis-server is not installed")
    folder = tmp_path_factory.mktemp("shared")
    with made, starting(folder, made.url) as role:
        models = write_models(folder / "models")
        urls = [url for _, url in asyncio.run(two_gateways(role, models))]
        yield Shared(urls, made.url, role, models)


@pytest.fixture
def urls(shared):
    return shared.urls


@pytest.fixture
async def gateways(shared):
    """Two more, for a test that hurts them: (role, address) each."""
    return await asyncio.gather(gateway(shared.role), gateway(shared.role))


ON_REDIS = pytest.mark.parametrize("shared", ["redis"], indirect=True)
"""For tests of which one store shows as much as two."""


@pytest.fixture
async def accepted(shared):
    """Waits until so many more requests of `plain` have entered the queue."""
    async with Links(shared.store_url) as links:
        queue = await open_queue(links)

        async def now():
            return (await statistics_of(queue, "plain", 1)).get("accepted", 0)

        before = await now()

        async def wait(count=1):
            async def enough():
                return await now() >= before + count

            await eventually(enough, every_s=0.005)

        yield wait


class TestCache:
    async def test_identical_requests_run_once_over_all_gateways(self, urls):
        before = await at_rest(urls[0], "slow")
        async with Asked(urls[0]) as one, Asked(urls[1]) as other:
            calls = [
                asked.stub.ModelInfer(slow_request(0.4, f"{place}"), timeout=30)
                for place in range(CROWD // 2)
                for asked in (one, other)
            ]
            replies = await asyncio.gather(*calls)
            late = await other.stub.ModelInfer(slow_request(0.4, "late"), timeout=30)
            another = await one.stub.ModelInfer(slow_request(0.1), timeout=30)

        assert [reply.id for reply in replies] == [f"{n}" for n in range(CROWD // 2) for _ in "ab"]
        assert {reply.raw_output_contents[0] for reply in (*replies, late)} == {
            np.float32(0.4).tobytes()
        }
        assert (late.id, late.model_version) == ("late", "1")
        assert another.raw_output_contents[0] == np.float32(0.1).tobytes()
        for url in urls:
            risen = await counted(url, "slow") - before
            assert risen.tolist() == [2, CROWD, 2, CROWD + 2]

    @ON_REDIS
    async def test_a_reload_never_gives_an_old_answer(self, shared):
        entry = add_digits(shared.models, "changing", "1", edited=lambda config: config + CACHED)
        request = digit_request(3, version="1", model="changing")
        async with Asked(shared.urls[0]) as one, Asked(shared.urls[1]) as two:
            for asked in (one, two):
                await eventually(partial(_served, asked, "changing"))
            before = await one.stub.ModelInfer(request, timeout=30)
            assert await two.stub.ModelInfer(request, timeout=30) == before
            _negate(entry / "1" / "model.onnx")

            async def changed():
                replies = [await asked.stub.ModelInfer(request, timeout=30) for asked in (one, two)]
                return all(_first(reply) < 0 for reply in replies)

            await eventually(changed)

        assert np.allclose(_all(before), expected()[3], atol=1e-4)

    async def test_who_gives_up_does_not_take_the_others_along(self, urls):
        url, other = urls
        before = await counted(url, "slow")
        async with Asked(url) as one, Asked(other) as two:
            leader = one.stub.ModelInfer(slow_request(2.0, "leader"), timeout=30)
            await eventually(lambda: _another_miss(url, before))
            followers = [
                asked.stub.ModelInfer(slow_request(2.0), timeout=30) for asked in (one, two)
            ]
            hurried = two.stub.ModelInfer(slow_request(2.0), timeout=0.05)
            leader.cancel()

            replies = await asyncio.gather(*followers)
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await hurried

        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert {reply.raw_output_contents[0] for reply in replies} == {np.float32(2.0).tobytes()}
        assert (await counted(url, "slow") - before)[0] == 1

    async def test_a_leaders_deadline_is_its_own(self, urls):
        url, other = urls
        before = await counted(url, "slow")
        async with Asked(url) as one, Asked(other) as two:
            (worker,) = (await one.pids())["slow", 1]
            os.kill(worker, signal.SIGSTOP)
            try:
                leader = one.stub.ModelInfer(slow_request(0.01), timeout=1.0)
                await eventually(lambda: _another_miss(url, before))
                follower = two.stub.ModelInfer(slow_request(0.01), timeout=30)
                with pytest.raises(grpc.aio.AioRpcError) as late:
                    await leader
            finally:
                os.kill(worker, signal.SIGCONT)

            assert (await follower).raw_output_contents[0] == np.float32(0.01).tobytes()
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    async def test_outputs_asked_for_and_classes_are_those_of_each_request(self, urls):
        """With Triton's own client."""
        url, other = urls
        before = await counted(url, "digits")
        image = triton.InferInput("image", [1, 1, 8, 8], "FP32")
        image.set_data_from_numpy(images()[5:6])

        def ask(client, **terms):
            wanted = [triton.InferRequestedOutput("probabilities", **terms)]
            return client.infer("digits", [image], outputs=wanted).as_numpy("probabilities")

        def both():
            with triton.InferenceServerClient(url) as a, triton.InferenceServerClient(other) as b:
                return [
                    tuple(ask(client, class_count=count) for count in (0, 2, 0, 2))
                    for client in (a, b, a)
                ]

        for numbers, classes, again, classes_again in await asyncio.to_thread(both):
            assert np.allclose(numbers[0], expected()[5], atol=1e-4)
            assert np.array_equal(numbers, again)
            best = classes[0, 0].decode().split(":")
            assert int(best[1]) == int(expected()[5].argmax())
            assert np.array_equal(classes, classes_again)
        executions, hits, misses, _ = await counted(url, "digits") - before
        assert (executions, hits, misses) == (2, 10, 2)

    async def test_a_failure_is_not_kept(self, urls):
        url = urls[0]
        before = await counted(url, "digits")
        async with Asked(url) as asked:
            request = digit_request(1, version="1")
            request.raw_input_contents[0] = b"short"
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await asked.stub.ModelInfer(request, timeout=30)
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (await counted(url, "digits") - before)[:3].tolist() == [0, 0, 0]


class TestSize:
    async def test_what_does_not_fit_goes(self, role, models):
        place = ("--models", str(models))
        role("scheduler", *place, "--response-cache-bytes", "6000")
        role("node", *place)
        url = await role("gateway", "--port", "0").up()
        await eventually(lambda: all_ready(url))
        async with Asked(url) as asked:

            async def ask(place):
                await asked.stub.ModelInfer(digit_request(place, version="1"), timeout=30)
                return (await counted(url, "digits"))[1]

            assert await ask(0) == 0
            assert await ask(0) == 1
            for place in range(1, 40):
                assert await ask(place) == 1
            assert await ask(39) == 2
            assert await ask(0) == 2

    async def test_without_a_cache_models_that_ask_for_one_are_refused(self, role, models):
        place = ("--models", str(models))
        role("scheduler", *place, "--response-cache-bytes", "0")
        role("node", *place)
        url = await role("gateway", "--port", "0").up()
        async with Asked(url) as asked:

            async def settled():
                index = await asked.index()
                return index if await asked.state("plain", "1") == "READY" else None

            index = await eventually(settled)

        assert index["slow", "1"].state == "UNAVAILABLE"
        assert "--response-cache-bytes" in index["slow", "1"].reason


class TestKeys:
    async def test_a_key_runs_once_over_all_gateways(self, urls):
        before = await counted(urls[0], "plain")
        async with AsyncClient(urls[0]) as one, AsyncClient(urls[1]) as other:
            asked = [_keyed(client, 0.3, "once") for client in (one, other) for _ in range(8)]
            results = await asyncio.gather(*asked)
            late = await _keyed(other, 0.3, "once", request_id="late")

        assert {float(result["done"][0, 0]) for result in results} == {np.float32(0.3)}
        assert late.id == "late"
        assert (await counted(urls[0], "plain") - before)[0] == 1

    async def test_other_content_is_refused(self, urls, accepted):
        async with AsyncClient(urls[0]) as one, AsyncClient(urls[1]) as other:
            running = asyncio.create_task(_keyed(one, 0.3, "mine"))
            await accepted()
            for _ in range(2):
                with pytest.raises(CallFailed, match="idempotency key") as refused:
                    await _keyed(other, 0.2, "mine")
                assert refused.value.code is Code.ALREADY_EXISTS
                await running
            assert float((await _keyed(other, 0.2, "yours"))["done"][0, 0]) == np.float32(0.2)

    @ON_REDIS
    async def test_a_retry_after_its_gateways_death_has_the_same_reply(self, gateways, accepted):
        """Executed once; meanwhile, and after it."""
        (first, url), (_, other) = gateways
        before = await counted(other, "plain")
        async with AsyncClient(url) as one, AsyncClient(other) as two:
            asked = asyncio.create_task(_keyed(one, 3.0, "retried"))
            await accepted()
            first.process.kill()
            with pytest.raises((TimeoutError, PenstockError)):
                await asyncio.wait_for(asked, 0.5)

            during = await _keyed(two, 3.0, "retried")
            after = await _keyed(two, 3.0, "retried")

        assert float(during["done"][0, 0]) == float(after["done"][0, 0]) == 3.0
        assert (await counted(other, "plain") - before)[0] == 1

    @ON_REDIS
    async def test_a_job_whose_gateway_is_long_gone_goes_on(self, gateways, accepted):
        """Nobody waits while reap removes the gateway and what it had asked for."""
        (first, url), (_, other) = gateways
        before = await counted(other, "plain")
        async with AsyncClient(url) as one, AsyncClient(other) as two:
            blocker = asyncio.create_task(_keyed(two, 2.0, "blocker"))
            await accepted()
            asked = asyncio.create_task(_keyed(one, 0.1, "goes-on"))
            await accepted(2)
            first.process.kill()
            asked.cancel()
            await blocker

            assert float((await _keyed(two, 0.1, "goes-on"))["done"][0, 0]) == np.float32(0.1)
        assert (await counted(other, "plain") - before)[0] == 2

    async def test_a_stream_names_its_requests_one_by_one(self, urls):
        url = urls[0]
        before = await counted(url, "plain")
        async with Asked(url) as asked:
            requests = [_named(0.1, "k"), _named(0.1, "k"), _named(0.2, "k"), _named(0.2, "l")]
            answers = [one async for one in asked.stub.ModelStreamInfer(iter(requests))]
            metadata = (("idempotency-key", "k"),)
            stream = asked.stub.ModelStreamInfer(iter(()), metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError, match="penstock_idempotency_key"):
                await stream.read()

        told = [bool(answer.error_message) for answer in answers]
        assert told == [False, False, True, False]
        assert (await counted(url, "plain") - before)[0] == 2

    @pytest.mark.parametrize("key", ["x" * 256, "with space"])
    async def test_a_key_that_cannot_be_one_is_refused(self, urls, key):
        async with AsyncClient(urls[0]) as client:
            with pytest.raises(InvalidRequest, match="1 to 255 printable"):
                await _keyed(client, 0.1, key)


def _keyed(client, seconds, key, **terms):
    array = np.float32([[seconds]])
    return client.infer("plain", {"seconds": array}, idempotency_key=key, **terms)


def _named(seconds, key):
    request = slow_request(seconds, key)
    request.model_name = "plain"
    request.parameters["penstock_idempotency_key"].string_param = key
    return request


async def _served(asked, model):
    return await asked.state(model, "1") == "READY"


async def _another_miss(url, before):
    return (await counted(url, "slow"))[2] > before[2]


def _all(reply):
    return np.frombuffer(reply.raw_output_contents[0], "<f4")


def _first(reply):
    return _all(reply)[0]


def _negate(artifact):
    """The same model with its probabilities below zero."""
    import onnx
    from onnx import helper

    model = onnx.load(artifact)
    for node in model.graph.node:
        node.output[:] = ["positive" if o == "probabilities" else o for o in node.output]
    model.graph.node.append(helper.make_node("Neg", ["positive"], ["probabilities"]))
    onnx.save(model, artifact)
