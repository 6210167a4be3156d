"""So many messages begin to arrive at a time as there is room for the largest."""

import asyncio
import contextlib

import pytest
from support.waiting import until

from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.limits.memory import SCARCE
from penstock.gateway.limits.read_turns import ReadTurns
from penstock.gateway.limits.unread import UnreadReplies
from penstock.gateway.requests.call import Call

MOST = 8
SLOW_S = 0.1


class Memory:
    """What `Calls` asks of the memory's watch."""

    most_mib = 64

    def __init__(self):
        self.used = 0.0
        self.stirred = asyncio.Event()


class Client:
    """A call whose message comes when the test says so."""

    call = Call()
    begun = 0

    def __init__(self):
        self.message = asyncio.get_running_loop().create_future()

    async def read(self):
        Client.begun += 1
        return await self.message


class Scene:
    """Calls that are being read; `begun` counts those whose messages are on their way."""

    def __init__(self, many):
        self.memory = Memory()
        self.now_s = 0.0
        turns = ReadTurns(MOST * 64, 64, lambda: self.now_s)
        unread = UnreadReplies(1 << 20, lambda _: False)
        self.calls = Calls(self.memory, unread, turns, most=100, patience_s=30)
        Client.begun = 0
        self.clients = [Client() for _ in range(many)]
        self.tasks = [asyncio.create_task(self.calls.read(one)) for one in self.clients]

    @property
    def begun(self):
        return Client.begun

    async def look(self, after_s):
        """What the regular look does, so many seconds later."""
        self.now_s += after_s
        self.calls.shed()
        await asyncio.sleep(0)

    async def close(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def scene(many):
    made = Scene(many)
    await asyncio.sleep(0)
    try:
        yield made
    finally:
        await made.close()


async def test_no_more_begin_than_there_is_room_for():
    async with scene(20) as one:
        assert one.begun == MOST


async def test_whoever_has_its_message_lets_the_next_begin():
    async with scene(20) as one:
        one.clients[3].message.set_result(b"x")

        assert await one.tasks[3] == b"x"
        await until(lambda: one.begun == MOST + 1)


async def test_small_messages_wait_for_nobody_for_long():
    async with scene(90) as one:
        for client in one.clients:
            client.message.set_result(b"x")

        assert await asyncio.gather(*one.tasks) == [b"x"] * 90


async def test_whoever_sends_nothing_holds_up_nobody():
    async with scene(20) as one:
        await one.look(SLOW_S * 1.1)

        assert one.begun == 2 * MOST


async def test_slow_ones_keep_their_turns_while_the_memory_is_scarce():
    async with scene(20) as one:
        one.memory.used = SCARCE + 0.01
        before = one.begun
        one.now_s += SLOW_S * 1.1
        one.calls.shed()
        await asyncio.sleep(0)

        assert one.begun == before


@pytest.mark.parametrize("waits", [False, True], ids=["reading", "waiting"])
async def test_whoever_leaves_gives_its_turn_back(waits):
    async with scene(MOST + 4) as one:
        left = one.tasks[MOST if waits else 0]
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        for task, client in zip(one.tasks, one.clients, strict=True):
            if task is not left:
                client.message.set_result(b"x")

        others = [task for task in one.tasks if task is not left]
        assert await asyncio.gather(*others) == [b"x"] * (MOST + 3)
