"""Replies in parts: in order, each once, only from the job's owner, and never too many ahead."""

import asyncio

import pytest
from support.probe import FIRST, SECOND

from penstock.gateway.operations.statistics import model_statistics
from penstock.scheduler.jobs.types import Chunk, Timing
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.replies.chunks import MOST_AHEAD, MOST_BYTES_AHEAD, Added, Chunks, Ended
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.store import scripts

TIMING = Timing(infer_ns=200, output_ns=3)


@pytest.fixture
def chunks(probe):
    return Chunks(probe.queue)


def part(index, job="a", body=b"part", digest=None):
    return Chunk(job, index, digest or b"digest-%d" % index, body)


async def add(chunks, lease, *indices, **changes):
    return [
        await chunks.add(FIRST, lease.token, part(i, lease.id, **changes), TIMING) for i in indices
    ]


async def stream(probe, gateway="gateway-1"):
    """What the gateway has yet to read: the index of a part, or the body of the end."""
    return [
        index if kind == "part" else body.decode()
        for _, kind, index, body in await probe.replies(gateway)
    ]


async def begun(probe, worker="worker-1"):
    await probe.enqueue("a", payload=b"end")
    return await probe.lease(worker)


async def taken_over(probe):
    """The same job, held by another worker."""
    await probe.queue.release_leases_of(FIRST.model, "worker-1")
    return await probe.lease("worker-2")


async def test_parts_come_in_order_before_the_end(probe, chunks):
    lease = await begun(probe)

    answers = await add(chunks, lease, 1, 2, 3)
    await probe.settle(lease)

    assert answers == [Added.FINE] * 3
    assert await stream(probe) == [1, 2, 3, "end!"]
    assert await probe.record("a") == {}


async def test_a_part_that_is_sent_again_is_there_once(probe, chunks):
    lease = await begun(probe)

    answers = await add(chunks, lease, 1, 1, 2, 2, 1)

    assert answers == [Added.FINE] * 5
    assert await stream(probe) == [1, 2]


async def test_no_part_is_left_out(probe, chunks):
    lease = await begun(probe)

    assert await add(chunks, lease, 1, 3) == [Added.FINE, Added.GAP]
    assert await stream(probe) == [1]


async def test_a_worker_that_lost_the_job_adds_nothing(probe, chunks):
    old = await begun(probe)
    await add(chunks, old, 1)
    new = await taken_over(probe)

    assert await add(chunks, old, 2) == [Added.LOST]
    assert await add(chunks, new, 1, 2) == [Added.FINE] * 2
    assert await stream(probe) == [1, 2]
    assert await add(chunks, old, 3) == [Added.LOST]


async def test_who_takes_over_goes_on_where_the_reply_was(probe, chunks):
    await add(chunks, await begun(probe), 1, 2, 3)
    new = await taken_over(probe)

    answers = await add(chunks, new, 1, 2, 3, 4)
    await probe.settle(new)

    assert answers == [Added.FINE] * 4
    assert await stream(probe) == [1, 2, 3, 4, "end!"]


async def test_who_takes_over_must_come_to_the_same(probe, chunks):
    await add(chunks, await begun(probe), 1, 2)
    new = await taken_over(probe)

    answers = await add(chunks, new, 1) + await add(chunks, new, 2, digest=b"other")

    assert answers == [Added.FINE, Added.DIFFERENT]
    assert await stream(probe) == [1, 2]


async def test_an_unknown_or_ended_job_gets_no_parts(probe, chunks):
    lease = await begun(probe)
    await probe.settle(lease)

    assert await add(chunks, lease, 1) == [Added.LOST]
    assert await stream(probe) == ["end!"]


async def test_a_cancelled_job_gets_no_more_parts(probe, chunks):
    lease = await begun(probe)
    await add(chunks, lease, 1)
    await probe.queue.cancel(FIRST.model, "a")

    assert await add(chunks, lease, 2) == [Added.CANCELLED]
    assert await stream(probe) == [1]


async def test_too_many_parts_wait_until_some_were_passed_on(probe, chunks):
    lease = await begun(probe)
    full = MOST_AHEAD + 1
    await add(chunks, lease, *range(1, full))

    assert await add(chunks, lease, full) == [Added.FULL]
    await chunks.ack(FIRST.model, "a", 1, 4)
    assert await add(chunks, lease, full, full + 1) == [Added.FINE, Added.FULL]
    assert len(await stream(probe)) == full


async def test_too_many_bytes_wait_but_one_large_part_goes_by_itself(probe, chunks):
    lease = await begun(probe)
    large = bytes(MOST_BYTES_AHEAD + 1)

    assert await add(chunks, lease, 1, body=large) == [Added.FINE]
    assert await add(chunks, lease, 2) == [Added.FULL]
    await chunks.ack(FIRST.model, "a", 1, len(large))
    assert await add(chunks, lease, 2, body=large) == [Added.FINE]


