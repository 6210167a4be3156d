"""Logs of answers: tokens enter them once, from the job's owner alone, and outlive it."""

import asyncio

import pytest
from support.probe import FIRST
from support.waiting import until

from penstock.scheduler.jobs.logs import Appended, Logs, NewTokens
from penstock.scheduler.jobs.types import Chunk, LogTokens
from penstock.scheduler.replies.reader import ReplyReader, tokens_of


def packed(*tokens):
    return b"".join(token.to_bytes(4, "little") for token in tokens)


@pytest.fixture
def logs(probe):
    return Logs(probe.queue)


def new(lease, at, *tokens):
    return NewTokens(lease.id, lease.token, at, packed(*tokens))


async def append(logs, *news):
    return await logs.append(FIRST.model, news)


async def entries(probe, gateway="gateway-1"):
    """The entries of a gateway's stream: those of tokens as (job, place, tokens)."""
    found = await probe.command("XRANGE", probe.keys.replies + gateway, "-", "+")
    return [[tuple(new) for new in tokens_of(fields)] for _, fields in found]


async def test_a_step_is_one_entry_for_each_gateway(probe, logs):
    await probe.enqueue("a", "b")
    await probe.enqueue("c", gateway="gateway-2")
    a, b, c = (await probe.claim()).leases

    answers = await append(logs, new(a, 0, 7), new(b, 0, 8, 9), new(c, 0, 1))

    assert answers == [Appended.FINE] * 3
    assert await entries(probe) == [[("a", 0, packed(7)), ("b", 0, packed(8, 9))]]
    assert await entries(probe, "gateway-2") == [[("c", 0, packed(1))]]
    assert await logs.read(FIRST.model, "b") == packed(8, 9)


async def test_a_token_of_several_words_is_one_token(probe, logs):
    """Words of one token are never apart, and what counts tokens counts one."""
    await probe.enqueue("a")
    lease = await probe.lease()

    answers = [
        await append(logs, new(lease, 0, 7, 1, 2)._replace(words=3)),
        await append(logs, new(lease, 3, 8, 1, 2, 9, 1, 2)._replace(words=3)),
    ]

    assert answers == [[Appended.FINE]] * 2
    assert await logs.read(FIRST.model, "a") == packed(7, 1, 2, 8, 1, 2, 9, 1, 2)
    assert (await probe.statistics())["generated_tokens"] == 3


async def test_tokens_that_are_sent_again_are_there_once(probe, logs):
    await probe.enqueue("a")
    lease = await probe.lease()

    answers = [await append(logs, new(lease, 0, 7)), await append(logs, new(lease, 1, 8))]
    answers += [await append(logs, new(lease, 1, 8))]

    assert answers == [[Appended.FINE]] * 3
    assert await entries(probe) == [[("a", 0, packed(7))], [("a", 1, packed(8))]]
    assert (await probe.statistics())["generated_tokens"] == 2


@pytest.mark.parametrize(("at", "token"), [(2, 9), (0, 9), (1, 9)], ids=["gap", "old", "other"])
async def test_tokens_that_do_not_go_on_from_the_log_are_not_taken(at, token, probe, logs):
    await probe.enqueue("a")
    lease = await probe.lease()
    await append(logs, new(lease, 0, 7))
    await append(logs, new(lease, 1, 8))
    at = 3 if at == 2 else at

    assert await append(logs, new(lease, at, token)) == [Appended.OTHER]
    assert await logs.read(FIRST.model, "a") == packed(7, 8)


async def test_another_worker_goes_on_from_the_log(probe, logs):
    await probe.enqueue("a")
    first = await probe.lease("worker-1")
    await append(logs, new(first, 0, 7, 8))
    await probe.queue.release_leases_of(FIRST.model, "worker-1")
    second = await probe.lease("worker-2")

    assert await logs.read(FIRST.model, "a") == packed(7, 8)
    assert await append(logs, new(first, 2, 9), new(second, 2, 5)) == [
        Appended.LOST,
        Appended.FINE,
    ]
    assert await logs.read(FIRST.model, "a") == packed(7, 8, 5)


async def test_a_cancelled_answer_hears_of_it_with_its_next_token(probe, logs):
    await probe.enqueue("a", "b")
    a, b = (await probe.claim()).leases
    await probe.queue.cancel(FIRST.model, "a")

    assert await append(logs, new(a, 0, 7), new(b, 0, 8)) == [Appended.CANCELLED, Appended.FINE]
    assert await entries(probe) == [[("b", 0, packed(8))]]


async def test_a_worker_may_die_of_an_answer_again_once_that_has_gone_on(probe, logs):
    """Many deaths in one long answer are nobody's fault; two without a token between them are."""
    await probe.enqueue("a")
    for worker in ("one", "two", "three"):
        lease = await probe.lease(worker)
        at = len(await logs.read(FIRST.model, "a")) // 4
        await append(logs, new(lease, at, 7))
        assert not {"alone", "crashes"} & (await probe.record("a")).keys()
        await probe.queue.release_leases_of(FIRST.model, worker)

    assert (await probe.record("a"))["alone"] == "1"
    await probe.lease("four")
    await probe.queue.release_leases_of(FIRST.model, "four")

    assert await probe.ends() == {"dead": 1}


@pytest.mark.parametrize("how", ["settled", "cancelled", "dead"])
async def test_a_log_goes_with_its_job(how, probe, logs):
    await probe.enqueue("a")
    lease = await probe.lease()
    await append(logs, new(lease, 0, 7))
    life = await probe.ttl_ms(probe.keys.jobs + "a:log")
    if how == "cancelled":
        await probe.queue.cancel(FIRST.model, "a")
    if how == "dead":
        for worker in ("worker-1", "two"):
            await probe.queue.release_leases_of(FIRST.model, worker)
            await probe.claim("two")
    else:
        await probe.settle(lease)

    assert 0 < life <= 600_000 + 60_000
    assert not [name for name in await probe.names() if "job:" in name]


async def test_a_gateway_reads_tokens_and_replies_in_their_order(probe, logs):
    await probe.enqueue("a", payload=b"end")
    lease = await probe.lease()
    await append(logs, new(lease, 0, 7))
    await append(logs, new(lease, 1, 8))
    await probe.settle(lease)
    read = []
    reader = ReplyReader(
        probe.links, probe.queue.partitions, "gateway-1", read.append, deliver_chunk=read.append
    )
    reading = asyncio.create_task(reader.run())

    async def all_read():
        return len(read) == 3

    await until(all_read)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert read[:2] == [LogTokens("a", 0, packed(7)), LogTokens("a", 1, packed(8))]
    assert not isinstance(read[2], LogTokens | Chunk)
