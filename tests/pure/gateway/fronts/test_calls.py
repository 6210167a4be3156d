"""Messages are taken off gRPC as long as there is memory, and large ones give way to small ones."""

import asyncio

import pytest
from support.waiting import until

from penstock.clock import NO_DEADLINE, Deadline
from penstock.errors import DeadlineExceeded
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.limits.memory import GatewayFull
from penstock.gateway.limits.read_turns import ReadTurns
from penstock.gateway.limits.unread import UnreadReplies
from penstock.gateway.requests.call import Call

END = object()


class Memory:
    """What `Calls` asks of the memory's watch."""

    most_mib = 64

    def __init__(self):
        self.used = self.seen = 0.0
        self.stirred = asyncio.Event()

    def see(self):
        self.used = self.seen

    async def room(self):
        await until(lambda: self.used <= 0.9)


class Client:
    """A call whose client the test is."""

    def __init__(self, remaining_s=None):
        deadline = NO_DEADLINE if remaining_s is None else Deadline.after(remaining_s)
        self.call = Call(deadline, connection="ipv4:127.0.0.1:1")
        self._messages = asyncio.Queue()

    def send(self, *messages):
        for message in messages:
            self._messages.put_nowait(message)

    async def read(self):
        return await self._messages.get()


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def calls(memory):
    turns = ReadTurns(0, 1)
    return Calls(memory, UnreadReplies(1 << 20, lambda _: False), turns, most=3, patience_s=0.3)


async def reading(calls, *, many=1, **how):
    """Calls that are being read, and their tasks."""
    opened = [Client(**how) for _ in range(many)]
    tasks = [asyncio.create_task(calls.read(one)) for one in opened]
    await asyncio.sleep(0)
    return opened, tasks


async def test_a_message_is_taken_and_its_call_has_begun(calls):
    (call,), (task,) = await reading(calls)
    call.send(b"x")

    assert await task == b"x"


async def test_a_client_that_goes_before_it_sends_is_told_nothing(calls):
    (call,), (task,) = await reading(calls)
    call.send(END)

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_when_the_memory_is_full_nothing_is_taken_but_questions_about_the_gateway(
    calls, memory
):
    memory.used = 1.1
    with pytest.raises(GatewayFull, match="--max-memory-mib 64"):
        await calls.read(Client())
    asking = Client()
    asking.send(b"well?")

    assert await calls.read(asking, always=True) == b"well?"
    assert calls.refused == 1


async def test_when_the_memory_is_scarce_the_latest_of_what_is_slow_gives_way(calls, memory):
    _, (first, second) = await reading(calls, many=2)
    await asyncio.sleep(0.15)
    memory.used = 0.85

    calls.shed()

    with pytest.raises(GatewayFull):
        await second
    assert not first.done()
    first.cancel()


async def test_when_the_memory_is_tight_a_message_that_is_there_is_taken_still(calls, memory):
    memory.used = 0.95
    (quick, _), (taken, slow) = await reading(calls, many=2)
    quick.send(b"x")
    await asyncio.sleep(0.1)

    calls.shed()

    assert await taken == b"x"
    with pytest.raises(GatewayFull):
        await slow


async def test_after_a_large_message_the_memory_is_looked_at_before_more_come(calls, memory):
    (large, _), (taken, slow) = await reading(calls, many=2)
    await asyncio.sleep(0.1)
    memory.seen = 0.95

    large.send(bytes(1 << 20))

    assert len(await taken) == 1 << 20
    with pytest.raises(GatewayFull):
        await asyncio.wait_for(slow, 5)


async def test_a_call_that_does_not_arrive_is_not_waited_for(calls):
    _, (late,) = await reading(calls)
    _, (own,) = await reading(calls, remaining_s=100)
    await asyncio.sleep(0.35)

    calls.shed()

    with pytest.raises(DeadlineExceeded):
        await late
    assert not own.done()
    own.cancel()


async def test_a_client_that_gives_up_is_not_told_of_memory(calls):
    _, (task,) = await reading(calls)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_there_are_only_so_many_calls(calls):
    _, tasks = await reading(calls, many=3)

    with pytest.raises(GatewayFull, match="--max-calls 3"):
        await calls.read(Client())

    for task in tasks:
        task.cancel()


async def test_a_streams_next_message_waits_for_room(calls, memory):
    memory.used = 1.1
    call = Client()
    call.send(b"x", END)
    got = []

    async def follow():
        got.extend([message async for message in calls.messages(call)])

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.05)
    assert not got
    memory.used = 0.5
    await task

    assert got == [b"x"]


async def test_a_reply_is_unread_until_its_call_has_ended(calls):
    call, held = Client(), []
    call.send(b"x")

    async def answer(*_):
        return bytes(1 << 17)

    async def handler():
        await calls.answering(answer)(call)
        held.append(calls.unread.held)

    await asyncio.create_task(handler())
    await asyncio.sleep(0)

    assert held == [1 << 17]
    assert calls.unread.held == 0


async def test_what_has_begun_is_waited_for_and_what_begins_later_is_not(calls):
    may_end, seen = asyncio.Event(), []

    async def answer(name):
        calls.begin()
        await may_end.wait()
        seen.append(name)

    first = asyncio.create_task(answer("first"))
    await asyncio.sleep(0)
    ending = asyncio.create_task(calls.finish(60))
    await asyncio.sleep(0)
    never = asyncio.Event()

    async def begin_later():
        calls.begin()
        await never.wait()

    later = asyncio.create_task(begin_later())
    await asyncio.sleep(0)
    assert not ending.done()
    may_end.set()

    assert await ending == 0
    assert seen == ["first"]
    assert first.done()
    assert not later.done()
    later.cancel()


async def test_what_takes_too_long_is_cancelled(calls):
    cleaned = []

    async def answer():
        calls.begin()
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(True)

    task = asyncio.create_task(answer())
    await asyncio.sleep(0)

    assert await calls.finish(0.01) == 1
    assert task.cancelled()
    assert cleaned == [True]
    assert await calls.finish(0.01) == 0


async def test_nothing_begun_is_no_wait(calls):
    assert await calls.finish(3600) == 0
