"""Ensembles whose models are in one partition, or in several."""

import pytest
from support.ensemble_job import PARTITIONS, Way, apart

from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.store.link import Links


@pytest.fixture(params=["together", "apart"])
async def way(request, each_redis_url):
    """Three models: in one partition, or each in another."""
    partitions = 1 if request.param == "together" else PARTITIONS
    async with Links(each_redis_url) as links:
        yield Way(links, await open_queue(links, partitions), apart(3))


@pytest.fixture
async def far(each_redis_url):
    """Two models in two partitions, and a way there and back."""
    first, second = apart(2)
    async with Links(each_redis_url) as links:
        yield Way(links, await open_queue(links, PARTITIONS), [first, second, first])
