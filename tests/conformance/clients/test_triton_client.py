"""Triton's own client for Python, unmodified, gets from Penstock what it expects of Triton."""

import queue

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
from support.models.onnx_models import DATATYPES
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

pytestmark = pytest.mark.both_fronts

ROWS, LENGTH = 2, 5
NUMBERS = [datatype for datatype in DATATYPES if datatype != "BYTES"]


@pytest.fixture
def client(models_cluster):
    with triton.InferenceServerClient(models_cluster.url) as client:
        yield client


@pytest.fixture
def digits(digits_cluster):
    with triton.InferenceServerClient(digits_cluster.url) as client:
        yield client


def sample(datatype, *shape):
    numbers = np.arange(np.prod(shape)).reshape(shape)
    if datatype == "BF16":
        return numbers.astype(ml_dtypes.bfloat16)
    return numbers.astype(triton_to_np_dtype(datatype))


def tensor(name, array, datatype):
    one = triton.InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array)
    return one


def image(rows=1):
    return tensor("image", np.zeros((rows, 1, 8, 8), np.float32), "FP32")


def addends():
    a = np.arange(16, dtype=np.int32).reshape(1, 16)
    return [tensor("INPUT0", a, "INT32"), tensor("INPUT1", a[:, ::-1].copy(), "INT32")]


def refusal(call, *args, **kwargs):
    with pytest.raises(InferenceServerException) as caught:
        call(*args, **kwargs)
    return caught.value.status(), caught.value.message()


class TestServer:
    def test_is_live_and_ready(self, client):
        assert client.is_server_live()
        assert client.is_server_ready()

    def test_is_called_triton(self, client):
        metadata = client.get_server_metadata()

        assert metadata.name == "triton"
        assert "statistics" in metadata.extensions

    def test_says_which_models_are_ready(self, digits):
        assert digits.is_model_ready("digits")
        assert all(digits.is_model_ready("digits", version) for version in "1234")
        assert not digits.is_model_ready("digits", "99")
        assert not digits.is_model_ready("nothing")

    def test_lists_the_repository(self, digits):
        index = digits.get_model_repository_index()

        found = {(model.name, model.version, model.state) for model in index.models}
        assert found == {("digits", version, "READY") for version in "1234"}


class TestModel:
    def test_metadata_has_the_batch_dimension(self, digits):
        metadata = digits.get_model_metadata("digits")

        assert metadata.name == "digits"
        assert sorted(metadata.versions) == ["1", "2", "3", "4"]
        (only,) = metadata.inputs
        assert (only.name, only.datatype, list(only.shape)) == ("image", "FP32", [-1, 1, 8, 8])
        assert {output.name: list(output.shape) for output in metadata.outputs} == {
            "probabilities": [-1, 10],
            "digit": [-1, 1],
        }

    def test_config_has_it_not(self, digits):
        config = digits.get_model_config("digits").config

        assert (config.name, config.max_batch_size) == ("digits", 64)
        assert [list(one.dims) for one in config.input] == [[1, 8, 8]]

    def test_statistics_count_requests(self, client):
        before = client.get_inference_statistics("add_sub", "1").model_stats[0]

        client.infer("add_sub", addends())
        client.infer("add_sub", addends())

        after = client.get_inference_statistics("add_sub", "1").model_stats[0]
        assert (after.name, after.version) == ("add_sub", "1")
        assert after.inference_count - before.inference_count == 2
        new, old = after.inference_stats, before.inference_stats
        assert new.success.count - old.success.count == 2
        assert new.queue.count > old.queue.count
        assert new.compute_input.count == new.compute_infer.count == new.compute_output.count
        assert after.last_inference > before.last_inference


