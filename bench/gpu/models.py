"""The models of ``make gpu``: some whose answers numpy knows, and some that ruin a device."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from models import batched, write_graph

from penstock.workers.runtimes.pt2_signature import EXTRA_FILE, TensorSignature, write_extra

WIDTH: Final = 64
ROWS_OF_TABLE: Final = 100
_SEED: Final = 7

Array = npt.NDArray[Any]

GPU: Final = "instance_group { kind: KIND_GPU count: 1 }\n"
TWO: Final = "instance_group { kind: KIND_GPU count: 2 gpus: 0 }\n"


def weights() -> Array:
    """[64, 64] FP32, the same each time."""
    made = np.random.default_rng(_SEED).standard_normal((WIDTH, WIDTH)) / 8
    return made.astype(np.float32)


def layer(x: Array) -> Array:
    """What one layer makes of [batch, 64]."""
    return np.maximum(x.astype(np.float32) @ weights(), 0)


def write_all(root: Path) -> None:
    """A repository with all of them."""
    for name, write in _WRITERS.items():
        folder = root / name / "1"
        folder.mkdir(parents=True)
        config = write(folder)
        (root / name / "config.pbtxt").write_text(config)


def _write_layer(file: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    write_graph(file, nodes, [batched("x", WIDTH)], [batched("y", WIDTH)], {"a": weights()})


def _write_program(file: Path, reads: str = "x", writes: str = "y") -> None:
    """The same layer as a torch program."""
    import torch

    linear = torch.nn.Linear(WIDTH, WIDTH, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weights().T.copy()))
    module = torch.nn.Sequential(linear, torch.nn.ReLU())
    tensors = (TensorSignature(name, "FP32", (-1, WIDTH)) for name in (reads, writes))
    _export(module, torch.zeros(2, WIDTH), file, *tensors)


def _export(
    module: Any, sample: Any, file: Path, reads: TensorSignature, writes: TensorSignature
) -> None:
    import torch

    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(module.eval(), (sample,), dynamic_shapes=({0: batch},))
    torch.export.save(program, file, extra_files={EXTRA_FILE: write_extra([reads], [writes])})


def _write_onnx(folder: Path, instances: str = GPU) -> str:
    _write_layer(folder / "model.onnx")
    return f"max_batch_size: 16\ndynamic_batching {{}}\n{instances}"


def _write_pt2(folder: Path) -> str:
    _write_program(folder / "model.pt2")
    return f"max_batch_size: 16\ndynamic_batching {{}}\n{GPU}"


def _write_pipeline(folder: Path) -> str:
    """Two layers: one of ONNX, and one of torch that reads what the first one writes."""
    _write_layer(folder / "shard-0.onnx")
    _write_program(folder / "shard-1.pt2", "y", "z")
    return f"max_batch_size: 16\ndynamic_batching {{}}\n{GPU}"


def _write_half(folder: Path, kind: str) -> str:
    """Y = x + x."""
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    elements = getattr(TensorProto, kind)
    reads, writes = ([batched(name, WIDTH, kind=elements)] for name in "xy")
    write_graph(folder / "model.onnx", nodes, reads, writes, {})
    return f"max_batch_size: 16\n{GPU}"


def _write_greedy(folder: Path) -> str:
    """Y = the sum over as many rows of x as "rows" says: the device holds all of them."""
    from onnx import TensorProto, helper

    write_graph(
        folder / "model.onnx",
        [
            helper.make_node("Concat", ["rows", "width"], ["size"], axis=0),
            helper.make_node("Expand", ["x", "size"], ["large"]),
            helper.make_node("Exp", ["large"], ["larger"]),
            helper.make_node("ReduceSum", ["larger", "axes"], ["y"], keepdims=0),
        ],
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("rows", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
        {"width": np.array([1 << 20], np.int64), "axes": np.array([0, 1], np.int64)},
    )
    return f"max_batch_size: 0\n{GPU}"


def _write_asserting(folder: Path) -> str:
    """A look-up in a table of 100 rows; an index past its end stops a CUDA device for good."""
    import torch

    table = torch.nn.Embedding(ROWS_OF_TABLE, 4)
    with torch.no_grad():
        rows = torch.arange(ROWS_OF_TABLE, dtype=torch.float32)
        table.weight.copy_(rows[:, None].expand(-1, 4))
    reads = TensorSignature("i", "INT64", (-1, 1))
    writes = TensorSignature("y", "FP32", (-1, 1, 4))
    _export(table, torch.zeros(2, 1, dtype=torch.int64), folder / "model.pt2", reads, writes)
    delay = "dynamic_batching { max_queue_delay_microseconds: 200000 }\n"
    return f"max_batch_size: 8\n{delay}{GPU}"


_WRITERS: Final[dict[str, Callable[[Path], str]]] = {
    "onnx_cuda": _write_onnx,
    "pt2_cuda": _write_pt2,
    "two_workers": partial(_write_onnx, instances=TWO),
    "pipeline": _write_pipeline,
    "fp16": partial(_write_half, kind="FLOAT16"),
    "bf16": partial(_write_half, kind="BFLOAT16"),
    "greedy": _write_greedy,
    "asserting": _write_asserting,
}
