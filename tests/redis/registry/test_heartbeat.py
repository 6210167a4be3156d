"""A worker's signs of life go on while it computes, and end with its event loop."""

import asyncio
import contextlib
import os
import secrets
import time
from types import SimpleNamespace

import pytest
import redis
from support.probe import FIRST
from support.processes.proxy import Proxy
from support.waiting import until

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links
from penstock.workers.liveness import announcer, renewal
from penstock.workers.liveness.exits import HUNG
from penstock.workers.liveness.heartbeat import Heartbeat
from penstock.workers.liveness.heartbeat_pipe import (
    BEAT,
    LONELY_BEAT,
    RESTING_BEAT,
    RESTING_BEAT_S,
    heartbeat_pipe,
)

READY = pb.WORKER_STATE_READY


@pytest.fixture
def record():
    id_ = secrets.token_hex(4)
    return pb.Worker(id=id_, boot_id=id_, model=FIRST.model, version=1, pid=os.getpid())


def hold_the_event_loop_until(condition, seconds=20):
    """As a computation on it would."""
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


async def test_a_worker_is_announced_while_its_event_loop_computes(redis_url, record):
    store, name = redis.Redis.from_url(redis_url), f"workers/{record.id}"
    with Heartbeat(redis_url, record, pipe=None, run_limit_s=600) as heartbeat:
        await heartbeat.become(READY)
        first = store.zscore(RegistryKeys.seen, name)
        hold_the_event_loop_until(lambda: store.zscore(RegistryKeys.seen, name) > first + 1000)

        async with Links(redis_url) as links:
            snapshot = await Registry(links).snapshot()
        assert snapshot.workers[record.id].state == READY
        await heartbeat.leave()

    assert store.zscore(RegistryKeys.seen, name) is None


async def test_leases_are_renewed_while_its_event_loop_computes(each_redis_url, record, probe):
    await probe.enqueue("a")
    store, lease = redis.Redis.from_url(each_redis_url), await probe.lease()
    ends_ms = store.zscore(probe.keys.lease, "a")
    with Heartbeat(each_redis_url, record, pipe=None, run_limit_s=600) as heartbeat:
        heartbeat.renew(FIRST.model, lease_ms=300).hold([SimpleNamespace(lease=lease)])

        hold_the_event_loop_until(lambda: store.zscore(probe.keys.lease, "a") != ends_ms)


async def test_a_worker_that_rests_renews_what_it_takes(each_redis_url, record, probe, monkeypatch):
    monkeypatch.setattr(renewal, "RESTS_AFTER_S", 0.0)
    store = redis.Redis.from_url(each_redis_url)
    with Heartbeat(each_redis_url, record, pipe=None, run_limit_s=600) as heartbeat:
        renewing = heartbeat.renew(FIRST.model, lease_ms=300)
        await until(lambda: renewing._resting)
        await probe.enqueue("a")
        lease = await probe.lease()
        ends_ms = store.zscore(probe.keys.lease, "a")
        renewing.hold([SimpleNamespace(lease=lease)])

        hold_the_event_loop_until(lambda: store.zscore(probe.keys.lease, "a") != ends_ms)
        assert not renewing.rests


async def test_a_worker_that_rests_says_so_to_its_node(redis_url, record, monkeypatch):
    """Its node waits for the next sign of life for longer, then."""
    monkeypatch.setattr(renewal, "RESTS_AFTER_S", 0.0)
    with (
        heartbeat_pipe() as pipe,
        Heartbeat(redis_url, record, pipe=pipe.write_end, run_limit_s=600) as heartbeat,
    ):
        await heartbeat.become(READY)
        heartbeat.renew(FIRST.model, lease_ms=300)
        loop = asyncio.get_running_loop()

        await until(lambda: pipe.lives(loop.time() + RESTING_BEAT_S), 20)


async def test_a_worker_that_rests_in_an_outage_tells_its_node_soon_that_it_is_over(
    store, record, monkeypatch
):
    """Its node cannot say before that it serves, and who rests beats twice a minute."""
    monkeypatch.setattr(renewal, "RESTS_AFTER_S", 0.0)
    monkeypatch.setattr(announcer, "VOUCHED_EVERY_S", 0.2)
    heard, said = os.pipe()
    os.set_blocking(heard, False)

    def last_sign():
        with contextlib.suppress(BlockingIOError):
            return os.read(heard, 4096)[-1:]
        return b""

    async with Proxy(store.socket) as proxy:
        with Heartbeat(proxy.url, record, pipe=said, run_limit_s=600) as heartbeat:
            await heartbeat.become(READY)
            await until(lambda: last_sign() == BEAT)
            proxy.requests_pass.clear()
            await until(lambda: last_sign() == LONELY_BEAT)
            heartbeat.renew(FIRST.model, lease_ms=300)
            await until(heartbeat._rests)
            await until(lambda: last_sign() == LONELY_BEAT)
            proxy.requests_pass.set()

            await until(lambda: last_sign() == RESTING_BEAT, 15)
    os.close(heard)
    os.close(said)


async def test_its_node_hears_it_while_its_event_loop_computes(redis_url, record):
    heard, said = os.pipe()
    with Heartbeat(redis_url, record, pipe=said, run_limit_s=600):
        hold_the_event_loop_until(lambda: len(os.read(heard, 1)) == 1)
        hold_the_event_loop_until(lambda: len(os.read(heard, 1)) == 1)
    os.close(heard)
    os.close(said)


async def test_a_node_that_does_not_read_holds_nothing_up(redis_url, record):
    heard, said = os.pipe()
    os.set_blocking(said, False)
    while True:
        try:
            os.write(said, bytes(4096))
        except BlockingIOError:
            break
    with Heartbeat(redis_url, record, pipe=said, run_limit_s=600) as heartbeat:
        await heartbeat.become(READY)
    os.close(heard)
    os.close(said)


async def test_an_event_loop_without_progress_ends_the_process(redis_url, record, monkeypatch):
    ends = []
    monkeypatch.setattr(os, "_exit", ends.append)
    with Heartbeat(redis_url, record, pipe=None, run_limit_s=0.5):
        hold_the_event_loop_until(lambda: ends)

    assert ends[0] == HUNG
