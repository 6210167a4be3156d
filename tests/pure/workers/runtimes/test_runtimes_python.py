"""Python models in a process of their own: loaded, run, and refused with what is wrong."""

import numpy as np
import pytest
from support.models.python_models import DECOUPLED, DOUBLE, NUMBERS, ONE, TEXT, config

from penstock.errors import ArtifactUnusable, Code, InvalidRequest
from penstock.protos import cluster_pb2 as pb
from penstock.workers.run.python_execution import PythonExecution
from penstock.workers.runtimes.opening import open_runtime
from penstock.workers.runtimes.python.runtime import PythonModelFailed
from penstock.workers.runtimes.runtime import DeviceRef

CPU = DeviceRef("cpu", 0, 2)
pytestmark = pytest.mark.usefixtures("interpreter")


def test_it_computes_on_arrays_of_the_batch(loaded):
    found = loaded(DOUBLE).run({"x": np.ones((2, 3), np.float32)}, ["y"])

    np.testing.assert_array_equal(found["y"], np.full((2, 3), 2, np.float32))


def test_its_signature_is_that_of_the_configuration(loaded):
    signature = loaded(DOUBLE).signature

    assert [(s.name, s.datatype, list(s.shape)) for s in signature.inputs] == [
        ("x", "FP32", [-1, -1])
    ]
    assert [(s.name, s.datatype, list(s.shape)) for s in signature.outputs] == [
        ("y", "FP32", [-1, -1])
    ]


def test_text_is_objects_in_and_bytes_or_text_out(loaded):
    runtime = loaded(
        """
        import numpy as np

        class Model:
            def execute(self, inputs, parameters):
                words = [word.decode().upper() for word in inputs["x"]]
                assert inputs["x"].dtype == object
                return {"y": np.array(words, dtype=object)}
        """,
        config({"x": TEXT}, {"y": TEXT}),
    )

    found = runtime.run({"x": np.array([b"one", b"two"], dtype=object)}, ["y"])

    assert found["y"].tolist() == ["ONE", "TWO"]


def test_it_is_told_where_it_is_and_what_the_configuration_and_the_request_say(loaded):
    runtime = loaded(
        """
        import json
        import numpy as np

        class Model:
            def load(self, context):
                self.said = [context.model, context.version, context.device, context.threads]
                self.said += [context.parameters["unit"], (context.folder / "model.py").exists()]

            def execute(self, inputs, parameters):
                told = json.dumps([self.said, dict(parameters)])
                return {"y": np.array([told], dtype=object)}
        """,
        config(
            {"x": NUMBERS},
            {"y": TEXT},
            more='parameters { key: "unit" value { string_value: "mm" } }',
        ),
    )

    (told,) = runtime.run({"x": np.ones(1, np.float32)}, ["y"], {"top": 3})["y"]

    assert told == '[["m", 3, "cpu:0", 2, "mm", true], {"top": 3}]'


def test_it_imports_what_lies_beside_it_and_writes_nothing_there(loaded, tmp_path):
    runtime = loaded(
        """
        from rules import FACTOR

        class Model:
            def execute(self, inputs, parameters):
                return {"y": inputs["x"] * FACTOR}
        """,
        rules="FACTOR = 5\n",
    )

    assert runtime.run(ONE, ["y"])["y"][0, 0] == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.py", "rules.py"]


def test_inputs_are_read_only_however_they_came(loaded):
    runtime = loaded(
        """
        class Model:
            def execute(self, inputs, parameters):
                inputs["x"] += 1
                return {"y": inputs["x"]}
        """
    )

    with pytest.raises(PythonModelFailed, match="read-only"):
        runtime.run({"x": np.ones((1, 3), np.float32)}, ["y"])


def test_it_is_unloaded(loaded, capsys):
    runtime = loaded(DOUBLE + "    def unload(self):\n        print('unloaded')\n")

    runtime.close()

    assert capsys.readouterr().out == "unloaded\n"


def test_what_it_raises_names_the_line_of_its_code(loaded):
    runtime = loaded(
        """
        class Model:
            def execute(self, inputs, parameters):
                return self._rule(inputs)

            def _rule(self, inputs):
                raise ValueError("too tall")
        """
    )

    with pytest.raises(PythonModelFailed) as caught:
        runtime.run(ONE, ["y"])

    said = "model.py: Model.execute raised ValueError: too tall (model.py, line 7)"
    assert str(caught.value) == said
    assert caught.value.code == Code.INTERNAL


def test_it_refuses_a_request_in_its_own_words(loaded):
    runtime = loaded(
        """
        from penstock.errors import InvalidRequest

        class Model:
            def execute(self, inputs, parameters):
                raise InvalidRequest("three words at most")
        """
    )

    with pytest.raises(InvalidRequest, match=r"^three words at most$"):
        runtime.run(ONE, ["y"])


