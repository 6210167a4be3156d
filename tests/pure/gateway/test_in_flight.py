"""What a gateway sees to its end before it goes."""

import asyncio
import socket
import sys

import pytest

from penstock.clock import Deadline
from penstock.gateway.in_flight import InFlight, all_sent


async def test_what_has_begun_is_waited_for_and_what_begins_later_is_not():
    in_flight, may_end, seen = InFlight(), asyncio.Event(), []

    async def answer(name):
        in_flight.add()
        await may_end.wait()
        seen.append(name)

    first = asyncio.create_task(answer("first"))
    await asyncio.sleep(0)
    ending = asyncio.create_task(in_flight.end(60))
    await asyncio.sleep(0)
    never = asyncio.Event()

    async def begin_later():
        in_flight.add()
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


async def test_what_takes_too_long_is_cancelled():
    in_flight, cleaned = InFlight(), []

    async def answer():
        in_flight.add()
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(True)

    task = asyncio.create_task(answer())
    await asyncio.sleep(0)

    assert await in_flight.end(0.01) == 1
    assert task.cancelled()
    assert cleaned == [True]
    assert await in_flight.end(0.01) == 0


async def test_nothing_begun_is_no_wait():
    assert await InFlight().end(3600) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
async def test_it_waits_for_what_the_other_end_has_no_room_for():
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with near, far:
            near.setblocking(False)
            written = 0
            try:
                while True:
                    written += near.send(bytes(1 << 16))
            except BlockingIOError:
                pass
            waiting = asyncio.create_task(all_sent(Deadline.after(60)))
            done, _ = await asyncio.wait({waiting}, timeout=0.05)
            assert not done

            while written:
                written -= len(await asyncio.to_thread(far.recv, 1 << 16))

            await waiting
