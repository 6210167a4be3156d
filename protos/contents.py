"""Typed tensor contents, and the raw bytes that they stand for.

A request may carry its tensors as typed lists (`InferTensorContents`) or as raw bytes. Behind the
gateway there is only raw: this module is where the one becomes the other.
"""

from typing import Final

import numpy as np

from penstock.errors import InvalidRequest
from penstock.protos.grpc_service_pb2 import InferTensorContents, ModelInferRequest
from penstock.tensors import NUMPY_TYPES, pack_bytes

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "bool_contents": ("BOOL",),
    "int_contents": ("INT32", "INT16", "INT8"),
    "int64_contents": ("INT64",),
    "uint_contents": ("UINT32", "UINT16", "UINT8"),
    "uint64_contents": ("UINT64",),
    "fp32_contents": ("FP32",),
    "fp64_contents": ("FP64",),
    "bytes_contents": ("BYTES",),
}
"""Field -> the datatypes that it may carry, its own first. FP16 and BF16 travel only as raw."""

FIELD_OF: Final[dict[str, str]] = {
    datatype: field for field, datatypes in FIELDS.items() for datatype in datatypes
}
"""Datatype -> the field that carries it."""

_SLICE: Final = 1 << 14
"""Elements that become objects at a time."""


def filled_fields(contents: InferTensorContents) -> list[str]:
    """Names of the fields that hold elements, in the order of their numbers."""
    return [descriptor.name for descriptor, _ in contents.ListFields()]


def raw_from_contents(datatype: str, contents: InferTensorContents) -> bytes:
    """The raw bytes of typed *contents*; nothing when its field for *datatype* is empty.

    INT8, INT16, UINT8 and UINT16 travel in 32 bits; the upper ones are dropped, as in Triton.

    Raises:
        InvalidRequest: no field carries *datatype*.
    """
    field = FIELD_OF.get(datatype)
    if field is None:
        if not filled_fields(contents):
            return b""
        raise InvalidRequest(f"{datatype} tensors must be sent in raw_input_contents")
    elements = getattr(contents, field)
    slices = (elements[at : at + _SLICE] for at in range(0, len(elements), _SLICE))
    if datatype == "BYTES":
        return b"".join(map(pack_bytes, slices))
    wide, kind = NUMPY_TYPES[FIELDS[field][0]], NUMPY_TYPES[datatype]
    # Slice by slice: other threads have their turn in between, and few numbers are objects at once.
    return b"".join(np.array(one, dtype=wide).astype(kind, copy=False).tobytes() for one in slices)


def make_raw(request: ModelInferRequest) -> list[bytes]:
    """Take the typed contents out of *request*, which must hold no others; its raw contents.

    Raises:
        InvalidRequest: as `raw_from_contents`.
    """
    raws: list[bytes] = []
    for tensor in request.inputs:
        raws.append(raw_from_contents(tensor.datatype, tensor.contents))
        tensor.ClearField("contents")
    return raws
