"""Make the benchmarks' models, with fixed seeds, in Triton's repository layout.

    python bench/models.py [--only w1 w4]      writes bench/models/NAME/{config.pbtxt,1/...}

w1         an MLP 64-128-10, FP32: next to no computing, so the path of a request is what is seen
w2         an encoder like MiniLM's: 6 layers, 384 wide, 12 heads, over 64 INT64 tokens
w2_stages  the same encoder as a pipeline of two shards
w3         ResNet-18 at 3x224x224
w4         the mean over height and width of 3x224x224: 600 KB a request and no computing
w2_before, w2_after   what they read, as it is: steps that cost next to nothing
e3         an ensemble of three steps: w2_before, w2, w2_after
"""

import argparse
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parent / "models"

_SEED = 20240607
_OPSET = 18


def _config(name: str, max_batch: int, tensors: Mapping[str, tuple[str, str]]) -> str:
    lines = [f'name: "{name}"', f"max_batch_size: {max_batch}", *tensor_lines(tensors)]
    return "\n".join((*lines, "dynamic_batching {}\n"))


def tensor_lines(tensors: Mapping[str, tuple[str, str]]) -> list[str]:
    """The input and the output, each of which is called so, as a configuration has them."""
    return [
        f'{name} [{{ name: "{name}" data_type: {datatype} dims: [{dims}] }}]'
        for name, (datatype, dims) in tensors.items()
    ]


def write_graph(
    file: Path, nodes: list[Any], reads: list[Any], writes: list[Any], weights: Mapping[str, Any]
) -> None:
    """Write a graph of *nodes* between the tensors that it reads and writes."""
    import onnx
    from onnx import helper, numpy_helper

    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "bench", reads, writes, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def batched(name: str, *sizes: int, kind: int = 1) -> Any:
    """A tensor with a dynamic batch; FP32 unless *kind* says otherwise, as TensorProto does."""
    from onnx import helper

    return helper.make_tensor_value_info(name, kind, ["batch", *sizes])


def write_w1(directory: Path) -> None:
    """The MLP."""
    from onnx import helper

    random = np.random.default_rng(_SEED)
    weights = {
        "hidden.weight": random.standard_normal((64, 128)).astype(np.float32) / 8,
        "hidden.bias": np.zeros(128, dtype=np.float32),
        "head.weight": random.standard_normal((128, 10)).astype(np.float32) / 11,
        "head.bias": np.zeros(10, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["input", "hidden.weight", "hidden.bias"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "head.weight", "head.bias"], ["output"]),
    ]
    reads, writes = [batched("input", 64)], [batched("output", 10)]
    write_graph(directory / "model.onnx", nodes, reads, writes, weights)


def write_w4(directory: Path) -> None:
    """The mean over height and width."""
    from onnx import helper

    nodes = [helper.make_node("ReduceMean", ["input", "axes"], ["output"], keepdims=0)]
    weights = {"axes": np.array([2, 3], dtype=np.int64)}
    reads, writes = [batched("input", 3, 224, 224)], [batched("output", 3)]
    write_graph(directory / "model.onnx", nodes, reads, writes, weights)


def write_w2(directory: Path) -> None:
    """The encoder."""
    import torch
    from networks import Encoder

    torch.manual_seed(_SEED)
    sample = torch.randint(0, Encoder.VOCABULARY, (2, Encoder.TOKENS))
    _export(Encoder(), sample, directory / "model.onnx")


def write_w2_stages(directory: Path) -> None:
    """The encoder, cut in two where the fewest bytes cross."""
    from penstock.sharding.pipeline import Order, shard_onnx

    with tempfile.TemporaryDirectory() as workplace:
        write_w2(Path(workplace))
        directory.rmdir()
        shard_onnx(Path(workplace) / "model.onnx", Order(2, directory), {}, lambda *_: None)


def write_w3(directory: Path) -> None:
    """ResNet-18."""
    import torch
    from networks import ResNet18

    torch.manual_seed(_SEED)
    _export(ResNet18(), torch.randn(2, 3, 224, 224), directory / "model.onnx")


