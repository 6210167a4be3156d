"""Requests and replies as HTTP has them, against the messages that they stand for."""

import json

import numpy as np
import pytest

from penstock.errors import InvalidRequest
from penstock.gateway.fronts.http.infer_json import Asked, reply_of, request_of
from penstock.gateway.fronts.http.json_messages import LONGEST, MOST_LISTS, parsed
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire


def asked(body, data=b""):
    """What a body of JSON and binary data asks for, and its message."""
    head = json.dumps(body).encode()
    found = request_of("m", "2", head + data, len(head))
    return found, pb.ModelInferRequest.FromString(found.message)


def tensor(**fields):
    return {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2.5], **fields}


def refusal(body, data=b""):
    with pytest.raises(InvalidRequest) as refused:
        asked(body, data)
    return str(refused.value)


def test_json_data_become_raw_bytes():
    found, request = asked({"id": "i", "inputs": [tensor()]})

    assert (request.model_name, request.model_version, request.id) == ("m", "2", "i")
    (given,) = request.inputs
    assert (given.name, given.datatype, list(given.shape)) == ("x", "FP32", [2])
    assert request.raw_input_contents == [np.array([1, 2.5], "<f4").tobytes()]
    assert (found.binary, found.all_binary) == ({}, False)


@pytest.mark.parametrize(
    ("datatype", "data", "raw"),
    [
        ("BOOL", [True, False], b"\1\0"),
        ("UINT8", [0, 255], b"\0\xff"),
        ("INT8", [-128, 127], b"\x80\x7f"),
        ("INT64", [-1, 2**62], np.array([-1, 2**62], "<i8").tobytes()),
        ("UINT64", [1, 2**64 - 1], np.array([1, 2**64 - 1], "<u8").tobytes()),
        ("FP64", [0.1, 3], np.array([0.1, 3], "<f8").tobytes()),
        ("FP32", [float("inf"), 1e300], np.array([np.inf, np.inf], "<f4").tobytes()),
        ("BYTES", ["ü", ""], b"\2\0\0\0\xc3\xbc\0\0\0\0"),
    ],
)
def test_each_datatype(datatype, data, raw):
    _, request = asked({"inputs": [tensor(datatype=datatype, data=data)]})

    assert request.raw_input_contents == [raw]


def test_data_may_be_nested_in_any_way():
    for data in ([[1, 2], [3, 4]], [1, 2, 3, 4], [[[1], [2]], [[3], [4]]], [[1, 2, 3], 4]):
        _, request = asked({"inputs": [tensor(shape=[2, 2], datatype="INT8", data=data)]})

        assert request.raw_input_contents == [b"\1\2\3\4"]


def test_binary_data_come_behind_the_json_in_the_order_of_the_inputs():
    inputs = [
        tensor(data=None) | {"parameters": {"binary_data_size": 8}},
        tensor(name="y"),
        tensor(name="z", parameters={"binary_data_size": 0}, shape=[0]),
    ]
    del inputs[0]["data"], inputs[2]["data"]

    _, request = asked({"inputs": inputs}, bytes(range(8)))

    assert request.raw_input_contents == [bytes(range(8)), request.raw_input_contents[1], b""]
    assert not any(one.parameters for one in request.inputs)


def test_inputs_in_shared_memory_bring_no_data():
    region = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    found = tensor(parameters=region)
    del found["data"]
    _, request = asked({"inputs": [found, tensor(name="y")]})

    assert len(request.raw_input_contents) == 1
    assert request.inputs[0].parameters["shared_memory_region"].string_param == "r"
    assert request.inputs[0].parameters["shared_memory_byte_size"].int64_param == 8


def test_parameters_of_each_kind():
    parameters = {"a": True, "b": 3, "c": "t", "d": 0.5, "sequence_id": 7, "priority": 1}
    _, request = asked({"inputs": [], "parameters": parameters})

    kinds = {
        name: value.WhichOneof("parameter_choice") for name, value in request.parameters.items()
    }
    assert kinds == {
        "a": "bool_param",
        "b": "int64_param",
        "c": "string_param",
        "d": "double_param",
        "sequence_id": "int64_param",
        "priority": "int64_param",
    }


