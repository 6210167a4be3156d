"""Models that are written for Triton's Python backend answer here as they do there.

``answers.json`` has what Triton's own server answered; ``make triton-python`` asks it again.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from support.clients.load import eventually
from support.clients.triton_asks import ASKED, Asker, text
from support.metrics import scrape
from support.processes.cluster import Cluster
from support.servers.triton_server import triton_server

MODELS = Path(__file__).parents[2] / "models_triton"
ANSWERS = Path(__file__).with_name("answers.json")
ENVIRONMENT = os.environ.get("PENSTOCK_TRITON_ENVIRONMENT", "")
WRITE = os.environ.get("PENSTOCK_TRITON_WRITE") == "true"


@pytest.fixture(scope="module")
def recorded():
    return json.loads(ANSWERS.read_text())


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    one = Cluster(tmp_path_factory.mktemp("cluster"), MODELS, "--allow-python-models")
    with one.running():
        yield one


@pytest.fixture(scope="module")
def penstock(running):
    with triton.InferenceServerClient(running.url) as client:
        yield Asker(client, MODELS)


@pytest.fixture(scope="module")
def tritons(tmp_path_factory):
    if not ENVIRONMENT:
        pytest.skip("Triton's own server is asked by `make triton-python`")
    folder = tmp_path_factory.mktemp("triton")
    with (
        triton_server(ENVIRONMENT, MODELS, folder) as url,
        triton.InferenceServerClient(url) as client,
    ):
        yield Asker(client, MODELS)


def as_data(answer):
    return json.loads(json.dumps(answer))


@pytest.mark.parametrize("name", ASKED)
def test_it_answers_as_triton_did(penstock, recorded, name):
    assert as_data(ASKED[name](penstock)) == recorded[name]


@pytest.mark.parametrize(
    ("what", "parameters", "told"),
    [
        ("some", {"word": "w", "number": 3, "yes": True, "no": False}, "{"),
        ("none", {}, ""),
        ("empty", {}, ""),
        ("a list", {}, "Expect parameters values to have type bool/int/str, found type"),
        ("a number as key", {}, "Expect parameters keys to have type str, found type"),
    ],
)
def test_parameters_go_with_a_response(penstock, what, parameters, told):
    """Releases of Triton later than the one in the wheel have them, too."""
    answer = penstock.infer("answer_parameters", WHAT=text(what))

    assert answer["parameters"] == parameters
    assert answer["outputs"]["TEXT"][2][0].startswith(told)


async def test_custom_metrics_are_shown_with_their_worker(running, penstock):
    # By nothing: what the other tests count, in whatever order, stays as it is.
    penstock.infer("log_and_metrics", BY=np.array([0.0]))

    def counted():
        found = scrape(running.metrics_url())
        calls = [labels for name, labels in found if name.startswith("model_calls")]
        return calls, {name for name, _ in found}

    (labels, *_), names = await eventually(lambda: found if (found := counted())[0] else None)

    assert "/log_and_metrics/1/" in dict(labels)["worker"]
    assert {"model_level", "model_spread_bucket", "model_spread_count"} <= names


@pytest.mark.parametrize("name", ASKED)
def test_triton_answers_as_it_did(tritons, name):
    answer = as_data(ASKED[name](tritons))

    if WRITE:
        known = json.loads(ANSWERS.read_text()) if ANSWERS.exists() else {}
        ANSWERS.write_text(json.dumps({**known, name: answer}, indent=1, sort_keys=True) + "\n")
    assert answer == json.loads(ANSWERS.read_text())[name]
