"""A queue on a real store."""

import pytest
from support.probe import Probe

from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.store.link import Links


@pytest.fixture
async def probe(each_redis_url):
    """A new queue, on the newest Valkey and on the oldest Redis."""
    async with Links(each_redis_url) as links:
        yield Probe(links, await open_queue(links))


@pytest.fixture
async def own_probe(store):
    """A new queue on a Valkey of the test's own."""
    async with Links(store.url, patience_s=20) as links:
        yield Probe(links, await open_queue(links))
