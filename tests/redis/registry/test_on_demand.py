"""A model that is asked for is loaded, whatever became of those who asked first."""

import asyncio
from dataclasses import replace

import pytest
from support.records import snapshot
from support.waiting import until

from penstock.clock import Deadline
from penstock.errors import DeadlineExceeded
from penstock.gateway.models import on_demand as module
from penstock.gateway.models.catalog import Catalog, ModelUnloaded
from penstock.gateway.models.on_demand import OnDemand
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links


class Catalogue(Catalog):
    """One that lacks the model until the test is over."""

    def lacks(self, _model, _number):
        return True


@pytest.fixture
async def demand(redis_url):
    async with Links(redis_url) as links:
        catalog = Catalogue()
        catalog.update(snapshot())
        one = OnDemand(catalog, LoadRequests(links), 60.0)
        one.registry = Registry(links)
        yield one


async def requested(demand):
    return (await demand.registry.snapshot()).load_requests.get("m")


def load(demand, seconds=0.3):
    return asyncio.create_task(demand.load(ModelUnloaded("m", 0), Deadline.after(seconds)))


async def test_a_client_that_gives_up_while_asking_does_not_stop_others(demand):
    gone = load(demand)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await demand._load_requests._link.command("DEL", RegistryKeys.load_requests)

    with pytest.raises(DeadlineExceeded):
        await load(demand)

    assert await requested(demand)


async def test_a_load_request_that_was_forgotten_is_requested_again(demand, monkeypatch):
    monkeypatch.setattr(module, "_LOST_S", 0.01)
    with pytest.raises(DeadlineExceeded):
        await load(demand)
    first = await until(lambda: requested(demand))
    await demand._load_requests.tidy(await _long_after(demand))

    with pytest.raises(DeadlineExceeded):
        await load(demand)

    assert (await until(lambda: requested(demand))).id != first.id


async def _long_after(demand):
    """The registry as it is when the model is gone, and its load request old."""
    found = await demand.registry.snapshot()
    return replace(found, now_ms=found.now_ms + 10**9, load_results={"m": None})
