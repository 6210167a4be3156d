"""What config.pbtxt must say, and must not, for a language model."""

import itertools

import pytest
from google.protobuf import text_format
from support.models.repositories import artifacts, put

from penstock.errors import ArtifactUnusable, InvalidConfiguration
from penstock.models.completion import complete
from penstock.models.config.language_models import (
    DEFAULT_SLOTS,
    Text,
    check_language_model,
    complete_language_model,
    prefix_caching,
    slots,
    texts_of,
)
from penstock.models.files.artifacts import stage_files
from penstock.models.files.repository import scan
from penstock.protos import cluster_pb2
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.runtimes.python.signature import signature_of

PLAIN = 'backend: "language" model_transaction_policy { decoupled: true }'


def _config(text=PLAIN):
    return text_format.Parse(text, ModelConfig())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('backend: "language"', "add model_transaction_policy { decoupled: true }"),
        (PLAIN + " max_batch_size: 4", "remove max_batch_size, input and output"),
        (PLAIN + ' input { name: "x" }', "remove max_batch_size, input and output"),
        (PLAIN + " dynamic_batching { }", "remove dynamic_batching"),
        (
            PLAIN + " dynamic_batching { priority_levels: 2 max_queue_delay_microseconds: 9 }",
            "remove max_queue_delay_microseconds",
        ),
        (PLAIN + " sequence_batching { }", "remove sequence_batching"),
        (
            PLAIN + ' parameters { key: "prefix_caching" value { string_value: "yes" } }',
            "'yes': write one of auto, on, off",
        ),
        (
            PLAIN + ' parameters { key: "slots" value { string_value: "none" } }',
            "write a number from 1 to 256",
        ),
    ],
)
def test_what_a_language_model_has_not_is_refused_by_name(text, message):
    with pytest.raises(InvalidConfiguration, match=message):
        check_language_model(_config(text), "m/config.pbtxt")


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("", ""),
        ("instance_group { count: 2 }", ""),
        ("instance_group { kind: KIND_CPU }", "cpu"),
        ("instance_group { kind: KIND_GPU gpus: [0, 1] }", "cuda"),
    ],
)
def test_they_are_computed_where_their_owner_says_or_anywhere(tmp_path, group, expected):
    files = artifacts("m/1/shard-0.onnx", "m/1/shard-1.onnx")
    put(tmp_path, files | {"m/config.pbtxt": f"{PLAIN} {group}"})

    (record,) = scan(tmp_path)

    assert (record.error, record.device_kind) == ("", expected)


def test_requests_may_have_levels_of_priority():
    levels = " dynamic_batching { priority_levels: 3 default_priority_level: 2 }"

    check_language_model(_config(PLAIN + levels), "here")


def test_prefixes_are_cached_where_that_is_said_or_proved():
    said = PLAIN + ' parameters { key: "prefix_caching" value { string_value: "off" } }'

    assert [prefix_caching(_config()), prefix_caching(_config(said))] == ["auto", "off"]


def test_slots_are_as_many_as_are_said_or_eight():
    said = PLAIN + ' parameters { key: "slots" value { string_value: "3" } }'

    assert (slots(_config()), slots(_config(said))) == (DEFAULT_SLOTS, 3)


def test_a_worker_completes_the_tensors_and_says_where_the_texts_are():
    config = _config()
    complete_language_model(config, {"tokenizer.json": Text("ab", 7)})
    signature = signature_of(config, 1, "m")
    signature.config = config.SerializeToString()
    stage = cluster_pb2.Stage(artifact="m/1/shard-0.onnx", runtime="language")
    version = cluster_pb2.ModelVersion(
        model="m", version=1, config=_config().SerializeToString(), stages=[stage]
    )

    deployment = complete(version, [signature])

    assert [(spec.name, spec.optional) for spec in deployment.inputs] == [
        ("text_input", True),
        ("input_ids", True),
        ("messages", True),
        ("sampling_parameters", True),
    ]
    assert [spec.name for spec in deployment.outputs] == ["text_output", "output_ids", "logprobs"]
    assert deployment.config.max_batch_size == 0
    assert texts_of(deployment.config) == {"tokenizer.json": Text("ab", 7)}


def _stages(tmp_path, *names):
    where = tmp_path / "m/1"
    where.mkdir(parents=True, exist_ok=True)
    for name in names:
        (where / name).write_text("x")
    return stage_files(tmp_path, where, _config())


def test_all_files_of_a_version_belong_to_its_only_stage(tmp_path):
    names = ["language.json", "shard-0.onnx", "shard-0.onnx.data", "tokenizer.json"]
    (stage,) = _stages(tmp_path, *names)

    assert [file.name for file in stage.files] == names
    assert stage.runtime == "language"


def test_each_stage_has_its_own_files_and_the_texts(tmp_path):
    texts = ["language.json", "tokenizer.json"]
    own = [[f"shard-{n}.onnx", f"shard-{n}.onnx.data"] for n in range(11)]
    stages = _stages(tmp_path, *texts, *itertools.chain(*own))

    assert [[file.name for file in stage.files] for stage in stages] == [
        [texts[0], *files, texts[1]] for files in own
    ]
    assert {stage.runtime for stage in stages} == {"language"}


def test_a_stage_that_is_missing_is_named(tmp_path):
    with pytest.raises(ArtifactUnusable, match="shard-1 is missing"):
        _stages(tmp_path, "language.json", "shard-0.onnx", "shard-2.onnx")


def test_requests_see_the_tensors_of_the_first_stage_alone():
    config = _config()
    complete_language_model(config, {})
    first = signature_of(config, 1, "m")
    first.config = config.SerializeToString()
    stages = [
        cluster_pb2.Stage(index=n, artifact=f"m/1/shard-{n}.onnx", runtime="language")
        for n in range(3)
    ]
    version = cluster_pb2.ModelVersion(
        model="m", version=1, config=_config().SerializeToString(), stages=stages
    )
    later = cluster_pb2.Signature(parameter_bytes=1)

    whole = complete(version, [first, later, later])

    assert [spec.name for spec in whole.outputs] == ["text_output", "output_ids", "logprobs"]
    assert (whole.config.backend, whole.config.platform) == ("language", "")
