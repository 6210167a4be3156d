"""Datatypes by the names and numbers that Triton's Python models use, and BYTES as they travel."""

from typing import Any, Final

import numpy as np

from penstock.tensors import Array, pack_bytes, unpack_bytes

TRITON_STRING_TO_NUMPY: Final[dict[str, type[Any]]] = {
    "TYPE_BOOL": bool,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_STRING": np.object_,
}
"""`data_type` of config.pbtxt -> the numpy type of its arrays."""

_KINDS: Final[tuple[tuple[str, type[Any] | None], ...]] = (
    ("", None),
    ("BOOL", np.bool_),
    ("UINT8", np.uint8),
    ("UINT16", np.uint16),
    ("UINT32", np.uint32),
    ("UINT64", np.uint64),
    ("INT8", np.int8),
    ("INT16", np.int16),
    ("INT32", np.int32),
    ("INT64", np.int64),
    ("FP16", np.float16),
    ("FP32", np.float32),
    ("FP64", np.float64),
    ("BYTES", np.object_),
    ("BF16", None),
)
"""Wire name and numpy type, by Triton's number."""

NUMBERS: Final = {name: number for number, (name, _) in enumerate(_KINDS) if name}
"""Wire datatype -> Triton's number of it."""

WIRE_NAMES: Final = {number: name for name, number in NUMBERS.items()}
"""The same the other way round."""

_NUMBERS_OF_TYPES: Final = {
    kind: number for number, (_, kind) in enumerate(_KINDS) if kind is not None
}


def triton_to_numpy_type(data_type: int) -> type[Any] | None:
    """The numpy type for Triton's number; None where numpy has none."""
    return _KINDS[data_type][1] if 0 < data_type < len(_KINDS) else None


def numpy_to_triton_type(data_type: Any) -> int | None:
    """Triton's number for a numpy type or dtype; None where there is none."""
    kind = np.dtype(data_type).type
    return NUMBERS["BYTES"] if kind is np.bytes_ else _NUMBERS_OF_TYPES.get(kind)


def triton_string_to_numpy(triton_type_string: str) -> type[Any]:
    """The numpy type for a `data_type` of config.pbtxt, as "TYPE_FP32"."""
    return TRITON_STRING_TO_NUMPY[triton_type_string]


def serialize_byte_tensor(input_tensor: Array) -> bytes | tuple[()] | None:
    """The elements of an array of text, each after its length as a little endian uint32.

    Returns an empty tuple for no elements, and None for an array of anything else, as Triton does.
    """
    if input_tensor.size == 0:
        return ()
    if input_tensor.dtype.kind not in "OS":
        return None
    elements = input_tensor.reshape(-1).tolist()
    return pack_bytes(one if isinstance(one, bytes) else str(one) for one in elements)


def deserialize_bytes_tensor(encoded_tensor: bytes) -> Array:
    """The 1-D array of bytes that `serialize_byte_tensor` has written."""
    return np.array(unpack_bytes(encoded_tensor), dtype=np.object_)
