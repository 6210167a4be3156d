"""Dead letters on a whole cluster: set aside, seen, retried, with commands of their own."""

import asyncio
import json

import numpy as np
import pytest
from support.clients.load import eventually
from support.metrics import scrape
from support.models.python_models import NUMBERS, config, write_python
from support.processes.cluster import Cluster
from support.processes.commands import invoke, too_wide
from support.processes.roles import all_ready

from penstock.client import AsyncClient
from penstock.client.failures import CallFailed

DEADLY = """
import os
from pathlib import Path


class Model:
    def load(self, context):
        self.healed = Path(context.parameters["healed"])

    def execute(self, inputs, parameters):
        if inputs["x"].min() < 0 and not self.healed.exists():
            os._exit(1)
        return {"y": inputs["x"] * 2}
"""


def command(cluster, *words):
    done = invoke("jobs", "dead", *words, "--url", cluster.url)
    return done.exit_code, done.stdout, done.stderr


def listed(cluster, *words):
    status, out, err = command(cluster, "ls", "--json", *words)
    assert status == 0, err
    return json.loads(out)


@pytest.fixture(scope="module")
def healed(tmp_path_factory):
    return tmp_path_factory.mktemp("healed") / "healed"


@pytest.fixture(scope="module")
def deadly(tmp_path_factory, healed):
    """A model that ends its worker when it is asked with a negative number, until it is healed."""
    folder = tmp_path_factory.mktemp("deadly")
    parameter = f'parameters {{ key: "healed" value {{ string_value: "{healed}" }} }}'
    settings = config({"x": NUMBERS}, {"y": NUMBERS}, more=parameter)
    write_python(folder / "models", "deadly", DEADLY, settings)
    options = ("--allow-python-models", "--lease-ms", "1000")
    with Cluster(folder / "cluster", folder / "models", *options).running() as cluster:
        yield cluster


async def refusal(deadly, value):
    async with AsyncClient(deadly.url, deadline_s=60.0) as client:
        with pytest.raises(CallFailed) as caught:
            await client.infer("deadly", {"x": np.array([value], np.float32)})
    return str(caught.value)


async def test_a_job_that_was_set_aside_is_seen_and_retried(deadly, healed):
    told = await refusal(deadly, -1.0)
    run = asyncio.to_thread
    (letter,) = await run(listed, deadly)
    table = await run(command, deadly, "ls")
    shown = await run(command, deadly, "show", letter["job"])
    status = await run(invoke, "status", "--url", deadly.url)

    assert letter["job"] in told
    assert (letter["model"], letter["stage"], letter["crashes"]) == ("deadly", 0, 2)
    for code, out, err in (table, shown, (status.exit_code, status.stdout, status.stderr)):
        assert code == 0, err
        assert too_wide(out) == []
    assert letter["job"] in table[1]
    assert "input x      FP32 [1]" in shown[1]
    assert "Problems" in status.stdout

    # It ends the worker that took its worker's place, and is the letter itself from then on.
    await eventually(lambda: all_ready(deadly.url))
    again = await run(command, deadly, "retry", letter["job"])
    (second,) = await run(listed, deadly, "--model", "deadly")

    assert again[0] == 1
    assert "set aside" in again[1]
    assert "1 of 1 failed again" in again[2]
    assert second["job"] != letter["job"]

    healed.touch()
    await eventually(lambda: all_ready(deadly.url))
    answered = await run(command, deadly, "retry", "--model", "deadly")
    labels = (("model", "deadly"), ("version", "1"))
    metrics = await run(scrape, deadly.metrics_url())

    assert answered[0] == 0, answered[1] + answered[2]
    assert "answered after" in answered[1]
    assert "y FP32 [1]" in answered[1]
    assert await run(listed, deadly) == []
    assert metrics["penstock_jobs_crashes_total", labels] == 3
    assert metrics["penstock_jobs_dead_total", labels] == 2


async def test_what_cannot_be_done_says_what_to_do(deadly):
    run = asyncio.to_thread
    unknown = await run(command, deadly, "show", "nobody")
    retried = await run(command, deadly, "retry", "nobody")
    unnamed = await run(command, deadly, "retry")
    empty = await run(command, deadly, "ls", "--model", "deadly")

    assert unknown[0] == 1
    assert "there is no dead letter of job 'nobody'; 'penstock jobs dead ls' lists" in unknown[2]
    assert retried[0] == 1
    assert "there is no dead letter of job 'nobody'" in retried[1]
    assert unnamed[0] == 1
    assert "name the jobs to retry, or all those of a model with --model" in unnamed[2]
    assert empty[:2] == (0, "There are no dead letters of deadly.\n")
