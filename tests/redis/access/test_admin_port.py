"""Administration at a port of its own: there alone, once callers need keys."""

import asyncio
import contextlib

import grpc
import pytest
from support.clients.keys import bearer
from support.processes.front import serving

from penstock.gateway.access.api_key import mint, new_id
from penstock.gateway.access.caller import Scope
from penstock.gateway.access.needs import ADMINISTRATION, RPCS
from penstock.gateway.access.records import Grant, made

ADMINS = [name for name, need in RPCS.items() if need.scope in ADMINISTRATION]


async def code(channel, name, secret):
    call = channel.unary_stream(f"/{name}")(b"", metadata=bearer(secret), timeout=0.5)
    with contextlib.suppress(grpc.RpcError):
        async for _ in call:
            pass
    return (await call.code()).name, (await call.details()) or ""


@pytest.fixture(params=["aio", "asgi"])
async def parted(redis_url, request):
    async with (
        serving(redis_url, values=2, auth="keys", grpc_front=request.param, admin_port=0) as one,
        grpc.aio.insecure_channel(one.address) as admin,
    ):
        yield one, admin


async def test_it_is_refused_at_the_port_for_requests_and_served_at_its_own(parted):
    front, admin = parted
    gateway, secret = front.gateway, gateway_key(front.gateway)

    for name in ADMINS:
        here, there = await asyncio.gather(
            code(front.channel, name, secret), code(admin, name, secret)
        )
        assert here == ("PERMISSION_DENIED", "this is served at the port for administration alone")
        assert there[0] not in ("PERMISSION_DENIED", "UNAUTHENTICATED"), name
    assert gateway.authenticator.apart


async def test_its_port_asks_for_a_key_as_well(parted):
    _, admin = parted

    codes = {(await code(admin, name, None))[0] for name in ADMINS}

    assert codes == {"UNAUTHENTICATED"}


async def test_while_nobody_needs_a_key_all_is_served_everywhere(redis_url):
    async with serving(redis_url, values=2, admin_port=0) as one:
        name = "inference.GRPCInferenceService/LogSettings"

        assert (await code(one.channel, name, None))[0] == "OK"


def gateway_key(gateway):
    """A key for everything, known to *gateway* at once."""
    id_ = new_id()
    minted = mint(id_)
    record = made(id_, Grant("ops", scopes=list(Scope)), minted, 1)
    gateway.authenticator.update({id_: record})
    return minted.text
