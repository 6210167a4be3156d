"""What the owner leaves open comes from the artifacts; what they say must agree with these."""

import pytest
from support.clients.infer_requests import spec
from support.completion import LISTED, WHOLE, H, X, Y, completed, refusal
from support.records import config, signature, stage, version

from penstock.errors import InvalidConfiguration
from penstock.models.completion import complete
from penstock.models.config.dataflow import StagePlan
from penstock.models.config.reshape import artifact_dims
from penstock.protos import cluster_pb2 as pb


class TestWhole:
    def test_nothing_written_is_completed_from_the_artifact(self):
        deployment = completed()

        assert deployment.config == config(
            """
            name: "m" platform: "onnxruntime_onnx" backend: "onnxruntime" max_batch_size: 64
            input { name: "x" data_type: TYPE_FP32 dims: 4 }
            output { name: "y" data_type: TYPE_FP32 dims: 2 }
            dynamic_batching { }
            default_model_filename: "model.onnx"
            instance_group { name: "m_0" count: 1 kind: KIND_AUTO }
            """
        )
        assert deployment.inputs == (X,)
        assert deployment.outputs == (Y,)
        assert deployment.stages == (StagePlan(("x",), ("y",), ("y",)),)
        assert deployment.labels == {}

    def test_what_is_written_stays(self):
        text = f"""
            name: "m" platform: "onnxruntime_onnx" backend: "onnxruntime" max_batch_size: 3 {LISTED}
            default_model_filename: "model.onnx"
            instance_group {{ name: "mine" count: 2 kind: KIND_CPU }}
            """

        assert completed(text).config == config(text)

    def test_strings_are_called_strings(self):
        deployment = completed("", signature([spec("s", "BYTES", -1, 1)], [Y]))

        assert (
            deployment.config.input[0]
            == config('input { name: "s" data_type: TYPE_STRING dims: 1 }').input[0]
        )

    @pytest.mark.parametrize(
        ("device_kind", "group"),
        [("", "KIND_AUTO"), ("cpu", "KIND_CPU"), ("cuda", "KIND_GPU")],
    )
    def test_workers_are_where_the_repository_says(self, device_kind, group):
        deployment = completed("", device_kind=device_kind)

        expected = config(f'instance_group {{ name: "m_0" count: 1 kind: {group} }}')
        assert deployment.config.instance_group == expected.instance_group

    def test_groups_get_names_and_counts(self):
        groups = completed("instance_group { count: 2 } instance_group { }").config.instance_group

        assert [(group.name, group.count) for group in groups] == [("m_0", 2), ("m_1", 1)]

    def test_torch_artifacts_have_their_platform(self):
        found = completed("", runtimes=["pytorch"]).config

        assert (found.platform, found.backend) == ("pytorch_export", "pytorch")
        assert found.default_model_filename == "model.pt2"

    def test_the_other_name_of_a_platform_stays(self):
        text = 'platform: "pytorch_libtorch"'

        assert completed(text, runtimes=["pytorch"]).config.platform == "pytorch_libtorch"

    def test_labels_belong_to_outputs(self):
        text = """max_batch_size: 1
            output { name: "y" data_type: TYPE_FP32 dims: 2 label_filename: "l.txt" }"""

        deployment = completed(text, labels={"l.txt": pb.Labels(values=["cat", "dog"])})

        assert deployment.labels == {"y": ("cat", "dog")}

    def test_listed_outputs_are_the_model_s_in_their_order(self):
        more = signature([X], [Y, spec("z", "FP32", -1, 1), spec("w", "FP32", -1, 1)])
        listed = " ".join(
            f'output {{ name: "{name}" data_type: TYPE_FP32 dims: {size} }}'
            for name, size in (("z", 1), ("y", 2))
        )

        deployment = completed(listed, more)

        assert [output.name for output in deployment.outputs] == ["z", "y"]
        assert deployment.stages[0].keeps == ("z", "y")

    def test_an_optional_input_is_offered_only_when_it_is_listed(self):
        mask = spec("mask", "FP32", -1, 4, optional=True)
        both = signature([X, mask], [Y])
        listed = LISTED + ' input { name: "mask" data_type: TYPE_FP32 dims: 4 optional: %s }'

        assert [tensor.name for tensor in completed("", both).inputs] == ["x"]
        assert completed(listed % "true", both).inputs[1] == mask
        assert not completed(listed % "false", both).inputs[1].optional

    def test_what_the_artifact_needs_is_not_optional(self):
        text = 'input { name: "x" data_type: TYPE_FP32 dims: 4 optional: true }'

        assert refusal(text) == (
            "config.pbtxt: input 'x' is optional, but the artifact cannot run without it; remove "
            "optional, or export the model with a default value for it (in ONNX: an initializer of "
            "its name)"
        )

    def test_clients_see_dims_and_the_artifact_is_held_against_the_reshape(self):
        """``dims: [ 1 ] reshape { shape: [ ] }`` is how a scalar for each row is written."""
        scalars = signature([spec("x", "FP32", -1)], [spec("y", "FP32", -1, 2, 3)])
        text = """
            max_batch_size: 8
            input { name: "x" data_type: TYPE_FP32 dims: 1 reshape { shape: [ ] } }
            output { name: "y" data_type: TYPE_FP32 dims: 6 reshape { shape: [ 2, 3 ] } }
            """

        deployment = completed(text, scalars)

        assert deployment.inputs == (spec("x", "FP32", -1, 1),)
        assert deployment.outputs == (spec("y", "FP32", -1, 6),)

    def test_a_scalar_may_be_listed_as_one_element(self):
        """As Triton's configurations have to: dims must list something."""
        scalars = signature([spec("x", "FP32")], [spec("y", "FP32")])
        text = (
            'input { name: "x" data_type: TYPE_FP32 dims: 1 } '
            'output { name: "y" data_type: TYPE_FP32 dims: %s }'
        )

        deployment = completed(text % [1, 1], scalars)

        assert deployment.inputs == (spec("x", "FP32", 1),)
        assert deployment.outputs == (spec("y", "FP32", 1, 1),)
        listed = [*deployment.config.input, *deployment.config.output]
        assert [artifact_dims(tensor) for tensor in listed] == [[], []]
        assert "has dims [2], but the artifact expects []" in refusal(text % [2], scalars)

    def test_a_reshape_that_is_not_the_artifacts_is_refused(self):
        text = 'input { name: "x" data_type: TYPE_FP32 dims: 6 reshape { shape: [ 2, 3 ] } }'

        assert "has reshape.shape [2, 3], but the artifact expects [-1, 4]" in refusal(text)

    @pytest.mark.parametrize(
        ("sample", "words"),
        [
            ("batch_size: 9 %s", "batch_size must be at most 8"),
            ('inputs { key: "z" value { data_type: TYPE_FP32 zero_data: true } }', "['x']: add"),
            (
                'inputs { key: "z" value { data_type: TYPE_FP32 zero_data: true } } %s',
                "'z' is not an input of the model",
            ),
            (
                'inputs { key: "x" value { data_type: TYPE_FP32 dims: 5 zero_data: true } }',
                "input 'x' is FP32[5], but the model takes FP32[-1,4]",
            ),
            (
                'inputs { key: "x" value { data_type: TYPE_INT8 dims: 4 zero_data: true } }',
                "input 'x' is INT8[4], but the model takes FP32[-1,4]",
            ),
        ],
    )
    def test_a_sample_to_warm_up_with_is_a_request_that_the_model_would_take(self, sample, words):
        fine = 'inputs { key: "x" value { data_type: TYPE_FP32 dims: 4 zero_data: true } }'
        filled = sample.replace("%s", fine)
        text = f'max_batch_size: 8 model_warmup {{ name: "w" {filled} }}'

        assert "config.pbtxt: model_warmup 'w'" in refusal(text)
        assert words in refusal(text)

    def test_dims_may_be_narrower_than_the_artifact(self):
        wide = signature([spec("x", "FP32", -1, -1, 4)], [Y])
        text = 'input { name: "x" data_type: TYPE_FP32 dims: [ 7, 4 ] }'

        assert completed(text, wide).inputs == (spec("x", "FP32", -1, 7, 4),)

    def test_the_same_arguments_give_the_same_object(self):
        assert completed() is completed()
        assert completed("max_batch_size: 2") is not completed()


