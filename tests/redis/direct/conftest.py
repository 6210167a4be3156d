"""A gateway and a worker beside it."""

import pytest
from support.clients.direct import Neighbour, serving
from support.waiting import until

from penstock.gateway.delivery.direct import batches


@pytest.fixture
async def gateway(redis_url, monkeypatch):
    """One that has all the time that its test needs."""
    monkeypatch.setattr(batches, "PATIENCE_S", 30.0)
    async with serving(redis_url) as one:
        yield one


@pytest.fixture
async def neighbour(gateway):
    """One that the gateway has a lane to, and that has room."""
    async with Neighbour().listening() as one:
        gateway.knows(one.record())
        await until(lambda: one.gateway)
        one.has_room(4)
        await gateway.has_room()
        yield one
