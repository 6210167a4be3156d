"""The data of tensors as JSON, and the raw bytes that it stands for.

Pure. In Triton's words where it refuses; numbers that do not fit are refused instead of cut.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from penstock.errors import InvalidRequest
from penstock.gateway.fronts.http.json_messages import dumped, wrong_kind
from penstock.tensors import NUMPY_TYPES, MalformedBytes, from_raw, pack_bytes

_BINARY_ONLY: Final = ("FP16", "BF16")
_FLOATS: Final = ("FP32", "FP64")
_SLICE: Final = 1 << 13
"""Elements that become JSON at a time: others have their turn in between."""

LONGEST_RAW: Final = 16 << 20
"""Bytes of an output that become JSON, some five times as many."""


def raw_from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> bytes:
    """The raw bytes of the input *name*, whose *data* is nested as its shape is, or flat.

    Raises:
        InvalidRequest: it is not what *datatype* and *shape* say.
    """
    _check_datatype(datatype, f"input '{name}'")
    if not isinstance(data, list):
        raise wrong_kind("data", "array")
    elements = _flat(data)
    if len(elements) != math.prod(shape):
        raise InvalidRequest(
            f"Unable to parse 'data': Shape does not match true shape of 'data' field of input "
            f"'{name}'"
        )
    _check_kinds(datatype, elements)
    if datatype == "BYTES":
        return _packed(name, elements)
    try:
        with np.errstate(over="ignore"):
            return np.array(elements, dtype=NUMPY_TYPES[datatype]).tobytes()
    except (OverflowError, ValueError, KeyError) as error:
        raise InvalidRequest(f"the data of input '{name}' is no {datatype}: {error}") from error


def data_of(name: str, datatype: str, count: int, raw: bytes | memoryview) -> bytes:
    """The elements of the output *name*, as an array of JSON.

    Raises:
        InvalidRequest: JSON cannot have them.
    """
    elements = elements_of(name, datatype, count, raw)
    slices = (elements[at : at + _SLICE] for at in range(0, len(elements), _SLICE))
    return b"[" + b",".join(dumped(one)[1:-1] for one in slices) + b"]"


def elements_of(name: str, datatype: str, count: int, raw: bytes | memoryview) -> list[Any]:
    """The elements of the output *name*, as JSON has them.

    Raises:
        InvalidRequest: JSON cannot have them.
    """
    if len(raw) > LONGEST_RAW:
        raise InvalidRequest(
            f"the output '{name}' has {len(raw)} bytes, and may have {LONGEST_RAW} as JSON: ask "
            "for it with the parameter binary_data"
        )
    _check_datatype(datatype, f"output '{name}'")
    if datatype == "BYTES":
        return _texts(name, count, raw)
    found: list[Any] = np.frombuffer(raw, dtype=NUMPY_TYPES[datatype]).tolist()
    return found


def _check_datatype(datatype: str, whose: str) -> None:
    if datatype in _BINARY_ONLY:
        raise InvalidRequest(
            f"sending {datatype} data via JSON is not supported. Please use the binary data format "
            f"for {whose}"
        )


def _packed(name: str, elements: list[str]) -> bytes:
    try:
        return pack_bytes(elements)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the data of input '{name}' is no text") from error


def _texts(name: str, count: int, raw: bytes | memoryview) -> list[str]:
    try:
        return [element.decode() for element in from_raw(bytes(raw), "BYTES", (count,)).tolist()]
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the output '{name}' holds bytes that are no UTF-8: ask for it with the parameter "
            "binary_data"
        ) from error
    except MalformedBytes as error:
        raise InvalidRequest(
            f"output tensor shape does not match size of output for '{name}'"
        ) from error


def _flat(data: list[Any]) -> list[Any]:
    """The elements of nested lists, in their order; each is looked at once."""
    elements: list[Any] = []
    lists = [data]
    while lists:
        part = lists.pop()
        if list in set(map(type, part)):
            lists += [one if isinstance(one, list) else [one] for one in reversed(part)]
        else:
            elements += part
    return elements


def _check_kinds(datatype: str, elements: list[Any]) -> None:
    kinds = set(map(type, elements))
    if datatype == "BYTES":
        if kinds - {str}:
            raise InvalidRequest(
                "Unable to parse JSON bytes array: attempt to access JSON non-string as string"
            )
        return
    expected: set[type] = {int}
    word = "signed-integer" if datatype.startswith("INT") else "unsigned-integer"
    if datatype == "BOOL":
        expected, word = {bool}, "boolean"
    elif datatype in _FLOATS:
        expected, word = {int, float}, "double"
    if kinds - expected:
        raise wrong_kind("data", word)
