"""Answers that go on without their gateways: all who listen have each token, once, of their own."""

import asyncio

import pytest
from support.probe import FIRST, LONG_MS, UNLIMITED, job
from support.waiting import until

from penstock.errors import Code, QueueFull
from penstock.gateway.delivery.router import JobRouter
from penstock.gateway.models.catalog import Catalog
from penstock.gateway.replies.resumable import ResumableJob
from penstock.gateway.replies.shared import KeyTerms, Sharing
from penstock.models.config.policies import QueueLimits
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.logs import Appended, Logs, NewTokens
from penstock.scheduler.jobs.types import Outcome, Timing
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.requests.pending import PendingTable

MIB = 1 << 20


def packed(*tokens):
    return b"".join(token.to_bytes(4, "little") for token in tokens)


class Gateway:
    """A gateway, as far as answers go.

    Attributes:
        heard: tokens of each answer that was asked for, by its name.
    """

    def __init__(self, probe, name, resume_s=60.0):
        self.name = name
        self.heard = {}
        self.pending = PendingTable(probe.queue, name, JobRouter(probe.queue))
        terms = KeyTerms(60, MIB, resume_s)
        self._sharing = Sharing(probe.queue, self.pending.next_id, Catalog(UNLIMITED), terms)
        self._reader = ReplyReader(
            probe.links,
            probe.queue.partitions,
            name,
            self.pending.deliver,
            deliver_chunk=self.pending.deliver_chunk,
        )
        self._asking = {}

    async def __aenter__(self):
        await self._reader.heartbeat()
        self._tasks = [
            asyncio.create_task(self._reader.run()),
            asyncio.create_task(self.pending.run()),
        ]
        return self

    async def __aexit__(self, *_):
        await self.die()

    async def die(self):
        """As if its process had been killed: nothing is said to anybody."""
        self.pending._cancel = lambda _: None
        tasks = [*self._tasks, *self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def ask(self, name, caller="", ttl_ms=LONG_MS):
        """Ask for an answer by its name; what comes is in `heard`."""
        shared = self._sharing.answer_named(FIRST.model, name, caller)
        one = job(self.pending.next_id(), gateway=self.name, ttl_ms=ttl_ms, payload=b"prompt")
        sink = ResumableJob(self._sharing, shared, one, self.pending.deliver_chunk)
        self._asking[name] = asyncio.create_task(self._listen(name, one, sink))
        return sink

    async def _listen(self, name, one, sink):
        self.heard[name] = b""
        async for tokens in self.pending.tokens_of(one, UNLIMITED, sink.log, sink):
            self.heard[name] += tokens

    async def leave(self, name):
        """The client is gone."""
        self._asking[name].cancel()
        await asyncio.gather(self._asking[name], return_exceptions=True)

    async def ended(self, name):
        await self._asking[name]
        return self.heard[name]


class Worker:
    """Computes answers of the probe's queue as it is told."""

    def __init__(self, probe):
        self._probe = probe
        self._logs = Logs(probe.queue)

    async def claim(self):
        """The only job that waits."""

        async def claimed():
            self._claim = await self._probe.claim()
            return self._claim.leases

        await until(claimed)
        (self.lease,) = self._claim.leases
        return self.lease

    async def add(self, at, *tokens):
        new = NewTokens(self.lease.id, self.lease.token, at, packed(*tokens))
        (answer,) = await self._logs.append(FIRST.model, [new])
        return answer

    async def end(self, *tokens):
        body = pb.ModelInferResponse(raw_output_contents=[packed(*tokens)]).SerializeToString()
        outcome = Outcome(self.lease.id, Code.OK, "", body)
        await self._probe.queue.settle(self.lease.token, FIRST, 1, Timing(), [outcome])


@pytest.fixture
def worker(probe):
    return Worker(probe)


@pytest.fixture
async def first(probe):
    async with Gateway(probe, "gateway-1") as made:
        yield made


@pytest.fixture
async def other(probe):
    async with Gateway(probe, "gateway-2") as made:
        yield made


async def has(gateway, name, *tokens):
    async def there():
        return gateway.heard.get(name) == packed(*tokens)

    await until(there)


async def test_an_answer_goes_on_at_another_gateway_when_its_own_has_died(first, other, worker):
    first.ask("a")
    await worker.claim()
    await worker.add(0, 7, 8)
    await has(first, "a", 7, 8)
    await first.die()
    await worker.add(2, 9)
    other.ask("a")
    await has(other, "a", 7, 8, 9)
    await worker.add(3, 5)
    await worker.end(7, 8, 9, 5, 6)

    assert await other.ended("a") == packed(7, 8, 9, 5, 6)


async def test_it_is_kept_for_whoever_comes_behind_its_end(first, other, worker):
    first.ask("a")
    await worker.claim()
    await worker.add(0, 7)
    await worker.end(7, 8)
    await first.ended("a")
    other.ask("a")

    assert await other.ended("a") == packed(7, 8)


async def test_two_may_listen_at_once(first, other, worker):
    first.ask("a")
    await worker.claim()
    other.ask("a")
    await worker.add(0, 7)
    await has(first, "a", 7)
    await has(other, "a", 7)
    await worker.end(7)

    assert await first.ended("a") == await other.ended("a") == packed(7)


async def test_an_answer_of_the_same_name_is_each_callers_own(first, other, worker):
    """The other one's is computed anew: nothing of the first is shown."""
    first.ask("a", caller="cats")
    lease = await worker.claim()
    await worker.add(0, 7)
    await has(first, "a", 7)
    other.ask("a", caller="dogs")
    theirs = await worker.claim()
    await worker.add(0, 1)

    assert theirs.id != lease.id
    await has(other, "a", 1)


async def test_it_goes_on_for_a_client_that_left_and_ends_when_none_comes(probe, worker):
    async with Gateway(probe, "gateway-1", resume_s=0.2) as gateway:
        gateway.ask("a")
        await worker.claim()
        await worker.add(0, 7)
        await has(gateway, "a", 7)
        await gateway.leave("a")
        goes_on = await worker.add(1, 8)
        at = 2

        async def given_up():
            nonlocal at
            answer = await worker.add(at, 9)
            at += 1
            return answer is Appended.CANCELLED

        await probe.reaped(lambda *_: True)
        await until(given_up)
        record = await probe.record(worker.lease.id)
        await worker.end(7)

        assert goes_on is Appended.FINE
        assert record["cancelled"] == "1"
        assert await probe.ends() == {"cancelled": 1}


async def test_it_is_not_given_up_while_somebody_listens(probe, worker):
    """Who waits says so each second."""
    async with Gateway(probe, "gateway-1", resume_s=2) as gateway:
        gateway.ask("a")
        await worker.claim()
        heard = set()

        async def heard_again():
            heard.add(await probe.command("HGET", probe.keys.shared + "answer/digits/a", "heard"))
            return len(heard) >= 4

        await until(heard_again)

        assert await worker.add(0, 7) is Appended.FINE


async def test_tokens_of_a_gateway_that_is_gone_go_nowhere(first, other, probe, worker):
    first.ask("a")
    await worker.claim()
    await worker.add(0, 7)
    await first.die()
    await probe.command("ZREM", probe.keys.gateways, "gateway-1")
    await probe.command("DEL", probe.keys.replies + "gateway-1")
    other.ask("a")
    await has(other, "a", 7)
    await worker.add(1, 8)
    await has(other, "a", 7, 8)

    assert not await probe.command("EXISTS", probe.keys.replies + "gateway-1")


async def test_text_that_ends_before_its_tokens_ends_the_answer(first, other, worker):
    sink = first.ask("a")
    await worker.claim()
    await worker.add(0, 7, 8)
    await has(first, "a", 7, 8)
    await sink.conclude()
    await first.leave("a")
    other.ask("a")

    assert await other.ended("a") == packed(7, 8)
    assert await worker.add(2, 9) is Appended.CANCELLED


async def test_an_answer_that_is_given_up_is_kept_with_all_that_was_seen_of_it(
    first, other, probe, worker, monkeypatch
):
    first.ask("a")
    await worker.claim()
    await worker.add(0, 7)
    sink = other.ask("a")
    await has(other, "a", 7)
    conclude, grown = other._sharing.conclude, []

    async def just_late(*words):
        if not grown:
            grown.append(await worker.add(1, 8))
        return await conclude(*words)

    monkeypatch.setattr(other._sharing, "conclude", just_late)
    await sink.give_up()

    assert grown == [Appended.FINE]
    async with Gateway(probe, "gateway-3") as third:
        third.ask("a")
        assert await third.ended("a") == packed(7, 8)
    assert await worker.add(2, 9) is Appended.CANCELLED


async def test_an_answer_whose_job_was_lost_is_made_again(first, probe, worker):
    """The store has lost its memory of the job; what is drawn follows from the request."""
    first.ask("a")
    lease = await worker.claim()
    await worker.add(0, 7, 8)
    await has(first, "a", 7, 8)
    await probe.command("FLUSHALL")
    again = await worker.claim()
    await worker.add(0, 7)
    await worker.add(1, 8, 9)
    await worker.end(7, 8, 9)

    assert again.id != lease.id
    assert await first.ended("a") == packed(7, 8, 9)


async def test_its_request_goes_when_it_does(first, probe, worker):
    sharing = first._sharing
    shared = sharing.answer_named(FIRST.model, "a", "")
    assert await sharing.keep_request(FIRST.model, shared, b"prompt", LONG_MS) is None
    first.ask("a")
    await worker.claim()
    running = await probe.ttl_ms(probe.keys.requests + "~answer/digits/a")
    await worker.end(7)
    await first.ended("a")
    kept = await probe.ttl_ms(probe.keys.requests + "~answer/digits/a")
    (member,) = await probe.members(probe.keys.kept + "answer")

    assert LONG_MS < running <= LONG_MS + 60_000 + 60_000
    assert 0 < kept <= 60_000
    assert int(member.split()[0]) > len(b"prompt")
    assert await sharing.keep_request(FIRST.model, shared, b"other", LONG_MS) == b"prompt"


async def test_an_answer_that_was_refused_leaves_nothing(first, probe):
    """Its queue was full: nobody has seen a token of it, and nothing is kept for later."""
    sharing = first._sharing
    shared = sharing.answer_named(FIRST.model, "a", "")
    await sharing.keep_request(FIRST.model, shared, b"prompt", LONG_MS)
    await probe.enqueue("other")
    one = job(first.pending.next_id(), gateway=first.name)
    sink = ResumableJob(sharing, shared, one, first.pending.deliver_chunk)
    log = first.pending.tokens_of(one, QueueLimits(jobs=1), sink.log, sink)

    with pytest.raises(QueueFull):
        await anext(log)

    async def gone():
        return not await probe.names("*answer/digits/a")

    await until(gone)
