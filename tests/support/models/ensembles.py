"""Ensembles over models whose numbers anybody can work out."""

from pathlib import Path

import numpy as np
from support.models.onnx_models import MAX_BATCH, _config, _value, _write

WIDTH = 4


def write_scale(root, name, factor, *, max_batch=MAX_BATCH, width=WIDTH, extra=""):
    """y = x * factor, FP32 [batch, width]."""
    from onnx import helper, numpy_helper

    by = numpy_helper.from_array(np.array(factor, dtype=np.float32), "by")
    lead = ["batch"] if max_batch else []
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "by"], ["y"])],
        name,
        [_value("x", "FP32", [*lead, width])],
        [_value("y", "FP32", [*lead, width])],
        initializer=[by],
    )
    tensor = ("FP32", (width,))
    config = _config(name, max_batch, {"x": tensor}, {"y": tensor})
    return _write(root, name, graph, f"{config}dynamic_batching {{ {extra} }}\n")


def write_join(root, name):
    """y = left - right, FP32 [batch, 4]."""
    from onnx import helper

    graph = helper.make_graph(
        [helper.make_node("Sub", ["left", "right"], ["y"])],
        name,
        [_value(side, "FP32", ["batch", WIDTH]) for side in ("left", "right")],
        [_value("y", "FP32", ["batch", WIDTH])],
    )
    tensor = ("FP32", (WIDTH,))
    config = _config(name, MAX_BATCH, dict.fromkeys(("left", "right"), tensor), {"y": tensor})
    return _write(root, name, graph, f"{config}dynamic_batching {{ }}\n")


def step(model, inputs, outputs, *, version=-1, extra=""):
    """One step of config.pbtxt."""
    maps = [f'input_map {{ key: "{k}" value: "{v}" }}' for k, v in inputs.items()]
    maps += [f'output_map {{ key: "{k}" value: "{v}" }}' for k, v in outputs.items()]
    told = " ".join(maps)
    return f'step {{ model_name: "{model}" model_version: {version} {told} {extra} }}'


def write_ensemble(
    root, name, *steps, inputs=("IN",), outputs=("OUT",), max_batch=MAX_BATCH, dims=(WIDTH,)
):
    """An ensemble whose inputs and outputs are all FP32 of *dims*."""
    tensor = ("FP32", dims)
    config = _config(
        name, max_batch, dict.fromkeys(inputs, tensor), dict.fromkeys(outputs, tensor)
    ).replace("onnxruntime_onnx", "ensemble")
    folder = Path(root) / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(f"{config}ensemble_scheduling {{ {' '.join(steps)} }}\n")
    return folder


def write_diamond(root, name="diamond"):
    """OUT = 3 IN - 5 IN * 2, over models `triple`, `five`, `double` and `join`.

    IN is read by two steps, `scaled` is an output as well as an input of the last step.
    """
    write_scale(root, "triple", 3)
    write_scale(root, "five", 5)
    write_scale(root, "double", 2)
    write_join(root, "join")
    return write_ensemble(
        root,
        name,
        step("join", {"left": "scaled", "right": "other"}, {"y": "OUT"}),
        step("triple", {"x": "IN"}, {"y": "scaled"}),
        step("five", {"x": "IN"}, {"y": "fives"}),
        step("double", {"x": "fives"}, {"y": "other"}),
        outputs=("OUT", "scaled"),
    )
