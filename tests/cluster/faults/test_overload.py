"""More requests than can be answered: those that would be late are refused at once."""

import asyncio
from collections import Counter

import pytest
from support.clients.flood import TAKES_S, flooded
from support.clients.load import eventually
from support.metrics import scrape
from support.models.onnx_models import write_slow
from support.processes.cluster import Cluster

from penstock.client import AsyncClient
from penstock.gateway.limits.admission import LEAST_PUSHBACK_MS, LONGEST_PUSHBACK_MS

DEADLINE_S = 1.0
PER_S = 1 / TAKES_S


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow")
    write_slow(folder / "models")
    with Cluster(folder / "cluster", folder / "models").running() as cluster:
        yield cluster


async def counted(slow, labels):
    metrics = await asyncio.to_thread(scrape, slow.metrics_url())
    return metrics.get(("penstock_requests_refused_total", labels), 0)


def of(told, phase):
    return [one[1:] for one in told if one[0] == phase]


async def accepted(slow):
    """How many requests ever entered the model's queue."""
    async with AsyncClient(slow.url) as client:
        return (await client.status("slow")).versions[0].counts.accepted


async def test_what_would_be_late_is_refused_before_it_enters_the_queue(slow):
    """Five times as much as one worker can do, in an open loop, after it has been measured."""
    reasons = (("model", "slow"), ("reason", "late"), ("version", "1"))
    before, refused_before = await accepted(slow), await counted(slow, reasons)
    warm_up = (PER_S / 4, 3, 10.0)
    told = await flooded(slow.url, [warm_up, (5 * PER_S, 3, DEADLINE_S)])

    warm, under_load = of(told, 0), of(told, 1)
    codes = Counter(code for code, *_ in under_load)
    refused = [one for one in under_load if one[0] == "RESOURCE_EXHAUSTED"]

    assert {code for code, *_ in warm} == {"OK"}
    assert set(codes) <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    # No machine answers more than the worker's own pauses allow, and all of the rest hears of it.
    assert codes["OK"] < len(under_load) / 2
    assert refused
    # They were refused at once: the queue has never seen them. How many of the others are late all
    # the same is the machine's doing.
    assert await accepted(slow) - before <= len(told) - len(refused)
    for _, _, text, pushback in refused:
        assert "the queue is too long for the request's deadline" in text
        # Up to half as much again, so that not all come back at once.
        assert LEAST_PUSHBACK_MS <= int(pushback) <= 1.5 * LONGEST_PUSHBACK_MS

    async def all_counted():
        return await counted(slow, reasons) - refused_before == len(refused)

    await eventually(all_counted)


async def test_a_full_queue_refuses_in_tritons_words(cluster, tmp_path):
    """Long deadlines, so that only the limit can refuse."""
    write_slow(tmp_path / "models")
    short = cluster(tmp_path / "models", environment={"PENSTOCK_MAX_QUEUE_JOBS": "20"})
    told = await flooded(short.url, [(2000, 0.05, 60.0)])

    codes = Counter(code for _, code, *_ in told)
    assert set(codes) == {"OK", "UNAVAILABLE"}
    # Those that wait, and those that the worker has already.
    assert 20 <= codes["OK"] < 100
    refused = [(text, pushback) for _, code, _, text, pushback in told if code == "UNAVAILABLE"]
    assert {text for text, _ in refused} == {"[request id: 0] Exceeds maximum queue size"}
    # Not the same for all: they would come back together.
    pushbacks = {int(pushback) for _, pushback in refused}
    assert len(pushbacks) > 1
    assert min(pushbacks) >= 100


async def test_what_is_urgent_is_taken_though_a_long_queue_waits(slow):
    """Only what is before a request counts: earlier deadlines overtake."""
    warm_up = (PER_S / 4, 3, 10.0)
    patient = (5 * PER_S, 1.0, 100.0)
    urgent = (PER_S / 10, 2, 5.0)
    told = await flooded(slow.url, [warm_up, patient, urgent])

    assert {code for code, *_ in of(told, 1)} == {"OK"}
    assert {code for code, *_ in of(told, 2)} == {"OK"}
    assert max(took_s for _, took_s, *_ in of(told, 1)) > max(
        took_s for _, took_s, *_ in of(told, 2)
    )
