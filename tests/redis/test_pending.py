"""What a gateway makes of jobs whose end it never hears of."""

import asyncio

import pytest
from support.probe import LONG_MS, UNLIMITED, Probe, job
from support.waiting import until

from penstock.errors import Code, TurnLost
from penstock.gateway.pending import PendingTable
from penstock.gateway.status import told
from penstock.scheduler.jobs import SequenceTerms, Turn
from penstock.scheduler.keyspace import open_queue
from penstock.scheduler.link import Links

TERMS = SequenceTerms(slots=9, idle_ms=LONG_MS, initial=b"")


async def test_a_turn_whose_answer_is_lost_must_not_come_again(redis_url):
    """It changed its sequence's state: run again, it would count twice."""
    async with Links(redis_url) as links:
        probe = Probe(links, await open_queue(links))
        # Nobody reads its replies, as if they had gone with the store's memory.
        pending = PendingTable(probe.queue, "gateway-1")
        sweeping = asyncio.create_task(pending.sweep_regularly())
        turn = Turn("i7", starts=True, ends=False, terms=TERMS)
        answer = asyncio.create_task(pending.answer_to(job("turn", turn=turn), UNLIMITED))
        lease = await until(lambda: _claimed(probe))
        await probe.settle(lease)

        with pytest.raises(TurnLost, match="start the sequence again") as lost:
            await asyncio.wait_for(answer, 20)

        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
    assert told(lost.value)[::2] == (Code.ABORTED, None)


async def _claimed(probe):
    return next(iter((await probe.claim()).leases), None)
