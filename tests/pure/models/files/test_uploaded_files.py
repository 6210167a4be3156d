"""Of what comes over the network with a load, only what is proved to be data is taken."""

import io
import pickle
import zipfile

import onnx
import pytest
from onnx import helper, numpy_helper
from support.models.pipelines import node, onnx_graph, value, weight
from support.records import config

from penstock.models.files.uploaded_files import CodeUploaded, check_uploaded


def graph(*nodes, **options):
    nodes = nodes or (node("MatMul", "x w", "y"),)
    made = onnx_graph(nodes, [value("x")], [value("y")], [weight("w")])
    return helper.make_model(made, **options)


ONNX = graph().SerializeToString()


def outside(place):
    """A model whose weights are in another file."""
    model = graph()
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), "w"))
    onnx.external_data_helper.set_external_data(tensor, place)
    return model.SerializeToString()


def archive(before=b""):
    made = io.BytesIO()
    made.write(before)
    with zipfile.ZipFile(made, "a") as packed:
        packed.writestr("archive_format", "pt2")
    return made.getvalue()


def refusal(files, text=""):
    with pytest.raises(CodeUploaded) as caught:
        check_uploaded(config(text), files)
    return str(caught.value)


def test_graphs_and_what_belongs_to_them_are_taken():
    named = 'output { name: "y" label_filename: "digits.labels" }'

    check_uploaded(config(), {"1/model.onnx": ONNX})
    check_uploaded(config(), {"1/model.onnx": outside("w.bin"), "1/w.bin": bytes(range(256))})
    check_uploaded(config(named), {"1/model.onnx": ONNX, "digits.labels": b"zero\none\n"})
    check_uploaded(config(), {"1/shard-0.onnx": ONNX, "1/penstock.json": b"{}", "notes.txt": b""})


@pytest.mark.parametrize(
    "path", ["1/model.pt2", "1/model.py", "1/model.PT2", "1/x.so", "1/m.pt", "1/m.plan", "1/m.ort"]
)
def test_code_is_refused_by_its_name(path):
    told = refusal({"1/model.onnx": outside(path.removeprefix("1/")), path: b"{}"})

    assert told.startswith(f"'{path}' is code: nothing that may be code is taken over the network.")
    assert "--allow-code-overrides" in told


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        pickle.dumps({"a": 1}),
        archive(),
        archive(before=ONNX),
        b"\x7fELF" + bytes(64),
        ONNX[:-1],
        b"\x10\x00" * 200_000,
        b"ORTM" * 20,
    ],
    ids=["empty", "a letter", "pickle", "zip", "both", "ELF", "cut off", "endless", "ort"],
)
def test_what_is_called_onnx_must_be_onnx(content):
    assert refusal({"1/model.onnx": content}).startswith(
        "'1/model.onnx' does not hold an ONNX model"
    )


def test_a_compiled_program_inside_a_graph_is_code():
    inside = graph(node("EPContext", "x", "y", domain="com.microsoft")).SerializeToString()

    assert "holds a compiled program (EPContext)" in refusal({"1/model.onnx": inside})


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"1/x.bin": b""}, "'1/x.bin' is no ONNX graph"),
        ({"1/w.bin": b"", "2/model.onnx": outside("w.bin")}, "'1/w.bin' is no ONNX graph"),
        ({"1/libx": b"\x7fELF"}, "'1/libx' is no ONNX graph"),
        ({"labels.txt": b"\x80\x04"}, "'labels.txt' is not the UTF-8 text"),
        ({"labels.txt": b"a\0b"}, "'labels.txt' is not the UTF-8 text"),
    ],
)
def test_what_nobody_vouches_for_is_refused(files, words):
    assert words in refusal({"1/model.onnx": ONNX} | files)
