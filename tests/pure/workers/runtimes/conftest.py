"""Python models written by a test, and opened."""

import sys
from textwrap import dedent

import pytest
from support.models.python_models import NUMBERS, ONE, config

from penstock.errors import ArtifactUnusable
from penstock.models.config.model_config import parse
from penstock.protos import cluster_pb2 as pb
from penstock.workers.runtimes.opening import open_runtime
from penstock.workers.runtimes.python.results import WrongResult
from penstock.workers.runtimes.runtime import DeviceRef

CPU = DeviceRef("cpu", 0, 2)


@pytest.fixture
def interpreter(monkeypatch):
    """What importing a model changes in this process is put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


@pytest.fixture
def loaded(tmp_path):
    def load(code, settings=None, **beside):
        (tmp_path / "model.py").write_text(dedent(code))
        for name, content in beside.items():
            (tmp_path / f"{name}.py").write_text(content)
        text = settings or config({"x": NUMBERS}, {"y": NUMBERS}, max_batch=8)
        said = parse(text, "config.pbtxt").SerializeToString()
        version = pb.ModelVersion(model="m", version=3, config=said)
        return open_runtime(tmp_path / "model.py", "python", CPU, version)

    return load


@pytest.fixture
def refusal(loaded):
    def refuse(code, **beside):
        with pytest.raises(ArtifactUnusable) as caught:
            loaded(code, **beside)
        return str(caught.value)

    return refuse


@pytest.fixture
def failure(loaded):
    """What is said of a model that returns *result*, an expression."""

    def fail(result, settings=None):
        runtime = loaded(
            f"""
            import numpy as np

            class Model:
                def execute(self, inputs, parameters):
                    return {result}
            """,
            settings,
        )
        with pytest.raises(WrongResult) as caught:
            runtime.run(ONE, ["y"])
        return str(caught.value)

    return fail
