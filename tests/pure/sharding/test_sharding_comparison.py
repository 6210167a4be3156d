"""Stages pass when they answer as the whole model does, rounding apart."""

import numpy as np
import pytest

from penstock.sharding.comparison import Runnable, Verification, compare, run_pipeline
from penstock.sharding.errors import AnswersVary, PipelineDiffers
from penstock.tensors import bf16_from_float32

ROUNDING = {"FP64": 1e-12, "FP32": 1e-6, "FP16": 1e-3}


def whole(request):
    return {"y": request["x"] * 2}


def double(factor=2.0):
    return Runnable(("x",), lambda request: {"y": request["x"] * factor})


def stage_that_answers(array):
    return Runnable(("x",), lambda _: {"y": array})


def samples(dtype=np.float32, *sizes):
    return {size: {"x": np.ones((size, 3), dtype)} for size in sizes or (1, 2)}


def test_equal_answers_pass_at_all_sizes():
    found = compare(whole, [double()], samples(np.float32, 1, 2, 5), {"y": "FP32"}, batched=True)

    assert found == Verification((1, 2, 5), 0.0)


def test_without_a_batch_no_sizes_are_told():
    found = compare(whole, [double()], samples(np.float32, 1), {"y": "FP32"}, batched=False)

    assert found.batch_sizes == ()


@pytest.mark.parametrize("datatype", sorted(ROUNDING))
def test_rounding_passes_and_is_told(datatype):
    dtype = {"FP64": np.float64, "FP32": np.float32, "FP16": np.float16}[datatype]
    nearly = double(dtype(2 + 2 * ROUNDING[datatype]))

    found = compare(whole, [nearly], samples(dtype), {"y": datatype}, batched=True)

    assert 0 < found.largest_difference < 10 * ROUNDING[datatype]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.full((1, 3), 2.1, np.float32), "differs by 0.1 at batch size 1"),
        (np.full((3, 1), 2, np.float32), r"differs in shape, \[3, 1\] for \[1, 3\]"),
        (np.array([[2, np.nan, 2]], np.float32), "differs by nan"),
    ],
)
def test_more_than_rounding_is_told_in_words(answer, words):
    with pytest.raises(PipelineDiffers, match=f"output 'y' {words}") as caught:
        compare(whole, [stage_that_answers(answer)], samples(), {"y": "FP32"}, batched=True)

    assert (caught.value.output, caught.value.batch) == ("y", 1)


def test_infinities_must_be_in_the_same_places():
    def endless(request):
        return {"y": np.where(request["x"] == 1, np.inf, 0).astype(np.float32)}

    with pytest.raises(PipelineDiffers, match="in where it is not finite"):
        compare(endless, [double()], samples(), {"y": "FP32"}, batched=True)

    same = compare(endless, [Runnable(("x",), endless)], samples(), {"y": "FP32"}, batched=True)
    assert same.largest_difference == 0.0


@pytest.mark.parametrize("datatype", ["INT32", "BOOL", "BYTES"])
def test_what_does_not_round_must_be_equal(datatype):
    kinds = {"INT32": (1, 2), "BOOL": (True, False), "BYTES": (b"a", b"b")}
    right, wrong = (np.array([[item]]) for item in kinds[datatype])

    with pytest.raises(PipelineDiffers, match="differs in its values"):
        compare(
            lambda _: {"y": right},
            [stage_that_answers(wrong)],
            samples(),
            {"y": datatype},
            batched=True,
        )


def test_the_bits_of_bfloat16_are_compared_as_numbers():
    """The neighbour of 1 passes; as integers, 0x3f80 and 0xbf80 are no further apart."""
    one, next_one, minus = (
        bf16_from_float32(np.array([[number]], np.float32)) for number in (1, 1.01, -1)
    )

    found = compare(
        lambda _: {"y": one}, [stage_that_answers(next_one)], samples(), {"y": "BF16"}, batched=True
    )

    assert found.largest_difference == 2**-7
    with pytest.raises(PipelineDiffers, match="by 2"):
        compare(
            lambda _: {"y": one},
            [stage_that_answers(minus)],
            samples(),
            {"y": "BF16"},
            batched=True,
        )


def test_a_model_that_answers_at_random_cannot_be_compared():
    chance = np.random.default_rng(1)

    with pytest.raises(AnswersVary, match=r"'y' is another each time .*dropout"):
        compare(
            lambda _: {"y": chance.random((1, 3), np.float32)},
            [double()],
            samples(),
            {"y": "FP32"},
            batched=True,
        )


def test_a_stage_reads_from_the_request_and_from_all_earlier_stages():
    stages = [
        Runnable(("x",), lambda r: {"h": r["x"] + 1}),
        Runnable(("h",), lambda r: {"g": r["h"] * 2}),
        Runnable(("x", "h", "g"), lambda r: {"y": r["x"] + r["h"] + r["g"]}),
    ]

    assert run_pipeline(stages, {"x": np.array([1])})["y"].tolist() == [7]
