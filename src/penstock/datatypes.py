"""The datatypes of the Open Inference Protocol, by their names on the wire.

Without numpy, a fifth of what a scheduler would import: those who only look at tensors'
descriptions find all of it here. Arrays are in `penstock.tensors`.
"""

from typing import Final

ITEM_BYTES: Final[dict[str, int | None]] = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "FP32": 4,
    "FP64": 8,
    "BF16": 2,
    "BYTES": None,
}
"""Datatype -> bytes of one element, None for BYTES, whose elements differ."""

DATATYPES: Final = frozenset(ITEM_BYTES)
