"""Warm-up samples: what `model_warmup` asks workers to run before they take requests. Pure.

What can be seen in config.pbtxt alone is checked when it is read; the rest, once the model's inputs
are known.
"""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from penstock.errors import InvalidConfiguration
from penstock.models.config.dataflow import fits, shown
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb

FOLDER: Final = "warmup"
"""Beside the versions of a model: where its samples' files are."""


def files(config: config_pb.ModelConfig) -> list[str]:
    """Names of the files that the samples read, below `FOLDER`."""
    return sorted(
        {
            tensor.input_data_file
            for sample in config.model_warmup
            for tensor in sample.inputs.values()
            if tensor.input_data_file
        }
    )


def problems(config: config_pb.ModelConfig) -> Iterator[str]:
    """What is wrong with the samples, as far as the configuration alone shows it."""
    for sample in config.model_warmup:
        where = f"model_warmup '{sample.name}'"
        if not sample.inputs:
            yield f"{where} has no inputs: give each input of the model a tensor"
        for name, tensor in sample.inputs.items():
            if tensor.data_type == config_pb.DataType.TYPE_INVALID:
                yield f"{where}: input '{name}' must have a data_type"
            if any(size < 1 for size in tensor.dims):
                yield (
                    f"{where}: input '{name}': each of dims must be 1 or more, "
                    f"got {list(tensor.dims)}"
                )
            yield from _source_problems(tensor, f"{where}: input '{name}'")


def _source_problems(tensor: config_pb.ModelWarmup.Input, where: str) -> Iterator[str]:
    source = tensor.WhichOneof("input_data_type")
    if source is None or not getattr(tensor, source):
        yield f"{where} needs zero_data: true, random_data: true or an input_data_file"
    path = PurePosixPath(tensor.input_data_file)
    if path.is_absolute() or ".." in path.parts:
        yield f"{where}: input_data_file '{path}' must be below the model's {FOLDER} directory"


def check(config: config_pb.ModelConfig, inputs: Sequence[pb.TensorSpec]) -> None:
    """Hold the samples against the model's inputs, with full shapes.

    Raises:
        InvalidConfiguration: a sample is none of a request that the model would take.
    """
    known = {spec.name: spec for spec in inputs}
    lead = 1 if config.max_batch_size > 0 else 0
    for sample in config.model_warmup:
        where = f"config.pbtxt: model_warmup '{sample.name}'"
        most = max(1, config.max_batch_size)
        if sample.batch_size > most:
            raise InvalidConfiguration(f"{where}: batch_size must be at most {most}")
        missing = [n for n, s in known.items() if n not in sample.inputs and not s.optional]
        if missing:
            raise InvalidConfiguration(f"{where} lacks the inputs {missing}: add them")
        for name, tensor in sample.inputs.items():
            if name not in known:
                raise InvalidConfiguration(f"{where}: '{name}' is not an input of the model")
            spec = known[name]
            datatype = config_pb.DataType.Name(tensor.data_type).removeprefix("TYPE_")
            same_type = datatype == spec.datatype.replace("BYTES", "STRING")
            if not same_type or not fits(list(tensor.dims), list(spec.shape)[lead:]):
                raise InvalidConfiguration(
                    f"{where}: input '{name}' is {datatype}{list(tensor.dims)}, but the model "
                    f"takes {shown(spec)}; dims have no batch dimension"
                )
