"""Models of Triton's Python contract in a process of their own: loaded, called, and refused."""

import json
import sys
import time
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from support.jobs import work

from penstock.errors import ArtifactUnusable, Code, DeadlineExceeded
from penstock.models.completion import complete
from penstock.models.config.model_config import parse
from penstock.protos import cluster_pb2 as pb
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.tensors import pack_bytes
from penstock.workers.run.execution import Failure
from penstock.workers.run.triton_execution import TritonExecution
from penstock.workers.runtimes.opening import open_runtime
from penstock.workers.runtimes.runtime import DeviceRef
from penstock.workers.runtimes.triton_python import metrics
from penstock.workers.runtimes.triton_python.environment import ModelCall
from penstock.workers.runtimes.triton_python.errors import status_of
from penstock.workers.runtimes.triton_python.model import TritonModelFailed
from penstock.workers.runtimes.triton_python.tensors import Tensor

MODELS = Path(__file__).parents[3] / "models_triton"
CPU = DeviceRef("cpu", 0, 2)
PLAIN = """
backend: "python"
input { name: "X" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }
"""


@pytest.fixture(autouse=True)
def _interpreter(monkeypatch):
    """What importing a model changes in this process is put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(metrics, "_families", {})


def version_of(name, settings):
    config = parse(settings, "config.pbtxt")
    stage = pb.Stage(artifact=f"{name}/1/model.py", runtime="python")
    return pb.ModelVersion(model=name, version=1, config=config.SerializeToString(), stages=[stage])


def opened(name):
    version = version_of(name, (MODELS / name / "config.pbtxt").read_text())
    return open_runtime(MODELS / name / "1" / "model.py", "python", CPU, version)


@pytest.fixture
def written(tmp_path):
    def write(code, settings=PLAIN):
        folder = tmp_path / "m" / "1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.py").write_text(dedent(code))
        return open_runtime(folder / "model.py", "python", CPU, version_of("m", settings))

    return write


def call(outputs=(), seconds=30, **inputs):
    tensors = [Tensor(name, np.asarray(value)) for name, value in inputs.items()]
    return ModelCall("m", 1, tensors, outputs, "", 0, 0, 0, {}, time.monotonic() + seconds)


def text(value):
    return np.array([value.encode()], dtype=np.object_)


def outputs(response):
    assert not response.has_error(), response.error().message()
    return {tensor.name(): tensor.array.tolist() for tensor in response.output_tensors()}


def test_each_request_of_a_batch_gets_its_response():
    runtime = opened("add_sub")
    one = np.ones((1, 4), np.float32)
    one.flags.writeable = False

    first, second = runtime.answer([call(A=one, B=one), call(A=2 * one, B=one)])

    assert outputs(first) == {"SUM": [[2.0] * 4], "DIFF": [[0.0] * 4]}
    assert outputs(second) == {"SUM": [[3.0] * 4], "DIFF": [[1.0] * 4]}
    assert one.tolist() == [[1.0] * 4]


def test_a_response_that_cannot_travel_fails_its_own_request_alone(written):
    runtime = written(
        """
        import numpy as np
        import triton_python_backend_utils as pb_utils

        class TritonPythonModel:
            def execute(self, requests):
                numbers = [int(one.inputs()[0].as_numpy()[0]) for one in requests]
                texts = [pb_utils.Tensor("Y", np.array([chr(n)], np.object_)) for n in numbers]
                return [pb_utils.InferenceResponse([text]) for text in texts]
        """,
        PLAIN.replace('"Y" data_type: TYPE_FP32', '"Y" data_type: TYPE_STRING'),
    )
    execution = TritonExecution(runtime, ["X"], ["Y"], batched=False)
    jobs = [work({"X": np.array([code], np.float32)}, batched=False) for code in (65, 0xD800)]

    good, bad = execution.run(jobs).results

    assert good["Y"].raw == pack_bytes(["A"])
    assert isinstance(bad, Failure)
    assert (bad.code, "surrogates not allowed" in bad.message) == (Code.INTERNAL, True)


def test_what_it_is_told_at_the_start_is_text_by_triton_names():
    runtime = opened("arguments")

    def told(name):
        (response,) = runtime.answer([call(NAME=text(name).reshape(1, 1))])
        return outputs(response)["VALUE"][0][0].decode()

    assert json.loads(told("keys")) == [
        "model_config",
        "model_instance_device_id",
        "model_instance_kind",
        "model_instance_name",
        "model_name",
        "model_repository",
        "model_version",
    ]
    assert json.loads(told("types")) == ["str"]
    assert told("model_instance_name") == "arguments_0_0"
    assert told("model_repository") == str(MODELS / "arguments")
    config = json.loads(told("model_config"))
    assert config["input"][0]["dims"] == [1]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 100


def test_its_code_completes_its_configuration_for_the_whole_cluster():
    runtime = opened("auto_complete")
    version = version_of("auto_complete", 'backend: "python"')

    deployment = complete(version, [runtime.signature])

    assert deployment.config.max_batch_size == 4
    assert deployment.config.HasField("dynamic_batching")
    assert [(one.name, list(one.shape), one.optional) for one in deployment.inputs] == [
        ("X", [-1, 2], False),
        ("SCALE", [-1, 1], True),
    ]
    assert ModelConfig.FromString(runtime.signature.config).name == "auto_complete"


def test_what_its_code_may_not_complete_stays_as_its_owner_wrote_it(written):
    runtime = written(
        """
        class TritonPythonModel:
            @staticmethod
            def auto_complete_config(config):
                config.set_max_batch_size(3)
                config.as_dict()["instance_group"] = [{"count": 9, "kind": "KIND_GPU"}]
                return config

            def execute(self, requests): ...
        """
    )

    found = ModelConfig.FromString(runtime.signature.config)

    assert found.max_batch_size == 3
    assert not found.instance_group


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("raise", "ValueError: a value that is none\n\nAt:\n  {file}(19): fail\n  {file}("),
        ("model exception", "TritonModelException: the model's own\n\nAt:\n  {file}("),
        ("tuple", "Expected a list in the execute return, found type '<class 'tuple'>'."),
        (
            "too many",
            (
                "Number of InferenceResponse objects do not match the number of InferenceRequest "
                "objects. InferenceRequest(s) size is:1, and InferenceResponse(s) size is:2\n"
            ),
        ),
        ("no response", "Expected an 'InferenceResponse' object in the execute function return"),
    ],
)
def test_what_fails_is_told_in_triton_words(what, expected):
    runtime = opened("errors")

    with pytest.raises(TritonModelFailed) as caught:
        runtime.answer([call(WHAT=text(what))])

    start = "Failed to process the request(s) for model 'errors_0', message: "
    expected = expected.format(file=MODELS / "errors" / "1" / "model.py")
    assert str(caught.value).startswith(start + expected)


def test_an_error_of_one_request_has_its_code():
    runtime = opened("errors")

    (response,) = runtime.answer([call(WHAT=text("UNSUPPORTED"))])

    assert response.error().message() == "as asked: UNSUPPORTED"
    assert status_of(response.error()) is Code.UNIMPLEMENTED


def test_a_coroutine_is_run_to_its_end():
    (response,) = opened("async_execute").answer([call(X=np.array([1, 2], np.int32))])

    assert outputs(response) == {"Y": [2, 4]}


def test_a_response_may_be_sent_and_must_come_in_time(written):
    runtime = written(
        """
        import threading
        import triton_python_backend_utils as pb_utils

        class TritonPythonModel:
            def execute(self, requests):
                if requests[0].inputs()[0].as_numpy()[0] > 0:
                    threading.Timer(0.01, self.send, requests).start()
                return [None]

            def send(self, request):
                tensor = pb_utils.Tensor("Y", request.inputs()[0].as_numpy())
                sender = request.get_response_sender()
                sender.send(pb_utils.InferenceResponse([tensor]), flags=1)
        """
    )

    (response,) = runtime.answer([call(X=np.ones(1, np.float32))])

    assert outputs(response) == {"Y": [1.0]}
    with pytest.raises(DeadlineExceeded, match="has not sent a response"):
        runtime.answer([call(X=np.zeros(1, np.float32), seconds=0.01)])


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("TritonPythonModel = 1", "must have a class TritonPythonModel"),
        ("class TritonPythonModel: pass", "must have a method execute"),
        (
            "import no_such_package\nclass TritonPythonModel: pass",
            "No module named 'no_such_package' (model.py, line 1)",
        ),
        (
            (
                "class TritonPythonModel:\n"
                "    def initialize(self, args): raise ValueError('none')\n"
                "    def execute(self, requests): ..."
            ),
            "TritonPythonModel.initialize raised ValueError: none (model.py, line 2)",
        ),
        (
            (
                "class TritonPythonModel:\n"
                "    def execute(self, requests): ...\n"
                "    @staticmethod\n"
                "    def auto_complete_config(config): return None"
            ),
            "must return a valid pb.ModelConfig object",
        ),
        (
            (
                "class TritonPythonModel:\n"
                "    def execute(self, requests): ...\n"
                "    @staticmethod\n"
                "    def auto_complete_config(config):\n"
                "        config.as_dict()['colour'] = 1\n"
                "        return config"
            ),
            'no field named "colour"',
        ),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_the_reason(written, code, expected):
    with pytest.raises(ArtifactUnusable) as caught:
        written(code)

    assert expected in str(caught.value)


def test_packages_of_an_environment_of_its_own_can_be_imported(written, tmp_path):
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = tmp_path / "m" / "venv" / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (packages / "only_there.py").write_text("WORD = 'there'")
    code = (
        "import only_there\n"
        "class TritonPythonModel:\n"
        "    def initialize(self, args): raise ValueError(only_there.WORD)\n"
        "    def execute(self, requests): ..."
    )
    named = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "%s" } }'

    with pytest.raises(ArtifactUnusable, match="ValueError: there"):
        written(code, PLAIN + named % "$$TRITON_MODEL_DIRECTORY/venv")
    with pytest.raises(ArtifactUnusable, match=f"has no lib/{version}/site-packages"):
        written(code, PLAIN + named % "/nowhere")
    with pytest.raises(ArtifactUnusable, match="is an archive"):
        written(code, PLAIN + named % "/nowhere/venv.tar.gz")


def test_tensors_that_nobody_lists_must_be_listed(written):
    code = "class TritonPythonModel:\n    def execute(self, requests): ..."

    with pytest.raises(ArtifactUnusable, match="list each input"):
        written(code, 'backend: "python"')


def test_it_ends_in_order(capsys):
    opened("files").close()

    assert capsys.readouterr().out.splitlines()[-1] == "finalized"


def test_what_it_logs_is_in_the_workers_log_with_where_it_was_said(capsys):
    opened("log_and_metrics")

    lines = [one for one in capsys.readouterr().out.splitlines() if "at=model.py:" in one]
    assert [line.count("the model says") for line in lines] == [1] * len(lines)
    for level, said in (("info", "level by default"), ("warning", "as a warning")):
        assert any(f"[{level}" in line and f"text='{said}'" in line for line in lines), lines
    assert [any(f"text={word}" in line for line in lines) for word in ("error", "info")] == 2 * [
        True
    ]
