"""Bodies sent to /v1/embeddings: what they may ask for, and how answers are written."""

import base64
import json

import numpy as np
import pytest

from penstock.gateway.fronts.http.openai.embeddings import (
    AskedEmbeddings,
    check,
    embeddings_of,
    written,
)
from penstock.gateway.requests.embeddings import MOST_CELLS, Asked, Embedded, parts_of, request_for
from penstock.gateway.requests.language.fields import FieldRefused
from penstock.models.embeddings import Embedder

BODY = {"model": "m", "input": "hello"}
BOTH = Embedder("PLACE", 4, "TEXT", "TOKENS", "COUNT", 3)


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_inputs_are_texts_or_tokens_one_or_several(given, rows):
    assert embeddings_of({**BODY, "input": given}).rows == rows


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"input": ""}, "input", "input 0 has 0 characters: it must have 1 to 262144"),
        ({"input": ["a", "b" * 262145]}, "input", "input 1 has 262145 characters"),
        ({"input": []}, "input", "a list of 1 to 2048 such"),
        ({"input": ["a"] * 2049}, "input", "a list of 1 to 2048 such"),
        ({"input": None}, "input", "input must be a text"),
        ({"input": ["a", [1]]}, "input", "texts alone, or lists of tokens alone"),
        ({"input": [[1], []]}, "input", "none of them empty"),
        ({"input": [True]}, "input", "texts alone"),
        ({"input": [[1], [-1]]}, "input", "the tokens of input 1 must be from 0"),
        ({"input": [1 << 70]}, "input", "the tokens of input 0 must be from 0"),
        ({"input": [1] * 8193}, "input", "input 0 has 8193 tokens: it must have 1 to 8192"),
        ({"encoding_format": "int8"}, "encoding_format", "'float' or 'base64'"),
        ({"dimensions": 0}, "dimensions", "an integer from 1"),
        ({"dimensions": True}, "dimensions", "an integer from 1"),
        ({"model": None}, "model", "the name of a model"),
        ({"truncate": 5}, "truncate", "unknown field 'truncate'"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(fields, field, said):
    with pytest.raises(FieldRefused, match=said) as caught:
        embeddings_of({**BODY, **fields})

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "embedder", "field", "said"),
    [
        ({"dimensions": 3}, BOTH, "dimensions", "the vectors of 'm' have 4 numbers"),
        ({"input": ["a"] * 5}, BOTH._replace(size=1 << 20), "input", "may have 4: send several"),
        ({}, BOTH._replace(texts=None), "input", "'m' takes tokens alone"),
        ({"input": [1]}, BOTH._replace(tokens=None), "input", "check_embedding_ctx_length=False"),
    ],
)
def test_what_a_model_cannot_is_refused_by_its_name(fields, embedder, field, said):
    with pytest.raises(FieldRefused, match=said) as caught:
        check(embeddings_of({**BODY, **fields}), embedder)

    assert caught.value.field == field


def test_the_size_that_a_model_has_may_be_asked_for():
    check(embeddings_of({**BODY, "dimensions": 4, "user": "me"}), BOTH)


def test_rows_go_together_as_many_as_a_batch_and_its_tokens_allow():
    long, short = [1] * (MOST_CELLS // 2), [1]

    assert list(parts_of(["a"] * 7, BOTH)) == [(0, 3), (3, 6), (6, 7)]
    assert list(parts_of([short, long, short, short], BOTH)) == [(0, 2), (2, 4)]
    assert list(parts_of([[1] * (MOST_CELLS + 1)], BOTH)) == [(0, 1)]


def test_a_request_has_texts_or_tokens_that_are_filled_up():
    asked = Asked("m", 2, BOTH, None)
    texts, tokens = request_for(asked, ["a", "é"]), request_for(asked, [[5, 6], [7]])

    assert (texts.model_version, texts.inputs[0].name, [*texts.inputs[0].shape]) == (
        "2",
        "TEXT",
        [2, 1],
    )
    assert texts.raw_input_contents[0] == b"\1\0\0\0a\2\0\0\0" + "é".encode()
    cells = np.frombuffer(tokens.raw_input_contents[0], "<i8").reshape(tokens.inputs[0].shape)
    assert cells.tolist() == [[5, 6], [7, -1]]
    assert [output.name for output in tokens.outputs] == ["PLACE", "COUNT"]


@pytest.mark.parametrize("as_text", [False, True])
def test_vectors_are_written_to_the_bit(as_text):
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    asked = AskedEmbeddings("m", ["a", "b", "c"], as_text, None)
    body = json.loads(b"".join(written(asked, Embedded(vectors, 9))))

    given = [one["embedding"] for one in body["data"]]
    if as_text:
        given = [np.frombuffer(base64.b64decode(one), "<f4") for one in given]
    assert np.array_equal(np.array(given, np.float32), vectors)
    assert [one["index"] for one in body["data"]] == [0, 1, 2]
    assert (body["object"], body["model"]) == ("list", "m")
    assert body["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


def test_tokens_of_a_request_are_counted_where_the_model_says_nothing():
    asked = AskedEmbeddings("m", [[1, 2], [3]], as_text=False, dimensions=None)
    body = json.loads(b"".join(written(asked, Embedded(np.zeros((2, 3), np.float32), None))))

    assert body["usage"]["prompt_tokens"] == 3
