"""A model whose outputs cannot be split stops sharing runs: here at once, elsewhere soon."""

import asyncio

import pytest
from support.records import placement, signature, stage, version, worker
from support.waiting import until

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.artifact_facts import ArtifactFacts
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links
from penstock.workers.liveness.announcer import RESTING_EVERY_S, VOUCHED_EVERY_S, Announcer

PROVED = pb.BatchProof(proved=True, why="equal")


@pytest.fixture
async def registry(redis_url):
    async with Links(redis_url) as links:
        registry = Registry(links)
        await registry.publish("repository", [version(stage(), model="m")])
        yield registry


async def announcing(registry, node, proof=PROVED):
    announcer = Announcer(registry, worker(placement(node)))
    told = []
    announcer.on_unsplittable = told.append
    facts = ArtifactFacts(signature([], []), proof)
    await announcer.become(pb.WORKER_STATE_READY, facts=facts)
    return announcer, told


async def test_one_worker_s_batch_is_a_warning_to_all(registry):
    (first, _), (second, told) = [await announcing(registry, node) for node in "ab"]
    assert told == []

    first.found_unsplittable("no rows")
    await first.become(pb.WORKER_STATE_READY)
    await second.become(pb.WORKER_STATE_READY)
    third, _ = await announcing(registry, "c")

    assert told == ["no rows"]
    assert third.unsplittable == "no rows"


async def test_workers_that_see_it_differently_are_on_the_safe_side(registry):
    """The same artifact on another device, say: what was completed stays, and nothing is shared."""
    first, told = await announcing(registry, "a")
    other, _ = await announcing(registry, "b", pb.BatchProof(why="they differ"))
    await other.become(pb.WORKER_STATE_READY)
    await first.become(pb.WORKER_STATE_READY)
    snapshot = await registry.snapshot()
    (record,) = snapshot.versions.values()

    assert snapshot.batch_proof_of(record, record.stages[0]) == PROVED
    assert told == ["they differ"]


async def test_a_worker_that_rests_tells_news_at_once(registry):
    announcer, told = await announcing(registry, "a")
    announcer.rests, announcer._at_first = lambda: True, 0
    announcer._pause_s = VOUCHED_EVERY_S
    running = asyncio.create_task(announcer.run())
    await until(lambda: announcer._news._waiters)
    assert announcer._pause() == RESTING_EVERY_S

    announcer.found_unsplittable("no rows")

    await until(lambda: told == ["no rows"])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_stood_is_told_again_to_a_store_that_forgot_it(registry, redis_url):
    announcer, _ = await announcing(registry, "a", pb.BatchProof(why="they differ"))
    other, _ = await announcing(registry, "b")
    async with Links(redis_url) as links:
        await links.to(RegistryKeys.tag).command("FLUSHALL")
    await registry.publish("repository", [version(stage(), model="m")])

    await other.become(pb.WORKER_STATE_READY)
    await announcer.become(pb.WORKER_STATE_READY)
    snapshot = await registry.snapshot()
    (record,) = snapshot.versions.values()

    assert not snapshot.batch_proof_of(record, record.stages[0]).proved
