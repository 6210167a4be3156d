"""Log and trace settings through Triton's client: what they say, and that they act."""

import json

import numpy as np
import pytest
import tritonclient.grpc as triton
from support.clients.load import DIGITS
from support.processes.cluster import Cluster
from support.waiting import until
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Where the shared cluster writes traces; one test asks for some."""
    return tmp_path_factory.mktemp("traces") / "traces"


@pytest.fixture(scope="module")
def shared(traces):
    one = Cluster(
        traces.parent / "cluster",
        DIGITS / "models",
        environment={"PENSTOCK_TRACE_FILE": str(traces)},
    )
    with one.running():
        yield one


@pytest.fixture
def client(shared):
    with triton.InferenceServerClient(shared.url) as client:
        yield client


def image():
    one = triton.InferInput("image", [1, 1, 8, 8], "FP32")
    one.set_data_from_numpy(np.zeros((1, 1, 8, 8), np.float32))
    return one


def test_a_trace_shows_every_stage(client, traces):
    settings = {"trace_level": ["TIMESTAMPS"], "trace_rate": "2", "trace_count": "1"}

    shown = client.update_trace_settings("digits", settings)
    answers = [client.infer("digits", [image()], "2", request_id=str(n)) for n in range(4)]

    assert shown.settings["trace_level"].value == ["TIMESTAMPS"]
    assert client.get_trace_settings().settings["trace_level"].value == ["OFF"]
    (trace,) = [json.loads(line) for line in traces.read_text().splitlines()]
    assert (trace["model_name"], trace["model_version"], trace["request_id"]) == (
        "digits",
        "2",
        "0",
    )
    began, queued, ended = (stamp["ns"] for stamp in trace["timestamps"])
    assert began <= queued <= ended
    first, second = trace["steps"]
    assert first["step"] != second["step"]
    spent_us = sum(step["queue_us"] + step["work_us"] for step in trace["steps"])
    assert 0 < spent_us <= (ended - began) / 1000
    assert not any(answer.get_response().parameters for answer in answers)


async def test_every_process_of_a_gateway_traces(cluster, no_models, tmp_path):
    environment = {"PENSTOCK_TRACE_FILE": str(tmp_path / "traces")}
    running = cluster(no_models, "--processes", "2", environment=environment)
    settings = {"trace_level": ["TIMESTAMPS"], "trace_rate": "1"}
    with triton.InferenceServerClient(running.url) as client:
        client.update_trace_settings(settings=settings)

    def told():
        # A connection of its own each time: the kernel gives it to either process.
        alone = [("grpc.use_local_subchannel_pool", 1)]
        with triton.InferenceServerClient(running.url, channel_args=alone) as client:
            return client.get_trace_settings().settings["trace_level"].value == ["TIMESTAMPS"]

    await until(lambda: all(told() for _ in range(16)))


def test_traces_of_an_unknown_model_are_refused(client):
    with pytest.raises(InferenceServerException, match="unknown model : nothing") as caught:
        client.get_trace_settings("nothing")

    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


async def test_the_log_says_more_when_it_is_asked_to(cluster, no_models):
    running = cluster(no_models)
    with triton.InferenceServerClient(running.url) as client:
        before = client.get_log_settings().settings

        after = client.update_log_settings({"log_info": True, "log_format": "ISO8601"}).settings
    running.process.terminate()
    await until(lambda: running.process.poll() is not None, 40)

    assert not before["log_info"].bool_param
    assert after["log_info"].bool_param
    assert after["log_format"].string_param == "ISO8601"
    assert "draining" in running.output()


def test_a_log_setting_that_there_is_not_is_refused(client):
    with pytest.raises(InferenceServerException, match="there is no log setting") as caught:
        client.update_log_settings({"log_colour": True})

    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
