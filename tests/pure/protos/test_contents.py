"""Typed contents become the raw bytes that a raw request would have carried."""

import numpy as np
import pytest

from penstock.datatypes import DATATYPES
from penstock.errors import InvalidRequest
from penstock.protos.contents import FIELD_OF, make_raw, raw_from_contents
from penstock.protos.grpc_service_pb2 import InferTensorContents, ModelInferRequest
from penstock.tensors import NUMPY_TYPES, pack_bytes


@pytest.mark.parametrize("datatype", sorted(FIELD_OF))
def test_every_typed_datatype_becomes_its_raw_bytes(datatype):
    values = [b"", b"xy", b"\xff"] if datatype == "BYTES" else [0, 1, 1]
    contents = InferTensorContents(**{FIELD_OF[datatype]: values})

    raw = raw_from_contents(datatype, contents)

    expected = (
        pack_bytes(values)
        if datatype == "BYTES"
        else np.array(values, NUMPY_TYPES[datatype]).tobytes()
    )
    assert raw == expected


def test_only_sixteen_bit_floats_have_no_typed_form():
    assert DATATYPES - FIELD_OF.keys() == {"FP16", "BF16"}


@pytest.mark.parametrize(
    ("datatype", "field", "values", "expected"),
    [
        ("INT8", "int_contents", [-1, 127, 128, 300], [-1, 127, -128, 44]),
        ("INT16", "int_contents", [-2, 70000], [-2, 4464]),
        ("UINT8", "uint_contents", [255, 256], [255, 0]),
        ("UINT64", "uint64_contents", [2**64 - 1], [2**64 - 1]),
    ],
)
def test_the_upper_bits_of_narrow_integers_are_dropped(datatype, field, values, expected):
    raw = raw_from_contents(datatype, InferTensorContents(**{field: values}))

    assert np.frombuffer(raw, NUMPY_TYPES[datatype]).tolist() == expected


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_a_datatype_without_a_field_is_refused(datatype):
    with pytest.raises(InvalidRequest, match=f"{datatype} tensors must be sent in raw"):
        raw_from_contents(datatype, InferTensorContents(fp32_contents=[1]))


def test_empty_contents_are_no_bytes():
    assert raw_from_contents("FP32", InferTensorContents()) == b""
    assert raw_from_contents("FP16", InferTensorContents()) == b""


def test_a_request_keeps_everything_but_the_form_of_its_data():
    request = ModelInferRequest(model_name="m", model_version="2", id="7")
    request.parameters["priority"].int64_param = 1
    request.outputs.add(name="y")
    for name, values in (("A", [1, 2]), ("B", [3, 4])):
        tensor = request.inputs.add(name=name, datatype="INT16", shape=[1, 2])
        tensor.contents.int_contents.extend(values)
    typed = ModelInferRequest()
    typed.CopyFrom(request)

    raws = make_raw(request)

    assert raws == [b"\1\0\2\0", b"\3\0\4\0"]
    for tensor in typed.inputs:
        tensor.ClearField("contents")
    assert request == typed
