"""Objects of the generate extension, against the messages that they stand for."""

import json

import pytest

from penstock.errors import InvalidRequest
from penstock.gateway.fronts.http.generate_json import is_empty, reply_of, request_of
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire


def metadata(**inputs):
    """Of a model with these inputs: name -> datatype and shape."""
    found = pb.ModelMetadataResponse(name="m")
    for name, (datatype, *shape) in inputs.items():
        found.inputs.add(name=name, datatype=datatype, shape=shape)
    return found


def asked(body, **inputs):
    return pb.ModelInferRequest.FromString(request_of(metadata(**inputs), "3", body))


def test_keys_are_inputs_or_parameters():
    request = asked(
        {"text": "hi", "id": "i", "stream": True, "parameters": {"max_tokens": 5, "size": [1, 2]}},
        text=("BYTES", -1, 1),
        size=("INT32", -1, 2),
    )

    assert (request.model_name, request.model_version, request.id) == ("m", "3", "i")
    assert [(one.name, list(one.shape)) for one in request.inputs] == [
        ("text", [1, 1]),
        ("size", [1, 2]),
    ]
    assert request.raw_input_contents[0] == b"\2\0\0\0hi"
    assert request.parameters["stream"].bool_param
    assert request.parameters["max_tokens"].int64_param == 5


@pytest.mark.parametrize(
    ("shape", "value", "found"),
    [
        ((-1, 1), 3, [1, 1]),
        ((1,), 3, [1]),
        ((-1, -1), [1, 2, 3], [1, 3]),
        ((-1, 2), [1, 2, 3, 4], [2, 2]),
        ((), 3, []),
    ],
)
def test_the_shape_follows_from_the_metadata(shape, value, found):
    request = asked({"x": value}, x=("INT32", *shape))

    assert list(request.inputs[0].shape) == found


@pytest.mark.parametrize(
    ("shape", "value"), [((2,), 1), ((-1, 2), [1, 2, 3]), ((3,), [1, 2, 3, 4, 5, 6]), ((0,), 1)]
)
def test_what_does_not_fit_is_refused(shape, value):
    with pytest.raises(InvalidRequest, match="can not convert input 'x'"):
        asked({"x": value}, x=("INT32", *shape))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"parameters": 3}, "Expected JSON object for keyword: 'parameters'"),
        ({"y": [1]}, "parameter 'y' has invalid type"),
        ({"x": "text"}, "non-signed-integer"),
        ({"y": "\ud800"}, "a text that is none"),
    ],
)
def test_what_is_wrong_is_said(body, words):
    with pytest.raises(InvalidRequest, match=words):
        asked(body, x=("INT32", -1))


def test_an_input_named_as_the_nested_object():
    with pytest.raises(InvalidRequest, match="also given as input tensor name"):
        asked({"parameters": {}}, parameters=("INT32", -1))


def test_a_reply_is_one_object():
    response = pb.ModelInferResponse(model_name="m", model_version="1", id="i")
    response.outputs.add(name="text", datatype="BYTES", shape=[1])
    response.outputs.add(name="scores", datatype="INT8", shape=[1, 2])
    raws = (b"\2\0\0\0hi", b"\1\2")
    message = response.SerializeToString() + b"".join(
        part for raw in raws for part in wire.raw_output_field(raw)
    )

    assert json.loads(json.dumps(reply_of(message))) == {
        "id": "i",
        "model_name": "m",
        "model_version": "1",
        "text": "hi",
        "scores": [1, 2],
    }
    assert not is_empty(message)
    assert is_empty(pb.ModelInferResponse(model_name="m").SerializeToString())
