"""Text of ONNX models: UTF-8 both ways, and other bytes as far as ONNX Runtime takes them."""

import numpy as np
import pytest
from support.models.onnx_models import write_identity
from support.models.pipelines import CPU, node, onnx_graph, value, write_onnx

from penstock.workers.runtimes.opening import ONNX, open_runtime
from penstock.workers.runtimes.runtime import InputRejected

LATIN = "Zürich".encode("latin-1")


@pytest.fixture
def counted(tmp_path):
    """`y` is how many elements of `x` there are: nothing of the text comes out."""
    graph = onnx_graph(
        [node("Shape", "x", "y")], [value("x", "STRING", ["a", "b"])], [value("y", "INT64", [2])]
    )
    return open_runtime(write_onnx(tmp_path, graph), ONNX, CPU)


def run(runtime, *rows):
    return runtime.run({"x": np.array(rows, object)}, ["y"])["y"].tolist()


def test_any_bytes_go_in(counted):
    assert run(counted, [LATIN, b""], [b"Bern", "Köln".encode()]) == [2, 2]


def test_they_are_what_the_model_sees(tmp_path):
    graph = onnx_graph(
        [node("Equal", "x other", "y")],
        [value("x", "STRING", ["n"]), value("other", "STRING", ["n"])],
        [value("y", "BOOL", ["n"])],
    )
    runtime = open_runtime(write_onnx(tmp_path, graph, opset=19), ONNX, CPU)
    texts = np.array([LATIN, b"Bern", b"\xff\xfe"], object)
    others = np.array([LATIN, b"Bern", b"\xff"], object)

    found = runtime.run({"x": texts, "other": others}, ["y"])["y"]

    assert found.tolist() == [True, True, False]


def test_what_comes_out_must_be_utf8(tmp_path):
    runtime = open_runtime(
        write_identity(tmp_path, "m", "BYTES", batch=True) / "1/model.onnx", ONNX, CPU
    )

    with pytest.raises(InputRejected, match=r"an output holds text that is not UTF-8 .*base64"):
        runtime.run({"input": np.array([[LATIN]], object)}, ["output"])


def test_zero_bytes_need_utf8(counted):
    assert run(counted, [b"a\0b", "ä\0".encode()]) == [1, 2]
    with pytest.raises(InputRejected, match=r"'x' holds text that is not UTF-8 .* zero bytes"):
        run(counted, [b"\xff\0", b""])


def test_one_long_element_does_not_make_all_long(counted):
    """A request of a few MB would take as many GB."""
    rows = [[b"\xff" * (1 << 20)], *([[b""]] * 5000)]

    with pytest.raises(InputRejected, match="very different lengths, up to 1048576 bytes"):
        run(counted, *rows)
