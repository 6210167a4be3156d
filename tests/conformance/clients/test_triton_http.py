"""Triton's own HTTP client, unmodified, gets from Penstock what it expects of Triton."""

import http.client
import json
import uuid

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.utils.shared_memory as shm
from support.models.decoupled import write_counter
from support.models.onnx_models import DATATYPES, write_add_sub
from support.processes.cluster import Cluster
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

ROWS, LENGTH = 2, 5
NUMBERS = [datatype for datatype in DATATYPES if datatype != "BYTES"]
BINARY_ONLY = ("FP16", "BF16")
SUM = [[15] * 16]


@pytest.fixture
def client(models_cluster):
    with triton.InferenceServerClient(models_cluster.http_url(), concurrency=4) as client:
        yield client


@pytest.fixture
def digits(digits_cluster):
    with triton.InferenceServerClient(digits_cluster.http_url()) as client:
        yield client


@pytest.fixture(scope="module")
def managing(tmp_path_factory):
    """A cluster whose clients load models, and share memory with it."""
    models = tmp_path_factory.mktemp("managed-models")
    write_add_sub(models)
    write_counter(models, tmp_path_factory.mktemp("notes"))
    folder = tmp_path_factory.mktemp("managed-cluster")
    options = ("--model-control-mode", "explicit", "--allow-client-shm", "true")
    python = ("--allow-python-models", "--load-model", "counter")
    one = Cluster(folder, models, "--http", "--http-port", "0", *options, *python)
    with one.running():
        yield one


@pytest.fixture
def manager(managing):
    with triton.InferenceServerClient(managing.http_url()) as client:
        yield client


def sample(datatype, *shape):
    numbers = np.arange(np.prod(shape)).reshape(shape)
    if datatype == "BF16":
        return numbers.astype(ml_dtypes.bfloat16)
    return numbers.astype(triton_to_np_dtype(datatype))


def tensor(name, array, datatype, *, binary=True):
    one = triton.InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    return one


def image(rows=1):
    return tensor("image", np.zeros((rows, 1, 8, 8), np.float32), "FP32")


def addends(*, binary=True):
    a = np.arange(16, dtype=np.int32).reshape(1, 16)
    return [
        tensor("INPUT0", a, "INT32", binary=binary),
        tensor("INPUT1", a[:, ::-1].copy(), "INT32", binary=binary),
    ]


def refusal(call, *args, **kwargs):
    with pytest.raises(InferenceServerException) as caught:
        call(*args, **kwargs)
    return caught.value.status(), caught.value.message()


class TestServer:
    def test_is_live_and_ready_and_called_triton(self, client):
        metadata = client.get_server_metadata()

        assert client.is_server_live()
        assert client.is_server_ready()
        assert metadata["name"] == "triton"
        assert "binary_tensor_data" in metadata["extensions"]

    def test_says_which_models_are_ready(self, digits):
        assert digits.is_model_ready("digits")
        assert all(digits.is_model_ready("digits", version) for version in "1234")
        assert not digits.is_model_ready("digits", "99")
        assert not digits.is_model_ready("nothing")

    def test_lists_the_repository(self, digits):
        found = digits.get_model_repository_index()

        assert sorted(found, key=lambda one: one["version"]) == [
            {"name": "digits", "version": version, "state": "READY"} for version in "1234"
        ]


