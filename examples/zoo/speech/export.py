"""Make of silero-vad a model whose memory is all state; its own TorchScript says what is right."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from zoo.common.agreement import Case, Step
from zoo.common.onnx_files import answers, prove
from zoo.common.packages import unpacked
from zoo.common.place import Array, Place
from zoo.speech.data import PIECE, RATE, Sound, read

MODEL = "voice"
CONTEXT = 64
"""Samples of the piece before, which the network hears again."""
STATE = (2, 128)


def export(place: Place) -> None:
    """Write the artifact, proved piece by piece."""
    path = place.artifact(MODEL)
    onnx.save(_with_memory(onnx.load(str(_package() / "silero_vad_16k_op15.onnx"))), str(path))
    state, context = np.zeros((1, *STATE), np.float32), np.zeros((1, CONTEXT), np.float32)
    pieces = read().pieces[50:90]
    for piece, speech in zip(pieces, _right(pieces), strict=True):
        inputs: dict[str, Array] = {"sound": piece[None], "memory": state, "context": context}
        prove(path, inputs, {"speech": speech[None]})
        following = answers(path, inputs)
        state, context = following["next_memory"], following["next_context"]


def _package() -> Path:
    return unpacked("silero-vad") / "silero_vad" / "data"


def _with_memory(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network, batch first everywhere, at one rate, its context a part of its state."""
    graph = model.graph
    constants = {
        "sr": np.array(RATE, np.int64),
        "context_start": np.array([-CONTEXT], np.int64),
        "context_end": np.array([PIECE], np.int64),
        "context_axis": np.array([1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in constants.items())
    before = [
        helper.make_node("Concat", ["context", "sound"], ["input"], axis=1),
        helper.make_node("Transpose", ["memory"], ["state"], perm=[1, 0, 2]),
    ]
    last = ["sound", "context_start", "context_end", "context_axis"]
    after = [
        helper.make_node("Transpose", ["stateN"], ["next_memory"], perm=[1, 0, 2]),
        helper.make_node("Slice", last, ["next_context"]),
        helper.make_node("Identity", ["output"], ["speech"]),
    ]
    nodes = [*before, *graph.node, *after]
    reads = {"sound": (PIECE,), "memory": STATE, "context": (CONTEXT,)}
    writes = {"speech": (1,), "next_memory": STATE, "next_context": (CONTEXT,)}
    made = helper.make_graph(
        nodes, "voice", _values(reads), _values(writes), list(graph.initializer)
    )
    return helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)


def _values(shapes: dict[str, tuple[int, ...]]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in shapes.items()
    ]


def _right(pieces: Sound) -> Array:
    """How surely each piece is speech [n, 1], as the published TorchScript has it."""
    network = torch.jit.load(str(_package() / "silero_vad.jit"))
    network.reset_states()
    with torch.no_grad():
        found = [network(torch.from_numpy(piece[None].copy()), RATE)[0] for piece in pieces]
    right: Array = torch.stack(found).numpy()
    return right


def cases(_: Place) -> list[Case]:
    """Stretches of sound, each a sequence that begins without memory."""
    found = []
    for start in (40, 90, 300):
        pieces = read().pieces[start : start + 30]
        steps: list[Step] = [
            ({"sound": piece[None]}, {"speech": speech[None]})
            for piece, speech in zip(pieces, _right(pieces), strict=True)
        ]
        found.append(Case(MODEL, steps, sequence=True))
    return found
