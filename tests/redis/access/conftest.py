"""Gateways whose callers need keys, and keys of each kind that there may be."""

import asyncio
import contextlib

import pytest
from support.clients.keys import Keyring
from support.processes.front import serving

ALL = ("infer", "read", "load", "admin")


class Guarded:
    """A gateway that asks for keys, and keeps up with those in its store.

    Attributes:
        front: its front.
        keyring: makes keys.
    """

    def __init__(self, front, keyring):
        self.front = front
        self.keyring = keyring

    async def settled(self):
        await self.keyring.known_to(self.front.gateway.authenticator)

    async def credentials(self):
        """Those that let nobody in, by what is wrong with them."""
        make = self.keyring.make
        (_, expired), (gone, revoked) = (
            await make("a", *ALL, ttl_ms=1, ago_ms=1000),
            await make("a", *ALL),
        )
        await self.keyring.revoke(gone)
        _, good = await make("a", *ALL)
        await self.settled()
        return {
            "none": None,
            "wrong": "psk_" + "a" * 71,
            "mistyped": good[:-1] + ("0" if good[-1] != "0" else "1"),
            "expired": expired,
            "revoked": revoked,
        }


@contextlib.asynccontextmanager
async def _guarded(url, **settings):
    async with serving(url, values=2, http=True, http_port=0, auth="keys", **settings) as front:
        gateway = front.gateway

        async def watch():
            async for _ in gateway._seen_by_authenticator():
                pass

        watching = asyncio.create_task(watch())
        try:
            yield Guarded(front, Keyring(front.probe.links))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


@pytest.fixture(params=["aio", "asgi"])
async def guarded(redis_url, request):
    """One for each server of gRPC."""
    async with _guarded(redis_url, grpc_front=request.param) as one:
        yield one


@pytest.fixture(params=["aio", "asgi"])
async def logging_calls(redis_url, request, tmp_path):
    """One that writes its calls down, and the file."""
    file = tmp_path / "access.log"
    async with _guarded(redis_url, grpc_front=request.param, access_log=file) as one:
        yield one, file


SEQUENCES = "max_batch_size: 8 sequence_batching { max_sequence_idle_microseconds: 60000000 }"


@pytest.fixture
async def stateful(redis_url):
    """One whose model has sequences."""
    async with _guarded(redis_url, text=SEQUENCES) as one:
        yield one


@pytest.fixture
async def any_guarded(redis_url):
    async with _guarded(redis_url) as one:
        yield one