class TestModel:
    def test_metadata_and_configuration(self, digits):
        metadata, config = digits.get_model_metadata("digits"), digits.get_model_config("digits")

        assert sorted(metadata["versions"]) == ["1", "2", "3", "4"]
        assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
        assert (config["name"], config["max_batch_size"]) == ("digits", 64)
        assert config["input"][0]["dims"] == [1, 8, 8]
        assert config["input"][0]["data_type"] == "TYPE_FP32"
        assert digits.get_model_metadata("digits", "2")["versions"] == ["2"]

    def test_statistics_count_requests(self, client):
        (before,) = client.get_inference_statistics("add_sub", "1")["model_stats"]

        client.infer("add_sub", addends())

        (after,) = client.get_inference_statistics("add_sub")["model_stats"]
        count = after["inference_stats"]["success"]["count"]
        assert count - before["inference_stats"]["success"]["count"] == 1
        assert len(client.get_inference_statistics()["model_stats"]) > 1


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

    def test_and_so_do_they_as_json(self, client):
        arrays = {datatype: sample(datatype, ROWS, LENGTH) for datatype in NUMBERS}
        names = {datatype: f"out_{datatype.lower()}" for datatype in NUMBERS}

        result = client.infer(
            "identity",
            [
                tensor(f"in_{d.lower()}", array, d, binary=d in BINARY_ONLY)
                for d, array in arrays.items()
            ],
            outputs=[
                triton.InferRequestedOutput(name, binary_data=datatype in BINARY_ONLY)
                for datatype, name in names.items()
            ],
        )

        for datatype, array in arrays.items():
            np.testing.assert_array_equal(result.as_numpy(names[datatype]), array)
            has_data = "data" in result.get_output(names[datatype])
            assert has_data == (datatype not in BINARY_ONLY)

    @pytest.mark.parametrize("binary", [True, False])
    def test_text_comes_back_as_it_was_sent(self, client, binary):
        text = np.array([["", "two words"], ["ä", "x" * 10_000]], np.object_)
        wanted = [triton.InferRequestedOutput("output", binary_data=binary)]

        result = client.infer(
            "identity_text", [tensor("input", text, "BYTES", binary=binary)], outputs=wanted
        )

        found = result.as_numpy("output").tolist()
        assert [[getattr(x, "decode", lambda x=x: x)() for x in row] for row in found] == (
            text.tolist()
        )

    @pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
    @pytest.mark.parametrize("binary", [True, False])
    def test_compressed_both_ways(self, client, algorithm, binary):
        result = client.infer(
            "add_sub",
            addends(binary=binary),
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )

        assert result.as_numpy("OUTPUT0").tolist() == SUM

    def test_only_the_outputs_asked_for_come_back_and_the_id_too(self, client):
        wanted = [triton.InferRequestedOutput("OUTPUT1")]

        result = client.infer("add_sub", addends(), outputs=wanted, request_id="mine")

        response = result.get_response()
        assert (response["id"], response["model_version"]) == ("mine", "1")
        assert [output["name"] for output in response["outputs"]] == ["OUTPUT1"]

    @pytest.mark.parametrize("binary", [True, False])
    def test_an_output_can_come_back_as_its_top_classes(self, digits, binary):
        wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=3)]

        classes = digits.infer("digits", [image(2)], outputs=wanted).as_numpy("probabilities")

        assert classes.shape == (2, 3)
        first = classes[0, 0].decode() if binary else classes[0, 0]
        assert len(first.split(":")) == 3

    def test_large_tensors(self, client):
        array = np.arange(1 << 20, dtype=np.float32).reshape(ROWS, -1)
        inputs = [tensor(f"in_{d.lower()}", sample(d, ROWS, LENGTH), d) for d in NUMBERS]
        inputs = [one for one in inputs if one.name() != "in_fp32"]
        inputs.append(tensor("in_fp32", array, "FP32"))

        result = client.infer("identity", inputs)

        np.testing.assert_array_equal(result.as_numpy("out_fp32"), array)

    def test_parameters_are_taken(self, client):
        result = client.infer(
            "add_sub",
            addends(),
            priority=1,
            timeout=10_000_000,
            parameters={"mine": "s", "number": 1, "yes": True, "half": 0.5},
        )

        assert result.as_numpy("OUTPUT0").tolist() == SUM

    def test_several_requests_can_be_in_flight(self, client):
        calls = [
            client.async_infer("add_sub", addends(), request_id=str(number)) for number in range(8)
        ]

        found = [call.get_result().get_response()["id"] for call in calls]
        assert found == [str(number) for number in range(8)]


class TestRefusals:
    def test_unknown_models_and_versions(self, client):
        text = "Request for unknown model: 'nothing' is not found"

        assert refusal(client.infer, "nothing", addends()) == ("404", text)
        assert refusal(client.get_model_metadata, "nothing") == ("404", text)
        assert refusal(client.get_model_config, "nothing") == ("404", text)
        assert refusal(client.infer, "add_sub", addends(), model_version="99") == (
            "404",
            "Request for unknown model: 'add_sub' version 99 is not found",
        )
        status, text = refusal(client.get_inference_statistics, "nothing")
        assert (status, text) == ("400", "requested model 'nothing' is not available")

    def test_a_missing_input(self, client):
        status, text = refusal(client.infer, "add_sub", addends()[:1], request_id="i")

        assert status == "400"
        assert text == (
            "[request id: i] expected 2 inputs but got 1 inputs for model 'add_sub'. Got input(s) "
            "['INPUT0'], but missing required input(s) ['INPUT1']. Please provide all required "
            "input(s)."
        )

    def test_a_wrong_datatype_and_a_batch_too_large(self, digits):
        wrong = tensor("image", np.zeros((1, 1, 8, 8), np.int32), "INT32")

        status, text = refusal(digits.infer, "digits", [wrong])
        assert status == "400"
        assert "data-type is 'INT32', but model 'digits' expects 'FP32'" in text
        text = "[request id: <id_unknown>] inference request batch-size must be <= 64 for 'digits'"
        assert refusal(digits.infer, "digits", [image(65)]) == ("400", text)

    def test_models_are_not_loaded_by_clients_where_the_repository_decides(self, client):
        assert refusal(client.load_model, "add_sub") == (
            "503",
            "explicit model load / unload is not allowed if polling is enabled",
        )

    def test_shared_memory_is_not_offered_unless_it_is_allowed(self, client):
        status, text = refusal(client.get_system_shared_memory_status)

        assert status == "501"
        assert text.startswith("Client shared memory is disabled.")


