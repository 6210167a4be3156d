"""The answer to a script is lost, or the script on its way: it is sent again, without harm."""

import pytest
from support.probe import FIRST, LONG_MS, SECOND, Probe, job
from support.processes.proxy import Proxy

from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.logs import Logs, NewTokens
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.types import Chunk, Timing
from penstock.scheduler.replies.chunks import Chunks
from penstock.scheduler.store.link import Links


async def _none(probe):
    pass


async def _enqueued(probe):
    await probe.enqueue("a", "b")


async def _leased(probe):
    await probe.enqueue("a", "b")
    return await probe.claim(nonce="1")


async def _cancelled(probe):
    claim = await _leased(probe)
    await probe.queue.cancel(FIRST.model, "a")
    return claim


async def _claimed(probe):
    claim = await probe.claim(nonce="1")
    return [(lease.id, lease.token, lease.attempts) for lease in claim.leases]


def _held(claim):
    return [(lease.id, lease.token) for lease in claim.leases]


async def _given_back(probe, claim):
    ids = [lease.id for lease in claim.leases]
    return await probe.queue.give_back(FIRST.model, claim.leases[0].token, ids)


async def _retried(probe, claim, delay_ms, most):
    ids = [lease.id for lease in claim.leases]
    token = claim.leases[0].token
    return await probe.queue.retry(
        FIRST.model, token, ids, delay_ms=delay_ms, most=most, why="broken"
    )


async def _chunk(probe, claim):
    first = claim.leases[0]
    return await Chunks(probe.queue).add(
        FIRST, first.token, Chunk(first.id, 1, b"digest", b"part"), Timing(0, 1, 1)
    )


async def _opened(probe):
    return (await open_queue(probe.links)).partitions


async def _appended(probe, claim):
    new = [NewTokens(one.id, one.token, 0, b"7777") for one in claim.leases]
    return await Logs(probe.queue).append(FIRST.model, new)


OPERATIONS = {
    "claim": (_enqueued, lambda probe, _: _claimed(probe)),
    "renew": (_leased, lambda probe, claim: probe.queue.renew(FIRST.model, _held(claim), LONG_MS)),
    "settle": (_leased, lambda probe, claim: probe.settle(*claim.leases)),
    "settle cancelled": (_cancelled, lambda probe, claim: probe.settle(*claim.leases)),
    "advance": (_leased, lambda probe, claim: probe.advance(*claim.leases)),
    "advance cancelled": (_cancelled, lambda probe, claim: probe.advance(*claim.leases)),
    "cancel waiting": (_enqueued, lambda probe, _: probe.queue.cancel(FIRST.model, "a")),
    "cancel leased": (_leased, lambda probe, _: probe.queue.cancel(FIRST.model, "a")),
    "give back": (_leased, _given_back),
    "give back cancelled": (_cancelled, _given_back),
    "retry": (_leased, lambda probe, claim: _retried(probe, claim, LONG_MS, 3)),
    "retry for the last time": (_leased, lambda probe, claim: _retried(probe, claim, 0, 1)),
    "chunk": (_leased, _chunk),
    "append": (_leased, _appended),
    "append cancelled": (_cancelled, _appended),
    "ack_chunks": (_leased, lambda probe, _: Chunks(probe.queue).ack(FIRST.model, "a", 3, 30)),
    "keyspace": (_none, lambda probe, _: _opened(probe)),
}


async def _everything(probe):
    """What the queue is like, but for times."""
    states = [
        {name: value for name, value in (await probe.record(id_)).items() if "_us" not in name}
        for id_ in "ab"
    ]
    for state in states:
        state.pop("deadline", None)
    waiting = [await probe.waiting(queue) for queue in (FIRST.queue, SECOND.queue)]
    places = [await probe.members(key) for key in (probe.keys.lease, probe.keys.delay)]
    accepted = (await probe.statistics()).get("accepted")
    return states, waiting, places, accepted, await probe.ends(), await probe.replies()


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_lost_call_has_the_result_of_one_that_was_not_lost(store, name):
    prepare, operate = OPERATIONS[name]
    seen = []
    async with Proxy(store.socket) as proxy, Links(proxy.url, patience_s=20) as links:
        for lost in (None, "lose_answers", "lose_requests"):
            store.command("FLUSHALL")
            probe = Probe(links, await open_queue(links))
            given = await prepare(probe)
            connections = proxy.connections
            if lost is not None:
                setattr(proxy, lost, 1)
            answer = await operate(probe, given)
            seen.append((answer, await _everything(probe)))

            assert proxy.connections == connections + (lost is not None)

    assert seen[1] == seen[0]
    assert seen[2] == seen[0]


@pytest.mark.parametrize(("lost", "answer"), [("lose_answers", "waiting"), ("lose_requests", None)])
async def test_a_lost_enqueue_is_accepted_once(store, lost, answer):
    async with Proxy(store.socket) as proxy, Links(proxy.url, patience_s=20) as links:
        probe = Probe(links, await open_queue(links))
        await probe.enqueue("known")
        setattr(proxy, lost, 1)

        assert await probe.offer(job("a"), limits=QueueLimits(jobs=2)) == [answer]
        assert len(await probe.waiting()) == 2
        assert (await probe.statistics())["accepted"] == 2
