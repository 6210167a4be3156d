"""Models without config.pbtxt: most of them must not be batched, whatever their sizes are called.

One has a config.pbtxt that asks for what cannot be done.

Each is an entry of a repository, with requests of every size that it takes and, from its own
runtime and nothing else, the answers to them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from support.models.pipelines import constant, export, node, onnx_graph, value, weight, write_onnx

WIDE = 4
TIMES = 6
STUBBORN = """max_batch_size: 8 dynamic_batching { }
input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ -1, 4 ] }
"""
"""A config.pbtxt that asks for batches of a model whose batches cannot be split."""


@dataclass(frozen=True)
class Bare:
    """A model without configuration.

    Attributes:
        graph: makes its ONNX graph; None for a `.pt2`.
        sizes: of a request: its inputs' shapes, from a random generator.
        batched: it is proved that requests may share a run.
        config: its config.pbtxt, of the one that has some.
    """

    graph: Callable | None
    sizes: Callable
    batched: bool = False
    config: str = ""


def _rows(chance):
    return int(chance.integers(1, 4))


def _middle():
    """[batch, time, 4] in, [time, batch, 4] out, as a published model of brain waves has it."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("MatMul", "t a", "h"),
        node("Tanh", "h", "y"),
    ]
    reads = [value("x", shape=("batch", "time", WIDE))]
    writes = [value("y", shape=("time", "batch", WIDE))]
    return onnx_graph(nodes, reads, writes, [weight("a", WIDE, WIDE)])


def _nowhere():
    """Each frame attends to all."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0]),
        node("MatMul", "x t", "s"),
        node("Softmax", "s", "p", axis=1),
        node("MatMul", "p x", "y"),
    ]
    return _framed(nodes, "frames")


def _softmax():
    return _framed([node("Softmax", "x", "y", axis=0)], "batch")


def _frames():
    nodes = [node("MatMul", "x a", "h"), node("Softmax", "h", "y", axis=0)]
    return _framed(nodes, "frames", [weight("a", WIDE, WIDE)])


def _plain():
    nodes = [node("MatMul", "x a", "h"), node("Softmax", "h", "y", axis=1)]
    return _framed(nodes, "batch", [weight("a", WIDE, WIDE)])


def _framed(nodes, name, weights=()):
    shape = (name, WIDE)
    return onnx_graph(nodes, [value("x", shape=shape)], [value("y", shape=shape)], weights)


def _towers():
    """A request may have more images than texts."""
    nodes = [
        node("MatMul", "image a", "image_embeds"),
        node("MatMul", "text b", "text_embeds"),
    ]
    reads = [value(n, shape=(f"{n}_batch", WIDE)) for n in ("image", "text")]
    writes = [value(f"{n}_embeds", shape=(f"{n}_batch", WIDE)) for n in ("image", "text")]
    return onnx_graph(nodes, reads, writes, [weight("a", WIDE, WIDE), weight("b", WIDE, WIDE)])


def _samples():
    nodes = [node("CumSum", "x axis", "y")]
    shape = ("samples",)
    axis = constant("axis", np.array(0, np.int64))
    return onnx_graph(nodes, [value("x", shape=shape)], [value("y", shape=shape)], [axis])


BARE = {
    "middle": Bare(_middle, lambda chance: {"x": (_rows(chance), TIMES, WIDE)}),
    "nowhere": Bare(_nowhere, lambda chance: {"x": (_rows(chance), WIDE)}),
    "softmax": Bare(_softmax, lambda chance: {"x": (_rows(chance), WIDE)}),
    "frames": Bare(_frames, lambda chance: {"x": (int(chance.integers(1, 90)), WIDE)}),
    "towers": Bare(_towers, lambda chance: {n: (_rows(chance), WIDE) for n in ("image", "text")}),
    "samples": Bare(_samples, lambda chance: {"x": (int(chance.integers(1, 90)),)}),
    "program": Bare(None, lambda chance: {"x": (int(chance.integers(2, 90)),)}),
    "stubborn": Bare(_middle, lambda chance: {"x": (_rows(chance), TIMES, WIDE)}, config=STUBBORN),
    "plain": Bare(_plain, lambda chance: {"x": (_rows(chance), WIDE)}, batched=True),
}


def write_bare(root, name):
    """Write the entry of one of `BARE`; returns its artifact."""
    folder = root / name / "1"
    folder.mkdir(parents=True)
    bare = BARE[name]
    if bare.config:
        (root / name / "config.pbtxt").write_text(bare.config)
    return _write_program(folder) if bare.graph is None else write_onnx(folder, bare.graph())


def request_for(name, chance):
    """The inputs of a request that *name* takes."""
    shapes = BARE[name].sizes(chance)
    return {tensor: chance.standard_normal(shape).astype("f4") for tensor, shape in shapes.items()}


def alone(artifact, signature=None):
    """What the artifact's own runtime answers to a request, and to nothing beside it.

    *signature*: of a `.pt2`, inputs and outputs by name in its own order; x and output by default.
    """
    if artifact.suffix == ".pt2":
        reads, writes = signature or (None, None)
        return _program_alone(
            artifact,
            ["x"] if reads is None else [one.name for one in reads],
            ["output"] if writes is None else [one.name for one in writes],
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # some models are wrong about their own shapes
    session = onnxruntime.InferenceSession(
        str(artifact), options, providers=["CPUExecutionProvider"]
    )
    names = [entry.name for entry in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _program_alone(artifact, reads, writes):
    import torch
    from torch.utils._pytree import tree_leaves, tree_unflatten

    loaded = torch.export.load(str(artifact))
    module = loaded.module()

    def run(inputs):
        leaves = [torch.from_numpy(inputs[name]) for name in reads]
        args, kwargs = tree_unflatten(leaves, loaded.call_spec.in_spec)
        with torch.inference_mode():
            found = tree_leaves(module(*args, **kwargs))
        return {name: tensor.numpy() for name, tensor in zip(writes, found, strict=True)}

    return run


def _write_program(folder):
    """A program of one dimension: numbers, less their mean."""
    import torch

    class Centred(torch.nn.Module):
        def forward(self, x):
            return x - x.mean()

    sizes = {"x": {0: torch.export.Dim("samples", min=2)}}
    return export(folder / "model.pt2", Centred(), torch.rand(5), dynamic_shapes=sizes)
