"""Requests that cannot be right are refused with Triton's words; the others pass."""

import pytest
from support.clients.infer_requests import add_input, ask, packed, refusal, rules, spec, zeros

from penstock.errors import Unimplemented
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.scheduler.requests.checks import admit

ONE = rules(spec("x", "FP32", -1, 16))
TWO = rules(spec("A", "FP32", -1, 4), spec("B", "FP32", -1, 4))
BYTES = rules(spec("s", "BYTES", -1, 2))
OPEN = rules(spec("x", "FP32", -1, -1, 3))


class TestAdmitted:
    def test_says_what_the_queue_needs(self):
        admitted = admit(ask(("x", zeros(3, 16))), ONE)

        assert admitted == (3, 0, 0, False, False, None, None)

    def test_a_model_without_batching_has_one_row(self):
        admitted = admit(
            ask(("x", zeros(5, 16))), rules(spec("x", "FP32", 5, 16), max_batch_size=0)
        )

        assert admitted.rows == 1

    def test_a_scalar_model_takes_a_scalar(self):
        assert admit(ask(("x", zeros())), rules(spec("x", "FP32"), max_batch_size=0)).rows == 1

    def test_an_open_dimension_takes_any_size_none_included(self):
        for size in (0, 1, 7):
            assert admit(ask(("x", zeros(2, size, 3))), OPEN).rows == 2

    def test_an_optional_input_may_be_left_out(self):
        optional = rules(spec("A", "FP32", -1, 4), spec("B", "FP32", -1, 4, optional=True))

        assert admit(ask(("A", zeros(1, 4))), optional).rows == 1

    def test_inputs_may_come_in_any_order(self):
        assert admit(ask(("B", zeros(2, 4)), ("A", zeros(2, 4))), TWO).rows == 2

    def test_requested_outputs_are_listed_in_order(self):
        both = rules(spec("x", "FP32", -1, 16), outputs=[spec("y", "FP32"), spec("z", "FP32")])
        request = ask(("x", zeros(1, 16)))
        request.outputs.add(name="z")
        request.outputs.add(name="y")

        assert admit(request, both).outputs == ("z", "y")

    def test_raw_contents_may_be_handed_over_beside_the_request(self):
        request = ask(("x", zeros(1, 16)))
        raw = [memoryview(request.raw_input_contents.pop())]

        assert admit(request, ONE, raw).rows == 1

    def test_typed_contents_are_marked(self):
        request = ModelInferRequest(model_name="m")
        add_input(request, "x", shape=[1, 16])
        request.inputs[0].contents.fp32_contents.extend([0.5] * 16)

        assert admit(request, ONE).typed

    def test_well_formed_strings_pass(self):
        request = ModelInferRequest(model_name="m")
        add_input(request, "s", packed(b"", b"ab"), datatype="BYTES", shape=[1, 2])

        assert admit(request, BYTES).rows == 1


