"""Tensors on the wire and in memory: numpy views of raw bytes.

The wire names are those of the Open Inference Protocol; raw bytes are little endian and row
major. BYTES elements are a uint32 length followed by that many bytes. BF16 has no numpy type:
its arrays are uint16 holding the upper half of a float32.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.datatypes import DATATYPES
from penstock.errors import InvalidRequest

Array = npt.NDArray[Any]

NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),
    "BYTES": np.dtype(np.object_),
}
"""Wire datatype -> numpy dtype of its arrays."""

_WIRE_NAMES = {dtype: name for name, dtype in NUMPY_TYPES.items() if name not in ("BF16", "BYTES")}
_LENGTH = struct.Struct("<I")


class UnknownDatatype(InvalidRequest):
    """Neither the protocol nor numpy has such a type."""

    def __init__(self, datatype: str) -> None:
        super().__init__(f"unknown datatype '{datatype}', expected one of {sorted(DATATYPES)}")
        self.datatype = datatype


class MalformedBytes(InvalidRequest):
    """A BYTES tensor whose lengths do not add up to its data."""


def datatype_of(array: Array) -> str:
    """The wire datatype for *array*; text and object arrays are BYTES.

    Raises:
        UnknownDatatype: for complex, datetime and structured arrays.
    """
    if array.dtype.kind in "OSU":
        return "BYTES"
    name = _WIRE_NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise UnknownDatatype(str(array.dtype))
    return name


def element_count(shape: Iterable[int]) -> int:
    """Elements of a tensor of that shape; 1 for a scalar."""
    return math.prod(shape)


def to_raw(array: Array) -> bytes:
    """*array* as the protocol's raw bytes."""
    if array.dtype.kind in "OSU":
        return pack_bytes(array.reshape(-1).tolist())
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def from_raw(raw: bytes | memoryview, datatype: str, shape: Sequence[int]) -> Array:
    """The array that *raw* holds: a read-only view of it, except for BYTES.

    Raises:
        UnknownDatatype: *datatype* is not one of the protocol's.
        MalformedBytes: *raw* is not BYTES as the protocol writes it.
        ValueError: the number of bytes is not that of *shape*.
    """
    dtype = NUMPY_TYPES.get(datatype)
    if dtype is None:
        raise UnknownDatatype(datatype)
    if datatype == "BYTES":
        elements = np.empty(element_count(shape), dtype=np.object_)
        elements[:] = unpack_bytes(raw)
        return elements.reshape(shape)
    return np.frombuffer(raw, dtype=dtype).reshape(shape)


def pack_bytes(elements: Iterable[bytes | str]) -> bytes:
    """Elements, each after its length as uint32; text is encoded as UTF-8."""
    parts: list[bytes] = []
    for element in elements:
        data = element.encode() if isinstance(element, str) else bytes(element)
        parts.append(_LENGTH.pack(len(data)))
        parts.append(data)
    return b"".join(parts)


def unpack_bytes(raw: bytes | memoryview) -> list[bytes]:
    """The elements of a raw BYTES tensor.

    Raises:
        MalformedBytes: a length is cut off, or points past the end.
    """
    elements: list[bytes] = []
    view = memoryview(raw)
    at, end = 0, len(view)
    while at < end:
        if end - at < _LENGTH.size:
            raise MalformedBytes("incomplete string length indicator")
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        if end - at < length:
            raise MalformedBytes(f"string of {length} bytes, but only {end - at} remain")
        elements.append(bytes(view[at : at + length]))
        at += length
    return elements


def bf16_from_float32(array: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Round to the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, dtype="<f4").view("<u4")
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    quiet_nan = ((bits >> 16) | 0x40).astype("<u2")
    return np.where(np.isnan(array), quiet_nan, rounded)


def float32_from_bf16(array: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Exact: every bfloat16 is a float32."""
    return (array.astype("<u4") << 16).view("<f4")
