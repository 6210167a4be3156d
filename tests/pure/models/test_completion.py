"""What the owner leaves open comes from the artifacts; what they say must agree with these."""

import pytest
from support.clients.infer_requests import spec
from support.records import PROVED, config, signature, stage, version

from penstock.errors import InvalidConfiguration
from penstock.models.completion import DEFAULT_MAX_BATCH, complete
from penstock.models.config.dataflow import StagePlan
from penstock.protos import cluster_pb2 as pb

X, Y = spec("x", "FP32", -1, 4), spec("y", "FP32", -1, 2)
H = spec("h", "FP32", -1, 8)
WHOLE = signature([X], [Y])
FULL_DIMS = "runs requests one at a time: config.pbtxt lists all dimensions and no max_batch_size"
LISTED = (
    'input { name: "x" data_type: TYPE_FP32 dims: 4 } '
    'output { name: "y" data_type: TYPE_FP32 dims: 2 }'
)


def completed(text="", *signatures, **fields):
    signatures = signatures or (WHOLE,)
    runtimes = fields.pop("runtimes", ["onnxruntime"] * len(signatures))
    proofs = fields.pop("proofs", [PROVED] * len(signatures))
    stages = [stage(runtime=runtime) for runtime in runtimes]
    return complete(version(*stages, text=text, **fields), signatures, proofs)


def refusal(text="", *signatures, **fields):
    with pytest.raises(InvalidConfiguration) as caught:
        completed(text, *signatures, **fields)
    return str(caught.value)


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


class TestBatching:
    def test_open_first_dimensions_are_a_batch(self):
        found = completed().config

        assert found.max_batch_size == DEFAULT_MAX_BATCH == 64
        assert found.HasField("dynamic_batching")

    def test_one_closed_dimension_and_there_is_none(self):
        fixed = spec("y", "FP32", 1, 2)

        deployment = completed("", signature([X], [fixed]))

        assert deployment.config.max_batch_size == 0
        assert not deployment.config.HasField("dynamic_batching")
        assert list(deployment.config.input[0].dims) == [-1, 4]
        assert deployment.outputs == (fixed,)

    def test_a_scalar_has_no_batch(self):
        assert completed("", signature([X], [spec("y", "FP32")])).config.max_batch_size == 0

    @pytest.mark.parametrize(
        ("proofs", "why"),
        [
            ([pb.BatchProof(why="rows mix")], "rows mix"),
            ([None], "no worker has tried whether its rows may run together"),
            ([], "no worker has tried whether its rows may run together"),
        ],
    )
    def test_without_a_proof_there_is_none(self, proofs, why):
        """Requests of any size are taken then, and none shares a run."""
        deployment = completed(proofs=proofs)

        assert deployment.config.max_batch_size == 0
        assert not deployment.config.HasField("dynamic_batching")
        assert (deployment.inputs, deployment.outputs) == ((X,), (Y,))
        assert deployment.batching == f"runs requests one at a time: {why}"

    def test_each_stage_of_a_pipeline_must_be_proved(self):
        pair = signature([X], [H]), signature([H], [Y])
        mixes = pb.BatchProof(why="rows mix")

        assert completed("", *pair).config.max_batch_size == 64
        assert completed("", *pair, proofs=[PROVED, mixes]).batching == (
            "runs requests one at a time: stage 1: rows mix"
        )
        assert completed("", *pair, proofs=[PROVED, None]).config.max_batch_size == 0

    @pytest.mark.parametrize("proofs", [[None], [pb.BatchProof(why="rows mix")]])
    def test_what_the_owner_says_needs_no_proof(self, proofs):
        deployment = completed("max_batch_size: 8 dynamic_batching { }", proofs=proofs)

        assert deployment.config.max_batch_size == 8
        assert deployment.config.HasField("dynamic_batching")
        assert deployment.batching == "batches up to 8: config.pbtxt says so"

    def test_dims_without_the_batch_and_no_proof_keep_requests_apart(self):
        deployment = completed(LISTED, proofs=[pb.BatchProof(why="rows mix")])

        assert deployment.config.max_batch_size == 64
        assert not deployment.config.HasField("dynamic_batching")
        assert deployment.batching == ("runs requests of up to 64 rows one at a time: rows mix")

    def test_it_is_said_what_was_assumed_and_why(self):
        assert completed().batching == "batches up to 64: seen in a test"

    def test_full_dims_ask_for_none(self):
        text = 'input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }'

        deployment = completed(text)

        assert deployment.config.max_batch_size == 0
        assert list(deployment.config.output[0].dims) == [-1, 2]

    def test_dims_without_the_batch_ask_for_one(self):
        assert completed(LISTED).config.max_batch_size == 64

    def test_requests_share_a_run_only_where_the_owner_says_so(self):
        """As in Triton, a max_batch_size alone batches nothing."""
        alone = completed("max_batch_size: 8").config
        together = completed("max_batch_size: 8 dynamic_batching { }").config

        assert not alone.HasField("dynamic_batching")
        assert together.HasField("dynamic_batching")

    def test_what_the_owner_says_of_batching_stays(self):
        text = "dynamic_batching { preferred_batch_size: 64 max_queue_delay_microseconds: 9 }"

        found = completed(text).config

        assert found.max_batch_size == 64
        assert found.dynamic_batching == config(text).dynamic_batching

    def test_a_tensor_between_stages_decides_as_well(self):
        fixed = spec("h", "FP32", 1, 8)

        deployment = completed("", signature([X], [fixed]), signature([fixed], [Y]))

        assert deployment.config.max_batch_size == 0

    @pytest.mark.parametrize(
        ("signatures", "name", "type_"),
        [
            ([signature([spec("x", "FP32", 1, 4)], [Y])], "x", "FP32[1,4]"),
            ([signature([X], [spec("y", "FP32")])], "y", "FP32[]"),
            (
                [signature([X], [spec("h", "FP32", 3)]), signature([spec("h", "FP32", 3)], [Y])],
                "h",
                "FP32[3]",
            ),
        ],
    )
    def test_a_batch_that_an_artifact_does_not_take_is_refused(self, signatures, name, type_):
        assert refusal("max_batch_size: 4", *signatures) == (
            f"config.pbtxt: max_batch_size is 4, but the first dimension of '{name}' is not of any "
            f"size: it is {type_}; export the model with a dynamic batch dimension, or set "
            "max_batch_size to 0 and list the full dims"
        )

    @pytest.mark.parametrize(
        ("text", "size", "most", "why"),
        [
            ("max_batch_size: 4 dynamic_batching { preferred_batch_size: [ 4, 8 ] }", 8, 4, ""),
            ("dynamic_batching { preferred_batch_size: 65 }", 65, 64, ""),
            (
                """dynamic_batching { preferred_batch_size: 2 }
                input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }""",
                2,
                0,
                f" (Penstock {FULL_DIMS})",
            ),
        ],
    )
    def test_a_preferred_size_above_the_largest_is_refused(self, text, size, most, why):
        assert refusal(text) == (
            f"config.pbtxt: dynamic_batching.preferred_batch_size {size} is more than "
            f"max_batch_size, which is {most}{why}"
        )


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
