"""Real models without config.pbtxt: each answer is what the model's own runtime says, alone.

A few are served wherever tests run; `make real-models` serves them all.
"""

import asyncio
import os
from dataclasses import dataclass

import numpy as np
import pytest
import tritonclient.grpc as triton
from models.node_run import EXPLICIT
from support.models.bare_models import alone
from support.models.real_models import REAL, write_real
from support.processes.cluster import Cluster

from penstock.client import AsyncClient
from penstock.errors import PenstockError

pytestmark = pytest.mark.timeout(900)

ALL = os.environ.get("PENSTOCK_TEST_REAL_MODELS") == "1"
ANSWERS = int(os.environ.get("PENSTOCK_TEST_ANSWERS", "10000" if ALL else "800"))
"""In all, under concurrency."""

CALLERS = 12
NAMES = [name for name, model in REAL.items() if ALL or model.cheap]
THERE = [name for name in NAMES if not REAL[name].missing]


@dataclass
class Served:
    """One model on the cluster.

    Attributes:
        right: what its own runtime answers to a request.
        wrong: what was answered otherwise.
    """

    name: str
    right: object
    wrong: list
    answers: int = 0

    async def ask(self, client, chance):
        inputs = REAL[self.name].request(chance)
        expected = await asyncio.to_thread(self.right, inputs)
        try:
            found = await client.infer(self.name, inputs, deadline_s=120)
        except PenstockError as error:
            self.wrong.append(str(error))
            return
        self.answers += 1
        for output, array in expected.items():
            if found[output].shape != array.shape or not _close(found[output], array):
                self.wrong.append(f"{output} of {_sizes(inputs)}: {found[output]} not {array}")
                return


def _close(found, expected):
    if expected.dtype.kind != "f":
        return np.array_equal(found, expected)
    largest = float(np.abs(expected).max(initial=0))
    return np.allclose(found, expected, rtol=1e-3, atol=1e-4 * largest)


def _sizes(inputs):
    return {name: array.shape for name, array in inputs.items()}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    artifacts = {name: write_real(root, name) for name in THERE}
    return root, {name: alone(artifact, names_of(artifact)) for name, artifact in artifacts.items()}


def names_of(artifact):
    """Inputs and outputs of a `.pt2`, as it is served."""
    if artifact.suffix != ".pt2":
        return None
    import torch

    from penstock.workers.runtimes.pt2_signature import signature_of

    return signature_of(torch.export.load(str(artifact)), None)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, models):
    """One after another: so many workers that start would starve each other."""
    with Cluster(tmp_path_factory.mktemp("run"), models[0], *EXPLICIT).running() as cluster:
        with triton.InferenceServerClient(cluster.url) as client:
            for name in THERE:
                client.load_model(name)
        yield cluster


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
async def test_alone_it_answers_as_its_own_runtime(cluster, models, name):
    if name not in THERE:
        pytest.skip(f"not installed: {', '.join(REAL[name].missing)}")
    served = Served(name, models[1][name], [])

    async with AsyncClient(cluster.url) as client:
        for seed in range(5):
            await served.ask(client, np.random.default_rng(seed))

    assert (served.answers, served.wrong) == (5, [])


@pytest.mark.slow
async def test_no_answer_is_wrong_under_concurrency(cluster, models):
    shares = sum(REAL[name].share for name in THERE)
    all_served = [Served(name, models[1][name], []) for name in THERE]

    async def call(client, served, caller):
        chance = np.random.default_rng(100 + caller)
        for _ in range(-(-int(ANSWERS * REAL[served.name].share) // int(shares * CALLERS))):
            await served.ask(client, chance)

    async with AsyncClient(cluster.url) as client:
        calls = (call(client, one, caller) for one in all_served for caller in range(CALLERS))
        await asyncio.gather(*calls)

    wrong = {one.name: one.wrong for one in all_served if one.wrong}
    answers = sum(one.answers for one in all_served)
    print(f"wrong {sum(map(len, wrong.values()))} of {answers} answers of {len(THERE)} models")
    assert {name: found[0] for name, found in wrong.items()} == {}
    assert answers >= ANSWERS
