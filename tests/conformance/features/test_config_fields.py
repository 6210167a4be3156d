"""What config.pbtxt says acts, as Triton's client sees it."""

import queue

import numpy as np
import pytest
import tritonclient.grpc as triton
from support.metrics import scrape
from support.models.config_models import (
    write_optional,
    write_picky,
    write_reshaped,
    write_together,
)
from support.processes.cluster import Cluster


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    repository = tmp_path_factory.mktemp("config-models")
    write_reshaped(repository)
    write_optional(repository)
    write_picky(repository, "warmed", 95)
    write_picky(repository, "overheated", 5)
    write_together(repository)
    one = Cluster(tmp_path_factory.mktemp("config-cluster"), repository)
    with one.running():
        yield one


@pytest.fixture
def client(running):
    with triton.InferenceServerClient(running.url) as client:
        yield client


def tensor(name, rows, datatype="FP32"):
    array = np.array(rows, {"FP32": np.float32, "INT64": np.int64}[datatype])
    one = triton.InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array)
    return one


def all_at_once(client, model, requests):
    """What `y` is for each of *requests*, given by their inputs and sent together."""
    ended = queue.Queue()
    for place, inputs in enumerate(requests):
        client.async_infer(
            model, inputs, lambda result, error, place=place: ended.put((place, result, error))
        )
    found = {}
    for _ in requests:
        place, result, error = ended.get(timeout=30)
        found[place] = error or result.as_numpy("y").tolist()
    return [found[place] for place in range(len(requests))]


def refusal(client, version):
    with pytest.raises(triton.InferenceServerException) as caught:
        client.infer("overheated", [tensor("x", [[97]], "INT64")], model_version=version)
    return caught.value.status(), caught.value.message()


class TestReshape:
    def test_clients_see_dims(self, client):
        metadata = client.get_model_metadata("reshaped")

        assert list(metadata.inputs[0].shape) == [-1, 1]
        assert list(metadata.outputs[0].shape) == [-1, 6]

    def test_the_configuration_says_both(self, client):
        (given,) = client.get_model_config("reshaped").config.input

        assert (list(given.dims), given.HasField("reshape")) == ([1], True)
        assert not given.reshape.shape

    def test_batches_go_in_and_out_in_the_artifacts_shape(self, client):
        answers = [
            client.infer("reshaped", [tensor("x", [[row] for row in range(1, rows + 1)])])
            for rows in (1, 3)
        ]

        for rows, answer in zip((1, 3), answers, strict=True):
            assert answer.as_numpy("y").tolist() == [
                [row * factor for factor in range(1, 7)] for row in range(1, rows + 1)
            ]


class TestOptional:
    def test_what_is_left_out_has_its_default(self, client):
        x = tensor("x", [[1, 2]])

        assert client.infer("optional", [x]).as_numpy("y").tolist() == [[11, 12]]

    def test_what_is_given_counts(self, client):
        given = [tensor("x", [[1, 2]]), tensor("bias", [[5, 6]])]

        assert client.infer("optional", given).as_numpy("y").tolist() == [[6, 8]]

    def test_requests_with_and_without_it_do_not_mix(self, client):
        with_bias = [[tensor("x", [[i, i]]), tensor("bias", [[1, 1]])] for i in range(8)]
        without = [[tensor("x", [[i, i]])] for i in range(8)]
        mixed = [one for pair in zip(with_bias, without, strict=True) for one in pair]

        answers = all_at_once(client, "optional", mixed)

        assert answers == [[[i + more] * 2] for i in range(8) for more in (1, 10)]

    def test_the_other_input_is_needed(self, client):
        with pytest.raises(triton.InferenceServerException) as caught:
            client.infer("optional", [tensor("bias", [[5, 6]])], request_id="7")

        assert caught.value.message() == (
            "[request id: 7] expected number of inputs between 1 and 2 but got 1 inputs for model "
            "'optional'. Got input(s) ['bias'], but missing required input(s) ['x']. Please "
            "provide all required input(s)."
        )

    def test_the_configuration_says_so(self, client):
        told = client.get_model_config("optional").config

        assert [given.optional for given in told.input] == [False, True]
        assert told.optimization.graph.level == 1


class TestWarmup:
    def test_a_worker_warms_up_on_its_sample_and_not_on_zeros(self, client):
        assert client.is_model_ready("warmed")
        assert client.infer("warmed", [tensor("x", [[97]], "INT64")]).as_numpy("y") == [[3]]

    def test_a_worker_that_cannot_is_not_ready_and_says_why(self, client):
        (index,) = [
            one for one in client.get_model_repository_index().models if one.name == "overheated"
        ]

        assert not client.is_model_ready("overheated")
        assert index.state == "UNAVAILABLE"
        assert "does not run on model_warmup 'usual': " in index.reason
        start = "Request for unknown model: 'overheated' "
        assert refusal(client, version="1") == (
            "StatusCode.UNAVAILABLE",
            f"{start}version 1 is not at ready state",
        )
        assert refusal(client, version="") == refusal(client, version="1")


def test_tags_are_labels_of_the_metrics(client, running):
    client.infer("reshaped", [tensor("x", [[1]])])

    found = scrape(running.metrics_url())

    labels = (("_team", "vision"), ("model", "reshaped"), ("version", "1"))
    assert found["nv_inference_request_success", labels] >= 1


def test_what_a_models_fields_say_holds_where_it_is_a_step_of_an_ensemble(client, running):
    """Reshaped, without its optional input, warmed up, and counted under its tags."""

    def tagged():
        labels = (("_team", "vision"), ("model", "reshaped"), ("version", "1"))
        found = scrape(running.metrics_url())
        return found.get(("nv_inference_request_success", labels), 0)

    before = tagged()
    given = [tensor("one", [[1], [2]]), tensor("two", [[1, 2], [3, 4]])]
    answer = client.infer("together", [*given, tensor("hundred", [[97], [96]], "INT64")])

    assert answer.as_numpy("six").tolist() == [
        [row * factor for factor in range(1, 7)] for row in (1, 2)
    ]
    assert answer.as_numpy("biased").tolist() == [[11, 12], [13, 14]]
    assert answer.as_numpy("element").tolist() == [[3], [4]]
    assert tagged() == before + 1