async def test_what_was_passed_on_is_never_unsaid(probe, chunks):
    await begun(probe)

    assert await chunks.ack(FIRST.model, "a", 16, 160) == 1
    assert await chunks.ack(FIRST.model, "a", 8, 80) == 0
    assert await chunks.ack(FIRST.model, "unknown", 8, 80) == 0
    record = await probe.record("a")
    assert (record["taken"], record["taken_bytes"]) == ("16", "160")
    assert await probe.record("unknown") == {}


async def test_the_stream_of_replies_goes_by_itself(probe, chunks):
    await add(chunks, await begun(probe), 1)

    assert 0 < await probe.ttl_ms(probe.keys.replies + "gateway-1") <= 120_000


async def test_a_reader_delivers_parts_and_ends_in_order(probe, chunks):
    lease = await begun(probe)
    got, ended = [], asyncio.Event()

    def end(reply):
        got.append(reply.body)
        ended.set()

    reader = ReplyReader(probe.links, probe.queue.partitions, "gateway-1", end, got.append)
    reading = asyncio.create_task(reader.run())
    await add(chunks, lease, 1, 2)
    await probe.settle(lease)
    async with asyncio.timeout(10):
        await ended.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert got == [part(1), part(2), b"end!"]


async def test_an_advanced_job_s_next_worker_begins_no_new_reply(probe, chunks):
    """Parts belong to the job, whichever stage adds them."""
    first = await begun(probe)
    await add(chunks, first, 1)
    await probe.advance(first)
    second = await probe.lease(ref=SECOND)

    assert await chunks.add(FIRST, second.token, part(2), TIMING) == Added.FINE
    assert await stream(probe) == [1, 2]


class TestStatistics:
    """Each response counts in its place; what a worker makes again, for another, does not."""

    async def counted(self, probe):
        found = await statistics_of(probe.queue, FIRST.model, FIRST.version)
        return model_statistics(FIRST.model, FIRST.version, found).response_stats

    async def test_each_part_counts_once_and_so_does_the_end(self, probe, chunks):
        await add(chunks, await begun(probe), 1, 2)
        lease = await taken_over(probe)
        await add(chunks, lease, 1, 2, 3)
        link = probe.queue.link_of(FIRST.model)
        for _ in range(2):
            chunks.end(FIRST, lease.token, "a", 3, Ended.COMPLETE, 70, link)
        await probe.settle(lease)
        found = await self.counted(probe)

        assert sorted(found) == ["0", "1", "2", "3"]
        for place in ("0", "1", "2"):
            one = found[place]
            assert (one.success.count, one.success.ns) == (1, 203)
            assert (one.compute_infer.ns, one.compute_output.ns) == (200, 3)
            assert one.empty_response.count == one.fail.count == one.cancel.count == 0
        assert (found["3"].success.count, found["3"].empty_response.count) == (0, 1)
        assert found["3"].empty_response.ns == 70

    @pytest.mark.parametrize(("how", "name"), [(Ended.FAILED, "fail"), (Ended.CANCELLED, "cancel")])
    async def test_a_failure_counts_where_the_response_would_have_been(
        self, probe, chunks, how, name
    ):
        lease = await begun(probe)
        await add(chunks, lease, 1)
        chunks.end(FIRST, lease.token, "a", 1, how, 5, probe.queue.link_of(FIRST.model))
        await probe.settle(lease)
        found = await self.counted(probe)

        assert (getattr(found["1"], name).count, getattr(found["1"], name).ns) == (1, 5)

    async def test_a_store_that_never_saw_the_script_counts_as_well(self, probe, chunks):
        lease = await begun(probe)
        await add(chunks, lease, 1)
        link = probe.queue.link_of(FIRST.model)
        await link.command("SCRIPT", "FLUSH")
        await link.command("SCRIPT", "LOAD", scripts.load("settle").source)
        chunks.end(FIRST, lease.token, "a", 1, Ended.COMPLETE, 5, link)
        await probe.settle(lease)

        assert (await self.counted(probe))["1"].empty_response.count == 1

    async def test_who_lost_the_job_counts_nothing(self, probe, chunks):
        old = await begun(probe)
        await taken_over(probe)
        chunks.end(FIRST, old.token, "a", 0, Ended.COMPLETE, 5, probe.queue.link_of(FIRST.model))

        assert dict(await self.counted(probe)) == {}

    async def test_far_places_are_left_out(self, probe, chunks):
        lease = await begun(probe)
        link = probe.queue.link_of(FIRST.model)
        chunks.end(FIRST, lease.token, "a", 256, Ended.COMPLETE, 5, link)

        assert dict(await self.counted(probe)) == {}
