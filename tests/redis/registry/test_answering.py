"""A scheduler ends each load request, whatever is the matter with what came with it."""

import asyncio
import contextlib

import pytest
from support.waiting import until

from penstock.models.files import overrides
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.load_requests import NOT_THERE, LoadRequests
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.roles.answering import Answerer


@contextlib.asynccontextmanager
async def answering(links, models):
    """A scheduler that answers load requests from a repository that is empty."""
    registry, load_requests = Registry(links), LoadRequests(links)
    answerer = Answerer(registry, load_requests, [models], every_s=60, cache_bytes=0)
    await answerer.begin([])
    task = asyncio.create_task(answerer.run())
    try:
        yield registry, load_requests
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ended(links, models, **files):
    """The result of a load of `m` with *files*, which other loads do not wait for."""
    async with answering(links, models) as (registry, load_requests):
        request = pb.LoadRequest(model="m", id="first", config=b"")
        for path, content in files.items():
            digest = await load_requests.keep(content)
            request.files.add(path=path, digest=digest, size=len(content))
        await load_requests.put(request)
        await load_requests.put(pb.LoadRequest(model="n", id="second"))

        async def results():
            return (await registry.snapshot()).load_results

        found = await until(lambda: _both(results))
        assert found["n"].error == NOT_THERE
        return found["m"].error


async def _both(results):
    found = await results()
    return found if {"m", "n"} <= found.keys() else None


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({f"1/{'x' * 256}": b"x"}, "cannot be the name of a file that came with a load"),
        ({"1": b"x", "1/model.onnx": b"x"}, "1/model.onnx, which came with the load, cannot be"),
    ],
)
async def test_files_that_cannot_be_laid_out_end_the_load_with_the_reason(
    links, tmp_path, files, why
):
    """As a gateway of an earlier release may have taken them."""
    error = await ended(links, tmp_path, **files)

    assert error.startswith(f"{NOT_THERE}: ")
    assert why in error


async def test_a_disk_without_room_ends_the_load_with_the_reason(links, tmp_path, monkeypatch):
    monkeypatch.setattr(overrides.tempfile, "tempdir", "/proc")

    error = await ended(links, tmp_path, **{"1/model.onnx": b"x"})

    assert error.startswith(f"{NOT_THERE}: [Errno ")
