"""Which models may have a response cache."""

import pytest
from google.protobuf import text_format

from penstock.models.config.response_cache import allowed, cache_problems
from penstock.protos import cluster_pb2 as pb
from penstock.protos.model_config_pb2 import ModelConfig

ENABLED = "response_cache { enable: true }"


def config(text):
    return text_format.Parse(text, ModelConfig(name="m"))


def version(text, **facts):
    return pb.ModelVersion(model="m", version=3, config=config(text).SerializeToString(), **facts)


def test_a_model_that_answers_each_request_by_itself_may():
    assert list(cache_problems(config(ENABLED))) == []


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ("sequence_batching {}", "sequence_batching"),
        ("ensemble_scheduling {}", "ensemble"),
        ("model_transaction_policy { decoupled: true }", "decoupled"),
    ],
)
def test_others_may_not(other, word):
    (problem,) = cache_problems(config(ENABLED + other))

    assert word in problem
    assert list(cache_problems(config(other))) == []


def test_where_there_is_no_cache_only_those_that_ask_for_one_are_refused():
    asks, plain, broken = version(ENABLED), version(""), version(ENABLED, error="why")

    refused, *others = allowed([asks, plain, broken], 0)

    assert "--response-cache-bytes" in refused.error
    assert (refused.model, refused.version, list(refused.stages)) == ("m", 3, [])
    assert others == [plain, broken]
    assert allowed([asks, plain, broken], 1) == [asks, plain, broken]
