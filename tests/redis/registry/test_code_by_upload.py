"""Code that came over the network runs nowhere, whatever a gateway or the store says."""

import asyncio
import pickle
import sys
import zipfile

import pytest
import torch
from support.models.pipelines import export

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.link import Links
from penstock.workers.liveness.exits import CANNOT_LOAD


class Mark:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def poisoned(folder, marker):
    """A program that torch loads, with a pickle inside that writes *marker*."""
    sound = export(folder / "sound.pt2", torch.nn.ReLU(), torch.zeros(2))
    made = folder / "model.pt2"
    with zipfile.ZipFile(sound) as source, zipfile.ZipFile(made, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if "sample_inputs" in entry.filename:
                content = pickle.dumps(Mark(marker))
            target.writestr(entry.filename, content)
    return made.read_bytes()


async def worker(url, folder, *options):
    """Run a worker for version 1 of "m" to its end: (status, record)."""
    (folder / "models").mkdir(exist_ok=True)
    words = ("--models", str(folder / "models"), "--model", "m", "--version", "1", *options)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penstock", "worker", "--redis", url, *words),
        stderr=asyncio.subprocess.PIPE,
    )
    await asyncio.wait_for(process.communicate(), 100)
    async with Links(url) as links:
        (record,) = (await Registry(links).snapshot()).workers.values()
    return process.returncode, record


@pytest.mark.parametrize("name", ["model.pt2", "model.onnx"])
async def test_a_worker_runs_no_code_that_came_over_the_network(redis_url, tmp_path, name):
    marker = tmp_path / "marker"
    content = await asyncio.to_thread(poisoned, tmp_path, marker)
    async with Links(redis_url) as links:
        digest = await LoadRequests(links).keep(content)
        await Registry(links).publish(
            "repository",
            [
                pb.ModelVersion(
                    model="m",
                    version=1,
                    revision_id="g",
                    stages=[pb.Stage(artifact=f"m/1/{name}", runtime="pytorch", fingerprint="f")],
                    files=[pb.File(path=f"1/{name}", digest=digest, size=len(content))],
                )
            ],
        )

    status, record = await worker(redis_url, tmp_path)

    assert not marker.exists()
    assert status == CANNOT_LOAD
    assert "nothing that may be code is taken over the network" in record.reason
