"""Sample inputs: what is known of a model's inputs, and arrays that fit them.

``name=shape:datatype`` says how an input looks, ``name=@file.npy`` gives it as it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.datatypes import DATATYPES
from penstock.sharding.errors import CannotShard
from penstock.tensors import NUMPY_TYPES, Array, bf16_from_float32, datatype_of

HOW = "write --input name=shape:datatype, such as image=-1,1,8,8:FP32, or name=@file.npy"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a model. A size of None follows the request; ``array`` is a given sample."""

    name: str
    datatype: str
    shape: tuple[int | None, ...]
    array: Array | None = None


def parse_inputs(texts: Iterable[str]) -> dict[str, InputSpec]:
    """The inputs that the command line describes, by name, in its order."""
    return {spec.name: spec for spec in map(_parse_input, texts)}


def _parse_input(text: str) -> InputSpec:
    name, found, rest = text.partition("=")
    if not (name and found and rest):
        raise CannotShard(f"cannot read --input '{text}': {HOW}")
    if rest.startswith("@"):
        array = _load(Path(rest[1:]))
        return InputSpec(name, datatype_of(array), tuple(array.shape), array)
    shape, _, datatype = rest.partition(":")
    datatype = datatype.upper() or "FP32"
    known = ", ".join(sorted(DATATYPES))
    if datatype not in DATATYPES:
        raise CannotShard(
            f"--input '{text}': unknown datatype '{datatype}', expected one of {known}"
        )
    try:
        sizes = [int(size) for size in shape.replace("x", ",").split(",") if size.strip()]
    except ValueError:
        raise CannotShard(f"cannot read the shape in --input '{text}': {HOW}") from None
    return InputSpec(name, datatype, tuple(None if size < 0 else size for size in sizes))


def _load(path: Path) -> Array:
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CannotShard(f"cannot read the sample {path}: {error}") from None
    return array


def sample(spec: InputSpec, shape: tuple[int, ...]) -> Array:
    """An array of that shape for *spec*: its given sample if there is one, else made up.

    A given sample is repeated, or cut, along each dimension. Made-up numbers come from a fixed
    seed; integers and texts are 0 or 1, because they may be indexes into a table of any length.
    """
    if spec.array is not None:
        return _repeated(spec, spec.array, shape)
    chance = np.random.default_rng(len(shape) + sum(map(ord, spec.name)))
    dtype = NUMPY_TYPES[spec.datatype]
    if spec.datatype == "BYTES":
        return chance.integers(0, 2, shape).astype(str).astype(np.object_)
    if spec.datatype == "BF16":
        return bf16_from_float32(chance.standard_normal(shape).astype(np.float32))
    if dtype.kind == "f":
        return chance.standard_normal(shape).astype(dtype)
    return chance.integers(0, 2, shape).astype(dtype)


def _repeated(spec: InputSpec, array: Array, shape: tuple[int, ...]) -> Array:
    if array.shape == shape:
        return array
    sizes = zip(spec.shape, array.shape, shape, strict=False)
    fits = all(fixed is None or own == size for fixed, own, size in sizes)
    if array.ndim != len(shape) or not array.size or not fits:
        raise CannotShard(f"a sample of shape {list(array.shape)} does not fit {list(shape)}")
    for axis, size in enumerate(shape):
        array = np.take(array, range(size), axis=axis, mode="wrap")
    return array


def reject_unknown(given: Mapping[str, InputSpec], names: Iterable[str]) -> None:
    """Refuse a description of an input that the model does not have."""
    known = list(names)
    for name in given:
        if name not in known:
            raise CannotShard(f"--input '{name}': the model's inputs are {', '.join(known)}")
