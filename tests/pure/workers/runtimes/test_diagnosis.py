"""What cannot be loaded says why, and what to do about that cause and no other."""

import numpy as np
import pytest
from support.models.pipelines import CPU, chain, node, onnx_graph, value, write_onnx

from penstock.errors import ArtifactUnusable
from penstock.workers.runtimes.opening import ONNX, TORCH, open_runtime

TEXT = [value("x", "STRING", ["n"])], [value("y", "STRING", ["m"])]
SEQUENCE = onnx_graph([node("SequenceConstruct", "x", "y")], [value("x")], [])


def refusal(path, kind=ONNX):
    with pytest.raises(ArtifactUnusable) as caught:
        open_runtime(path, kind, CPU)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path.name}")
    return text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "'git lfs pull'"),
        (b"<!DOCTYPE html>\n<html lang=en>", "a web page: download the file itself"),
        (b"\n<html><body>Sign in", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "XML, as storage answers"),
        (b'{"error": "not found"}', "JSON or other text"),
        (b"\x80\x05\x95\x10", "a pickle, which is never loaded: export"),
        (b"\x89HDF\r\n\x1a\n", "HDF5, as Keras writes it: convert it with tf2onnx"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x1f\x8b\x08\0", "compressed: decompress it"),
        (b'\x40\0\0\0\0\0\0\0{"w":', "safetensors, which are weights without a model"),
    ],
)
@pytest.mark.parametrize(("name", "kind"), [("model.onnx", ONNX), ("model.pt2", TORCH)])
def test_another_file_in_its_place(tmp_path, name, kind, content, words):
    (tmp_path / name).write_bytes(content + b"\n" * 100)

    text = refusal(tmp_path / name, kind)

    assert "can load: it is " in text
    assert words in text
    assert "copy it again with all files" not in text


def test_an_archive_of_torch_is_no_onnx_file(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"PK\x03\x04" + bytes(100))

    assert "a zip archive, as torch.save and torch.export.save write" in refusal(
        tmp_path / "model.onnx"
    )


@pytest.mark.parametrize(
    ("nodes", "tensors", "options", "words"),
    [
        (
            [node("Tokenize", "x", "y", domain="my.ops")],
            TEXT,
            {"domains": ["my.ops"]},
            "its operator Tokenize is of domain my.ops, which is not part of ONNX Runtime",
        ),
        ([node("Foo", "x", "y")], TEXT, {}, "opset 17, which it is for, has no operator Foo"),
        (
            [node("Identity", "x", "y")],
            TEXT,
            {"opset": 99},
            "it is of opset 99 of ai.onnx, and this one knows opsets up to ",
        ),
        (
            [node("Identity", "x", "y")],
            TEXT,
            {"ir": 99},
            "it is of IR version 99, and this one reads versions up to ",
        ),
        (
            [node("StringNormalizer", "x", "y", case_change_action="LOWER", locale="xx_YY.UTF-8")],
            TEXT,
            {},
            "it needs the locale xx_YY.UTF-8, which this machine does not have: install it",
        ),
    ],
    ids=["custom operator", "no such operator", "opset", "IR version", "locale"],
)
def test_a_model_that_this_machine_cannot_run(tmp_path, capfd, nodes, tensors, options, words):
    graph = onnx_graph(nodes, *tensors)

    text = refusal(write_onnx(tmp_path, graph, **options))

    assert words in text
    assert "onnxruntime_src" not in text
    assert "copy it again" not in text
    assert capfd.readouterr() == ("", "")


def test_an_operator_without_a_kernel_for_its_datatypes(tmp_path):
    sizes = ["n", 4]
    graph = onnx_graph(
        [node("Det", "x", "y")],
        [value("x", "DOUBLE", [*sizes, 4])],
        [value("y", "DOUBLE", ["n"])],
    )

    assert "there is no kernel here for its operator Det (opset 11) with the datatypes" in refusal(
        write_onnx(tmp_path, graph)
    )


def test_a_classifier_with_zipmap_names_the_option(tmp_path):
    from onnx import TensorProto, helper

    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        )
    )
    graph = onnx_graph(
        [node("ZipMap", "x", "y", domain="ai.onnx.ml", classlabels_int64s=[0, 1])],
        [value("x", shape=["n", 2])],
        [helper.make_value_info("y", maps)],
    )

    text = refusal(write_onnx(tmp_path, graph, domains=["ai.onnx.ml"]))

    assert "'y' is a seq(map(int64,tensor(float)))" in text
    assert "export the classifier with zipmap=False" in text


def test_what_is_fine_is_not_suspected(tmp_path):
    assert open_runtime(write_onnx(tmp_path, chain("MatMul x a y")), ONNX, CPU).signature.inputs


def test_a_failing_run_writes_nothing_of_its_own(tmp_path, capfd):
    """ONNX Runtime wrote each failure to standard error, in colours, beside raising it."""
    graph = onnx_graph(
        [node("Div", "x x", "y")], [value("x", "INT32", ["n"])], [value("y", "INT32", ["n"])]
    )
    runtime = open_runtime(write_onnx(tmp_path, graph), ONNX, CPU)

    with pytest.raises(Exception, match="division by zero"):
        runtime.run({"x": np.zeros(2, "i4")}, ["y"])

    assert capfd.readouterr() == ("", "")
