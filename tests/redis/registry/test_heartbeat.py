"""A worker's signs of life go on while it computes, and end with its event loop."""

import os
import secrets
import time
from types import SimpleNamespace

import pytest
import redis
from support.probe import FIRST

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links
from penstock.workers.liveness.exits import HUNG
from penstock.workers.liveness.heartbeat import Heartbeat

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
