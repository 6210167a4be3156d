"""What a server refuses before it serves, and what it writes where."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import grpc
import pytest
from hyperframe.frame import GoAwayFrame, PingFrame, SettingsFrame
from support.clients.http2_abuse import PREFACE, frames_in
from support.servers.rpc_server import METHODS, SERVERS
from support.waiting import until

from penstock.errors import InvalidConfiguration
from penstock.gateway.fronts.asgi import AsgiServer, bound
from penstock.gateway.fronts.front import PortBusy
from penstock.gateway.fronts.http.front import HttpFront
from penstock.settings import GatewaySettings


def made(kind, **options):
    return SERVERS[kind](METHODS, GatewaySettings(redis="unix:///none", **{"port": 0, **options}))


def threads_called(name):
    """Their ids, of this process."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(task.name) for task in tasks if (task / "comm").read_text().rstrip() == name]


def test_a_port_that_is_taken_is_refused_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(PortBusy, match="choose another with --port"):
            made("asgi", port=port)


async def test_an_option_that_a_server_does_not_offer_is_refused_by_name():
    with pytest.raises(InvalidConfiguration, match="--grpc-max-connection-age: --grpc-front asgi"):
        made("asgi", grpc_max_connection_age=1000)
    await made("asgi", grpc_max_connection_idle=1000, max_connections=10).stop()


def test_without_its_package_it_says_what_to_install(monkeypatch):
    assert HttpFront.is_installed()
    monkeypatch.setitem(sys.modules, "h2corn", None)

    with pytest.raises(InvalidConfiguration, match=r"pip install 'penstock\[http\]'"):
        made("asgi")
    assert not HttpFront.is_installed()


async def test_addresses_of_ipv6_have_brackets(kind):
    server = made(kind, host="::1")
    await server.start()

    assert server.address.startswith("[::1]:")
    async with grpc.aio.insecure_channel(server.address) as channel:
        told = await channel.unary_unary("/t.T/Asked")(b"", timeout=30)
    assert b'"local": true' in told
    await server.stop()


async def test_what_the_server_writes_is_in_the_log(capfd):
    async def broken(*_):
        raise ValueError("a defect")

    server = AsgiServer(broken, bound("127.0.0.1", 0, "--port"), {})
    await server.start()
    reader, writer = await asyncio.open_connection(*server.address.split(":"))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b" 500 " in await reader.readline()
    writer.close()
    await server.shut_down()

    found = capfd.readouterr()
    assert '"level"' not in found.err + found.out
    assert "a defect" in found.err + found.out
    assert "h2corn" in found.err + found.out


async def test_what_carries_events_takes_no_core_from_who_makes_them():
    """It would find one of an answer's three events, and write it alone."""
    mine = os.sched_getscheduler(0)
    server = made("asgi")
    await server.start()

    carriers = threads_called("tokio-rt-worker")
    assert carriers
    assert {os.sched_getscheduler(carrier) for carrier in carriers} == {os.SCHED_BATCH}
    assert os.sched_getscheduler(0) == mine
    await server.stop()


async def test_a_server_that_goes_sends_its_callers_elsewhere():
    server = made("asgi")
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        watching = channel.stream_stream("/t.T/Chat")()
        await watching.write(b"x")
        assert await watching.read() == b"x"
        await server.flush()

        assert await watching.code() is grpc.StatusCode.UNAVAILABLE


async def test_who_speaks_while_a_server_goes_is_not_reset():
    """Or it might never read which of its calls were not taken."""
    server, said = made("asgi"), b""
    await server.start()
    reader, writer = await asyncio.open_connection(*server.address.split(":"))
    writer.write(PREFACE + SettingsFrame(0).serialize())
    said += await reader.read(1 << 16)
    going = asyncio.create_task(server.stop())
    while GoAwayFrame not in [type(frame) for frame in frames_in(said)]:
        said += await reader.read(1 << 16)
    for _ in range(20):
        writer.write(PingFrame(0, bytes(8)).serialize())
        await writer.drain()
        await asyncio.sleep(0.01)
    writer.close()
    await writer.wait_closed()

    await going


async def test_a_call_that_takes_too_long_to_be_waited_for_hears_of_it():
    server, running = made("asgi"), set(asyncio.all_tasks())
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/t.T/Sleep")(b"60")
        asking = asyncio.ensure_future(call.code())
        await until(lambda: calls_since(running))
        server.drain()
        for task in calls_since(running):
            task.cancel()

        assert await asking is grpc.StatusCode.UNAVAILABLE
    await server.stop()


def calls_since(before):
    """The tasks in which the server runs calls."""
    return [task for task in asyncio.all_tasks() - before if task.get_name() == "h2corn.request"]
