"""config.pbtxt is read strictly: what Penstock would not do is refused by its name."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import config

from penstock.datatypes import DATATYPES
from penstock.errors import InvalidConfiguration
from penstock.models.config.model_config import (
    Instances,
    check_runtimes,
    config_type_of,
    datatype_of_config,
    instances,
    parse,
)
from penstock.protos import model_config_pb2 as pb

SOURCE = "m/config.pbtxt"
TRITON = """
name: "m"
platform: "onnxruntime_onnx"  # a comment
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] } ]
output [ { name: "y" data_type: TYPE_STRING dims: [ 1 ] label_filename: "labels.txt" } ]
version_policy: { specific { versions: [ 1, 3 ] } }
instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  priority_levels: 2
  default_priority_level: 1
  default_queue_policy { default_timeout_microseconds: 5 allow_timeout_override: true }
}
default_model_filename: "m.onnx"
parameters { key: "k" value { string_value: "v" } }
"""


def refusal(text):
    with pytest.raises(InvalidConfiguration) as caught:
        parse(text, SOURCE)
    return str(caught.value)


class TestRead:
    def test_what_triton_users_write(self):
        read = parse(TRITON, SOURCE)

        assert (read.name, read.platform, read.max_batch_size) == ("m", "onnxruntime_onnx", 8)
        assert list(read.input[0].dims) == [3, -1]
        assert read.output[0].label_filename == "labels.txt"
        assert list(read.version_policy.specific.versions) == [1, 3]
        assert list(read.dynamic_batching.preferred_batch_size) == [4, 8]
        assert read.dynamic_batching.default_queue_policy.default_timeout_microseconds == 5
        assert read.parameters["k"].string_value == "v"

    def test_nothing_at_all(self):
        assert parse("", SOURCE) == pb.ModelConfig()

    @pytest.mark.parametrize(
        "text",
        [
            "response_cache { enable: false }",
            "response_cache { }",
            "response_cache { enable: true }",
            "model_transaction_policy { decoupled: false }",
            "optimization { graph { level: 0 } cuda { } }",
            "dynamic_batching { preserve_ordering: false }",
            "dynamic_batching { preserve_ordering: true }",
            "dynamic_batching { default_queue_policy { timeout_action: DELAY } }",
            "dynamic_batching { default_queue_policy { timeout_action: REJECT } }",
            "instance_group { rate_limiter { priority: 0 } passive: false }",
            'input { name: "x" data_type: TYPE_FP32 dims: 1 format: FORMAT_NONE optional: false }',
            "version_policy { all { } }",
            "version_policy { latest { num_versions: 3 } }",
            "max_batch_size: 0",
            "optimization { priority: PRIORITY_MAX eager_batching: true }",
            "optimization { input_pinned_memory { enable: true } }",
            "optimization { gather_kernel_buffer_threshold: 4 }",
            "optimization { graph { level: 1 } cuda { busy_wait_events: true } }",
            'input { name: "x" data_type: TYPE_FP32 dims: [ 3, 4, 5 ] format: FORMAT_NCHW }',
            'input { name: "x" data_type: TYPE_FP32 dims: 1 reshape { } optional: true }',
            'metric_tags { key: "team_1" value: "b c" }',
            "dynamic_batching { preferred_batch_size: 1 }",
            "dynamic_batching { priority_levels: 2 default_priority_level: 2 }",
        ],
    )
    def test_defaults_that_are_spelled_out_and_values_at_their_limit_are_fine(self, text):
        assert parse(text, SOURCE) == config(text)


class TestSyntax:
    def test_an_unknown_field_is_named_with_its_line(self):
        assert refusal('name: "m"\n\nmax_batchsize: 8\n') == (
            "m/config.pbtxt:3: unknown field 'max_batchsize' in ModelConfig"
        )

    def test_an_unknown_field_of_a_part_names_the_part(self):
        assert refusal('input {\n  nme: "x"\n}') == (
            "m/config.pbtxt:2: unknown field 'nme' in ModelInput"
        )

    @pytest.mark.parametrize(
        ("text", "line", "words"),
        [
            ('name: "a"\nname: "b"', 2, 'should not have multiple "name" fields'),
            ('input { name: "x"\n', 1, 'Expected "}"'),
            ("\nmax_batch_size: many", 2, "Couldn't parse integer"),
            ("max_batch_size: 99999999999", 1, "Value out of range"),
            ("input { data_type: FP32 }", 1, "has no value named FP32"),
            ('name: "\\xff"', 1, "can't decode byte"),
        ],
    )
    def test_an_error_has_its_line(self, text, line, words):
        told = refusal(text)

        assert told.startswith(f"m/config.pbtxt:{line}: ")
        assert words in told

    @given(st.text(st.sampled_from('name:{}[]"\\xff12, \ninput dims'), max_size=40))
    def test_any_text_is_read_or_refused(self, text):
        with contextlib.suppress(InvalidConfiguration):
            assert parse(text, SOURCE) == config(text)


class TestUnsupported:
    @pytest.mark.parametrize(
        ("text", "path"),
        [
            (
                "sequence_batching { iterative_sequence: true }",
                "sequence_batching.iterative_sequence",
            ),
            ("optimization { cuda { graphs: true } }", "optimization.cuda.graphs"),
            ("batch_input { kind: BATCH_ITEM_SHAPE }", "batch_input"),
            (
                "batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: 't' }",
                "batch_output",
            ),
            ("cc_model_filenames { key: '7.5' value: 'a.onnx' }", "cc_model_filenames"),
            ("model_operations { op_library_filename: 'a.so' }", "model_operations"),
            ("model_repository_agents { agents { name: 'a' } }", "model_repository_agents"),
            ("model_metrics { metric_control { } metric_control { } }", "model_metrics"),
            ("input { is_shape_tensor: true }", "input.is_shape_tensor"),
            ("input { allow_ragged_batch: true }", "input.allow_ragged_batch"),
            ("instance_group { passive: true }", "instance_group.passive"),
            ("instance_group { host_policy: 'h' }", "instance_group.host_policy"),
            (
                "instance_group { secondary_devices { device_id: 1 } }",
                "instance_group.secondary_devices",
            ),
            ("output { is_shape_tensor: true }", "output.is_shape_tensor"),
            ("instance_group { rate_limiter { priority: 2 } }", "instance_group.rate_limiter"),
            ('instance_group { profile: "p" }', "instance_group.profile"),
        ],
    )
    def test_a_field_is_refused_by_its_path(self, text, path):
        told = refusal(text)

        assert told.startswith(f"m/config.pbtxt: Penstock does not implement '{path}' (")
        assert told.endswith("); remove it or set it to its default")

    def test_all_of_them_are_told_at_once(self):
        text = 'runtime: "r" input { is_shape_tensor: true } input { allow_ragged_batch: true }'

        told = refusal(text)

        assert all(f"'{path}'" in told for path in ("runtime", "input.is_shape_tensor"))
        assert "'input.allow_ragged_batch'" in told


class TestValues:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (
                'platform: "tensorrt_plan"',
                (
                    "platform 'tensorrt_plan' is not supported; Penstock has ensemble, "
                    "onnxruntime_onnx, penstock_pipeline, pytorch_export, pytorch_libtorch"
                ),
            ),
            (
                'backend: "tensorrt"',
                (
                    "backend 'tensorrt' is not supported; Penstock has language, onnxruntime, "
                    "penstock, python, pytorch"
                ),
            ),
            ("max_batch_size: -1", "max_batch_size must be 0 or more, got -1"),
            ("input { data_type: TYPE_FP32 dims: 1 }", "each input must have a name"),
            ('output { name: "y" dims: 1 }', "output 'y' must have a data_type"),
            (
                'input { name: "x" data_type: TYPE_FP32 } input { name: "x" data_type: TYPE_FP32 }',
                "input 'x' is listed twice",
            ),
            (
                'input { name: "x" data_type: TYPE_FP32 dims: [ 2, 0 ] }',
                "input 'x': each of dims must be 1 or more, or -1 for any size, got [2, 0]",
            ),
            (
                'output { name: "y" data_type: TYPE_FP32 dims: -2 }',
                "output 'y': each of dims must be 1 or more, or -1 for any size, got [-2]",
            ),
            (
                'input { name: "x" data_type: TYPE_FP32 dims: [ 3, 4 ] format: FORMAT_NCHW }',
                "input 'x': FORMAT_NHWC and FORMAT_NCHW need 3 dims",
            ),
            (
                'input { name: "x" data_type: TYPE_FP32 dims: 2 reshape { shape: [ ] } }',
                (
                    "input 'x': reshape.shape [] does not have as many elements as dims [2]; "
                    "between dimensions of any size (-1), of which both must have the same "
                    "number, as well"
                ),
            ),
            (
                'metric_tags { key: "a-b" value: "c" }',
                "metric_tags: 'a-b' cannot name a label: use letters, digits and _",
            ),
            (
                "instance_group { kind: KIND_MODEL }",
                "instance_group.kind KIND_MODEL is not supported; use KIND_CPU or KIND_GPU",
            ),
            ("instance_group { count: -1 }", "instance_group.count and .gpus must be 0 or more"),
            (
                "instance_group { kind: KIND_GPU gpus: -1 }",
                "instance_group.count and .gpus must be 0 or more",
            ),
            (
                "instance_group { kind: KIND_CPU } instance_group { kind: KIND_GPU }",
                "all instance groups of a model must be of one kind",
            ),
            (
                "instance_group { kind: KIND_CPU gpus: 0 }",
                "instance_group.gpus is only for KIND_GPU",
            ),
            (
                "dynamic_batching { preferred_batch_size: [ 4, 0 ] }",
                "dynamic_batching: each preferred_batch_size must be 1 or more, got 0",
            ),
            (
                "dynamic_batching { priority_levels: 2 }",
                (
                    "dynamic_batching: default_priority_level must be between 1 and "
                    "priority_levels (2)"
                ),
            ),
            (
                "dynamic_batching { priority_levels: 2 default_priority_level: 3 }",
                (
                    "dynamic_batching: default_priority_level must be between 1 and "
                    "priority_levels (2)"
                ),
            ),
            (
                "dynamic_batching { priority_levels: 1024 default_priority_level: 1 }",
                "dynamic_batching: priority_levels must be at most 1023, got 1024",
            ),
            (
                "dynamic_batching { default_priority_level: 1 }",
                "dynamic_batching: default_priority_level needs priority_levels",
            ),
            (
                "dynamic_batching { priority_queue_policy { key: 1 value { } } }",
                (
                    "dynamic_batching: priority_queue_policy 1 must be between 1 and "
                    "priority_levels (0)"
                ),
            ),
            (
                (
                    "dynamic_batching { preserve_ordering: true priority_levels: 2 "
                    "default_priority_level: 1 }"
                ),
                (
                    "dynamic_batching: Only one priority level is allowed when 'preserve_ordering' "
                    "is true"
                ),
            ),
            (
                (
                    "dynamic_batching { preserve_ordering: true "
                    "default_queue_policy { timeout_action: DELAY } }"
                ),
                (
                    "dynamic_batching: Queue policy can not have DELAY as timeout action when "
                    "'preserve_ordering' is true"
                ),
            ),
            (
                "version_policy { specific { } }",
                "version_policy.specific must list versions, each 1 or more",
            ),
            (
                "version_policy { specific { versions: [ 1, 0 ] } }",
                "version_policy.specific must list versions, each 1 or more",
            ),
        ],
    )
    def test_a_value_that_cannot_be_is_refused(self, text, words):
        assert refusal(text) == f"m/config.pbtxt: {words}"

    def test_an_input_and_an_output_may_share_a_name(self):
        both = " ".join(f'{k} {{ name: "x" data_type: TYPE_BOOL }}' for k in ("input", "output"))

        assert parse(both, SOURCE).output[0].name == "x"


class TestInstances:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", Instances(1, None)),
            ("instance_group { }", Instances(1, None)),
            ("instance_group { count: 3 }", Instances(3, None)),
            ("instance_group { kind: KIND_CPU count: 2 }", Instances(2, "cpu")),
            ("instance_group { kind: KIND_GPU }", Instances(1, "cuda")),
            (
                "instance_group { kind: KIND_GPU count: 2 gpus: [ 0, 3 ] }",
                Instances(4, "cuda", frozenset({0, 3})),
            ),
            ("instance_group { gpus: 1 }", Instances(1, "cuda", frozenset({1}))),
            ("instance_group { count: 2 } instance_group { count: 3 }", Instances(5, None)),
        ],
    )
    def test_groups_are_counted_together(self, text, expected):
        assert instances(parse(text, SOURCE)) == expected


class TestDatatypes:
    @pytest.mark.parametrize("datatype", sorted(DATATYPES))
    def test_every_datatype_of_the_wire_has_its_type(self, datatype):
        assert datatype_of_config(config_type_of(datatype)) == datatype

    def test_bytes_are_called_strings(self):
        assert config_type_of("BYTES") == pb.DataType.TYPE_STRING
        assert datatype_of_config(pb.DataType.TYPE_STRING) == "BYTES"

    def test_another_is_refused_by_its_name(self):
        with pytest.raises(InvalidConfiguration, match="datatype FP8 cannot be served; the proto"):
            config_type_of("FP8")


class TestRuntimes:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            'platform: "onnxruntime_onnx"',
            'backend: "onnxruntime"',
            'platform: "penstock_pipeline" backend: "penstock"',
        ],
    )
    def test_the_artifacts_are_what_the_owner_says(self, text):
        said = parse(text, SOURCE)

        assert check_runtimes(said, ["onnxruntime"], SOURCE) is None

    @pytest.mark.parametrize(
        ("text", "field"),
        [('platform: "pytorch_libtorch"', "platform"), ('backend: "pytorch"', "backend")],
    )
    def test_the_artifacts_are_for_another(self, text, field):
        said = parse(text, SOURCE)

        with pytest.raises(InvalidConfiguration) as caught:
            check_runtimes(said, ["pytorch", "onnxruntime"], SOURCE)

        assert str(caught.value) == (
            f"m/config.pbtxt: {field} is '{getattr(said, field)}', but the artifacts are for "
            f"onnxruntime; remove {field}, or export the model for pytorch"
        )
