"""Embeddings over the OpenAI API of a cluster: every vector that of its own text."""

import base64
import json

import numpy as np
import pytest
from support.clients.answers import ask
from support.language.embedders import place_of, write_embedder
from support.models.python_models import DECOUPLED, write_python
from support.processes.cluster import Cluster

BODY = {"model": "places", "input": "hello"}
TEXTS = ["hello", "the world", "é", "a" * 5000, "or", "hello"]


DECIMALS = """
class Model:
    def execute(self, inputs, parameters):
        yield {"y": inputs["x"]}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One model that makes embeddings, and one that does not."""
    folder = tmp_path_factory.mktemp("embeddings")
    write_embedder(folder / "models")
    write_python(folder / "models", "numbers", DECIMALS, DECOUPLED)
    options = ("--allow-python-models", "--http", "--http-port", "0")
    with Cluster(folder / "cluster", folder / "models", *options).running() as one:
        yield one


def embedded(cluster, **fields):
    status, content = ask(cluster, "embeddings", {**BODY, **fields})
    assert status == 200, content
    return json.loads(content)


def vectors_of(body):
    return np.array([one["embedding"] for one in body["data"]], np.float32)


def expected(rows):
    return np.array([place_of(row) for row in rows])


def test_a_text_has_a_vector(cluster):
    body = embedded(cluster)

    assert np.array_equal(vectors_of(body), expected(["hello"]))
    assert {**body, "data": []} == {
        "object": "list",
        "data": [],
        "model": "places",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }


def test_many_texts_share_batches_and_each_has_its_own_vector(cluster):
    """Six rows of a model that takes four at a time are two runs of it."""

    def counted():
        (stats,) = json.loads(ask(cluster, "/v2/models/places/stats")[1])["model_stats"]
        return int(stats["inference_count"]), int(stats["execution_count"])

    rows, runs = counted()
    body = embedded(cluster, input=TEXTS)
    more_rows, more_runs = counted()

    assert np.array_equal(vectors_of(body), expected(TEXTS))
    assert (more_rows - rows, more_runs - runs) == (6, 2)


@pytest.mark.parametrize(
    "rows", [[7, 8, 9], [[7], [300, 2, 1], [0]]], ids=["one list", "lists of several lengths"]
)
def test_tokens_have_vectors_as_well(rows, cluster):
    body = embedded(cluster, input=rows)
    lists = [rows] if isinstance(rows[0], int) else rows

    assert np.array_equal(vectors_of(body), expected(lists))
    assert body["usage"]["prompt_tokens"] == sum(map(len, lists))


def test_base64_is_the_same_to_the_bit(cluster):
    body = embedded(cluster, input=TEXTS, encoding_format="base64")
    found = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in body["data"]]

    assert np.array_equal(np.array(found), expected(TEXTS))


def test_as_many_texts_as_may_be_are_answered_in_order(cluster):
    texts = [f"text {number}" for number in range(2048)]
    body = embedded(cluster, input=texts, encoding_format="float")

    assert np.array_equal(vectors_of(body), expected(texts))
    assert [one["index"] for one in body["data"]] == list(range(2048))


@pytest.mark.parametrize(
    ("fields", "status", "param", "said"),
    [
        ({"dimensions": 8}, 400, "dimensions", "the vectors of 'places' have 16 numbers"),
        ({"input": [""]}, 400, "input", "input 0 has 0 characters"),
        ({"input": ["a"] * 2049}, 400, "input", "a list of 1 to 2048"),
        ({"model": "numbers"}, 400, None, "'numbers' makes no embeddings"),
        ({"model": "none"}, 404, None, "'none'"),
    ],
)
def test_what_cannot_be_is_refused_in_openais_form(fields, status, param, said, cluster):
    found, content = ask(cluster, "embeddings", {**BODY, **fields})
    error = json.loads(content)["error"]

    assert (found, error["param"]) == (status, param)
    assert said in error["message"]


def test_a_model_of_embeddings_answers_no_chat(cluster):
    body = {"model": "places", "messages": [{"role": "user", "content": "hello"}]}
    status, content = ask(cluster, "chat/completions", body)

    assert status == 400
    assert "'places' is no language model" in json.loads(content)["error"]["message"]


def test_models_that_make_embeddings_are_listed(cluster):
    (listed,) = json.loads(ask(cluster, "models")[1])["data"]
    status, content = ask(cluster, "models/places")

    assert (status, json.loads(content)) == (200, listed)
    assert listed["id"] == "places"
    assert ask(cluster, "models/numbers")[0] == 404
