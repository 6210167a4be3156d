"""Whatever happens to jobs, they are all accounted for, and nothing is left of them."""

import random

import pytest
from support.probe import FIRST, LONG_MS, SECOND
from support.waiting import until

from penstock.errors import Code
from penstock.models.config.policies import QueueLimits

# Keys whose fields or members are removed with what they are about.
OWNED = {
    "lease",
    "deadline",
    "delay",
    "gateways",
    "volume",
    "stats:digits:1",
    "dead",
    "events",
    "grace",
}
LIMITS = QueueLimits(jobs=10_000, payload_bytes=1 << 30)


async def traffic(probe, rng, ids):
    """Every way on from every state, at random, until each job is final."""
    for start in range(0, len(ids), 10):
        await probe.enqueue(
            *ids[start : start + 10],
            limits=LIMITS,
            ttl_ms=rng.choice([1, LONG_MS]),
            priority=rng.randrange(3),
            gateway=f"gateway-{rng.randrange(3)}",
        )
    for turn in range(10_000):
        ref, worker = rng.choice([FIRST, SECOND]), f"worker-{turn}"
        claim = await probe.claim(worker, ref=ref, rows=rng.randrange(1, 9))
        if not claim.leases and await live(probe) == 0:
            return
        await probe.queue.reap(0)
        for lease in claim.leases:
            await step(probe, rng, ref, lease)
        await probe.queue.release_leases_of(FIRST.model, worker)


async def step(probe, rng, ref, lease):
    """One of the things that may happen to a leased job; sometimes nothing does: it crashes."""
    if rng.random() < 0.2:
        await probe.queue.cancel(FIRST.model, lease.id)
    match rng.randrange(6):
        case 0:
            await probe.settle(lease, ref=ref)
        case 1:
            await probe.settle(lease, code=Code.INTERNAL, ref=ref)
        case 2:
            await probe.advance(lease, to=SECOND)
        case 3:
            await probe.queue.give_back(FIRST.model, lease.token, [lease.id])
        case 4:
            await probe.queue.retry(
                FIRST.model, lease.token, [lease.id], delay_ms=rng.choice([0, 1]), most=2, why=""
            )


async def live(probe):
    return await probe.command("ZCARD", probe.keys.deadline)


@pytest.mark.parametrize("seed", range(3))
async def test_every_job_ends_in_one_way_and_nothing_is_left(probe, seed):
    rng = random.Random(seed)  # noqa: S311
    ids = [f"job-{i}" for i in range(120)]
    baseline = await probe.names()

    await traffic(probe, rng, ids)

    ends, counted = await probe.ends(), await probe.statistics()
    assert counted["accepted"] == len(ids)
    assert sum(ends.values()) == len(ids)
    assert len(ends) == 5, "the traffic shows no case of some kind"
    assert len(await probe.names(probe.keys.ended + "*")) == len(ids)
    version = f"{FIRST.model}:{FIRST.version}"
    live_bytes = await probe.command("HGET", probe.keys.live_bytes, version)
    assert live_bytes in (None, b"0")
    left = await probe.names() - baseline
    lasting = {name for name in left if await probe.ttl_ms(name) < 0}
    assert {name.removeprefix("penstock:{p00}:") for name in lasting} <= OWNED
    assert all(
        name.startswith(
            (
                probe.keys.ended,
                probe.keys.replies,
                probe.keys.bells,
                probe.keys.claims,
                probe.keys.letters,
            )
        )
        for name in left - lasting
    )


async def test_every_key_has_a_life_time_or_a_live_owner(probe):
    await probe.enqueue(*"abcdef", limits=LIMITS)
    claims = [await probe.claim(f"worker-{i}", rows=2) for i in range(2)]
    await probe.settle(*claims[0].leases)
    await probe.advance(claims[1].leases[0])
    await probe.queue.retry(
        FIRST.model, claims[1].leases[1].token, ["d"], delay_ms=LONG_MS, most=3, why=""
    )
    await probe.queue.wake(FIRST, "worker-1")

    for name in await probe.names(probe.keys.jobs.removesuffix("job:") + "*"):
        kind = name.removeprefix("penstock:{p00}:")
        owned = kind in OWNED or kind.startswith("ready:")
        assert owned != (await probe.ttl_ms(name) > 0), name


async def test_a_job_that_everybody_forgot_goes_by_itself(probe):
    await probe.enqueue("a", ttl_ms=1000)

    life_ms = await probe.ttl_ms(probe.keys.jobs + "a")

    assert 30_000 < life_ms <= 61_000


async def test_what_points_to_a_vanished_job_is_swept(probe):
    await probe.enqueue("a", "b", "c", ttl_ms=100)
    await probe.lease(rows=1, lease_ms=20)
    for id_ in "abc":
        await probe.command("DEL", probe.keys.jobs + id_)

    async def swept():
        await probe.queue.reap(0)
        held = [await probe.members(key) for key in (probe.keys.lease, probe.keys.deadline)]
        return held == [[], []]

    claim = await probe.claim()
    await until(swept)

    assert claim.leases == await probe.waiting() == []
    assert await probe.ends() == {}
