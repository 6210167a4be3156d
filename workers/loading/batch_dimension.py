"""What the names of an artifact's dimensions say of a batch. Pure.

A batch dimension is the first one of each input and output, has the same name there, and that name
stands nowhere else. Names that an exporter made up for one tensor alone say nothing, and neither do
sizes without a name: there the trial has to show more (`batch_proof`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.errors import PenstockError
from penstock.protos import cluster_pb2 as pb
from penstock.workers.runtimes.runtime import Dimensions

_MADE_UP: Final = re.compile(r"unk__\d+|.*_dynamic_axes_\d+|.*_dim_\d+|\?|")
"""By tf2onnx and ONNX Runtime; by torch.onnx, for axes without names and for outputs."""

_WORD: Final = re.compile(r"[^\W\d]\w*")


class NotProved(PenstockError):
    """Rows may not be run together; the text says why."""


@dataclass(frozen=True, slots=True)
class BatchDimension:
    """The first dimension, as far as names tell.

    Attributes:
        name: what it is called; empty where it has no name.
        unnamed: inputs whose first dimension is not called so: its size may be another one.
    """

    name: str
    unnamed: tuple[str, ...]


def batch_dimension(
    signature: pb.Signature, dimensions: Mapping[str, Dimensions]
) -> BatchDimension:
    """The batch dimension that an artifact may have.

    Raises:
        NotProved: it has none.
    """
    specs = [*signature.inputs, *signature.outputs]
    for spec in specs:
        if not spec.shape or spec.shape[0] != -1:
            raise NotProved(f"the first dimension of '{spec.name}' is not of any size")
    for spec in signature.inputs:
        if spec.optional:
            raise NotProved(f"input '{spec.name}' may be left out, which cannot be tried")
    if all(len(spec.shape) == 1 for spec in signature.inputs):
        raise NotProved("its inputs have one dimension, whose size may mean anything")
    first = {spec.name: _name(dimensions[spec.name][0]) for spec in specs}
    names = sorted({name for name in first.values() if name})
    if len(names) > 1:
        shown = " and ".join(_where(names, first))
        raise NotProved(f"the first dimension is not the same one everywhere: {shown}")
    if names:
        _check_nowhere_else(names[0], dimensions, [spec.name for spec in specs])
    unnamed = tuple(spec.name for spec in signature.inputs if not first[spec.name])
    return BatchDimension(names[0] if names else "", unnamed)


def _name(size: str) -> str:
    return "" if _MADE_UP.fullmatch(size) else size


def _where(names: Sequence[str], first: Mapping[str, str]) -> list[str]:
    """Each of *names* with the first tensor that has it."""
    owners = {name: next(t for t, called in first.items() if called == name) for name in names}
    return [f"'{name}' in '{owner}'" for name, owner in owners.items()]


def _check_nowhere_else(
    name: str, dimensions: Mapping[str, Dimensions], tensors: Sequence[str]
) -> None:
    for tensor in tensors:
        for size in dimensions[tensor][1:]:
            if name == size or name in _WORD.findall(size):
                raise NotProved(f"'{name}' is not the first dimension alone: '{tensor}' has {size}")
