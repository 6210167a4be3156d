"""The ONNX runtime runs every datatype, and says whose fault it is when it cannot."""

import numpy as np
import pytest
from support.models.onnx_models import DATATYPES, write_add_sub, write_identities, write_identity
from support.models.pipelines import CPU, chain, constant, node, onnx_graph, value, write_onnx

from penstock.errors import ArtifactUnusable, InvalidRequest
from penstock.tensors import NUMPY_TYPES
from penstock.workers.runtimes.opening import ONNX, open_runtime
from penstock.workers.runtimes.runtime import DeviceRef, InputRejected

NUMBERS = [datatype for datatype in DATATYPES if datatype != "BYTES"]


def array_of(datatype):
    if datatype == "BYTES":
        return np.array([[b"", "ä".encode(), b"a\0b"]], dtype=object)
    # Read-only and not contiguous, as a request's bytes may be.
    numbers = np.frombuffer(np.arange(6).astype(NUMPY_TYPES[datatype]).tobytes(), np.uint8)
    return numbers.view(NUMPY_TYPES[datatype]).reshape(1, 6)[:, ::2]


def open_identity(tmp_path, datatype):
    return open_runtime(
        write_identity(tmp_path, "m", datatype, batch=True) / "1/model.onnx", ONNX, CPU
    )


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_goes_in_and_out(tmp_path, datatype):
    runtime = open_identity(tmp_path, datatype)
    array = array_of(datatype)

    output = runtime.run({"input": array}, ["output"])["output"]

    assert [(spec.datatype, list(spec.shape)) for spec in runtime.signature.inputs] == [
        (datatype, [-1, -1])
    ]
    assert output.dtype == NUMPY_TYPES[datatype]
    assert output.tolist() == array.tolist()


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_may_be_empty(tmp_path, datatype):
    runtime = open_identity(tmp_path, datatype)

    output = runtime.run({"input": np.empty((0, 3), NUMPY_TYPES[datatype])}, ["output"])["output"]

    assert (output.shape, output.dtype) == ((0, 3), NUMPY_TYPES[datatype])


def test_numbers_of_all_kinds_go_together(tmp_path):
    """BF16 takes another way into ONNX Runtime, and the others must come along."""
    entry = write_identities(tmp_path, "m", NUMBERS, batch=True)
    runtime = open_runtime(entry / "1" / "model.onnx", ONNX, CPU)
    request = {f"in_{datatype.lower()}": array_of(datatype) for datatype in NUMBERS}

    answer = runtime.run(request, [f"out_{datatype.lower()}" for datatype in NUMBERS])

    for datatype in NUMBERS:
        assert answer[f"out_{datatype.lower()}"].tolist() == array_of(datatype).tolist()


def test_text_and_bfloat16_go_in_together(tmp_path):
    graph = onnx_graph(
        [node("Identity", "s", "t"), node("Cast", "x", "y", to=1)],
        [value("s", "STRING", ["n"]), value("x", "BFLOAT16", ["n"])],
        [value("t", "STRING", ["n"]), value("y", "FLOAT", ["n"])],
    )
    runtime = open_runtime(write_onnx(tmp_path, graph), ONNX, CPU)

    answer = runtime.run(
        {"s": np.array([b"a"], object), "x": np.array([0x3F80], np.uint16)}, ["t", "y"]
    )

    assert (answer["t"].tolist(), answer["y"].tolist()) == ([b"a"], [1.0])


def test_text_in_and_bfloat16_out_is_refused_with_a_way_out(tmp_path):
    entry = write_identities(tmp_path, "m", ["BYTES", "BF16"], batch=True)

    with pytest.raises(ArtifactUnusable, match=r"BF16 \('out_bf16'\).*add a Cast to FP32"):
        open_runtime(entry / "1" / "model.onnx", ONNX, CPU)


def test_outputs_are_computed_as_asked_for_and_in_that_order(tmp_path):
    runtime = open_runtime(write_add_sub(tmp_path) / "1" / "model.onnx", ONNX, CPU)
    request = {name: np.ones((1, 16), np.int32) for name in ("INPUT0", "INPUT1")}

    assert list(runtime.run(request, ["OUTPUT1"])) == ["OUTPUT1"]
    assert list(runtime.run(request, ["OUTPUT1", "OUTPUT0"])) == ["OUTPUT1", "OUTPUT0"]


def test_external_weights_are_counted_and_found(tmp_path):
    graph = chain("MatMul x a y")
    path = write_onnx(
        tmp_path, graph, save_as_external_data=True, location="model.onnx.data", size_threshold=0
    )

    runtime = open_runtime(path, ONNX, CPU)

    assert runtime.signature.parameter_bytes >= path.stat().st_size + 256
    assert runtime.run({"x": np.ones((2, 8), np.float32)}, ["y"])["y"].shape == (2, 8)


