"""What is no matter of the direct path goes into the queue."""

import pytest
from support.clients.direct import LARGE, Neighbour, beside, serving
from support.probe import LONG_MS
from support.waiting import until

from penstock.errors import Code
from penstock.models.sequencing import SequenceTerms
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.types import Turn
from penstock.transport.arena import is_handle
from penstock.transport.lane import lane_name

TURN = Turn("i7", starts=True, ends=False, terms=SequenceTerms(9, LONG_MS, b""))


@pytest.mark.parametrize(
    "changes",
    [
        {"begin_within_ms": 1000},
        {"ensemble": "chain:1"},
        {"turn": TURN},
    ],
    ids=["timeout", "ensemble", "sequence"],
)
async def test_all_that_is_more_than_a_request_is_queued(gateway, neighbour, changes):
    answer = gateway.ask("a", **changes)

    async def taken():
        return (await gateway.probe.claim()).leases

    assert [one.id for one in await until(taken)] == ["a"]
    assert neighbour.jobs == []
    answer.cancel()


async def test_a_large_request_that_is_not_lent_is_queued(gateway, neighbour):
    far = beside("far", "", memory_domain="elsewhere")
    gateway.knows(neighbour.record(), far)
    answer = gateway.ask("a", payload=LARGE)
    await gateway.queued("a")

    assert neighbour.jobs == []
    await gateway.work_off()
    assert await answer == LARGE + b"!"


async def test_a_large_request_goes_as_a_handle(gateway, neighbour):
    answer = gateway.ask("a", payload=LARGE)
    one = await neighbour.next_job()

    assert is_handle(one.payload)
    neighbour.end(one, Code.DATA_LOSS, "cannot be read")
    # It is sent, then, as through the queue.
    await gateway.work_off()
    assert await answer == LARGE + b"!"


@pytest.mark.parametrize(
    "changes",
    [
        {"state": pb.WORKER_STATE_LOADING},
        {"memory_domain": "elsewhere"},
        {"lane": ""},
        {"lane": "penstock-lane-999-of-another-release"},
        {"lane": lane_name("nobody")},
    ],
)
async def test_who_is_not_beside_the_gateway_has_the_queue(gateway, changes):
    async with Neighbour().listening() as one:
        gateway.knows(one.record(**changes))
        answer = gateway.ask("a")
        await gateway.queued("a")

        assert one.gateway is None
        await gateway.work_off()
        await answer


@pytest.mark.parametrize("options", [{"enabled": False}, {"domain": ""}])
async def test_it_can_be_off_or_impossible(redis_url, options):
    async with serving(redis_url, **options) as gateway, Neighbour().listening() as one:
        gateway.knows(one.record())
        answer = gateway.ask("a")
        await gateway.queued("a")

        assert one.gateway is None
        await gateway.work_off()
        await answer
