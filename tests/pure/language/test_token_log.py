"""The log of an answer in its gateway: whatever comes twice, each token is passed on once."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.types import LogTokens
from penstock.scheduler.requests.parts import ReplyBroken
from penstock.scheduler.requests.token_log import TokenLog


def packed(tokens):
    return b"".join(token.to_bytes(4, "little") for token in tokens)


def reply(tokens):
    return pb.ModelInferResponse(raw_output_contents=[packed(tokens)]).SerializeToString()


async def _passed(log, end):
    passed = b""
    while new := await log.next(end):
        passed += new
    return passed


whole = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=12)


@given(whole, st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12))
def test_tokens_that_come_again_or_too_early_change_nothing(tokens, pieces):
    async def run():
        log, end = TokenLog(), asyncio.get_running_loop().create_future()
        for at, count in pieces:
            log.put(LogTokens("a", at, packed(tokens[at : at + count])))
        end.set_result(reply(tokens))
        return await _passed(log, end)

    assert asyncio.run(run()) == packed(tokens)


async def test_tokens_are_passed_on_as_they_come():
    log, end = TokenLog(), asyncio.get_running_loop().create_future()
    end.add_done_callback(log.wake)
    taken = asyncio.create_task(log.next(end))
    await asyncio.sleep(0)
    log.put(LogTokens("a", 0, packed([5])))

    assert await taken == packed([5])
    end.set_result(reply([5, 6]))
    assert await log.next(end) == packed([6])
    assert await log.next(end) == b""


async def test_tokens_that_are_others_the_second_time_end_the_answer():
    log = TokenLog()
    log.put(LogTokens("a", 0, packed([5, 6])))

    with pytest.raises(ReplyBroken):
        log.put(LogTokens("a", 1, packed([7])))


async def test_an_end_with_fewer_tokens_than_came_is_broken():
    log, end = TokenLog(), asyncio.get_running_loop().create_future()
    log.put(LogTokens("a", 0, packed([5, 6])))
    end.set_result(reply([5]))

    assert await log.next(end) == packed([5, 6])
    with pytest.raises(ReplyBroken):
        await log.next(end)


async def test_tokens_that_come_too_early_have_their_turn_once_the_others_are_there():
    log, end = TokenLog(), asyncio.get_running_loop().create_future()
    log.put(LogTokens("a", 3, packed([8])))
    log.put(LogTokens("a", 2, packed([7])))
    log.put(LogTokens("a", 0, packed([5, 6])))

    assert await log.next(end) == packed([5, 6, 7, 8])
