"""Entries of a model repository that are Python code."""

from textwrap import dedent

import numpy as np

TEXT = "data_type: TYPE_STRING dims: [ -1 ]"
NUMBERS = "data_type: TYPE_FP32 dims: [ -1 ]"


def config(inputs, outputs, *, max_batch=0, more=""):
    """A config.pbtxt for a Python model; tensors are name -> what follows it."""
    lines = ['backend: "python"', f"max_batch_size: {max_batch}"]
    lines += [f'input {{ name: "{name}" {rest} }}' for name, rest in inputs.items()]
    lines += [f'output {{ name: "{name}" {rest} }}' for name, rest in outputs.items()]
    return "\n".join([*lines, more, ""])


def write_python(root, name, code, settings, beside=None):
    """``<root>/<name>``: *code* as version 1, *settings* as config.pbtxt; returns its directory."""
    entry = root / name
    folder = entry / "1"
    folder.mkdir(parents=True)
    (entry / "config.pbtxt").write_text(settings)
    for path, content in {"model.py": dedent(code), **(beside or {})}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return entry


DOUBLE = """
class Model:
    def execute(self, inputs, parameters):
        return {"y": inputs["x"] * 2}
"""


ONE = {"x": np.ones((1, 3), np.float32)}


DECOUPLED = config(
    {"x": NUMBERS}, {"y": NUMBERS}, more="model_transaction_policy { decoupled: true }"
)