class TestRefusedInputs:
    def test_too_few(self):
        assert refusal(ask(("A", zeros(1, 4))), TWO) == (
            "[request id: i] expected 2 inputs but got 1 inputs for model 'm'. Got input(s) ['A'], "
            "but missing required input(s) ['B']. Please provide all required input(s)."
        )

    def test_none_without_an_id(self):
        assert refusal(ask(request_id=""), ONE) == (
            "[request id: <id_unknown>] expected 1 inputs but got 0 inputs for model 'm'. "
            "Got input(s) [], but missing required input(s) ['x']. "
            "Please provide all required input(s)."
        )

    def test_too_many(self):
        text = refusal(ask(("x", zeros(1, 16)), ("z", zeros(1, 16))), ONE)

        assert "expected 1 inputs but got 2 inputs for model 'm'. Got input(s) ['x','z']" in text

    def test_a_required_one_is_missing_beside_an_optional_one(self):
        optional = rules(spec("A", "FP32", -1, 4), spec("B", "FP32", -1, 4, optional=True))

        text = refusal(ask(("B", zeros(1, 4))), optional)

        assert "expected number of inputs between 1 and 2 but got 1 inputs for model 'm'" in text
        assert "missing required input(s) ['A']" in text

    @pytest.mark.parametrize("max_batch_size", [8, 0])
    def test_unknown_name(self, max_batch_size):
        some = rules(spec("x", "FP32", -1, 16), max_batch_size=max_batch_size)

        text = refusal(ask(("q", zeros(1, 16))), some)

        assert text == "unexpected inference input 'q' for model 'm'"

    def test_twice_the_same(self):
        text = refusal(ask(("A", zeros(1, 4)), ("A", zeros(1, 4))), TWO)

        assert text == "[request id: i] input 'A' already exists in request"

    def test_datatype(self):
        request = ModelInferRequest(model_name="m", id="i")
        add_input(request, "x", zeros(1, 16), datatype="INT32")

        assert refusal(request, ONE) == (
            "[request id: i] inference input 'x' data-type is 'INT32', but model 'm' expects 'FP32'"
        )

    def test_shape(self):
        assert refusal(ask(("x", zeros(1, 15))), ONE) == (
            "[request id: i] unexpected shape for input 'x' for model 'm'. Expected [-1,16], "
            "got [1,15]. NOTE: Setting a non-zero max_batch_size in the model config requires a "
            "batch dimension to be prepended to each input shape. If you want to specify the full "
            "shape including the batch dim in your input dims config, try setting max_batch_size "
            "to zero. See the model configuration docs for more info on max_batch_size."
        )

    def test_shape_without_batching(self):
        some = rules(spec("x", "FP32", 16), max_batch_size=0)

        assert refusal(ask(("x", zeros(15))), some) == (
            "[request id: i] unexpected shape for input 'x' for model 'm'. Expected [16], got [15]."
        )

    def test_rank(self):
        text = refusal(ask(("x", zeros(8))), ONE)

        assert "Expected [-1,16], got [8]." in text

    @pytest.mark.parametrize("shape", [[-1, 16], [1, -1], [-5, 16]])
    def test_a_dimension_left_open(self, shape):
        request = ModelInferRequest(model_name="m", id="i")
        add_input(request, "x", bytes(64), shape=shape)

        assert refusal(request, ONE) == (
            "[request id: i] All input dimensions should be specified for input 'x' for model 'm',"
            f" got [{shape[0]},{shape[1]}]"
        )

    def test_no_shape_at_all(self):
        request = ModelInferRequest(model_name="m", id="i")
        add_input(request, "x", bytes(64), shape=[])

        assert refusal(request, ONE) == (
            "[request id: i] input 'x' has no shape but model requires batch dimension for 'm'"
        )

    def test_batch_sizes_differ(self):
        text = refusal(ask(("A", zeros(1, 4)), ("B", zeros(2, 4))), TWO)

        assert text == "[request id: i] input 'B' batch size does not match other inputs for 'm'"

    def test_the_batch_is_too_big(self):
        text = refusal(ask(("x", zeros(9, 16))), ONE)

        assert text == "[request id: i] inference request batch-size must be <= 8 for 'm'"

    def test_the_batch_is_empty(self):
        text = refusal(ask(("x", zeros(0, 16))), ONE)

        assert text == "[request id: i] inference request batch-size must be >= 1 for 'm'"

    @pytest.mark.parametrize("size", [0, 63, 65, 128])
    def test_byte_size(self, size):
        request = ModelInferRequest(model_name="m", id="i")
        add_input(request, "x", bytes(size), shape=[1, 16])

        assert refusal(request, ONE) == (
            "[request id: i] input byte size mismatch for input 'x' for model 'm'. "
            f"Expected 64, got {size}"
        )

    def test_byte_size_of_an_open_shape(self):
        request = ModelInferRequest(model_name="m", id="i")
        add_input(request, "x", bytes(20), shape=[1, 2, 3])

        assert "Expected 24, got 20" in refusal(request, OPEN)

    def test_a_shape_of_absurd_size_costs_nothing(self):
        request = ModelInferRequest(model_name="m", id="i")
        add_input(request, "x", bytes(20), shape=[1, 2**62, 3])

        assert "input byte size mismatch" in refusal(request, OPEN)

    def test_shared_memory(self):
        request = ask(("x", zeros(1, 16)))
        request.inputs[0].parameters["shared_memory_region"].string_param = "r"

        text = refusal(request, ONE, Unimplemented)

        assert text.startswith("Client shared memory is disabled.")


