"""Requests that sleeping workers have straight from the gateways beside them."""

import asyncio
import os
import shutil
import signal

import grpc
import numpy as np
import pytest
from support.clients.load import DIGITS, Load, digit_request, eventually, expected, images
from support.metrics import scrape
from support.models.onnx_models import write_sum
from support.processes.roles import gateway, serve, starting, status_of, workers_in

from penstock.client import AsyncClient
from penstock.protos import cluster_pb2
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

VALUES = 50_000
"""Of a large request, 200 KB."""


@pytest.fixture
def models(tmp_path):
    """`digits` version 1, of one stage, with two workers, and `sum`."""
    root, source = tmp_path / "models", DIGITS / "models" / "digits"
    shutil.copytree(source / "1", root / "digits" / "1")
    shutil.copy(source / "labels.txt", root / "digits")
    config = (source / "config.pbtxt").read_text()
    config += "\ninstance_group [{ count: 2 kind: KIND_CPU }]\n"
    (root / "digits" / "config.pbtxt").write_text(config)
    write_sum(root)
    return root


@pytest.fixture
def role(tmp_path, redis_url):
    with starting(tmp_path, redis_url) as start:
        yield start


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


@pytest.fixture
def cluster(role, models, tmp_path):
    async def start(*options):
        serve(role, models)
        metrics = tmp_path / "metrics"
        options += ("--metrics-port", "0", "--metrics-file", str(metrics))
        _, url = await gateway(role, *options)
        return Cluster(url, metrics)

    return start


async def test_a_quiet_cluster_hands_requests_over(cluster):
    quiet = await cluster()
    async with AsyncClient(quiet.url) as client:
        asked = 0

        async def small_ones():
            nonlocal asked
            for place in range(50):
                answer = await client.infer("digits", {"image": images()[place : place + 1]})
                found = answer["probabilities"]
                assert np.allclose(found, expected()[place : place + 1], atol=1e-4)
            asked += 50
            return await quiet.direct() > 100

        async def large_ones():
            for number in range(20):
                answer = await client.infer("sum", {"values": np.full((1, VALUES), number, "f4")})
                assert answer["total"].tolist() == [[VALUES * number]]
            return await quiet.direct("sum")

        await eventually(small_ones)
        await eventually(large_ones)

        # Whoever has an answer finds it counted.
        (found,) = await client.statistics("digits")
        assert found.inference_stats.success.count == found.inference_count == asked
        batches = sum(b.batch_size * b.compute_infer.count for b in found.batch_stats)
        assert batches == asked


async def test_the_path_of_a_request_that_was_handed_over_is_told(cluster):
    quiet = await cluster()
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


async def test_it_can_be_left_out(cluster):
    plain = await cluster("--no-direct")
    async with Load(plain.url, version="1") as load:
        await load.more(500)

    assert await plain.direct() == 0
    assert (load.answers.failed, load.answers.wrong) == (0, 0)


async def test_workers_that_die_or_hang_cost_no_request(cluster):
    hurt = await cluster()

    async def both_work():
        pids = await hurt.pids()
        return pids if len(pids) == 2 else None

    async with Load(hurt.url, version="1") as load:
        await eventually(hurt.direct)
        for how in (signal.SIGKILL, signal.SIGSTOP) * 2:
            pid, _ = await eventually(both_work)
            os.kill(pid, how)
            await load.more(200)
            if how == signal.SIGSTOP:
                await asyncio.sleep(1.5)  # longer than a gateway waits for a word
                os.kill(pid, signal.SIGCONT)
                await load.more(200)

    assert load.answers.errors == {}
    assert load.answers.wrong == 0
    assert load.answers.longest_s < 15