class TestInference:
    @pytest.mark.parametrize("model", ["identity", "identity_flat"])
    def test_numbers_of_every_datatype_come_back_as_they_were_sent(self, client, model):
        shape = (ROWS, LENGTH) if model == "identity" else (LENGTH,)
        arrays = {datatype: sample(datatype, *shape) for datatype in NUMBERS}

        result = client.infer(
            model, [tensor(f"in_{d.lower()}", array, d) for d, array in arrays.items()]
        )

        for datatype, array in arrays.items():
            np.testing.assert_array_equal(result.as_numpy(f"out_{datatype.lower()}"), array)

    def test_text_comes_back_as_it_was_sent(self, client):
        text = np.array([[b"", b"two words"], ["ä".encode(), b"x" * 10_000]], np.object_)

        result = client.infer("identity_text", [tensor("input", text, "BYTES")])

        assert result.as_numpy("output").tolist() == text.tolist()

    def test_only_the_outputs_asked_for_come_back_and_the_id_too(self, client):
        wanted = [triton.InferRequestedOutput("OUTPUT1")]

        result = client.infer("add_sub", addends(), outputs=wanted, request_id="mine")

        assert result.get_response().id == "mine"
        assert result.get_response().model_version == "1"
        assert [output.name for output in result.get_response().outputs] == ["OUTPUT1"]
        assert result.as_numpy("OUTPUT1").tolist() == [list(range(-15, 16, 2))]

    @pytest.mark.parametrize("version", ["", "1", "2", "3", "4"])
    def test_every_version_answers_alike(self, digits, version):
        result = digits.infer("digits", [image(3)], model_version=version)

        assert result.get_response().model_version == (version or "4")
        assert result.as_numpy("probabilities").shape == (3, 10)
        np.testing.assert_allclose(result.as_numpy("probabilities").sum(1), 1, rtol=1e-5)

    @pytest.mark.parametrize("version", ["1", "2"])
    def test_an_output_can_come_back_as_its_top_classes(self, digits, version):
        wanted = [
            triton.InferRequestedOutput("probabilities", class_count=3),
            triton.InferRequestedOutput("digit"),
        ]

        result = digits.infer("digits", [image(2)], model_version=version, outputs=wanted)

        classes = result.as_numpy("probabilities")
        assert classes.shape == (2, 3)
        probability, index, label = classes[0, 0].decode().split(":")
        words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
        assert label == words[int(index)]
        assert int(index) == result.as_numpy("digit")[0, 0]
        assert float(probability) >= float(classes[0, 1].decode().split(":")[0])

    @pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
    def test_compressed_requests_are_understood(self, client, algorithm):
        result = client.infer("add_sub", addends(), compression_algorithm=algorithm)

        assert result.as_numpy("OUTPUT0").tolist() == [[15] * 16]

    def test_priority_timeout_and_other_parameters_are_taken(self, client):
        result = client.infer(
            "add_sub",
            addends(),
            priority=1,
            timeout=10_000_000,
            parameters={"mine": "s", "number": 1, "yes": True},
        )

        assert result.as_numpy("OUTPUT0").tolist() == [[15] * 16]

    def test_several_requests_can_be_in_flight(self, client):
        answers = queue.Queue()

        for number in range(8):
            client.async_infer(
                "add_sub",
                addends(),
                callback=lambda result, error: answers.put((result, error)),
                request_id=str(number),
            )

        got = [answers.get(timeout=20) for _ in range(8)]
        assert [error for _, error in got] == [None] * 8
        assert {result.get_response().id for result, _ in got} == set("01234567")

    def test_a_request_can_be_cancelled(self, client):
        answers = queue.Queue()
        call = client.async_infer(
            "slow",
            [tensor("seconds", np.array([[3]], np.float32), "FP32")],
            callback=lambda result, error: answers.put((result, error)),
        )

        call.cancel()

        _, error = answers.get(timeout=2)
        assert error.status() == "StatusCode.CANCELLED"

    def test_a_deadline_ends_a_request(self, client):
        status, _ = refusal(
            client.infer,
            "slow",
            [tensor("seconds", np.array([[2]], np.float32), "FP32")],
            client_timeout=0.3,
        )

        assert status == "StatusCode.DEADLINE_EXCEEDED"


INVALID, NOT_FOUND = "StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND"


class TestRefusals:
    def test_unknown_model(self, client):
        text = "Request for unknown model: 'nothing' is not found"

        assert refusal(client.infer, "nothing", addends()) == (NOT_FOUND, text)
        assert refusal(client.get_model_metadata, "nothing") == (NOT_FOUND, text)
        assert refusal(client.get_model_config, "nothing") == (NOT_FOUND, text)

    def test_unknown_version(self, client):
        text = "Request for unknown model: 'add_sub' version 99 is not found"

        assert refusal(client.infer, "add_sub", addends(), model_version="99") == (NOT_FOUND, text)

    def test_a_version_that_is_no_number(self, client):
        status, text = refusal(client.infer, "add_sub", addends(), model_version="latest")

        assert status == INVALID
        assert text.startswith("failed to get model version from specified version string 'latest'")

    def test_statistics_of_an_unknown_model(self, client):
        status, text = refusal(client.get_inference_statistics, "nothing")

        assert status == INVALID
        assert "requested model 'nothing' is not available" in text

    def test_a_missing_input(self, client):
        status, text = refusal(client.infer, "add_sub", addends()[:1], request_id="i")

        assert status == INVALID
        assert text == (
            "[request id: i] expected 2 inputs but got 1 inputs for model 'add_sub'. Got input(s) "
            "['INPUT0'], but missing required input(s) ['INPUT1']. Please provide all required "
            "input(s)."
        )

    def test_a_batch_too_large(self, digits):
        text = "[request id: <id_unknown>] inference request batch-size must be <= 64 for 'digits'"

        assert refusal(digits.infer, "digits", [image(65)]) == (INVALID, text)

    def test_a_wrong_datatype(self, digits):
        wrong = tensor("image", np.zeros((1, 1, 8, 8), np.int32), "INT32")

        status, text = refusal(digits.infer, "digits", [wrong])

        assert status == INVALID
        assert "data-type is 'INT32', but model 'digits' expects 'FP32'" in text

    def test_what_is_not_offered_is_unimplemented(self, client):
        assert refusal(client.get_cuda_shared_memory_status)[0] == "StatusCode.UNIMPLEMENTED"

    def test_models_are_not_loaded_by_clients_where_the_repository_decides(self, client):
        status, text = refusal(client.load_model, "add_sub")

        assert status == "StatusCode.UNAVAILABLE"
        assert text == "explicit model load / unload is not allowed if polling is enabled"
