"""How grpc.aio's server accepts calls: several at a turn of the event loop."""

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from support.servers import rpc_server
from support.waiting import until

from penstock.gateway.fronts.grpc.aio import accepting
from penstock.gateway.fronts.grpc.aio.server import AioServer
from penstock.gateway.fronts.grpc.rpc import Method
from penstock.settings import GatewaySettings

CALLS = 8


class Turns:
    """Counts the turns of the event loop, and the calls that begin at each."""

    def __init__(self):
        self.begun = [0]

    def turn(self):
        self.begun.append(0)
        asyncio.get_running_loop().call_soon(self.turn)

    async def answer(self, rpc):
        self.begun[-1] += 1
        return await rpc.read()


@asynccontextmanager
async def serving(handle, **more):
    settings = GatewaySettings(redis="unix:///none", port=0)
    server = AioServer({"/t.T/Echo": Method(handle, **more)}, settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def asking(server):
    """Calls from a thread of its own, all at once; waits for nothing."""
    channel = grpc.insecure_channel(server.address)
    echo = channel.unary_unary("/t.T/Echo")
    return [echo.future(b"%d" % number, timeout=30) for number in range(CALLS)]


def policies_of(pid):
    """Of its threads."""
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return {thread: os.sched_getscheduler(thread) for thread in threads}


async def at_most_at_a_turn(server, turns):
    """How many calls have begun at one turn, where all came while the event loop was held up."""
    futures = asking(server)
    time.sleep(0.05)  # noqa: ASYNC251 - that is the point
    answers = [await asyncio.to_thread(future.result) for future in futures]
    assert answers == [b"%d" % number for number in range(CALLS)]
    return max(turns.begun)


async def test_calls_that_wait_begin_together():
    turns = Turns()
    async with serving(turns.answer, often=True) as server:
        turns.turn()

        async def together():
            return await at_most_at_a_turn(server, turns) >= CALLS // 2

        assert await until(together)


async def test_calls_of_other_methods_begin_one_by_one():
    """Or what is shown above is the server's own doing, and there is nothing to be done."""
    turns = Turns()
    async with serving(turns.answer) as server:
        turns.turn()
        assert await at_most_at_a_turn(server, turns) == 1


def test_the_grpcio_that_is_installed_is_known():
    """Else look at what has changed in it: small requests cost twice as much without."""
    assert accepting.parts_are_known()


async def test_an_unknown_grpcio_accepts_calls_as_ever(monkeypatch, capfd):
    monkeypatch.setitem(accepting._PARTS, "_handle_rpc", ("others",))
    turns = Turns()
    async with serving(turns.answer, often=True) as server:
        turns.turn()
        assert await at_most_at_a_turn(server, turns) == 1
    assert "one call is accepted at a time" in "".join(capfd.readouterr())


async def test_a_server_that_has_stopped_waits_for_no_call():
    before = asyncio.all_tasks()
    async with serving(Turns().answer, often=True):
        assert len(asyncio.all_tasks() - before) >= CALLS

    async def over():
        return asyncio.all_tasks() <= before

    assert await until(over)


async def test_what_waits_for_events_takes_no_core_from_who_makes_them():
    with rpc_server.serving("aio") as address:
        async with grpc.aio.insecure_channel(address) as channel:
            told = await channel.unary_unary("/t.T/Seen")(b"", timeout=30)
        pid = json.loads(told)["pid"]
        policies = policies_of(pid)
    assert list(policies.values()).count(os.SCHED_BATCH) == 1
    assert policies[pid] == os.SCHED_OTHER