class TestRefusedOutputs:
    def test_unknown(self):
        request = ask(("x", zeros(1, 16)))
        request.outputs.add(name="q")

        assert refusal(request, ONE) == "unexpected inference output 'q' for model 'm'"

    def test_twice_the_same(self):
        request = ask(("x", zeros(1, 16)))
        request.outputs.add(name="y")
        request.outputs.add(name="y")

        assert refusal(request, ONE) == "[request id: i] output 'y' already exists in request"

    def test_shared_memory(self):
        request = ask(("x", zeros(1, 16)))
        request.outputs.add(name="y").parameters["shared_memory_region"].string_param = "r"

        assert "Client shared memory is disabled." in refusal(request, ONE, Unimplemented)

    def test_a_number_of_classes_that_is_none(self):
        request = ask(("x", zeros(1, 16)))
        request.outputs.add(name="y").parameters["classification"].string_param = "3"
        wrong_type = refusal(request, ONE)

        assert wrong_type == (
            "invalid value type for 'classification' parameter, expected int64_param"
        )
        for count in (-1, 0):
            request.outputs[0].parameters["classification"].int64_param = count
            assert refusal(request, ONE) == (
                "invalid value for 'classification' parameter, expected >= 0"
            )

    @pytest.mark.parametrize("datatype", ["BYTES", "BOOL"])
    def test_classes_of_what_has_no_order(self, datatype):
        request = ask(("x", zeros(1, 16)))
        request.outputs.add(name="y").parameters["classification"].int64_param = 3
        wordy = rules(spec("x", "FP32", -1, 16), outputs=[spec("y", datatype, -1, 3)])

        text = f"class result not available for output due to unsupported type '{datatype}'"
        assert refusal(request, wordy) == text


class TestClasses:
    def test_are_wanted_of_some_outputs_or_of_none(self):
        request = ask(("x", zeros(1, 16)))
        request.outputs.add(name="y").parameters["classification"].int64_param = 3
        some = admit(request, ONE)
        del request.outputs[0].parameters["classification"]
        none = admit(request, ONE)

        assert some.classes == {"y": 3}
        assert none.classes is None
        assert none.outputs == ("y",)


class TestOrder:
    """When several things are wrong, the text is of the one that Triton finds first."""

    def test_outputs_before_the_number_of_inputs(self):
        request = ask()
        request.outputs.add(name="q")

        assert "unexpected inference output" in refusal(request, ONE)

    def test_the_number_of_inputs_before_the_batch(self):
        assert "expected 2 inputs" in refusal(ask(("A", zeros(99, 4))), TWO)

    def test_the_batch_before_the_datatype(self):
        request = ModelInferRequest(model_name="m")
        add_input(request, "x", zeros(9, 16), datatype="INT32")

        assert "batch-size" in refusal(request, ONE)

    def test_the_datatype_before_the_shape(self):
        request = ModelInferRequest(model_name="m")
        add_input(request, "x", zeros(1, 15), datatype="INT32")

        assert "data-type" in refusal(request, ONE)

    def test_the_shape_before_the_bytes(self):
        request = ModelInferRequest(model_name="m")
        add_input(request, "x", bytes(3), shape=[1, 15])

        assert "unexpected shape" in refusal(request, ONE)

    def test_data_before_outputs(self):
        request = ModelInferRequest(model_name="m")
        add_input(request, "x", shape=[1, 16])
        request.outputs.add(name="q")

        assert "unable to find data" in refusal(request, ONE)