class TestBadInput:
    @pytest.mark.parametrize("datatype", ["FP32", "BF16"])
    @pytest.mark.parametrize(
        ("request_of", "words"),
        [
            (lambda zeros: {"input": zeros(3)}, "Invalid rank for input: input Got: 1 Expected: 2"),
            (lambda _: {}, "'input'.* missing"),
        ],
    )
    def test_is_rejected_on_one_line(self, tmp_path, datatype, request_of, words):
        runtime = open_identity(tmp_path, datatype)

        with pytest.raises(InputRejected, match=words) as caught:
            runtime.run(
                request_of(lambda *shape: np.zeros(shape, NUMPY_TYPES[datatype])), ["output"]
            )

        assert isinstance(caught.value, InvalidRequest)
        assert "\n" not in str(caught.value)
        assert "ONNXRuntimeError" not in str(caught.value)

    def test_tells_the_wrong_size(self, tmp_path):
        runtime = open_runtime(write_add_sub(tmp_path) / "1" / "model.onnx", ONNX, CPU)
        request = {"INPUT0": np.ones((1, 16), np.int32), "INPUT1": np.ones((1, 15), np.int32)}

        with pytest.raises(InputRejected, match="index: 1 Got: 15 Expected: 16"):
            runtime.run(request, ["OUTPUT0"])

    def test_of_another_datatype_or_name(self, tmp_path):
        runtime = open_identity(tmp_path, "FP32")
        zeros = np.zeros((1, 3), np.float32)

        with pytest.raises(InputRejected, match=r"tensor\(double\).*expected.*tensor\(float\)"):
            runtime.run({"input": zeros.astype(np.float64)}, ["output"])
        with pytest.raises(InputRejected, match="Invalid input name: other"):
            runtime.run({"input": zeros, "other": zeros}, ["output"])

    def test_an_index_past_the_end(self, tmp_path):
        graph = onnx_graph(
            [node("Gather", "table i", "y")],
            [value("i", "INT64", ["n"])],
            [value("y", "FLOAT", ["n"])],
            [constant("table", np.zeros(3, np.float32))],
        )
        runtime = open_runtime(write_onnx(tmp_path, graph), ONNX, CPU)

        with pytest.raises(InputRejected, match="out of data bounds"):
            runtime.run({"i": np.array([3])}, ["y"])


class TestUnusable:
    def test_missing(self, tmp_path):
        with pytest.raises(ArtifactUnusable, match=r"model\.onnx is missing: put it back"):
            open_runtime(tmp_path / "model.onnx", ONNX, CPU)

    @pytest.mark.parametrize("content", [b"", b"no model", None])
    def test_damaged(self, tmp_path, content):
        path = write_onnx(tmp_path, chain("MatMul x a y"))
        path.write_bytes(path.read_bytes()[:-40] if content is None else content)

        with pytest.raises(
            ArtifactUnusable,
            match=r"model\.onnx is not a model .* copy it again, or export",
        ) as caught:
            open_runtime(path, ONNX, CPU)

        assert "\n" not in str(caught.value)

    def test_without_its_weights(self, tmp_path):
        path = write_onnx(
            tmp_path,
            chain("MatMul x a y"),
            save_as_external_data=True,
            location="w.bin",
            size_threshold=0,
        )
        (tmp_path / "w.bin").unlink()

        with pytest.raises(ArtifactUnusable, match=r"w\.bin.* with all files that belong to it"):
            open_runtime(path, ONNX, CPU)

    def test_what_the_protocol_cannot_carry(self, tmp_path):
        from onnx import TensorProto, helper

        sequence = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["n", 8])
        graph = onnx_graph([node("SequenceConstruct", "x", "y")], [value("x")], [sequence])

        with pytest.raises(ArtifactUnusable, match=r"'y' is a seq.* plain tensors"):
            open_runtime(write_onnx(tmp_path, graph), ONNX, CPU)

    def test_an_unknown_runtime(self, tmp_path):
        path = write_onnx(tmp_path, chain("MatMul x a y"))

        with pytest.raises(
            ArtifactUnusable, match="runtime 'jax', expected onnxruntime, pytorch or python"
        ):
            open_runtime(path, "jax", CPU)


@pytest.mark.parametrize(
    ("text", "device"),
    [("cpu", ("cpu", 0)), ("cuda", ("cuda", 0)), ("cuda:3", ("cuda", 3))],
)
def test_devices_are_read_from_text(text, device):
    assert DeviceRef.parse(text, 2) == DeviceRef(*device, 2)


def test_the_only_device_that_a_process_sees_is_its_first():
    assert DeviceRef.parse("cuda:3", 2, only=True) == DeviceRef("cuda", 0, 2)
