"""A worker's batches: where they run, what waits behind them, and a device that breaks."""

import asyncio
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import redis
from support.clients.infer_requests import spec
from support.probe import FIRST, UNLIMITED, job
from support.processes.at_work import BLOCKS, SPEC, Caller, Doubling, payload, working
from support.records import signature
from support.waiting import until

from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.store.keys import partition_keys
from penstock.workers.serve.worker import DeviceBroken

FREE = signature([spec("x", "FP32", -1, -1)], [spec("y", "FP32", -1, -1)])
POISON = -13.0
WATCHED = replace(SPEC, lease_ms=300)
"""Its batches are looked at ten times a second."""


def wide(*values):
    """A request of one row."""
    request = pb.ModelInferRequest(model_name=FIRST.model)
    request.inputs.add(name="x", datatype="FP32", shape=[1, len(values)])
    request.raw_input_contents.append(np.float32(values).tobytes())
    return request.SerializeToString()


class Free(Doubling):
    """A shard whose inputs may be of any width.

    Attributes:
        threads: that ran it, by the width of what they ran.
    """

    def __init__(self):
        super().__init__()
        self.signature = FREE
        self.threads = {}

    def run(self, inputs, outputs):
        width = inputs["x"].shape[1]
        self.threads.setdefault(width, []).append(threading.current_thread())
        return super().run(inputs, outputs)

    def inline(self, width):
        """How often it ran on the event loop."""
        return self.threads.get(width, []).count(threading.main_thread())


class Breaking(Doubling):
    """A shard whose device breaks on `POISON`, and does nothing right any more."""

    broken = False

    def run(self, inputs, outputs):
        self.broken = self.broken or bool((inputs["x"] == POISON).any())
        if self.broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().run(inputs, outputs)


async def ended(probe, count):
    async def all_have():
        return len(await probe.replies()) == count

    await until(all_have)


async def quick_ones(at_work, least=40, seconds=20):
    """Ask for small things, until the worker does them at once if it ever does; how many."""
    loop = asyncio.get_running_loop()
    inline, end_s, asked = at_work.runtime.fixed_work, loop.time() + seconds, 0
    while asked < least or (inline and at_work.runtime.inline(1) < 5 and loop.time() < end_s):
        asked += 1
        await at_work.probe.enqueue(f"quick-{asked}", payload=wide(1.0))
        await ended(at_work.probe, asked)
    return asked


async def test_after_many_quick_requests_one_of_unusual_size_does_not_hold_up_the_event_loop(
    redis_url,
):
    async with working(redis_url, runtime=Free()) as at_work:
        asked = await quick_ones(at_work)
        assert at_work.runtime.inline(1)
        await at_work.probe.enqueue("large", payload=wide(*range(1000)))
        await ended(at_work.probe, asked + 1)

    assert len(at_work.runtime.threads[1000]) == 1
    assert at_work.runtime.inline(1000) == 0


async def test_a_shard_that_computes_as_long_as_its_values_say_never_runs_on_the_event_loop(
    redis_url,
):
    runtime = Free()
    runtime.fixed_work = False
    async with working(redis_url, runtime=runtime) as at_work:
        await quick_ones(at_work)

    assert runtime.inline(1) == 0


async def crashes(probe, id_):
    """How many workers the job is said to have ended; None for none."""
    return await probe.command("HGET", probe.keys.jobs + id_, "crashes")


async def at_once(probe, **payloads):
    """Enqueue jobs so that one claim takes all of them."""
    await probe.offer(*(job(id_, payload=p) for id_, p in payloads.items()), limits=UNLIMITED)


async def test_what_waits_behind_a_batch_that_is_late_is_given_to_others(redis_url):
    async with working(redis_url, WATCHED, Free()) as at_work:
        probe = at_work.probe
        await at_once(probe, a_late=wide(BLOCKS), behind=wide(1.0, 2.0))

        async def is_back():
            return await probe.waiting() == ["behind"]

        await until(is_back)
        assert await crashes(probe, "behind") is None
        await probe.settle(await probe.lease("another"))
        at_work.runtime.go_on.set()
        await ended(probe, 2)

    assert list(at_work.runtime.threads) == [1]


class HeldUp(Free):
    """A shard that, on `BLOCKS`, holds up its worker's event loop until another job waits."""

    def __init__(self, url, ready):
        super().__init__()
        self._store, self._ready = redis.Redis.from_url(url), ready
        self.given_up = False

    def run(self, inputs, outputs):
        if inputs["x"][0, 0] == BLOCKS:
            give_up_s = time.monotonic() + 10
            while not self._store.zcard(self._ready):
                self.given_up = time.monotonic() > give_up_s
                assert not self.given_up
                time.sleep(0.01)
        return super().run(zeros_like(inputs), outputs)


def zeros_like(inputs):
    return {name: np.zeros_like(array) for name, array in inputs.items()}


async def test_also_behind_one_that_holds_up_the_event_loop(redis_url):
    """Known shapes may take long once: the machine is busy, or numbers are denormal."""
    runtime = HeldUp(redis_url, partition_keys(0).ready + FIRST.queue)
    async with working(redis_url, WATCHED, runtime) as at_work:
        asked = await quick_ones(at_work)
        await at_once(at_work.probe, a_late=wide(BLOCKS), behind=wide(1.0, 2.0))
        await ended(at_work.probe, asked + 2)

    assert runtime.inline(1)
    assert not runtime.given_up


async def test_what_a_device_broke_on_runs_alone_and_is_set_aside_when_it_breaks_another(redis_url):
    """Its neighbours in the batch succeed, and what was only staged is not suspected."""
    runtime = Breaking()
    runtime.signature = FREE
    async with working(redis_url, runtime=runtime) as at_work:
        probe = at_work.probe
        batch = {"mate": wide(1.0), "poison": wide(POISON), "other": wide(2.0)}
        await at_once(probe, **batch, staged=wide(1.0, 2.0))
        with pytest.raises(DeviceBroken, match="illegal memory access"):
            await at_work.running

        assert sorted(await probe.waiting()) == sorted([*batch, "staged"])
        assert [await crashes(probe, id_) for id_ in batch] == [b"1"] * 3
        assert await crashes(probe, "staged") is None

    broke = [await others_end(redis_url, 4) for _ in range(2)]
    assert broke == [True, False]


async def others_end(url, count):
    """Let another worker do what is left of *count* jobs; whether its device broke on them."""
    runtime = Breaking()
    runtime.signature = FREE
    async with working(url, runtime=runtime) as at_work:
        probe = at_work.probe

        async def over():
            return at_work.running.done() or sum((await probe.ends()).values()) == count

        await until(over)
        if not runtime.broken:
            assert await probe.ends() == {"success_count": 3, "dead": 1}
    return runtime.broken


async def test_the_gateway_that_handed_it_over_hears_it_as_a_death(redis_url):
    async with working(redis_url, runtime=Breaking()) as at_work:
        caller = await at_work.connected(Caller())
        await at_work.asleep()
        caller.hand((1, payload(POISON)))
        await until(lambda: caller.lost)

    assert not caller.left
    assert caller.ends == {}