def test_wanted_outputs():
    outputs = [
        {"name": "p", "parameters": {"binary_data": True}},
        {"name": "q", "parameters": {"classification": 3}},
        {"name": "r"},
    ]
    found, request = asked(
        {"inputs": [], "outputs": outputs, "parameters": {"binary_data_output": True}}
    )

    assert [one.name for one in request.outputs] == ["p", "q", "r"]
    assert request.outputs[1].parameters["classification"].int64_param == 3
    assert found.binary == {"p": True, "q": False, "r": False}
    assert found.all_binary
    assert not request.parameters


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Unable to parse 'inputs'"),
        ({"inputs": {}}, "non-array as array"),
        ({"inputs": ["x"]}, "an input must be an object"),
        ({"inputs": [{"name": "x"}]}, "But no field is set"),
        (
            {"inputs": [tensor(parameters={"binary_data_size": 4})]},
            "But set 'data' 'binary_data_size'",
        ),
        ({"inputs": [tensor(name=3)]}, "Unable to parse 'name'"),
        ({"inputs": [tensor(shape=2)]}, "Unable to parse 'shape'"),
        ({"inputs": [tensor(shape=[-1])]}, "non-unsigned-integer"),
        ({"inputs": [tensor(shape=[3])]}, "does not match true shape"),
        ({"inputs": [tensor(data=3)]}, "non-array as array"),
        ({"inputs": [tensor(data=[1, "2"])]}, "non-double as double"),
        ({"inputs": [tensor(datatype="INT8", data=[1, 2.5])]}, "non-signed-integer"),
        ({"inputs": [tensor(datatype="INT8", data=[1, 300])]}, "is no INT8"),
        ({"inputs": [tensor(datatype="UINT8", data=[1, -1])]}, "is no UINT8"),
        ({"inputs": [tensor(datatype="BOOL", data=[1, 0])]}, "non-boolean as boolean"),
        ({"inputs": [tensor(datatype="BYTES", data=["a", 1])]}, "non-string as string"),
        ({"inputs": [tensor(datatype="BYTES", data=["a", "\ud800"])]}, "is no text"),
        ({"inputs": [tensor(datatype="FP16")]}, "sending FP16 data via JSON is not supported"),
        ({"inputs": [tensor(datatype="BF16")]}, "sending BF16 data via JSON is not supported"),
        ({"inputs": [tensor(datatype="X")]}, "non-unsigned-integer|is no X"),
        ({"inputs": [], "parameters": {"triton_x": 1}}, "reserved for Triton"),
        ({"inputs": [], "parameters": {"x": [1]}}, "parameter 'x' has invalid type"),
        ({"inputs": [], "parameters": {"x": 1 << 64}}, "parameter 'x' has invalid type"),
        ({"inputs": [], "parameters": 3}, "non-object as object"),
        ({"inputs": [], "parameters": {"binary_data_output": 1}}, "non-boolean"),
        ({"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "non-bool"),
        ({"inputs": [], "outputs": [3]}, "must be an object"),
        ({"inputs": [], "id": 3}, "Unable to parse 'id'"),
        ({"inputs": [], "id": "\ud800"}, "a text that is none"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(body, words):
    text = refusal(body)

    assert any(word in text for word in words.split("|")), text


@pytest.mark.parametrize("beside", ["classification", "binary_data"])
def test_an_output_in_shared_memory_is_nothing_else(beside):
    value = True if beside == "binary_data" else 1
    parameters = {"shared_memory_region": "r", beside: value}

    text = refusal({"inputs": [], "outputs": [{"name": "y", "parameters": parameters}]})
    assert text == f"Output can't set both 'shared_memory_region' and '{beside}'"


def test_too_little_and_too_much_data():
    given = tensor(parameters={"binary_data_size": 8})
    del given["data"]

    assert refusal({"inputs": [given]}, bytes(5)).endswith(
        "unexpected size for input 'x', expecting 3 additional bytes for model 'm'"
    )
    assert "unexpected additional input data for model 'm'" in refusal(
        {"inputs": [given]}, bytes(9)
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000, b'{"inputs": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_request_is_refused(body):
    with pytest.raises(InvalidRequest):
        request_of("m", "", body, len(body))


def test_json_has_a_longest():
    body = b'{"inputs": [' + b"1," * (LONGEST // 2) + b"1]}"

    with pytest.raises(InvalidRequest, match="send tensors as binary data"):
        request_of("m", "", body, len(body))


def test_long_texts_may_be_longer():
    text = "x" * (LONGEST + 1)
    _, request = asked({"inputs": [tensor(datatype="BYTES", shape=[1], data=[text])]})

    assert request.raw_input_contents[0][4:] == text.encode()


def test_deeply_nested_and_wide_data_are_looked_at_once():
    deep = 3
    for _ in range(200):
        deep = [deep]
    data = [1] * 100_000 + [deep]

    _, request = asked({"inputs": [tensor(datatype="UINT8", shape=[100_001], data=data)]})
    assert request.raw_input_contents[0][-2:] == b"\1\3"


class TestReplies:
    """A reply, in JSON and beside it."""

    def reply(self, *, binary=None, all_binary=False, datatype="FP32", raw=None, **fields):
        raw = np.array([0.5, float("nan")], "<f4").tobytes() if raw is None else raw
        response = pb.ModelInferResponse(model_name="m", model_version="1", **fields)
        response.outputs.add(name="y", datatype=datatype, shape=[2])
        message = response.SerializeToString() + b"".join(wire.raw_output_field(raw))
        head, data = reply_of(message, Asked(b"", binary or {}, all_binary))
        return json.loads(head), b"".join(data)

    def test_json(self):
        head, data = self.reply(id="i")

        assert list(head) == ["id", "model_name", "model_version", "outputs"]
        assert head["outputs"][0]["data"][0] == 0.5
        assert np.isnan(head["outputs"][0]["data"][1])
        assert data == b""

    def test_binary(self):
        for wanted in ({"binary": {"y": True}}, {"all_binary": True}):
            head, data = self.reply(**wanted)

            assert head["outputs"] == [
                {
                    "name": "y",
                    "datatype": "FP32",
                    "shape": [2],
                    "parameters": {"binary_data_size": 8},
                }
            ]
            assert len(data) == 8

    def test_an_output_may_differ_from_the_others(self):
        head, data = self.reply(binary={"y": False}, all_binary=True)

        assert "data" in head["outputs"][0]
        assert data == b""

    def test_texts(self):
        head, _ = self.reply(datatype="BYTES", raw=b"\2\0\0\0\xc3\xbc\0\0\0\0")

        assert head["outputs"][0]["data"] == ["ü", ""]

    def test_long_outputs_are_whole(self):
        numbers = np.arange(20_000, dtype="<f4")
        head, _ = self.reply(raw=numbers.tobytes())

        assert head["outputs"][0]["data"] == numbers.tolist()
        with pytest.raises(InvalidRequest, match="ask for it with the parameter binary_data"):
            self.reply(raw=bytes((16 << 20) + 4))

    def test_whether_any_output_is_wanted_as_json(self):
        for binary, all_binary, wanted in (
            ({}, False, True),
            ({}, True, False),
            ({"y": True}, False, False),
            ({"y": True, "z": False}, True, True),
        ):
            assert Asked(b"", binary, all_binary).wants_json() == wanted

    @pytest.mark.parametrize(
        ("datatype", "raw", "words"),
        [
            ("BYTES", b"\1\0\0\0\xff\0\0\0\0", "no UTF-8: ask for it with the parameter"),
            ("BYTES", b"\1\0", "does not match size of output for 'y'"),
            ("FP16", bytes(4), "sending FP16 data via JSON"),
        ],
    )
    def test_what_json_cannot_have(self, datatype, raw, words):
        with pytest.raises(InvalidRequest, match=words):
            self.reply(datatype=datatype, raw=raw)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"[" + b"[]," * (MOST_LISTS + 1) + b"1]", "lists and objects"),
        (b"[" + b"{}," * (MOST_LISTS + 1) + b"1]", "lists and objects"),
    ],
)
def test_json_that_would_hold_up_everybody_is_not_parsed(monkeypatch, body, what):
    """The interpreter is held as long as it takes, on whatever thread."""
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("it was parsed"))

    with pytest.raises(InvalidRequest, match=rf"JSON has \d+ {what}, and may .* as binary data"):
        parsed(body)
