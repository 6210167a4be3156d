"""What a gateway makes of jobs whose end it never hears of."""

import asyncio
import contextlib

import pytest
from support.probe import FIRST, LONG_MS, UNLIMITED, Probe, job
from support.waiting import until

from penstock.errors import Code, ModelNotReady, TurnLost
from penstock.gateway.access.caller import ANYBODY
from penstock.gateway.delivery.router import JobRouter
from penstock.gateway.failures import failure_of
from penstock.models.sequencing import SequenceTerms
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.types import Turn
from penstock.scheduler.replies.read_through import ReadThrough
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.requests.job_sink import JobSink
from penstock.scheduler.requests.pending import PendingTable
from penstock.scheduler.store.link import Links

OTHER = FIRST._replace(model="other")
TERMS = SequenceTerms(slots=9, idle_ms=LONG_MS, initial=b"")


async def test_a_turn_whose_answer_is_lost_must_not_come_again(redis_url):
    """It changed its sequence's state: run again, it would count twice."""
    async with Links(redis_url) as links:
        probe = Probe(links, await open_queue(links))
        # Nobody reads its replies, as if they had gone with the store's memory.
        pending = PendingTable(probe.queue, "gateway-1", JobRouter(probe.queue))
        running = asyncio.create_task(pending.run())
        turn = Turn("i7", starts=True, ends=False, terms=TERMS)
        answer = asyncio.create_task(pending.answer_to(job("turn", turn=turn), UNLIMITED))
        lease = await until(lambda: _claimed(probe))
        await probe.settle(lease)

        with pytest.raises(TurnLost, match="start the sequence again") as lost:
            await asyncio.wait_for(answer, 20)

        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert failure_of(lost.value, ANYBODY)[::2] == (Code.ABORTED, None)


class Asked(JobRouter):
    """Counts how often jobs were asked for."""

    def __init__(self, queue):
        super().__init__(queue)
        self.questions = 0

    async def state(self, model, job, *later):
        self.questions += 1
        return await super().state(model, job, *later)


@contextlib.asynccontextmanager
async def one_answered(redis_url):
    """A request whose job has ended, and whose reply nobody has read yet."""
    async with Links(redis_url) as links:
        probe, read = Probe(links, await open_queue(links)), ReadThrough()
        sink = Asked(probe.queue)
        pending = PendingTable(probe.queue, "gateway-1", sink, read_through=read)
        reader = ReplyReader(links, 1, "gateway-1", pending.deliver, read_through=read)
        tasks = [asyncio.create_task(pending.run())]
        answer = asyncio.create_task(pending.answer_to(job("one"), UNLIMITED))
        await probe.settle(await until(lambda: _claimed(probe)))

        def start_reading():
            tasks.append(asyncio.create_task(reader.run()))

        try:
            yield probe, sink, pending, answer, start_reading
        finally:
            for task in (answer, *tasks):
                task.cancel()
            await asyncio.gather(answer, *tasks, return_exceptions=True)
            await pending.close()


async def test_a_reply_that_is_late_is_waited_for(redis_url):
    """Run again, it would be later still, and what comes for the first run would be dropped."""
    async with one_answered(redis_url) as (probe, sink, pending, answer, start_reading):
        await until(lambda: sink.questions >= 4, 20)
        start_reading()

        assert await asyncio.wait_for(answer, 20)
        assert await probe.waiting() == []
    assert pending.counters._counts["digits", 1]["resubmitted"] == 0


async def test_a_job_whose_reply_is_lost_is_queued_again(redis_url):
    async with one_answered(redis_url) as (probe, _, pending, answer, start_reading):
        await probe.command("UNLINK", probe.keys.replies + "gateway-1")
        start_reading()
        await probe.settle(await until(lambda: _claimed(probe), 20))

        assert await asyncio.wait_for(answer, 20)
    assert pending.counters._counts["digits", 1]["resubmitted"] == 1


