"""all-MiniLM-L6-v2 over /v1/embeddings: each vector is what the plain pipeline makes of its text.

That is its makers' tokenizer.json, PyTorch, the mean and its length, in this process, one text at a
time. `make real-models` runs it; the weights come out of a package (90 MB, kept in `.zoo`).
"""

import base64
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from support.clients.answers import ask
from support.processes.cluster import Cluster

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXTS = [
    "The penstock leads water from the reservoir to the turbines.",
    "A pipe carries water down to the power house!",
    "Wo ist der Bahnhof? \u00dcber die Br\u00fccke, na\u00efve caf\u00e9s.",
    "\u6771\u4eac has 14,000,000 people",
    "word " * 300,
    "?",
    "stocks fell; bonds rose",
]

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.environ.get("PENSTOCK_TEST_REAL_MODELS") != "1", reason="make real-models runs it"
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The example's repository, its encoder exported."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        from zoo.common.place import Place
        from zoo.language.export import export

        made = Place("language", tmp_path_factory.mktemp("minilm") / "work")
        made.prepare()
        export(made)
        yield made
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def cluster(place, tmp_path_factory):
    options = ("--allow-python-models", "--http", "--http-port", "0")
    folder = tmp_path_factory.mktemp("cluster")
    with Cluster(folder, place.models, *options).running() as one:
        yield one


@pytest.fixture(scope="module")
def plain(place):
    """Text -> its tokens and its vector, as the plain pipeline has them."""
    import torch
    from tokenizers import Tokenizer
    from zoo.language.network import package, published

    del place
    encoder, tokenizer = published(), Tokenizer.from_file(str(package() / "tokenizer.json"))
    tokenizer.no_padding()

    def of(text):
        tokens = tokenizer.encode(text).ids
        pieces = torch.tensor([tokens])
        with torch.no_grad():
            meaning = encoder(pieces, torch.ones_like(pieces))[0]
        mean = meaning.mean(0)
        return tokens, (mean / mean.norm()).numpy()

    return of


def embedded(cluster, model, rows):
    body = {"model": model, "input": rows, "encoding_format": "base64"}
    status, content = ask(cluster, "embeddings", body)
    assert status == 200, content
    body = json.loads(content)
    vectors = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in body["data"]]
    return np.array(vectors), body["usage"]["prompt_tokens"]


def test_texts_have_the_vectors_of_the_plain_pipeline(cluster, plain):
    expected = [plain(text) for text in TEXTS]
    for rows in (TEXTS, TEXTS[:1], TEXTS * 12):
        vectors, tokens = embedded(cluster, "sentence", rows)
        right = [expected[TEXTS.index(text)] for text in rows]

        assert np.abs(vectors - np.array([vector for _, vector in right])).max() < 1e-5
        assert tokens == sum(len(pieces) for pieces, _ in right)


def test_tokens_have_the_same_vectors(cluster, plain):
    expected = [plain(text) for text in TEXTS]
    vectors, tokens = embedded(cluster, "sentence_of_tokens", [pieces for pieces, _ in expected])

    assert np.abs(vectors - np.array([vector for _, vector in expected])).max() < 1e-5
    assert tokens == sum(len(pieces) for pieces, _ in expected)


def test_tokens_are_refused_by_a_model_of_texts(cluster):
    status, content = ask(cluster, "embeddings", {"model": "sentence", "input": [[101, 102]]})

    assert (status, json.loads(content)["error"]["param"]) == (400, "input")
