"""Methods that show what a server of RPCs makes of each kind of call, on either server.

As a program it is forked for servers, each with "aio" or "asgi" and options of the gateway in JSON:
one tells its address, and serves until it is told to end.
"""

import asyncio
import atexit
import json
import os
import sys
from contextlib import contextmanager
from functools import cache

from support.processes.forks import Template, be_forked

from penstock.gateway.fronts.grpc.aio.server import AioServer
from penstock.gateway.fronts.grpc.asgi.server import AsgiRpcServer
from penstock.gateway.fronts.grpc.calls import Ending
from penstock.gateway.fronts.grpc.rpc import Method
from penstock.gateway.fronts.server_certificates import ServerCertificates
from penstock.settings import GatewaySettings
from penstock.telemetry import configure_logging

SERVERS = {"aio": AioServer, "asgi": AsgiRpcServer}
_ADDRESS, _END = "RPC_SERVER_ADDRESS_FD", "RPC_SERVER_END_FD"
SEEN = {"cancelled": 0, "finished": 0}


async def one(rpc):
    """The only message, as text."""
    return (await rpc.read()).decode()


async def echo(rpc):
    return await rpc.read()


async def length(rpc):
    with Ending(rpc):
        return b"%d" % len(await rpc.read())


async def seen(rpc):
    await rpc.read()
    return json.dumps({**SEEN, "pid": os.getpid()}).encode()


async def sleep(rpc):
    """So many seconds."""
    seconds = float(await one(rpc))
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        SEEN["cancelled"] += 1
        raise
    SEEN["finished"] += 1
    return b"slept"


async def fail(rpc):
    """A status number, and its text."""
    status, _, text = (await one(rpc)).partition(" ")
    rpc.fail(int(status), text, (("x-trail", "t"), ("x-trail-bin", b"\0\xff")))


async def crash(rpc):
    with Ending(rpc):
        await rpc.read()
        raise ValueError("nobody foresaw this")


async def asked(rpc):
    """What is known of the call."""
    await rpc.read()
    metadata = [
        [name, value if isinstance(value, str) else list(value)]
        for name, value in rpc.call.metadata
    ]
    call = rpc.call
    return json.dumps(
        {
            "metadata": metadata,
            "connection": call.connection,
            "local": call.is_local,
            "certificate": call.certificate,
            "remaining_s": call.deadline.remaining_s(),
        }
    ).encode()


async def stream(rpc):
    """So many messages of so many bytes, with a pause in seconds after each."""
    count, size, pause_s = (await one(rpc)).split()
    try:
        for _ in range(int(count)):
            await rpc.write(bytes(int(size)))
            if float(pause_s):
                await asyncio.sleep(float(pause_s))
    except asyncio.CancelledError:
        SEEN["cancelled"] += 1
        raise


async def fail_after_three(rpc):
    await rpc.read()
    for number in range(3):
        await rpc.write(b"m%d" % number)
    rpc.fail(9, "after three", ())


async def messages(rpc):
    while isinstance(message := await rpc.read(), bytes | memoryview):
        yield bytes(message)


async def count(rpc):
    """How many messages, and how many bytes."""
    with Ending(rpc):
        sizes = [len(message) async for message in messages(rpc)]
        return b"%d %d" % (len(sizes), sum(sizes))


async def chat(rpc):
    try:
        async for message in messages(rpc):
            await rpc.write(message)
    except asyncio.CancelledError:
        SEEN["cancelled"] += 1
        raise


async def duplex(rpc):
    """Writes while it reads, and once that is over says how many came."""
    lock = asyncio.Lock()

    async def talk():
        for number in range(100):
            async with lock:
                await rpc.write(b"t%d" % number)
            await asyncio.sleep(0.005)

    talking, came = asyncio.create_task(talk()), 0
    async for _ in messages(rpc):
        came += 1
        if came % 10 == 0:
            async with lock:
                await rpc.write(b"r%d" % came)
    await talking
    await rpc.write(b"end %d" % came)


async def enough(rpc):
    """A status before the client has said all."""
    await rpc.read()
    rpc.fail(9, "enough", ())


async def fine(rpc):
    """A reply before the client has said all."""
    await rpc.read()
    await rpc.write(b"enough")


async def deaf(_):
    """Never reads."""
    try:
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        SEEN["cancelled"] += 1
        raise


async def live(rpc):
    """As Penstock's client asks it."""
    await rpc.read()
    return b"\x08\x01"


ONE = {
    "Echo": echo,
    "Length": length,
    "Seen": seen,
    "Sleep": sleep,
    "Fail": fail,
    "Crash": crash,
    "Asked": asked,
    "Count": count,
}
MANY = {
    "Stream": stream,
    "FailAfterThree": fail_after_three,
    "Chat": chat,
    "Duplex": duplex,
    "Enough": enough,
    "Fine": fine,
    "Deaf": deaf,
}
METHODS = {f"/t.T/{name}": Method(handle, often=True) for name, handle in ONE.items()} | {
    f"/t.T/{name}": Method(handle, streams=True) for name, handle in MANY.items()
}
METHODS["/inference.GRPCInferenceService/ServerLive"] = Method(live)


@cache
def _template():
    made = Template.of(__file__)
    atexit.register(made.close)
    return made


@contextmanager
def serving(kind, **options):
    """A server of *kind* in a process of its own; its address."""
    words = [sys.executable, __file__, kind, json.dumps(options)]
    (reading, address), (end, holding) = os.pipe(), os.pipe()
    try:
        descriptors = {_ADDRESS: address, _END: end}
        process = _template().fork(words, dict(os.environ), 2, descriptors)
    finally:
        os.close(address)
        os.close(end)
    with os.fdopen(reading) as told, os.fdopen(holding, "wb"):
        yield told.readline().strip()
    process.wait()


async def main(kind, more):
    configure_logging("server", level="warning")
    options = {"grpc_front": kind, **json.loads(more)}
    settings = GatewaySettings(redis="unix:///none", port=0, **options)
    certificates = ServerCertificates.of(settings)
    server = SERVERS[kind](METHODS, settings, certificates)
    await server.start()
    looking = asyncio.create_task(certificates.run()) if certificates else None
    with os.fdopen(int(os.environ.pop(_ADDRESS)), "w") as told:
        told.write(server.address)
    with os.fdopen(int(os.environ.pop(_END))) as end:
        await asyncio.get_running_loop().run_in_executor(None, end.read)
    if looking is not None:
        looking.cancel()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main(*be_forked()))
