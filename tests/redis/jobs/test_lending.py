"""What a gateway lends to its neighbours, and what becomes of it when one cannot read it."""

import asyncio

import pytest
from support.probe import FIRST, LONG_MS, NO_TIME, UNLIMITED, Probe, job
from support.waiting import until

from penstock.errors import Code, JobFailed
from penstock.gateway.delivery.lending import AVOIDED_S, Lender
from penstock.gateway.delivery.router import JobRouter
from penstock.models.sequencing import SequenceTerms
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.payloads import LARGE_BYTES
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.types import Outcome, Turn
from penstock.scheduler.registry.snapshot import Snapshot
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.requests.pending import PendingTable
from penstock.scheduler.store.link import Links
from penstock.transport.arena import is_handle, memory_domain

LARGE = b"\x0a" * LARGE_BYTES
READY, LOADING = pb.WORKER_STATE_READY, pb.WORKER_STATE_LOADING
HERE = memory_domain()


def snapshot(*workers, live=True):
    """What the registry says of workers of the first stage, given as (domain, state)."""
    records = {
        f"w{place}": pb.Worker(
            id=f"w{place}",
            model=FIRST.model,
            version=FIRST.version,
            stage=FIRST.stage,
            state=state,
            memory_domain=domain,
        )
        for place, (domain, state) in enumerate(workers)
    }
    seen = frozenset(f"workers/{id_}" for id_ in records) if live else frozenset()
    return Snapshot(0, 0, "0-0", {}, (), {}, records, {}, {}, {}, seen)


@pytest.fixture
def lender():
    lender = Lender(1 << 20)
    yield lender
    lender.close()


class Waiting:
    """A gateway's pending requests, without its gRPC server."""

    def __init__(self, probe, pending):
        self.probe = probe
        self.pending = pending

    def ask(self, id_, **changes):
        asked = job(id_, **({"payload": LARGE} | changes))
        return asyncio.create_task(self.pending.answer_to(asked, UNLIMITED))

    async def lease(self):
        """The next job, once there is one."""

        async def claimed():
            return next(iter((await self.probe.claim()).leases), None)

        return await until(claimed)

    async def refuse(self, lease, code):
        outcome = Outcome(lease.id, code, "cannot be read", b"")
        await self.probe.queue.settle(lease.token, FIRST, 0, NO_TIME, [outcome])

    async def stored(self, id_):
        """The payload as it is in the job's record."""
        return (await self.probe.record(id_))["payload"].encode()


@pytest.fixture
async def waiting(redis_url, lender):
    async with Links(redis_url) as links:
        queue = await open_queue(links)
        pending = PendingTable(queue, "gateway-1", JobRouter(queue, lender=lender))
        replies = ReplyReader(
            links, queue.partitions, "gateway-1", pending.deliver, pending.deliver_chunk
        )
        await replies.heartbeat()
        tasks = [asyncio.create_task(replies.run()), asyncio.create_task(pending.run())]
        yield Waiting(Probe(links, queue), pending)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await pending.close()


async def test_a_large_request_is_lent_while_it_waits(waiting, lender):
    lender.update(snapshot((HERE, READY), (HERE, READY)))
    answer = waiting.ask("a")
    lease = await waiting.lease()

    assert is_handle(await waiting.stored("a"))
    assert lender.lent_bytes > LARGE_BYTES
    assert lease.payload == LARGE
    await waiting.probe.settle(lease)
    assert await answer == LARGE + b"!"
    assert lender.lent_bytes == 0
    # Its place is free again: the largest that there may be fits.
    assert lender.lend(job("b", payload=b"x" * ((1 << 20) - 8))).lent_bytes


async def test_a_small_request_goes_through_the_store(waiting, lender):
    lender.update(snapshot((HERE, READY)))
    answer = waiting.ask("a", payload=b"small")
    lease = await waiting.lease()

    assert await waiting.stored("a") == b"small"
    await waiting.probe.settle(lease)
    await answer


@pytest.mark.parametrize("domain", [HERE, "elsewhere"])
async def test_a_part_of_what_a_front_has_is_sent_as_that_part(waiting, lender, domain):
    """Whether it is lent or not, and also where it is small."""
    lender.update(snapshot((domain, READY)))
    for id_, part in (("a", LARGE), ("b", b"small")):
        answer = waiting.ask(id_, payload=memoryview(b"12345" + part)[5:])

        lease = await waiting.lease()

        assert lease.payload == part
        await waiting.probe.settle(lease)
        assert await answer == part + b"!"


async def test_a_worker_that_cannot_read_has_the_request_sent(waiting, lender):
    lender.update(snapshot((HERE, READY)))
    answer = waiting.ask("a")
    await waiting.refuse(await waiting.lease(), Code.DATA_LOSS)

    again = await waiting.lease()

    assert again.id != "a"
    assert not is_handle(again.payload)
    assert again.payload == LARGE
    await waiting.probe.settle(again)
    assert await answer == LARGE + b"!"
    # Nothing more is lent to that stage for a while, whatever the registry says.
    lender.update(snapshot((HERE, READY)))
    assert not lender.lend(job("b", payload=LARGE)).lent_bytes


async def test_another_loss_of_data_is_told(waiting):
    answer = waiting.ask("a")
    await waiting.refuse(await waiting.lease(), Code.DATA_LOSS)

    with pytest.raises(JobFailed, match="cannot be read"):
        await answer


@pytest.mark.parametrize(
    "workers",
    [
        [],
        [("elsewhere", READY)],
        [(HERE, READY), ("elsewhere", READY)],
        [("", READY)],
        [(HERE, LOADING)],
    ],
)
def test_nothing_is_lent_unless_all_ready_workers_are_neighbours(lender, workers):
    lender.update(snapshot(*workers))

    assert not lender.lend(job("a", payload=LARGE)).lent_bytes


def test_a_worker_that_is_not_ready_does_not_matter(lender):
    lender.update(snapshot((HERE, READY), ("elsewhere", LOADING)))

    assert lender.lend(job("a", payload=LARGE)).lent_bytes


def test_a_dead_worker_does_not_count(lender):
    lender.update(snapshot((HERE, READY), live=False))

    assert not lender.lend(job("a", payload=LARGE)).lent_bytes


def test_turns_of_sequences_are_not_lent(lender):
    lender.update(snapshot((HERE, READY)))
    turn = Turn("i7", starts=True, ends=False, terms=SequenceTerms(9, LONG_MS, b""))

    assert not lender.lend(job("a", payload=LARGE, turn=turn)).lent_bytes


def test_what_does_not_fit_any_more_goes_through_the_store(lender):
    lender.update(snapshot((HERE, READY)))
    loans = [lender.lend(job(f"{place}", payload=LARGE)) for place in range(16)]

    assert loans[0].lent_bytes
    assert not loans[-1].lent_bytes


@pytest.mark.parametrize("settings", [{"most_bytes": 0}, {"most_bytes": 1 << 20, "domain": ""}])
def test_lending_can_be_off_or_impossible(settings):
    lender = Lender(**settings)
    lender.update(snapshot((HERE, READY), ("", READY)))

    assert not lender.lend(job("a", payload=LARGE)).lent_bytes


def test_a_stage_is_tried_again_after_a_while():
    now_s = 0.0
    lender = Lender(1 << 20, clock=lambda: now_s)
    lender.update(snapshot((HERE, READY)))
    lender.avoid(FIRST)
    now_s = AVOIDED_S + 1

    lender.update(snapshot((HERE, READY)))

    assert lender.lend(job("a", payload=LARGE)).lent_bytes
    lender.close()
