"""Large requests between processes that share their memory, and processes that do not."""

import asyncio
import subprocess

import numpy as np
import pytest
from support.load import eventually
from support.onnx_models import write_sum
from support.roles import Role, all_ready, end_all, nodes_that_work

from penstock.client import AsyncClient
from penstock.scheduler.link import Links

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
    started = []

    def start(name, *options, within=()):
        started.append(Role(tmp_path, name, "--redis", redis_url, *options, within=within))
        return started[-1]

    yield start
    end_all(started)


def values(number):
    return np.full((1, VALUES), number % 7, np.float32)


class Callers:
    """Clients that send large requests without pause, each checking its answers."""

    def __init__(self, url, clients=8):
        self._url, self._clients = url, clients
        self.answered = 0
        self._stopping = False

    async def __aenter__(self):
        self._client = AsyncClient(self._url, deadline_s=60.0)
        self._tasks = [asyncio.create_task(self._ask(start)) for start in range(self._clients)]
        await self.more(self._clients)
        return self

    async def __aexit__(self, *_):
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self._client.close()

    async def more(self, count):
        wanted = self.answered + count

        def enough():
            for task in self._tasks:
                assert not task.done() or task.result()
            return self.answered >= wanted

        await eventually(enough, within_s=60)

    async def _ask(self, number):
        while not self._stopping:
            number += 1
            answer = await self._client.infer("sum", {"values": values(number)})
            assert answer["total"].tolist() == [[VALUES * (number % 7)]]
            self.answered += 1
        return True


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
                assert answer["total"].tolist() == [[VALUES * (number % 7)]]
            heard[most] = await received(links) - before

    assert heard["0"] > 20 * 4 * VALUES
    assert heard["256"] < heard["0"] / 4


async def received(links):
    """Bytes that the store has had from its clients."""
    (info,) = [await links.to("{registry}").command("INFO", "stats")]
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

    async with Callers(url) as callers:
        assert await nodes_that_work(url) == {"near"}
        status = await near.stop()
        await callers.more(100)

    assert status == 0, near.log.read_text()
    assert await nodes_that_work(url) == {"far"}
    assert "a worker cannot read lent payloads" in gateway.log.read_text()
