"""Tensors find their way through the stages by name, or the owner is told what to change."""

import pytest
from support.clients.infer_requests import spec
from support.records import signature, stage, version

from penstock.errors import InvalidConfiguration
from penstock.models.config.dataflow import StagePlan, fits, flow, shown

X, Y = spec("x", "FP32", -1, 4), spec("y", "FP32", -1, 2)
H = spec("h", "FP32", -1, 8)
MASK = spec("mask", "BOOL", -1, 4)


def follow(*signatures):
    return flow(version(*(stage() for _ in signatures)), signatures)


def refusal(*signatures):
    with pytest.raises(InvalidConfiguration) as caught:
        follow(*signatures)
    return str(caught.value)


class TestFlow:
    def test_a_whole_model_is_a_pipeline_of_one_stage(self):
        tensors = follow(signature([X], [Y]))

        assert tensors.inputs == {"x": X}
        assert tensors.products == {"y": Y}
        assert tensors.stages(["x"], ["y"]) == (StagePlan(("x",), ("y",), ("y",)),)

    def test_what_a_stage_writes_the_next_one_reads(self):
        tensors = follow(signature([X], [H]), signature([H], [Y]))

        assert list(tensors.inputs) == ["x"]
        assert list(tensors.products) == ["h", "y"]
        assert tensors.last == ("y",)
        assert tensors.stages(["x"], ["y"]) == (
            StagePlan(("x",), ("h",), ("h",)),
            StagePlan(("h",), ("y",), ("y",)),
        )

    def test_a_tensor_may_skip_a_stage(self):
        side = spec("side", "FP32", -1, 1)
        deep = spec("deep", "FP32", -1, 8)

        tensors = follow(
            signature([X], [H, side]), signature([H, MASK], [deep]), signature([deep, side], [Y])
        )

        assert list(tensors.inputs) == ["x", "mask"]
        assert [plan.keeps for plan in tensors.stages(["x", "mask"], ["y"])] == [
            ("mask", "h", "side"),
            ("side", "deep"),
            ("y",),
        ]

    def test_an_output_of_an_early_stage_travels_to_the_end(self):
        tensors = follow(signature([X], [H]), signature([H], [Y]))

        assert [plan.keeps for plan in tensors.stages(["x"], ["h", "y"])] == [("h",), ("h", "y")]

    def test_what_nobody_needs_does_not_travel(self):
        unused = spec("unused", "FP32", -1)
        tensors = follow(signature([X], [H, unused]), signature([H], [Y]))

        first, _ = plans = tensors.stages(["x"], ["y"])

        assert first == StagePlan(("x",), ("h", "unused"), ("h",))
        assert [name for name, _ in tensors.crossing(plans)] == ["h"]

    def test_a_tensor_of_the_request_crosses_without_being_a_product(self):
        tensors = follow(signature([X], [H]), signature([H, MASK], [Y]))

        plans = tensors.stages(["x", "mask"], ["y"])

        assert plans[0].keeps == ("mask", "h")
        assert tensors.crossing(plans) == [("h", H)]

    def test_an_optional_input_is_read_only_when_requests_bring_it(self):
        mask = spec("mask", "BOOL", -1, 4, optional=True)
        tensors = follow(signature([X, mask], [Y]))

        assert tensors.stages(["x"], ["y"])[0].consumes == ("x",)
        assert tensors.stages(["x", "mask"], ["y"])[0].consumes == ("x", "mask")

    def test_an_optional_input_is_read_when_an_earlier_stage_writes_it(self):
        optional = spec("h", "FP32", -1, 8, optional=True)

        tensors = follow(signature([X], [H]), signature([X, optional], [Y]))

        assert tensors.stages(["x"], ["y"])[1].consumes == ("x", "h")

    def test_two_readers_of_an_input_narrow_it(self):
        tensors = follow(
            signature([spec("x", "FP32", -1, -1, 4)], [H]),
            signature([H, spec("x", "FP32", -1, 3, -1)], [Y]),
        )

        assert tensors.inputs == {"x": spec("x", "FP32", -1, 3, 4)}

    def test_an_input_is_optional_when_it_is_for_both_readers(self):
        loose, strict = spec("x", "FP32", -1, optional=True), spec("x", "FP32", -1)

        assert not follow(signature([loose], [H]), signature([strict], [Y])).inputs["x"].optional
        assert follow(signature([loose], [H]), signature([loose], [Y])).inputs["x"].optional


class TestRefused:
    def test_two_stages_write_one_name(self):
        assert refusal(signature([X], [H]), signature([H], [H])) == (
            "m/1/shard-0.onnx and m/1/shard-1.onnx both write 'h': "
            "rename one of the two when exporting"
        )

    def test_a_stage_reads_what_only_a_later_one_writes(self):
        assert refusal(signature([H], [X]), signature([X], [H])) == (
            "m/1/shard-0.onnx reads 'h', which only m/1/shard-1.onnx writes, not an earlier stage: "
            "order the shards as the data flows, or rename the tensor"
        )

    def test_a_stage_reads_what_it_writes_itself(self):
        assert "m/1/model.onnx reads 'x', which only m/1/model.onnx writes" in refusal(
            signature([X], [X])
        )

    @pytest.mark.parametrize(
        ("wanted", "type_"),
        [
            (spec("h", "FP16", -1, 8), "FP16[-1,8]"),
            (spec("h", "FP32", -1, 9), "FP32[-1,9]"),
            (spec("h", "FP32", -1), "FP32[-1]"),
        ],
    )
    def test_two_shards_disagree_about_what_one_hands_on(self, wanted, type_):
        assert refusal(signature([X], [H]), signature([wanted], [Y])) == (
            f"m/1/shard-1.onnx expects 'h' as {type_}, but m/1/shard-0.onnx has it as FP32[-1,8]: "
            "export both shards from the same model"
        )

    def test_two_shards_disagree_about_an_input(self):
        other = spec("x", "INT64", -1, 4)

        assert refusal(signature([X], [H]), signature([H, other], [Y])) == (
            "m/1/shard-1.onnx expects 'x' as INT64[-1,4], but an earlier stage has it as "
            "FP32[-1,4]: export both shards from the same model"
        )


@pytest.mark.parametrize(
    ("shape", "other", "expected"),
    [
        ([], [], True),
        ([2, 3], [2, 3], True),
        ([-1, 3], [2, -1], True),
        ([2, 3], [2, 4], False),
        ([2], [2, 1], False),
    ],
)
def test_shapes_fit_where_any_size_is_open(shape, other, expected):
    assert fits(shape, other) is expected


def test_a_type_is_shown_in_one_word():
    assert shown(X) == "FP32[-1,4]"
    assert shown(spec("s", "INT8")) == "INT8[]"
