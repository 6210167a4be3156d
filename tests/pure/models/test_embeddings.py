"""Which models make embeddings, and what of a configuration that says so cannot be."""

import pytest
from support.clients.infer_requests import spec
from support.completion import completed
from support.records import config, signature

from penstock.errors import InvalidConfiguration
from penstock.models.embeddings import Embedder, embedder_of

SAID = 'max_batch_size: 8 parameters { key: "embeddings" value { string_value: "PLACE" } }'
TEXT = spec("TEXT", "BYTES", -1, 1)
TOKENS = spec("TOKENS", "INT64", -1, -1)
PLACE = spec("PLACE", "FP32", -1, 384)
COUNT = spec("COUNT", "INT64", -1, 1)


def may_lack(tensor):
    found = type(tensor)()
    found.CopyFrom(tensor)
    found.optional = True
    return found


def test_a_model_that_says_nothing_makes_none():
    assert embedder_of(config("max_batch_size: 8"), [TEXT], [PLACE]) is None


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        ([TEXT], [PLACE], ("TEXT", None, None)),
        ([TOKENS], [PLACE], (None, "TOKENS", None)),
        (
            [may_lack(TEXT), may_lack(TOKENS), may_lack(spec("X", "FP32", -1, 3))],
            [COUNT, spec("OTHER", "FP32", -1, 2), PLACE],
            ("TEXT", "TOKENS", "COUNT"),
        ),
    ],
)
def test_texts_tokens_and_counts_are_known_by_their_types(inputs, outputs, expected):
    found = embedder_of(config(SAID), inputs, outputs)

    assert found == Embedder("PLACE", 384, *expected, most_rows=8)


def test_an_artifact_of_texts_needs_no_more_than_the_parameter():
    deployment = completed(SAID, signature([TEXT], [PLACE]))

    assert deployment.embedder == Embedder("PLACE", 384, "TEXT", None, None, 8)


@pytest.mark.parametrize(
    ("text", "inputs", "outputs", "said"),
    [
        (SAID, [TEXT], [spec("OTHER", "FP32", -1, 3)], "is 'PLACE': name an output of TYPE_FP32"),
        (SAID, [TEXT], [spec("PLACE", "FP64", -1, 3)], "name an output of TYPE_FP32"),
        (SAID, [TEXT], [spec("PLACE", "FP32", -1, -1)], "of a fixed size"),
        (SAID, [TEXT], [spec("PLACE", "FP32", -1, 3, 4)], "with one dimension"),
        (SAID, [spec("X", "FP32", -1, 1)], [PLACE], "needs an input of TYPE_STRING"),
        (SAID, [TEXT, spec("MORE", "BYTES", -1, 1)], [PLACE], "inputs TEXT, MORE is meant"),
        (SAID, [TEXT, TOKENS], [PLACE], "make the input 'TEXT' optional"),
        (SAID, [TEXT, spec("X", "FP32", -1, 1)], [PLACE], "make the input 'X' optional"),
        (SAID, [TEXT], [PLACE, COUNT, spec("N", "INT32", -1, 1)], "outputs COUNT, N is meant"),
        (SAID.replace("8", "0"), [TEXT], [PLACE], "set max_batch_size"),
        (SAID + " sequence_batching { }", [TEXT], [PLACE], "no sequence_batching"),
        (SAID + " model_transaction_policy { decoupled: true }", [TEXT], [PLACE], "decoupled"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_change(text, inputs, outputs, said):
    with pytest.raises(InvalidConfiguration, match=said):
        embedder_of(config(text), inputs, outputs)
