"""Warming up: a worker runs its shard before it takes requests: none pays for the first time.

On the samples of `model_warmup` where the model's owner gives some: one that fails is an error.
Else on what is made up, whose failure says nothing of the model and is only told.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog

from penstock.datatypes import ITEM_BYTES
from penstock.errors import ArtifactUnusable, first_line
from penstock.models.batch_guess import FIRST_MAX_BATCH
from penstock.models.completion import Deployment
from penstock.models.config.model_config import datatype_of_config
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.tensors import (
    NUMPY_TYPES,
    Array,
    MalformedBytes,
    bf16_from_float32,
    element_count,
    from_raw,
    unpack_bytes,
)
from penstock.workers.run.execution import Execution
from penstock.workers.run.made_up import zeros
from penstock.workers.runtimes.runtime import Runtime

log = structlog.get_logger()

_SEED = 7


@dataclass(frozen=True, slots=True)
class Sample:
    """One request to warm up with.

    Attributes:
        inputs: with the batch dimension, where the model has one.
        count: how often it runs.
    """

    name: str
    inputs: dict[str, Array]
    count: int


class Warmed(NamedTuple):
    """What came of warming up one stage.

    Attributes:
        unsplittable: why requests must not share a run of it, as far as that is seen; else "".
        on: what it ran on, for people; "" if it was not run.
        refused: why it did not run on what was made up; "" if it did.
    """

    unsplittable: str
    on: str = ""
    refused: str = ""


def read_samples(config: config_pb.ModelConfig, folder: Path) -> list[Sample]:
    """The samples of *config*; their files are in *folder*.

    Raises:
        ArtifactUnusable: a file is missing, or holds something else than its tensor.
    """
    return [
        Sample(
            sample.name,
            {
                name: _batched(_tensor(tensor, folder), sample.batch_size, config)
                for name, tensor in sample.inputs.items()
            },
            max(1, sample.count),
        )
        for sample in config.model_warmup
    ]


def warm_up(
    execution: Execution[Runtime], deployment: Deployment, stage: pb.Stage, samples: list[Sample]
) -> Warmed:
    """Run the shard of *stage*.

    Samples are requests: a stage that reads what an earlier one writes warms up on what is made up.

    Raises:
        ArtifactUnusable: it does not run on a sample.
    """
    plan = deployment.stages[stage.index]
    given = [*deployment.inputs, *(deployment.sequences.inputs if deployment.sequences else ())]
    reads_requests = set(plan.consumes) <= {spec.name for spec in given}
    if not samples or not reads_requests:
        return _on_made_up(execution, deployment)
    unsplittable = ""
    for sample in samples:
        inputs = {name: sample.inputs[name] for name in plan.consumes if name in sample.inputs}
        try:
            for _ in range(sample.count):
                unsplittable = execution.warm_up_on(inputs) or unsplittable
        except Exception as error:
            raise ArtifactUnusable(
                f"{stage.artifact} does not run on model_warmup '{sample.name}': "
                f"{first_line(error)}"
            ) from error
    log.info("warmed up", samples=len(samples))
    return Warmed(unsplittable, f"{len(samples)} sample(s) of model_warmup")


def _on_made_up(execution: Execution[Runtime], deployment: Deployment) -> Warmed:
    """Run at both ends of the batch sizes."""
    most = max(1, deployment.config.max_batch_size)
    if deployment.guessed:
        # What so many rows would cost nobody knows.
        most = min(most, FIRST_MAX_BATCH)
    try:
        (kind, one), (_, many) = execution.warm_up(1), execution.warm_up(most)
    except Exception as error:  # noqa: BLE001 - runtimes raise what they like
        refused = first_line(error)
        log.info(
            "not warmed up: it does not run on made-up inputs, which says nothing of requests; "
            "model_warmup in config.pbtxt may give it a request to warm up on",
            reason=refused,
        )
        return Warmed("", refused=refused)
    return Warmed(one or many, kind)


def _tensor(tensor: config_pb.ModelWarmup.Input, folder: Path) -> Array:
    datatype, dims = datatype_of_config(tensor.data_type), tuple(tensor.dims)
    if tensor.input_data_file:
        return _from_file(folder / tensor.input_data_file, datatype, dims)
    if tensor.random_data:
        return _random(datatype, dims)
    return zeros(datatype, dims)


def _from_file(path: Path, datatype: str, dims: tuple[int, ...]) -> Array:
    if not path.is_file():
        raise ArtifactUnusable(f"{path.name}, a file of model_warmup, is missing: put it back")
    content = path.read_bytes()
    item_bytes = ITEM_BYTES[datatype]
    expected = None if item_bytes is None else element_count(dims) * item_bytes
    if expected not in (None, len(content)):
        raise ArtifactUnusable(
            f"{path.name}, a file of model_warmup, must hold one raw tensor "
            f"{datatype}{list(dims)}: {expected} bytes; it has {len(content)}"
        )
    if item_bytes is None:
        _check_text(path, content, dims)
    return from_raw(content, datatype, dims)


def _check_text(path: Path, content: bytes, dims: tuple[int, ...]) -> None:
    try:
        count = len(unpack_bytes(content))
    except MalformedBytes as error:
        wrong = str(error)
    else:
        wrong = "" if count == element_count(dims) else f"it has {count} elements"
    if wrong:
        raise ArtifactUnusable(
            f"{path.name}, a file of model_warmup, must hold one raw tensor BYTES{list(dims)}, "
            f"each element after its length: {wrong}"
        )


def _random(datatype: str, dims: tuple[int, ...]) -> Array:
    """Numbers in [0, 1), integers and truth values 0 or 1, text of one letter; always the same."""
    chance = np.random.default_rng(_SEED)
    if datatype == "BYTES":
        places = chance.integers(0, 26, element_count(dims))
        letters = [bytes([ord("a") + int(place)]) for place in places]
        return np.array(letters, np.object_).reshape(dims)
    if datatype == "BF16":
        return bf16_from_float32(np.asarray(chance.random(dims, np.float32))).reshape(dims)
    kind = NUMPY_TYPES[datatype]
    numbers = chance.random(dims) if kind.kind == "f" else chance.integers(0, 2, dims)
    return np.asarray(numbers).astype(kind)


def _batched(array: Array, rows: int, config: config_pb.ModelConfig) -> Array:
    if config.max_batch_size <= 0:
        return array
    return np.repeat(array[np.newaxis], max(1, rows), axis=0)
