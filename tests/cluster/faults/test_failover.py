"""Whatever dies, every accepted request gets its right answer."""

import asyncio

import pytest
from support.clients.load import DIGITS, Load, eventually, expected, images
from support.metrics import scrape
from support.processes.cluster import Cluster
from support.processes.roles import whole

from penstock.client import AsyncClient

PENDING = "penstock_gateway_pending_requests"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("failover"), DIGITS / "models").running() as cluster:
        yield cluster


@pytest.fixture
async def digits(running):
    """A cluster that has got over what other tests did to it."""
    await whole(running, workers=3)
    return running


@pytest.mark.parametrize("role", ["worker", "scheduler", "node"])
async def test_a_killed_process_costs_no_answer(digits, role):
    async with Load(digits.url, deadline_s=100.0) as load:
        digits.kill(role)
        await load.more(400, 100)

    assert load.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == 0


async def test_workers_killed_again_and_again_cost_no_answer(digits):
    async with Load(digits.url, deadline_s=100.0) as load:
        for _ in range(5):
            digits.kill("worker")
            await load.more(100)

    assert load.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == 0


async def test_an_outage_of_the_store_leaves_no_call_without_its_end(digits):
    async with Load(digits.url, deadline_s=4.0) as load:
        digits.kill("store")
        await load.more(400)

    assert load.answers.wrong == 0
    codes = {error.partition(":")[0].split()[0] for error in load.answers.errors}
    assert codes <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    # Every call has ended, and the gateway waits for none of them any more.
    await eventually(lambda: waiting(digits, 0))


async def waiting(digits, wanted):
    metrics = await asyncio.to_thread(scrape, digits.metrics_url())
    return metrics.get((PENDING, ()), 0) == wanted


async def test_another_gateway_takes_over_from_a_killed_one(digits):
    async with Load(digits.url, deadline_s=10.0) as load:
        killed = digits.kill("gateway")
        await load.more(200)

    # Calls in flight at the dead gateway fail at once, and say that they may be tried again.
    assert all(error.startswith("UNAVAILABLE") for error in load.answers.errors)
    assert load.answers.wrong == 0
    assert killed not in digits.processes()["gateway"]


async def test_the_client_does_not_show_a_gateways_death(digits):
    async with AsyncClient(digits.url, deadline_s=30.0) as client:
        await client.infer("digits", {"image": images()[:1]})
        digits.kill("gateway")

        results = await asyncio.gather(
            *(client.infer("digits", {"image": images()[i : i + 1]}) for i in range(8))
        )

    found = [result["probabilities"].argmax() for result in results]
    assert found == expected()[:8].argmax(axis=1).tolist()
