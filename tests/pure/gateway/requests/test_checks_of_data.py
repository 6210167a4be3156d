"""Tensors whose bytes or elements cannot be right are refused with Triton's words."""

import pytest
from support.clients.infer_requests import add_input, ask, packed, refusal, rules, spec, zeros

from penstock.protos.grpc_service_pb2 import ModelInferRequest

ONE = rules(spec("x", "FP32", -1, 16))
TWO = rules(spec("A", "FP32", -1, 4), spec("B", "FP32", -1, 4))
BYTES = rules(spec("s", "BYTES", -1, 2))
OPEN = rules(spec("x", "FP32", -1, -1, 3))


class TestRefusedData:
    def test_none(self):
        request = ModelInferRequest(model_name="m")
        add_input(request, "x", shape=[1, 16])

        assert refusal(request, ONE) == (
            "unable to find data for input tensor 'x' for model 'm' in request."
        )

    def test_raw_for_one_of_two(self):
        request = ask(("A", zeros(1, 4)))
        add_input(request, "B", shape=[1, 4])

        assert "unable to find data for input tensor 'B'" in refusal(request, TWO)

    def test_more_raw_than_inputs(self):
        request = ask(("x", zeros(1, 16)))
        request.raw_input_contents.append(b"")

        assert refusal(request, ONE) == (
            "[request id: i] expected 1 raw_input_contents for model 'm', one for each input, "
            "but got 2"
        )

    def test_raw_and_typed(self):
        request = ask(("A", zeros(1, 4)))
        add_input(request, "B", shape=[1, 4])
        request.inputs[1].contents.fp32_contents.extend([0] * 4)

        assert refusal(request, TWO) == (
            "contents field must not be specified when using raw_input_contents for 'B' "
            "for model 'm'"
        )

    def test_typed_in_the_wrong_field(self):
        request = ModelInferRequest(model_name="m")
        add_input(request, "x", shape=[1, 16], datatype="INT32")
        request.inputs[0].contents.fp32_contents.extend([0] * 16)

        assert refusal(request, ONE) == (
            "unexpected explicit tensor data for input tensor 'x' for model 'm' of type 'FP32', "
            "expected datatype 'INT32'"
        )

    def test_typed_in_two_fields(self):
        request = ModelInferRequest(model_name="m")
        add_input(request, "x", shape=[1, 16])
        request.inputs[0].contents.fp32_contents.extend([0] * 16)
        request.inputs[0].contents.fp64_contents.extend([0] * 16)

        assert refusal(request, ONE) == (
            "unexpected explicit tensor data for input tensor 'x' for model 'm', binary data was "
            "already supplied."
        )

    def test_typed_of_the_wrong_length(self):
        request = ModelInferRequest(model_name="m")
        add_input(request, "x", shape=[1, 16])
        request.inputs[0].contents.fp32_contents.extend([0] * 15)

        assert "Expected 64, got 60" in refusal(request, ONE)

    @pytest.mark.parametrize("count", [1, 3])
    def test_typed_strings_of_the_wrong_number(self, count):
        request = ModelInferRequest(model_name="m")
        add_input(request, "s", shape=[1, 2], datatype="BYTES")
        request.inputs[0].contents.bytes_contents.extend([b"a"] * count)

        assert "string elements" in refusal(request, BYTES)


class TestRefusedStrings:
    @pytest.mark.parametrize(
        ("raw", "text"),
        [
            (
                packed(b"a"),
                "expected 2 string elements for inference input 's' for model 'm', got 1",
            ),
            (b"", "expected 2 string elements for inference input 's' for model 'm', got 0"),
            (
                packed(b"a", b"b", b"c"),
                (
                    "unexpected number of string elements 3 for inference input 's' for model 'm', "
                    "expecting 2"
                ),
            ),
            (
                packed(b"a") + b"\1\0",
                (
                    "incomplete string length indicator for inference input 's' for model 'm', "
                    "expecting 4 bytes but only 2 bytes available. Please make sure the string "
                    "length indicator is in one buffer."
                ),
            ),
            (
                packed(b"a", b"bcd")[:-1],
                (
                    "incomplete string data for inference input 's' for model 'm', expecting "
                    "string of length 3 but only 2 bytes available"
                ),
            ),
            (
                b"\xff\xff\xff\xff",
                (
                    "incomplete string data for inference input 's' for model 'm', expecting "
                    "string of length 4294967295 but only 0 bytes available"
                ),
            ),
        ],
    )
    def test_malformed(self, raw, text):
        request = ModelInferRequest(model_name="m", id="i")
        add_input(request, "s", raw, datatype="BYTES", shape=[1, 2])

        assert refusal(request, BYTES) == f"[request id: i] {text}"