class TestManagement:
    def test_models_are_loaded_and_unloaded(self, manager):
        assert "add_sub" in {one["name"] for one in manager.get_model_repository_index()}
        manager.load_model("add_sub")
        assert manager.is_model_ready("add_sub")
        assert manager.infer("add_sub", addends()).as_numpy("OUTPUT0").tolist() == SUM

        config = '{"max_batch_size": 4}'
        manager.load_model("add_sub", config=config)
        assert manager.get_model_config("add_sub")["max_batch_size"] == 4
        manager.unload_model("add_sub", unload_dependents=True)
        assert not manager.is_model_ready("add_sub")
        status, text = refusal(manager.load_model, "nothing")
        assert status == "500"
        assert text.startswith("failed to load 'nothing'")

    def test_settings_of_logs_and_traces(self, manager):
        before = manager.get_log_settings()
        assert manager.update_log_settings({"log_verbose_level": 1})["log_verbose_level"] == 1
        assert manager.update_log_settings(before | {"log_file": None}) == before
        assert refusal(manager.update_log_settings, {"log_file": "x"})[0] == "501"

        assert manager.get_trace_settings()["trace_level"] == ["OFF"]
        changed = manager.update_trace_settings(settings={"trace_rate": "7"})
        assert changed["trace_rate"] == "7"
        cleared = manager.update_trace_settings(settings={"trace_rate": None})
        assert cleared["trace_rate"] == "1000"
        assert refusal(manager.get_trace_settings, "nothing")[0] == "400"

    def test_tensors_in_shared_memory(self, manager):
        manager.load_model("add_sub")
        key, size = f"/test-{uuid.uuid4().hex}", 64
        segment = shm.create_shared_memory_region("tensors", key, 2 * size)
        try:
            shm.set_shared_memory_region(segment, [np.full((1, 16), 5, np.int32)])
            manager.register_system_shared_memory("tensors", key, 2 * size)
            assert manager.get_system_shared_memory_status() == [
                {"name": "tensors", "key": key, "offset": 0, "byte_size": 2 * size}
            ]
            given, _ = addends()
            given.set_shared_memory("tensors", size)
            wanted = triton.InferRequestedOutput("OUTPUT0", binary_data=False)
            wanted.set_shared_memory("tensors", size, size)

            result = manager.infer("add_sub", [given, addends()[1]], outputs=[wanted])

            output = result.get_output("OUTPUT0")
            assert "data" not in output
            assert output["parameters"]["shared_memory_region"] == "tensors"
            there = shm.get_contents_as_numpy(segment, np.int32, (1, 16), size)
            assert there.tolist() == [list(range(20, 4, -1))]
            manager.unregister_system_shared_memory("tensors")
            assert manager.get_system_shared_memory_status() == []
        finally:
            shm.destroy_shared_memory_region(segment)

    def test_cuda_regions_are_refused(self, manager):
        assert manager.get_cuda_shared_memory_status() == []
        status, text = refusal(
            manager.register_cuda_shared_memory, "r", "AAAA", device_id=0, byte_size=4
        )

        assert status == "501"
        assert text.startswith("CUDA shared memory is not offered")
        manager.unregister_cuda_shared_memory()


class TestGenerate:
    """The generate extension, whose clients are curl and whoever reads server-sent events."""

    @pytest.fixture
    def ask(self, managing):
        connection = http.client.HTTPConnection(managing.http_url(), timeout=60)

        def ask(path, body):
            connection.request("POST", path, json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.headers["content-type"], answer.read().decode()

        yield ask
        connection.close()

    @pytest.mark.parametrize("count", [0, 1, 100])
    def test_a_stream_has_each_reply_as_an_event(self, ask, count):
        status, kind, body = ask("/v2/models/counter/generate_stream", {"count": count})

        events = [json.loads(one.removeprefix("data: ")) for one in body.split("\n\n") if one]
        assert (status, kind) == (200, "text/event-stream; charset=utf-8")
        assert [event["number"] for event in events] == list(range(count))

    def test_a_failure_is_the_last_event_or_the_status(self, ask):
        request = {"count": 3, "parameters": {"fail_at": 2}}
        _, _, body = ask("/v2/models/counter/generate_stream", request)
        events = [json.loads(one.removeprefix("data: ")) for one in body.split("\n\n") if one]
        assert [next(iter(event)) for event in events] == ["model_name", "model_name", "error"]

        status, kind, _ = ask("/v2/models/nothing/generate_stream", {})
        assert (status, kind) == (404, "application/json")

    def test_one_reply_is_one_object(self, ask):
        status, _, body = ask("/v2/models/counter/generate", {"count": [1], "id": "i"})
        assert status == 200
        assert json.loads(body)["number"] == 0

        status, _, body = ask("/v2/models/counter/generate", {"count": 2})
        assert status == 400
        assert "exactly 1 response" in json.loads(body)["error"]

    def test_infer_refuses_models_that_answer_any_number_of_times(self, manager):
        count = tensor("count", np.array([1], np.int32), "INT32")

        status, text = refusal(manager.infer, "counter", [count])
        assert status == "501"
        assert text == "HTTP end point doesn't support models with decoupled transaction policy"
