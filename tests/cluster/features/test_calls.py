"""Models that call others through the queue, and decoupled steps, while time and processes end."""

import os
import signal
import threading

import numpy as np
import pytest
import tritonclient.grpc as triton
from support.clients.load import eventually
from support.models.decoupled import Stream, counted, numbers, write_counter
from support.models.python_models import config, write_python
from support.processes.cluster import Cluster
from tritonclient.utils import InferenceServerException

NUMBER = "data_type: TYPE_INT64 dims: [ 1 ]"
CALLER = """
import os
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            if x[0] == 0:
                responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", x)]))
                continue
            call = pb_utils.InferenceRequest(
                model_name="{model}",
                requested_output_names=["Y"],
                inputs=[pb_utils.Tensor("X", x)],
            )
            responses.append(call.exec())
        return responses
"""
CALLED = """
import os
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

NOTES = Path({notes!r})


class TritonPythonModel:
    def execute(self, requests):
        (request,) = requests
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        if x[0] < 0:
            (NOTES / f"at-{{os.getpid()}}").touch()
            while not (NOTES / "gate").exists():
                time.sleep(0.005)
        process = np.array([os.getpid()], np.int64)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", process)])]
"""
STEPS = """
platform: "ensemble"
input {{ name: "count" data_type: TYPE_INT32 dims: [ 1 ] }}
output {{ name: "doubled" data_type: TYPE_INT32 dims: [ 1 ] }}
ensemble_scheduling {{
  step {{ model_name: "counter" model_version: -1
    input_map {{ key: "count" value: "count" }} output_map {{ key: "number" value: "one" }} }}
  step {{ model_name: "doubler" model_version: -1
    input_map {{ key: "x" value: "one" }} output_map {{ key: "y" value: "doubled" }} }}
}}
"""
DOUBLER = """
class Model:
    def execute(self, inputs, parameters):
        return {"y": inputs["x"] * 2}
"""
TURNS = """
import numpy as np


class Model:
    def load(self, context):
        self.under_way = 0

    def execute(self, inputs, parameters):
        self.under_way += 1
        while self.under_way < int(inputs["count"][0]):
            yield {"number": np.array([self.under_way], np.int32)}
        yield {"number": np.array([self.under_way], np.int32)}
"""
PATIENT = """
import time
from pathlib import Path

import triton_python_backend_utils as pb_utils

NOTES = Path({notes!r})


class TritonPythonModel:
    def execute(self, requests):
        (request,) = requests
        (NOTES / "patient").touch()
        while not request.is_cancelled():
            time.sleep(0.005)
        (NOTES / "cancelled").touch()
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("too late"))]
"""
INT32 = "data_type: TYPE_INT32 dims: [ 1 ]"


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    return tmp_path_factory.mktemp("notes")


@pytest.fixture(scope="module")
def running(tmp_path_factory, notes):
    root = tmp_path_factory.mktemp("models")
    plain = config({"X": NUMBER}, {"Y": NUMBER})
    write_python(root, "caller", CALLER.format(model="called"), plain)
    write_python(root, "itself", CALLER.format(model="itself"), plain)
    two = config({"X": NUMBER}, {"Y": NUMBER}, more="instance_group { count: 2 kind: KIND_CPU }")
    write_python(root, "called", CALLED.format(notes=str(notes)), two)
    write_python(root, "patient", PATIENT.format(notes=str(notes)), plain)
    write_counter(root, notes)
    write_python(root, "doubler", DOUBLER, config({"x": INT32}, {"y": INT32}))
    turns = (
        "model_transaction_policy { decoupled: true }\n"
        'parameters { key: "concurrent_requests" value { string_value: "2" } }'
    )
    write_python(root, "turns", TURNS, config({"count": INT32}, {"number": INT32}, more=turns))
    (root / "steps" / "1").mkdir(parents=True)
    (root / "steps" / "config.pbtxt").write_text(STEPS.format())
    options = ("--allow-python-models", "--lease-ms", "2000")
    one = Cluster(tmp_path_factory.mktemp("cluster"), root, *options)
    with one.running():
        yield one


@pytest.fixture
def client(running):
    with triton.InferenceServerClient(running.url) as client:
        yield client
        client.stop_stream(cancel_requests=True)


def number(value):
    one = triton.InferInput("X", [1], "INT64")
    one.set_data_from_numpy(np.array([value], np.int64))
    return [one]


def test_a_model_that_calls_itself_waits_no_longer_than_its_client(client):
    with pytest.raises(InferenceServerException) as caught:
        client.infer("itself", number(1), client_timeout=1.5)

    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    # Its one worker is free again, and calls nobody for this one.
    assert client.infer("itself", number(0), client_timeout=20).as_numpy("Y") == [0]


async def test_a_call_outlives_the_worker_that_computes_it(client, notes):
    answer = []
    asking = threading.Thread(
        target=lambda: answer.append(client.infer("caller", number(-1), client_timeout=60))
    )
    asking.start()
    first = await eventually(lambda: next(iter(notes.glob("at-*")), None))
    pid = int(first.name.removeprefix("at-"))

    os.kill(pid, signal.SIGKILL)
    (notes / "gate").touch()
    asking.join(60)

    assert answer[0].as_numpy("Y")[0] != pid


async def test_a_model_hears_that_its_client_is_gone(client, notes):
    asked = client.async_infer("patient", number(1), lambda *_: None, client_timeout=60)
    await eventually((notes / "patient").exists)

    asked.cancel()

    await eventually((notes / "cancelled").exists)


def test_each_response_of_a_decoupled_step_goes_through_the_steps_behind_it(client):
    stream = Stream(client)

    stream.ask(20, model="steps")
    found, error = stream.all()

    assert error is None
    assert [int(one.as_numpy("doubled")[0]) for one in found] == list(range(0, 40, 2))
    assert {one.get_response().model_name for one in found} == {"steps"}


async def test_a_decoupled_step_goes_on_where_a_killed_worker_was(client, notes):
    stream = Stream(client)
    stream.ask(30, model="steps", gate="step-gate", gate_at=15)
    before = [stream.next()[0] for _ in range(15)]
    there = await eventually(lambda: next(iter(notes.glob("step-gate-*")), None))

    os.kill(int(there.name.rpartition("-")[2]), signal.SIGKILL)
    (notes / "step-gate").touch()
    after, error = stream.all()

    assert error is None
    found = [int(one.as_numpy("doubled")[0]) for one in [*before, *after]]
    assert found == list(range(0, 60, 2))


def test_a_decoupled_step_that_fails_ends_the_reply_after_what_it_gave(client):
    stream = Stream(client)

    stream.ask(9, model="steps", fail_at=3)
    found, error = stream.all()

    assert [int(one.as_numpy("doubled")[0]) for one in found] == [0, 2, 4]
    assert error.message() == "in ensemble 'steps', no more (step 'counter')"


def test_a_decoupled_ensemble_is_refused_where_one_answer_is_asked_for(client):
    settings = client.get_model_config("steps", as_json=True)["config"]

    with pytest.raises(InferenceServerException, match="decoupled transaction policy"):
        client.infer("steps", counted(1), client_timeout=20)

    assert settings["model_transaction_policy"] == {"decoupled": True}


def test_generators_of_several_requests_take_turns(client):
    stream = Stream(client)

    stream.ask(2, "first", model="turns")
    stream.ask(2, "second", model="turns")
    (one, error), (two, other) = stream.all(), stream.all()

    assert error is None
    assert other is None
    assert numbers([*one, *two])[-1] == 2
