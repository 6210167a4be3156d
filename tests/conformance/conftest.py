"""Clusters and tools that only these tests need."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest
from support.models.onnx_models import (
    DATATYPES,
    write_add_sub,
    write_identities,
    write_identity,
    write_slow,
)
from support.processes.fronts import serving_both, started_here

CHECK = (
    *("--measurement-interval", "300"),  # milliseconds
    *("--stability-percentage", "999", "--max-trials", "200"),
)
"""perf_analyzer takes any three windows in a row that had answers for stable: a check, not a
measurement, and the same on a busy machine."""

MOST_S = 90
"""How long perf_analyzer may run: it ends, and its output is seen, before pytest ends the test."""

INTEGERS = ("INT8", "INT16", "UINT8", "UINT16")
TOOL = Path(__file__).parents[2] / "tools" / "fetch_perf_analyzer.py"


@pytest.fixture(scope="module", autouse=True)
def grpc_front(request):
    """What speaks gRPC in the clusters that only this file starts."""
    with started_here(request.node.nodeid):
        yield


@pytest.fixture(scope="session")
def models_cluster(request, _models_clusters):
    """A cluster that serves identities of every datatype, add_sub, and slow."""
    return _models_clusters[request.param]


@pytest.fixture(scope="session")
def _models_clusters(tmp_path_factory):
    repository = tmp_path_factory.mktemp("conformance-models")
    # ONNX Runtime's Python API cannot take text and bfloat16 in one call.
    without_text = [datatype for datatype in DATATYPES if datatype != "BYTES"]
    write_identities(repository, "identity", without_text, batch=True)
    write_identities(repository, "identity_flat", without_text, batch=False)
    write_identity(repository, "identity_text", "BYTES", batch=True)
    write_identities(repository, "integers", INTEGERS, batch=False)
    write_add_sub(repository)
    write_slow(repository)
    folder = tmp_path_factory.mktemp("conformance-cluster")
    with serving_both(folder, repository, "--http", "--http-port", "0") as both:
        yield both


@pytest.fixture
def no_models(tmp_path):
    """An empty repository: a cluster that serves none is soon there."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def perf_analyzer():
    """Runs it with arguments; asserts that it ends well."""
    spec = importlib.util.spec_from_file_location("fetch_perf_analyzer", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    try:
        folder = tool.fetch(tool.default_directory())
        _run(folder, "--version")
    except (SystemExit, OSError, AssertionError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"perf_analyzer cannot be had here: {error}")
    return lambda *arguments: _run(folder, *CHECK, *arguments)


def _run(folder, *arguments):
    """What it wrote; pytest shows that, too, when the test fails later on."""
    ended = subprocess.run(
        ["timeout", f"{MOST_S}", str(folder / "perf_analyzer"), *arguments],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder / "lib")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(ended.stdout)
    assert ended.returncode == 0, f"status {ended.returncode}: {ended.stdout}"
    return ended.stdout
