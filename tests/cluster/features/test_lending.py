"""Large requests between processes that share their memory, and processes that do not."""

import subprocess

import numpy as np
import pytest
from support.clients.load import Load, eventually
from support.models.onnx_models import write_sum
from support.processes.roles import all_ready, nodes_that_work, starting

from penstock.client import AsyncClient
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.store.link import Links

VALUES = 100_000
"""Of a request, 400 KB."""

APART = ("unshare", "--pid", "--mount-proc", "--fork", "--kill-child")
"""Runs a command where it sees no other process, as on another machine."""


def can_be_apart():
    return subprocess.run([*APART, "true"], check=False, capture_output=True).returncode == 0


@pytest.fixture
def models(tmp_path):
    return write_sum(tmp_path / "models").parent


@pytest.fixture
def role(tmp_path, redis_url):
    with starting(tmp_path, redis_url) as start:
        yield start


def values(number):
    return np.full((1, VALUES), number % 100, np.float32)


class Sums(Load):
    """Clients that send large requests."""

    def _request(self, place):
        request = pb.ModelInferRequest(model_name="sum", id=str(place))
        request.inputs.add(name="values", datatype="FP32", shape=(1, VALUES))
        request.raw_input_contents.append(values(place).tobytes())
        return request

    def _expected(self, place):
        return [VALUES * (place % 100)]


async def test_on_one_machine_large_requests_stay_out_of_redis(role, models, redis_url):
    place = ("--models", str(models))
    role("scheduler", *place)
    role("node", *place)
    heard = {}
    for most in ("256", "0"):
        url = await role("gateway", "--port", "0", "--lent-payload-mib", most).up()
        await eventually(lambda url=url: all_ready(url))
        async with Links(redis_url) as links, AsyncClient(url) as client:
            before = await received(links)
            for number in range(20):
                answer = await client.infer("sum", {"values": values(number)})
                assert answer["total"].tolist() == [[VALUES * (number % 100)]]
            heard[most] = await received(links) - before

    assert heard["0"] > 20 * 4 * VALUES
    assert heard["256"] < heard["0"] / 4


async def received(links):
    """Bytes that the store has had from its clients."""
    info = await links.to("{registry}").command("INFO", "stats")
    told = dict(line.split(":") for line in info.decode().splitlines() if ":" in line)
    return int(told["total_net_input_bytes"])


@pytest.mark.skipif(not can_be_apart(), reason="this user may not unshare")
async def test_who_cannot_read_what_was_lent_is_sent_it(role, models):
    """A node's work goes to one that sees no other process: requests that wait are on loan."""
    place = ("--models", str(models))
    role("scheduler", *place)
    near = role("node", *place, "--node", "near")
    gateway = role("gateway", "--port", "0", "--metrics-port", "0")
    url = await gateway.up()
    await eventually(lambda: all_ready(url))
    await role("node", *place, "--node", "far", within=APART).up()

    async with Sums(url, clients=8) as load:
        assert await nodes_that_work(url) == {"near"}
        status = await near.stop()
        await load.more(100)

    assert status == 0, near.log.read_text()
    assert await nodes_that_work(url) == {"far"}
    assert load.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == 0
    assert "a worker cannot read lent payloads" in gateway.log.read_text()
