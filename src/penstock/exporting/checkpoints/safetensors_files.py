"""Safetensors files: checked by their own library, then mapped, and read one tensor at a time."""

import json
import math
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np

from penstock.exporting.errors import CannotExport, Damaged, Unsupported
from penstock.exporting.graphs.matrices import Floats

_KINDS: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_MOST_TENSORS: Final = 1 << 16


class _Place(NamedTuple):
    """Where a tensor lies."""

    mapped: mmap.mmap
    kind: str
    begin: int
    shape: tuple[int, ...]


class SafetensorsFiles:
    """The tensors of one or several files.

    Attributes:
        shapes: of the tensors, by their names.
    """

    def __init__(self, name: str, places: dict[str, _Place]) -> None:
        self._name = name
        self._places = places
        self.shapes = {tensor: place.shape for tensor, place in places.items()}

    @classmethod
    def open(cls, paths: Sequence[Path], name: str) -> Self:
        """The tensors of the files *paths* of the checkpoint *name*.

        Raises:
            CannotExport: one is missing or damaged, or two have the same tensor.
        """
        places: dict[str, _Place] = {}
        for path in paths:
            found = _places(path)
            if twice := places.keys() & found.keys():
                raise Damaged(path.name, f"it has {min(twice)}, which another file has as well")
            places |= found
        return cls(name, places)

    def read(self, tensor: str) -> Floats:
        """The tensor as float32.

        Raises:
            Unsupported: its numbers are of a kind that is not read.
        """
        mapped, kind, begin, shape = self._places[tensor]
        if kind not in _KINDS:
            raise Unsupported(f"{self._name}: {tensor} is {kind}", f"read are {', '.join(_KINDS)}")
        raw = np.frombuffer(mapped, _KINDS[kind], math.prod(shape), begin)
        if kind == "BF16":  # the upper half of a float32
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32, copy=False).reshape(shape)


def _places(path: Path) -> dict[str, _Place]:
    """The tensors of one file."""
    from safetensors import SafetensorError, safe_open

    try:
        # First, since its library takes each file that it cannot open for one that is not there.
        with path.open("rb") as file:
            # It holds the header against the file's size: bounds, order, gaps.
            with safe_open(path, framework="numpy"):
                pass
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (SafetensorError, ValueError) as error:
        raise Damaged(path.name, str(error)) from error
    except OSError as error:
        raise CannotExport(f"{path} cannot be read: {error.strerror or error}") from error
    size = int.from_bytes(mapped[:8], "little")
    header = json.loads(mapped[8 : 8 + size])
    header.pop("__metadata__", None)
    if len(header) > _MOST_TENSORS:
        raise Damaged(path.name, f"it says that it has {len(header)} tensors")
    return {
        name: _Place(
            mapped, entry["dtype"], 8 + size + entry["data_offsets"][0], tuple(entry["shape"])
        )
        for name, entry in header.items()
    }
