"""Which queues a gateway foresees: those that wait, and whose live workers were measured."""

import asyncio
import contextlib

import pytest
from support.clients.infer_requests import spec
from support.probe import LONG_MS, UNLIMITED, job
from support.records import known, node, placement, signature, snapshot, version, worker
from support.waiting import until

from penstock.clock import monotonic
from penstock.gateway.delivery.router import JobRouter
from penstock.gateway.limits.queue_watch import QueueWatch
from penstock.gateway.models.catalog import Catalog
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.observe.queue_samples import write_batch_times
from penstock.scheduler.requests.pending import PendingTable

RECORD = version()
REF = StageRef("m", 1, 0, RECORD.revision_id)
WHOLE = signature([spec("x", "FP32", -1, 4)], [spec("y", "FP32", -1, 2)])
BATCH = 32


def seen(*states):
    """The version, with a worker in each of these states; the boot ids are w0, w1 ..."""
    workers = []
    for place, state in enumerate(states):
        held = RECORD.stages[0].fingerprint
        one = worker(placement(replica=place, fingerprint=held), state)
        one.boot_id, one.revision_id = f"w{place}", RECORD.revision_id
        workers.append(one)
    return snapshot([RECORD], workers=workers, signatures=known(RECORD, WHOLE), nodes=[node("n")])


@pytest.fixture
async def waiting(probe):
    """A gateway's queue watch, its catalog, and ten of its requests that wait."""
    catalog, pending = Catalog(), PendingTable(probe.queue, "gateway-1", JobRouter(probe.queue))
    catalog.update(seen(pb.WORKER_STATE_READY, pb.WORKER_STATE_READY))
    requests = [
        asyncio.create_task(pending.answer_to(job(f"{place}", ref=REF, ttl_ms=LONG_MS), UNLIMITED))
        for place in range(10)
    ]

    async def queued():
        return await probe.command("ZCARD", probe.queue.keys_of("m").ready + REF.queue) == 10

    await until(queued)
    yield QueueWatch(probe.queue, catalog, pending), catalog
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)


def after_s(forecasts):
    """When one more request, less urgent than all others, would be answered."""
    one, now_s = forecasts[REF], monotonic()
    return one.answered_after_s(one.score(1, 10_000.0, now_s), now_s)


async def test_nothing_is_foreseen_before_a_worker_was_measured(waiting):
    queue_watch, _ = waiting

    assert await queue_watch.look() == {}


async def test_measured_workers_say_how_long_it_takes(probe, waiting):
    queue_watch, _ = waiting
    await write_batch_times(probe.queue, "m", "w0", {BATCH: 3.0})

    forecasts = await queue_watch.look()

    # Ten jobs in batches of thirty-two on two workers, and two batches beside.
    score = forecasts[REF].score(1, 10_000.0, monotonic())
    assert forecasts[REF].ahead(score) == 10
    assert 2 * 3.0 < after_s(forecasts) < 3 * 3.0


async def test_what_a_dead_worker_had_measured_counts_no_more(probe, waiting):
    """Its numbers are still there; it is not."""
    queue_watch, catalog = waiting
    await write_batch_times(probe.queue, "m", "w0", {BATCH: 1000.0})
    await write_batch_times(probe.queue, "m", "w1", {BATCH: 0.5})
    both = after_s(await queue_watch.look())
    catalog.update(seen(pb.WORKER_STATE_RESTARTING, pb.WORKER_STATE_READY))
    one = after_s(await queue_watch.look())
    catalog.update(seen(pb.WORKER_STATE_READY))
    await write_batch_times(probe.queue, "m", "w0", {})
    other = await queue_watch.look()

    # Two workers are no slower than the faster one alone, but for the moments in between.
    assert 0 < both < one + 0.5 < 3
    assert other == {}


async def test_an_empty_queue_has_no_forecast(probe, waiting):
    queue_watch, _ = waiting
    await write_batch_times(probe.queue, "m", "w0", {BATCH: 3.0})
    before = await queue_watch.look()
    await probe.claim(ref=REF, rows=100)

    assert set(before) == {REF}
    assert await queue_watch.look() == {}


async def test_it_looks_no_more_once_nothing_waits_until_another_request_comes(probe, waiting):
    """What is claimed may be under way for minutes, as answers of language models are."""
    queue_watch, _ = waiting
    await write_batch_times(probe.queue, "m", "w0", {BATCH: 3.0})
    looking = asyncio.create_task(queue_watch.run())
    await until(lambda: REF in queue_watch.forecasts)
    pending = queue_watch._pending
    await probe.claim(ref=REF, rows=100)
    await until(lambda: pending._begun._waiters)
    assert queue_watch.forecasts == {}

    another = asyncio.create_task(pending.answer_to(job("another", ref=REF), UNLIMITED))
    await until(lambda: REF in queue_watch.forecasts)
    for task in (looking, another):
        task.cancel()
    await asyncio.gather(looking, another, return_exceptions=True)


async def test_nothing_is_foreseen_while_the_store_is_away(own_probe, store):
    """A forecast that was there goes, too."""
    catalog, pending = (
        Catalog(),
        PendingTable(own_probe.queue, "gateway-1", JobRouter(own_probe.queue)),
    )
    catalog.update(seen(pb.WORKER_STATE_READY))
    queue_watch = QueueWatch(own_probe.queue, catalog, pending)
    request = asyncio.create_task(pending.answer_to(job("a", ref=REF), UNLIMITED))
    await write_batch_times(own_probe.queue, "m", "w0", {BATCH: 3.0})
    looking = asyncio.create_task(queue_watch.run())
    await until(lambda: REF in queue_watch.forecasts)

    store.kill()
    await until(lambda: not queue_watch.forecasts)
    store.start()
    looking.cancel()
    request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    await asyncio.gather(request, return_exceptions=True)
