"""What cannot be cut into stages, and why."""

import pytest
from support.models.pipelines import (
    chain,
    cut_onnx,
    node,
    onnx_graph,
    value,
    weight,
    write_onnx,
)

from penstock.errors import ArtifactUnusable
from penstock.sharding.errors import AnswersVary, CannotShard, TooManyStages


def refusal(tmp_path, graph, stages=2, *inputs, kind=CannotShard):
    """Why *graph* cannot be cut; nothing is written."""
    path = write_onnx(tmp_path, graph)
    with pytest.raises(kind) as caught:
        cut_onnx(path, stages, tmp_path / "cut", *inputs)
    assert not (tmp_path / "cut").exists()
    return str(caught.value)


def test_more_stages_than_can_be(tmp_path):
    text = refusal(tmp_path, chain("MatMul x a h", "MatMul h b y"), stages=3, kind=TooManyStages)

    assert "into 3 stages: it allows 2 at most" in text


def test_a_model_that_draws_random_numbers(tmp_path):
    graph = chain("MatMul x a h", "RandomNormalLike h r", "Add h r g", "MatMul g b y")

    assert "output 'y' is another each time" in refusal(tmp_path, graph, kind=AnswersVary)


def test_an_output_that_is_an_input(tmp_path):
    graph = chain("MatMul x a h", "MatMul h b y", outputs=("x", "y"))

    assert "'x' is an input and an output; give the output another" in refusal(tmp_path, graph)


def test_a_model_that_computes_nothing(tmp_path):
    graph = onnx_graph(
        [node("Shape", "x", "y")], [value("x")], [value("y", "INT64", [2])]
    )  # fmt: skip

    assert "no output of this model depends on the values" in refusal(tmp_path, graph, 1)


def test_an_unknown_operator(tmp_path):
    graph = onnx_graph(
        [node("MatMul", "x a", "h"), node("Foo", "h", "y", domain="my.own")],
        [value("x")],
        [value("y")],
        [weight("a")],
    )

    text = refusal(tmp_path, graph)

    assert "export it anew" in text
    assert "No opset import for domain my.own" in text


def test_weights_of_the_wrong_shape(tmp_path):
    graph = onnx_graph([node("MatMul", "x a", "y")], [value("x")], [value("y")],
                       [weight("a", 3, 3)])  # fmt: skip

    told = refusal(tmp_path, graph, 1, kind=ArtifactUnusable)

    assert "Incompatible dimensions for matrix multiplication" in told


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ("z=-1,8:FP32", "--input 'z': the model's inputs are x"),
        ("x=-1,8:INT32", r"expects FP32[n,8], not INT32[-1,8]"),
        ("x=-1,9:FP32", r"expects FP32[n,8], not FP32[-1,9]"),
        ("x=8:FP32", r"expects FP32[n,8], not FP32[8]"),
    ],
)
def test_inputs_described_as_they_are_not(tmp_path, described, words):
    assert words in refusal(tmp_path, chain("MatMul x a h", "MatMul h b y"), 2, described)


def test_missing_weight_files(tmp_path):
    path = write_onnx(
        tmp_path,
        chain("MatMul x a h", "MatMul h b y"),
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    (tmp_path / "w.bin").unlink()

    with pytest.raises(CannotShard, match=r"w\.bin, which is not there: put that file beside"):
        cut_onnx(path, 2, tmp_path / "cut")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no model", "is not an ONNX model, or is damaged: export it anew"),
        (b"", "is not an ONNX model, or is damaged: export it anew"),
        (None, "cannot read .*No such file"),
    ],
)
def test_files_that_are_no_models(tmp_path, content, words):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(CannotShard, match=words):
        cut_onnx(path, 2, tmp_path / "cut")


def test_a_folder_that_cannot_be_written(tmp_path):
    path = write_onnx(tmp_path, chain("MatMul x a h", "MatMul h b y"))

    with pytest.raises(CannotShard, match=r"cannot write to .*model\.onnx"):
        cut_onnx(path, 2, path)