async def test_who_waits_for_a_stage_that_nobody_can_run_any_more_is_told_at_once(redis_url):
    async with Links(redis_url) as links:
        probe = Probe(links, await open_queue(links))
        pending = PendingTable(probe.queue, "gateway-1", JobRouter(probe.queue))
        later = FIRST._replace(model="later")
        jobs = (job("a"), job("b", ref=OTHER), job("c", ref=OTHER, later=(later,)))
        answers = [asyncio.create_task(pending.answer_to(one, UNLIMITED)) for one in jobs]
        await until(lambda: _number_waiting(probe, 1))

        assert pending.stages() == {FIRST, OTHER, later}
        pending.give_up({FIRST: ModelNotReady("broken"), later: ModelNotReady("broken, too")})
        found = await asyncio.wait_for(
            asyncio.gather(answers[0], answers[2], return_exceptions=True), 20
        )

        assert [(type(one), str(one)) for one in found] == [
            (ModelNotReady, "broken"),
            (ModelNotReady, "broken, too"),
        ]
        assert not answers[1].done()
        await until(lambda: _number_waiting(probe, 0))
        answers[1].cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        await pending.close()


async def _number_waiting(probe, count):
    return len(await probe.waiting()) == count


CROWD = 1500
"""More than are asked for in the second after which those asked first are due again."""


async def test_the_youngest_of_a_crowd_is_asked_for_too(redis_url):
    async with Links(redis_url) as links, crowd(links) as (probe, pending):
        last = (await probe.members(probe.keys.deadline))[-1]
        await probe.command("UNLINK", probe.keys.jobs + last)
        await probe.command("ZREM", probe.keys.deadline, last)

        await until(lambda: probe.command("EXISTS", probe.keys.jobs + last), 20)

        assert pending.counters._counts["digits", 1]["resubmitted"] == 1


async def test_all_of_a_crowd_is_queued_again_after_a_loss(redis_url):
    async with Links(redis_url) as links, crowd(links) as (probe, _):
        await probe.command("FLUSHALL")

        await until(lambda: _all_wait(probe), 20)


@contextlib.asynccontextmanager
async def crowd(links):
    """A gateway whose many requests wait, and nobody works."""
    probe = Probe(links, await open_queue(links))
    pending = PendingTable(probe.queue, "gateway-1", JobRouter(probe.queue))
    running = asyncio.create_task(pending.run())
    # The latest deadline is the last one's.
    jobs = [job(pending.next_id(), ttl_ms=LONG_MS + 100 * i) for i in range(CROWD)]
    answers = [asyncio.create_task(pending.answer_to(one, UNLIMITED)) for one in jobs]
    await until(lambda: _all_wait(probe))
    try:
        yield probe, pending
    finally:
        for task in (running, *answers):
            task.cancel()
        await asyncio.gather(running, *answers, return_exceptions=True)
        await pending.close()


async def _all_wait(probe):
    return len(await probe.waiting()) == CROWD


class Faulty(JobSink):
    """Takes a job once, forgets it, and fails when it comes again."""

    def __init__(self):
        self.taken = 0

    def submit(self, job, limits, on_outcome, in_flight=2):  # noqa: ARG002 - a sink's
        self.taken += 1
        if self.taken > 1:
            raise ValueError("it cannot be sent")
        on_outcome(None)

    async def state(self, *_):
        return None

    async def cancel(self, *_):
        pass


async def test_a_request_that_cannot_be_sent_again_fails_alone(redis_url):
    """Whoever sends it goes on with the others."""
    async with Links(redis_url) as links:
        queue = await open_queue(links)
        pending = PendingTable(queue, "gateway-1", JobRouter(queue))
        running = asyncio.create_task(pending.run())
        asked = (pending.answer_to(job(id_), UNLIMITED, sink=Faulty()) for id_ in ("a", "b"))
        answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)

        assert [str(answer) for answer in answers] == ["it cannot be sent"] * 2
        assert (len(pending), pending.refs()) == (0, [])
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _claimed(probe):
    return next(iter((await probe.claim()).leases), None)