class TestStages:
    PAIR = (signature([X], [H]), signature([H], [Y]))

    def test_two_stages_of_one_kind(self):
        deployment = completed("", *self.PAIR)

        assert deployment.inputs == (X,)
        assert deployment.outputs == (Y,)
        assert deployment.stages == (
            StagePlan(("x",), ("h",), ("h",)),
            StagePlan(("h",), ("y",), ("y",)),
        )
        assert deployment.config.platform == "penstock_pipeline"
        assert deployment.config.backend == "penstock"
        assert deployment.config.default_model_filename == ""

    def test_kinds_may_be_mixed(self):
        deployment = completed("", *self.PAIR, runtimes=["onnxruntime", "pytorch"])

        assert deployment.config.platform == "penstock_pipeline"

    def test_an_input_may_be_for_a_later_stage_alone(self):
        mask = spec("mask", "BOOL", -1, 4)

        deployment = completed("", signature([X], [H]), signature([H, mask], [Y]))

        assert [tensor.name for tensor in deployment.inputs] == ["x", "mask"]
        assert deployment.stages[0].keeps == ("mask", "h")

    def test_a_product_of_the_first_stage_may_be_an_output(self):
        listed = " ".join(
            f'output {{ name: "{name}" data_type: TYPE_FP32 dims: {size} }}'
            for name, size in (("y", 2), ("h", 8))
        )

        deployment = completed(listed, *self.PAIR)

        assert deployment.outputs == (Y, H)
        assert deployment.stages[1].keeps == ("y", "h")


