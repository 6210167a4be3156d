"""What every test of the registry has."""

import pytest

from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.link import Links


@pytest.fixture
async def links(each_redis_url):
    async with Links(each_redis_url) as links:
        yield links


@pytest.fixture
def registry(links):
    return Registry(links)
