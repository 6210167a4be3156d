"""Models without config.pbtxt on a whole cluster: no caller's numbers are in another's answer."""

import asyncio
import json
import os

import numpy as np
import pytest
import tritonclient.grpc as triton
from support.models.bare_models import BARE, alone, request_for, write_bare
from support.processes.cluster import Cluster
from support.processes.commands import invoke

from penstock.client import AsyncClient
from penstock.errors import PenstockError

pytestmark = pytest.mark.timeout(500)

CALLERS = 12
ANSWERS = int(os.environ.get("PENSTOCK_TEST_ANSWERS", "2000"))
"""In all; 10,000 take half a minute."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return root, {name: write_bare(root, name) for name in BARE}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, models):
    """The models are loaded one after another: so many workers would starve each other."""
    mode = ("--model-control-mode", "explicit")
    with Cluster(tmp_path_factory.mktemp("run"), models[0], *mode).running() as cluster:
        with triton.InferenceServerClient(cluster.url) as client:
            for name in BARE:
                client.load_model(name)
        yield cluster


async def call(client, name, right, chance, count, wrong):
    """Send *count* requests one after another; what is not answered right goes to *wrong*."""
    for _ in range(count):
        inputs = request_for(name, chance)
        try:
            found = await client.infer(name, inputs)
        except PenstockError as error:
            wrong.append(f"{name}: {error}")
            continue
        for output, expected in right(inputs).items():
            close = found[output].shape == expected.shape and np.allclose(
                found[output], expected, rtol=1e-4, atol=1e-6
            )
            if not close:
                wrong.append(f"{name}: {output} of {inputs}")
                break


@pytest.mark.slow
async def test_no_answer_holds_what_other_callers_sent(cluster, models):
    right = {name: alone(artifact) for name, artifact in models[1].items()}
    each = -(-ANSWERS // (len(BARE) * CALLERS))
    wrong = {name: [] for name in BARE}

    async with AsyncClient(cluster.url) as client:
        await asyncio.gather(
            *(
                call(client, name, right[name], np.random.default_rng(caller), each, wrong[name])
                for name in BARE
                for caller in range(CALLERS)
            )
        )

    counts = {name: len(found) for name, found in wrong.items()}
    print(f"wrong {sum(counts.values())} of {each * CALLERS * len(BARE)}: {counts}")
    assert not any(counts.values()), {n: found[:1] for n, found in wrong.items() if found}


def test_it_is_shown_what_is_batched_and_why(cluster):
    status = json.loads(invoke("status", "--url", cluster.url, "--json").stdout)
    listed = json.loads(invoke("models", "ls", "--url", cluster.url, "--json").stdout)

    told = {version["model"]: version["batching"] for version in status["versions"]}
    assert told == {entry["name"]: entry["batching"] for entry in listed}
    assert told["plain"] == (
        "batches up to 64: dimension 0 is 'batch' everywhere, and rows run together equal rows run "
        "apart"
    )
    assert told["towers"] == (
        "runs requests one at a time: the first dimension is not the same one everywhere: "
        "'image_batch' in 'image' and 'text_batch' in 'text'"
    )
    assert told["stubborn"].startswith("runs requests one at a time: output 'y' has shape")
    assert "runs requests one at a time" in invoke("status", "--url", cluster.url).stdout


async def test_requests_of_any_size_are_taken_where_nothing_is_batched(cluster, models):
    inputs = {"x": np.ones((1000, 4), np.float32)}

    async with AsyncClient(cluster.url) as client:
        found = await client.infer("frames", inputs)

    np.testing.assert_allclose(found["y"], alone(models[1]["frames"])(inputs)["y"], rtol=1e-4)