class TestRefused:
    def test_a_signature_is_missing(self):
        with pytest.raises(InvalidConfiguration) as caught:
            complete(version(stage(), stage()), [WHOLE])

        assert str(caught.value) == ("m version 1 has 2 shard(s), but 1 signature(s) are known")

    def test_an_input_that_the_artifact_lacks(self):
        text = 'input { name: "q" data_type: TYPE_FP32 dims: 4 }'

        assert refusal(text) == (
            "config.pbtxt: input 'q' is not an input of m/1/model.onnx, which has the inputs 'x'"
        )

    def test_an_output_that_no_stage_writes(self):
        text = 'output { name: "q" data_type: TYPE_FP32 dims: 4 }'

        assert refusal(text, *TestStages.PAIR) == (
            "config.pbtxt: output 'q' is not an output of m/1/shard-0.onnx or m/1/shard-1.onnx, "
            "which has the outputs 'h', 'y'"
        )

    def test_an_artifact_without_any_inputs(self):
        text = 'input { name: "q" data_type: TYPE_FP32 dims: 4 }'

        assert refusal(text, signature([], [Y])) == (
            "config.pbtxt: input 'q' is not an input of m/1/model.onnx, which has no inputs"
        )

    def test_an_input_that_the_owner_forgot(self):
        mask = spec("mask", "BOOL", -1, 4)

        assert refusal(LISTED, signature([X], [H]), signature([H, mask], [Y])) == (
            "m/1/shard-1.onnx reads 'mask', which no earlier stage writes and config.pbtxt does "
            'not list: add input { name: "mask" ... }, or remove all inputs from config.pbtxt to '
            "have them completed"
        )

    def test_another_datatype(self):
        text = 'max_batch_size: 1 output { name: "y" data_type: TYPE_INT64 dims: 2 }'

        assert refusal(text) == (
            "config.pbtxt: output 'y' has data_type TYPE_INT64, but the artifact expects "
            "TYPE_FP32; correct data_type"
        )

    @pytest.mark.parametrize("dims", [[5], [4, 1], [-1], []])
    def test_other_dims_with_a_batch(self, dims):
        text = f'max_batch_size: 1 input {{ name: "x" data_type: TYPE_FP32 dims: {dims} }}'

        assert refusal(text) == (
            f"config.pbtxt: input 'x' has dims {dims}, but the artifact expects [4] without the "
            "batch dimension, since max_batch_size is not 0; correct dims"
        )

    def test_dims_that_are_partly_wider_than_the_artifact(self):
        text = 'max_batch_size: 1 input { name: "x" data_type: TYPE_FP32 dims: [ 4, -1 ] }'

        assert "dims [4, -1], but the artifact expects [-1, 5] without" in refusal(
            text, signature([spec("x", "FP32", -1, -1, 5)], [Y])
        )

    @pytest.mark.parametrize("dims", [[3], [2, 1], [-1]])
    def test_other_dims_of_an_output(self, dims):
        text = f'max_batch_size: 1 output {{ name: "y" data_type: TYPE_FP32 dims: {dims} }}'

        assert refusal(text) == (
            f"config.pbtxt: output 'y' has dims {dims}, but the artifact expects [2] without the "
            "batch dimension, since max_batch_size is not 0; correct dims"
        )

    def test_an_output_whose_size_is_the_artifacts_to_say(self):
        """What comes out is what the model makes, whatever a narrower configuration promises."""
        free = signature([X], [spec("y", "FP32", -1, -1)])
        text = 'max_batch_size: 1 output { name: "y" data_type: TYPE_FP32 dims: %s }'

        assert completed(text % "-1", free).outputs == (spec("y", "FP32", -1, -1),)
        assert refusal(text % "4", free) == (
            "config.pbtxt: output 'y' has dims [4], but the artifact expects [-1] without the "
            "batch dimension, since max_batch_size is not 0; correct dims"
        )

    def test_other_dims_without_a_batch(self):
        text = 'input { name: "x" data_type: TYPE_FP32 dims: [ 1, 3 ] }'

        assert refusal(text) == (
            "config.pbtxt: input 'x' has dims [1, 3], but the artifact expects [-1, 4]; "
            "correct dims"
        )

    def test_a_datatype_that_cannot_travel(self):
        assert "datatype FP8 cannot be served" in refusal(
            "", signature([X], [spec("y", "FP8", -1, 2)])
        )

    def test_another_runtime(self):
        assert refusal('backend: "pytorch"') == (
            "config.pbtxt: backend is 'pytorch', but the artifacts are for onnxruntime; "
            "remove backend, or export the model for pytorch"
        )