def test_sys_exit_does_not_end_the_worker(loaded):
    runtime = loaded(
        """
        import sys

        class Model:
            def execute(self, inputs, parameters):
                sys.exit(3)
        """
    )

    with pytest.raises(PythonModelFailed, match="SystemExit: 3"):
        runtime.run(ONE, ["y"])


# what cannot be loaded


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import numpy\nimport no_such_package\n",
            (
                "model.py cannot be imported: it raised ModuleNotFoundError: "
                "No module named 'no_such_package' (model.py, line 2)"
            ),
        ),
        (
            "class Model:\n    size = = 1\n",
            "model.py cannot be imported: it raised SyntaxError: invalid syntax (model.py, line 2)",
        ),
        ("X = 1\n", "model.py must have a class Model; it has no class"),
        ("class Mdoel:\n    pass\n", "model.py must have a class Model; it has Mdoel"),
        (
            "class Model:\n    pass\n",
            "model.py: Model must have a method Model.execute(self, inputs, parameters)",
        ),
        (
            "class Model:\n    def execute(self, inputs):\n        pass\n",
            "model.py: Model.execute(self, inputs) must be Model.execute(self, inputs, parameters)",
        ),
        (
            "class Model:\n    async def execute(self, inputs, parameters):\n        pass\n",
            "model.py: Model.execute(self, inputs, parameters) must not be async",
        ),
        (
            (
                "class Model:\n    def __init__(self):\n        1 / 0\n"
                "    def execute(self, inputs, parameters):\n        pass\n"
            ),
            "model.py: Model() raised ZeroDivisionError: division by zero (model.py, line 3)",
        ),
        (
            (
                "class Model:\n    def load(self, context):\n        context.parameters['size']\n"
                "    def execute(self, inputs, parameters):\n        pass\n"
            ),
            "model.py: Model.load raised KeyError: 'size' (model.py, line 3)",
        ),
    ],
)
def test_broken_code_is_refused_with_its_place(refusal, code, said):
    assert refusal(code) == said


def test_a_broken_file_beside_it_is_named(refusal):
    assert "(rules.py, line 1)" in refusal("import rules\n", rules="1 / 0\n")


def test_nothing_is_run_where_it_is_not_allowed(tmp_path):
    (tmp_path / "model.py").write_text("raise SystemExit('it was run')\n")

    with pytest.raises(ArtifactUnusable, match="start it with --allow-python-models"):
        open_runtime(tmp_path / "model.py", "python", CPU)


def test_what_came_over_the_network_is_never_run(tmp_path):
    (tmp_path / "model.py").write_text("raise SystemExit('it was run')\n")
    version = pb.ModelVersion(model="m", version=1, files=[pb.File(path="1/model.py")])

    with pytest.raises(ArtifactUnusable, match="never run"):
        open_runtime(tmp_path / "model.py", "python", CPU, version)


# what it returns


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("None", "it returned a NoneType, and must return a dict of numpy arrays"),
        ("{'z': inputs['x']}", "it returned output 'z'; the outputs in config.pbtxt are 'y'"),
        ("{}", "it returned no output 'y'; the outputs in config.pbtxt are 'y'"),
        ("{'y': [1.0]}", "output 'y' is a list, and must be a numpy array"),
        (
            "{'y': inputs['x'].astype(np.float64)}",
            "output 'y' is float64, and config.pbtxt says TYPE_FP32: return it .astype(np.float32)",
        ),
        (
            "{'y': inputs['x'][0]}",
            "output 'y' has shape [3], and config.pbtxt says [-1, -1] with the batch dimension",
        ),
        (
            "{'y': np.ones((2, 3), np.float32)}",
            "output 'y' has shape [2, 3] for a batch of 1: its first dimension must be the batch's",
        ),
    ],
)
def test_a_wrong_result_is_told_by_what_is_wrong(failure, result, said):
    assert failure(result).startswith(f"model.py: Model.execute: {said}")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("{'y': np.array([3], dtype=object)}", "output 'y' holds a int"),
        ("{'y': np.ones(1, np.int32)}", "output 'y' is int32, and config.pbtxt says TYPE_STRING"),
    ],
)
def test_text_must_be_text(failure, result, said):
    settings = config({"x": NUMBERS}, {"y": TEXT})

    assert said in failure(result, settings)


# decoupled models


# warming up


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        ("return {'y': inputs['x']}", None),
        ("yield {'y': inputs['x']}", DECOUPLED),
    ],
)
def test_it_warms_up_on_samples_and_never_on_made_up_zeros(loaded, capsys, code, settings):
    runtime = loaded(
        f"""
        class Model:
            def execute(self, inputs, parameters):
                print("ran on", inputs["x"].shape)
                {code}
        """,
        settings,
    )
    execution = PythonExecution(runtime, ["x"], ["y"], batched=settings is None)

    execution.warm_up(1)
    assert capsys.readouterr().out == ""
    execution.warm_up_on({"x": np.ones(3, np.float32) if settings else ONE["x"]})
    assert capsys.readouterr().out.startswith("ran on ")
