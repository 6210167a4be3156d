"""Models are loaded by the first request for them, and idle ones make room."""

import asyncio
import shutil

import numpy as np
import pytest
import tritonclient.grpc as triton
from support.clients.asked import Asked
from support.clients.control import image, index_of, refused, soon, sound
from support.clients.load import Load, digit_request, expected


@pytest.fixture
def three_models(onnx_digits):
    """Three models of one version each, a, b and c: each needs a bit more than 96 MiB."""
    for name in "abc":
        shutil.copytree(onnx_digits / "digits" / "1", onnx_digits / name / "1")
    shutil.rmtree(onnx_digits / "digits")
    return onnx_digits


PATIENT = {"PENSTOCK_DEFAULT_TIMEOUT_S": "100"}
"""How long loading takes is the machine's affair."""

ROOM_FOR_TWO = ("--model-control-mode", "on-demand", "--memory-mib", "220")


def test_the_first_request_loads_a_model_and_the_least_recently_used_one_makes_room(
    cluster, three_models
):
    running = cluster(three_models, *ROOM_FOR_TWO, environment=PATIENT)
    with triton.InferenceServerClient(running.url) as client:
        assert set(index_of(client)) == {("a", ""), ("b", ""), ("c", "")}
        assert running.processes()["worker"] == []

        client.infer("a", [image()])
        client.infer("b", [image()])

        assert client.get_model_metadata("a").versions == ["1"]
        assert ("c", "") in index_of(client)

        answer = client.infer("c", [image(3)])

        np.testing.assert_allclose(answer.as_numpy("probabilities")[0], expected()[3], atol=1e-4)
        assert soon(lambda: "to make room for 'c'" in index_of(client)["b", "1"][1])
        assert client.is_model_ready("a")

        client.infer("b", [image()])

        assert soon(lambda: "to make room for 'b'" in index_of(client)["a", "1"][1])
        assert soon(lambda: len(running.processes()["worker"]) == 2)


def test_metadata_and_an_explicit_load_load_as_well(cluster, three_models):
    running = cluster(three_models, *ROOM_FOR_TWO, "--load-model", "a", environment=PATIENT)
    with triton.InferenceServerClient(running.url) as client:
        assert client.is_model_ready("a")
        assert client.get_model_config("b").config.name == "b"

        client.load_model("c")

        assert client.is_model_ready("c")
        assert client.is_model_ready("a"), "a model of --load-model never makes room"
        assert refused(client.infer, "d", [image()])[0] == "StatusCode.NOT_FOUND"

        client.unload_model("c")

        assert not client.is_model_ready("c")
        assert client.infer("c", [image()]).get_response().model_name == "c"


async def test_a_model_in_use_does_not_make_room(cluster, three_models):
    options = ("--model-control-mode", "on-demand", "--memory-mib", "110")
    running = cluster(three_models, *options)
    async with Load(running.url, version="1", model="a", clients=8) as load:
        with triton.InferenceServerClient(running.url) as client:
            status, _ = await asyncio.to_thread(
                refused, client.infer, "b", [image()], client_timeout=6
            )
        await load.more(10)
    sound(load)

    assert status == "StatusCode.DEADLINE_EXCEEDED"


def test_a_model_that_could_never_fit_is_refused_at_once(cluster, three_models):
    options = ("--model-control-mode", "on-demand", "--memory-mib", "50")
    running = cluster(three_models, *options)
    with triton.InferenceServerClient(running.url) as client:
        status, text = refused(client.infer, "a", [image()], client_timeout=20)

    assert status == "StatusCode.UNAVAILABLE"
    assert text.startswith("failed to load 'a', it needs 96 MiB on a cuda or cpu device")


async def test_models_take_turns_without_a_failed_request(cluster, three_models):
    """More models than there is room for, each asked for by several clients now and then."""
    running = cluster(three_models, *ROOM_FOR_TWO, environment=PATIENT)
    async with asyncio.TaskGroup() as tasks:
        turns = [tasks.create_task(take_turns(running.url, name)) for name in "abc"]

    assert [turn.result() for turn in turns] == [[], [], []]


async def take_turns(url, model):
    """Ask a few times, with pauses in which the model is idle; the errors."""
    errors = []
    async with Asked(url) as asked:
        for place in range(3):
            request = digit_request(place, "", model)
            calls = [asked.stub.ModelInfer(request, timeout=100) for _ in range(4)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            errors += [str(one) for one in answers if isinstance(one, Exception)]
            await asyncio.sleep(0.5)
    return errors