def _write_identity(directory: Path, datatype: int, width: int) -> None:
    """What is read, as it is."""
    from onnx import helper

    nodes = [helper.make_node("Identity", ["input"], ["output"])]
    reads, writes = ([batched(name, width, kind=datatype)] for name in ("input", "output"))
    write_graph(directory / "model.onnx", nodes, reads, writes, {})


def _export(module: Any, sample: Any, file: Path) -> None:
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, we do not
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        torch.onnx.export(
            module.eval(),
            (sample,),
            file,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


_TOKENS = {"input": ("TYPE_INT64", "64"), "output": ("TYPE_FP32", "384")}
_IMAGE = ("TYPE_FP32", "3, 224, 224")
_IDS = {"input": ("TYPE_INT64", "64"), "output": ("TYPE_INT64", "64")}
_STATE = {"input": ("TYPE_FP32", "384"), "output": ("TYPE_FP32", "384")}

MODELS: dict[str, tuple[Callable[[Path], None], int, Mapping[str, tuple[str, str]]]] = {
    "w1": (write_w1, 64, {"input": ("TYPE_FP32", "64"), "output": ("TYPE_FP32", "10")}),
    "w2": (write_w2, 16, _TOKENS),
    # As onnx.TensorProto has them: 7 is INT64, and 1 FLOAT.
    "w2_before": (partial(_write_identity, datatype=7, width=64), 16, _IDS),
    "w2_after": (partial(_write_identity, datatype=1, width=384), 16, _STATE),
    "w2_stages": (write_w2_stages, 16, _TOKENS),
    "w3": (write_w3, 8, {"input": _IMAGE, "output": ("TYPE_FP32", "1000")}),
    "w4": (write_w4, 16, {"input": _IMAGE, "output": ("TYPE_FP32", "3")}),
}
"""By name: what writes the artifact into a version's folder, the largest batch, the tensors."""


ENSEMBLES = {"e3": (("w2_before", "w2", "w2_after"), 16, _TOKENS)}
"""By name: steps, each of which reads what the one before wrote; the largest batch, the tensors."""


def needed(name: str) -> tuple[str, ...]:
    """The models that must be served for *name*, itself included."""
    return (name, *ENSEMBLES[name][0]) if name in ENSEMBLES else (name,)


def ensure(name: str, repository: Path = REPOSITORY) -> Path:
    """The entry of model *name* in *repository*; it is made when it is not there."""
    return _ensure_ensemble(name, repository) if name in ENSEMBLES else _ensure(name, repository)


def _ensure_ensemble(name: str, repository: Path) -> Path:
    steps, max_batch, tensors = ENSEMBLES[name]
    entry, names = repository / name, ["input", *steps[:-1], "output"]
    text = _config(name, max_batch, tensors).replace("dynamic_batching {}", 'platform: "ensemble"')
    listed = [
        f'  step {{ model_name: "{model}" model_version: -1\n'
        f'    input_map {{ key: "input" value: "{read}" }}'
        f' output_map {{ key: "output" value: "{written}" }} }}\n'
        for model, read, written in zip(steps, names, names[1:], strict=False)
    ]
    text += f"ensemble_scheduling {{\n{''.join(listed)}}}\n"
    # An ensemble's version has no artifact.
    (entry / "1").mkdir(parents=True, exist_ok=True)
    (entry / "config.pbtxt").write_text(text)
    return entry


def _ensure(name: str, repository: Path) -> Path:
    write, max_batch, tensors = MODELS[name]
    entry = repository / name
    config = entry / "config.pbtxt"
    if not config.exists():
        version = entry / "1"
        version.mkdir(parents=True, exist_ok=True)
        write(version)
        # Last, so that an entry with a configuration is a whole one.
        config.write_text(_config(name, max_batch, tensors))
    return entry


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description="Make the benchmarks' models.")
    parser.add_argument("--only", nargs="+", choices=sorted(MODELS), default=sorted(MODELS))
    for name in parser.parse_args().only:
        print(f"{name}: {ensure(name)}", file=sys.stderr)


if __name__ == "__main__":
    main()
