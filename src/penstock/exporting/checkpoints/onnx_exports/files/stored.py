"""Arrays of an ONNX file, in it or beside it; sizes are checked before memory is taken."""

import math
import mmap
import os
import stat
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.exporting.errors import CannotExport, Damaged, Unsupported

Array = npt.NDArray[Any]

_KINDS: Final = {
    1: "<f4",
    2: "|u1",
    3: "|i1",
    6: "<i4",
    7: "<i8",
    9: "|b1",
    10: "<f2",
    11: "<f8",
    12: "<u4",
    13: "<u8",
    16: "<u2",
}
"""Types of ONNX and of numpy; 16 is bfloat16, the upper half of a float32."""

FLOATS: Final = (1, 10, 11, 16)
HALVES: Final = (10, 16)
_BFLOAT16: Final = 16
_EXTERNAL: Final = 1
_MOST_RANK: Final = 8


class Stored(NamedTuple):
    """An array, as it is stored.

    Attributes:
        kind: its type's number in onnx.proto.
        source: its bytes, or a whole array.
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    source: memoryview | Array

    def array(self) -> Array:
        """Its numbers; floats of any size as float32, others as they are."""
        raw = self.source
        if isinstance(raw, memoryview):
            raw = np.frombuffer(raw, _KINDS[self.kind])
        if self.kind == _BFLOAT16 and raw.dtype == np.uint16:
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        if self.kind in FLOATS:
            raw = raw.astype(np.float32, copy=False)
        return raw.reshape(self.shape)

    def whole_numbers(self) -> list[int]:
        """Sizes or axes, in a row; none where they are no whole numbers, or more than axes."""
        if self.kind in FLOATS or math.prod(self.shape) > _MOST_RANK:
            return []
        return [int(one) for one in self.array().reshape(-1)]


class Beside:
    """The files beside a model that have its arrays, each mapped once."""

    def __init__(self, folder: Path, file: str) -> None:
        self._folder = folder
        self._file = file
        self._mapped: dict[str, memoryview] = {}

    def part(self, tensor: Any, size: int) -> memoryview:
        """The *size* bytes of *tensor*, a TensorProto with external data.

        Raises:
            CannotExport: they are not in a plain file of the folder.
        """
        said = {str(entry.key): str(entry.value) for entry in tensor.external_data}
        location = said.get("location", "")
        try:
            begin, length = int(said.get("offset", 0)), int(said.get("length", size))
        except ValueError:
            raise Damaged(self._file, f"{tensor.name} lies nowhere") from None
        whole = self._whole(location)
        if length != size or begin < 0 or begin + size > len(whole):
            raise Damaged(
                self._file,
                f"{tensor.name} of shape {list(tensor.dims)} does not fit into {location}",
            )
        return whole[begin : begin + size]

    def _whole(self, location: str) -> memoryview:
        if location not in self._mapped:
            if location in ("", ".", "..") or Path(location).name != location or "\0" in location:
                raise CannotExport(
                    f"{self._file} wants its numbers from {location[:80]!r}, which is no file of "
                    "its folder: put it there, and say so with onnx.save"
                )
            self._mapped[location] = _mapped(self._folder / location)
        return self._mapped[location]


def _mapped(path: Path) -> memoryview:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        why = "it is a link: copy the folder with cp -rL" if path.is_symlink() else error.strerror
        raise CannotExport(f"{path} cannot be read: {why}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CannotExport(f"{path} cannot be read: it is no file")
        if os.fstat(descriptor).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)


def stored(tensor: Any, beside: Beside, file: str) -> Stored:
    """What *tensor*, a TensorProto, says; nothing of it is read.

    Raises:
        CannotExport: its bytes are not as many as its shape wants, or its type is not read.
    """
    shape = tuple(tensor.dims)
    if len(shape) > _MOST_RANK or any(size < 0 for size in shape):
        raise Damaged(file, f"{tensor.name} has the shape {list(shape)[:_MOST_RANK]}")
    kind = tensor.data_type
    if kind not in _KINDS:
        raise Unsupported(f"{file}: {tensor.name} has numbers of ONNX's type {kind}")
    size = math.prod(shape) * np.dtype(_KINDS[kind]).itemsize
    if tensor.data_location == _EXTERNAL:
        return Stored(tensor.name, kind, shape, beside.part(tensor, size))
    if tensor.HasField("raw_data"):
        raw = memoryview(tensor.raw_data)
        if len(raw) != size:
            raise Damaged(file, f"{tensor.name} of shape {list(shape)} has {len(raw)} bytes")
        return Stored(tensor.name, kind, shape, raw)
    return Stored(tensor.name, kind, shape, _listed(tensor, kind, shape, file))


def _listed(tensor: Any, kind: int, shape: tuple[int, ...], file: str) -> Array:
    """An array whose numbers are fields of their own."""
    if kind in (1, 11):
        items = tensor.float_data if kind == 1 else tensor.double_data
    elif kind in (7, 12, 13):
        items = tensor.int64_data if kind == 7 else tensor.uint64_data
    else:
        items = tensor.int32_data
    if len(items) != math.prod(shape):
        raise Damaged(file, f"{tensor.name} of shape {list(shape)} has {len(items)} numbers")
    try:
        if kind in (10, _BFLOAT16):
            halves = np.array(items, dtype=np.uint16).reshape(shape)
            return halves.view(np.float16) if kind == 10 else halves
        return np.array(items, dtype=_KINDS[kind]).reshape(shape)
    except (OverflowError, ValueError):
        raise Damaged(file, f"{tensor.name} has numbers that are none of its type") from None
