"""Requests that sleeping workers have straight from the gateways beside them."""

import asyncio
import os
import shutil
import signal

import grpc
import numpy as np
import psutil
import pytest
from support.clients.load import DIGITS, Load, digit_request, eventually, expected, images
from support.metrics import scrape
from support.models.onnx_models import write_sum
from support.processes.roles import gateway, serve, starting, status_of, workers_in
from support.processes.stores import valkey

from penstock.client import AsyncClient
from penstock.protos import cluster_pb2
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

VALUES = 50_000
"""Of a large request, 200 KB."""


def write_models(root):
    """`digits` version 1, of one stage, with two workers, and `sum`."""
    source = DIGITS / "models" / "digits"
    shutil.copytree(source / "1", root / "digits" / "1")
    shutil.copy(source / "labels.txt", root / "digits")
    config = (source / "config.pbtxt").read_text()
    config += "\ninstance_group [{ count: 2 kind: KIND_CPU }]\n"
    (root / "digits" / "config.pbtxt").write_text(config)
    write_sum(root)
    return root


class Cluster:
    """One gateway and all that it needs, on this machine."""

    def __init__(self, url, metrics):
        self.url = url
        self._metrics = metrics

    async def direct(self, model="digits"):
        """How many requests were handed over, as its metrics tell."""
        found = await asyncio.to_thread(scrape, f"http://{self._metrics.read_text()}/metrics")
        labels = ("model", model), ("version", "1")
        return found.get(("penstock_jobs_direct_total", labels), 0)

    async def pids(self):
        """Of the workers of `digits` that work."""
        ready = cluster_pb2.WORKER_STATE_READY
        found = workers_in(await status_of(self.url))
        return [w.pid for w in found if w.state == ready and w.model == "digits"]

    async def both_work(self):
        """Their processes; None where one is away, whether or not that is known yet."""
        pids = await self.pids()
        return pids if len(pids) == 2 and all(map(psutil.pid_exists, pids)) else None


async def started(role, folder, *options):
    serve(role, write_models(folder / "models"))
    metrics = folder / "metrics"
    options += ("--metrics-port", "0", "--metrics-file", str(metrics))
    _, url = await gateway(role, *options)
    return Cluster(url, metrics)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("direct")
    with valkey() as store, starting(folder, store.url) as role:
        yield asyncio.run(started(role, folder))


@pytest.fixture
async def quiet(shared):
    """A cluster that has got over what other tests did to it."""
    await eventually(shared.both_work)
    return shared


async def test_a_quiet_cluster_hands_requests_over(quiet):
    async with AsyncClient(quiet.url) as client:
        asked, handed = 0, await quiet.direct()
        (before,) = await client.statistics("digits")

        async def small_ones():
            nonlocal asked
            for place in range(50):
                answer = await client.infer("digits", {"image": images()[place : place + 1]})
                found = answer["probabilities"]
                assert np.allclose(found, expected()[place : place + 1], atol=1e-4)
            asked += 50
            return await quiet.direct() - handed > 100

        async def large_ones():
            for number in range(20):
                answer = await client.infer("sum", {"values": np.full((1, VALUES), number, "f4")})
                assert answer["total"].tolist() == [[VALUES * number]]
            return await quiet.direct("sum")

        await eventually(small_ones)
        await eventually(large_ones)

        # Whoever has an answer finds it counted.
        (after,) = await client.statistics("digits")
        risen = [now - then for now, then in zip(counts(after), counts(before), strict=True)]
        assert risen == [asked] * 3


def counts(statistics):
    """Requests that succeeded, those that ran, and those that ran in batches."""
    batches = sum(b.batch_size * b.compute_infer.count for b in statistics.batch_stats)
    return statistics.inference_stats.success.count, statistics.inference_count, batches


async def test_the_path_of_a_request_that_was_handed_over_is_told(quiet):
    async with grpc.aio.insecure_channel(quiet.url) as channel:
        stub, request = pb_grpc.GRPCInferenceServiceStub(channel), digit_request(0, version="1")
        request.parameters["penstock_path"].bool_param = True

        async def with_their_path():
            before = await quiet.direct()
            reply = await stub.ModelInfer(request)
            start, end = reply.parameters["penstock_path"].string_param.split(" > ")
            assert start.startswith("gateway-")
            assert end.startswith("stage 0 worker")
            return await quiet.direct() > before

        await eventually(with_their_path)


async def test_it_can_be_left_out(tmp_path, redis_url):
    with starting(tmp_path, redis_url) as role:
        plain = await started(role, tmp_path, "--no-direct")
        async with Load(plain.url, version="1") as load:
            await load.more(500)

        assert await plain.direct() == 0
    assert (load.answers.failed, load.answers.wrong) == (0, 0)


async def test_workers_that_die_or_hang_cost_no_request(quiet):
    handed = await quiet.direct()

    async def handed_over():
        return await quiet.direct() > handed

    async with Load(quiet.url, version="1") as load:
        await eventually(handed_over)
        for how in (signal.SIGKILL, signal.SIGSTOP) * 2:
            pid, _ = await eventually(quiet.both_work)
            os.kill(pid, how)
            await load.more(200)
            if how == signal.SIGSTOP:
                await asyncio.sleep(1.5)  # longer than a gateway waits for a word
                os.kill(pid, signal.SIGCONT)
                await load.more(200)

    assert load.answers.errors == {}
    assert load.answers.wrong == 0
    assert load.answers.longest_s < 15
