"""How much of a serialized ONNX model is structure, counted before anything is made of it.

Parsed messages take many times the bytes of small fields, and none more than the numbers of large
ones. So what is no array of numbers is bounded, by bytes and by count; see
https://protobuf.dev/programming-guides/encoding for the format, and onnx.proto for the fields.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from penstock.exporting.errors import Damaged

_MOST_STRUCTURE: Final = 32 << 20
_MOST_PARTS: Final = 1 << 18

Fields = Mapping[int, Any]
"""What is looked into, by number: None for arrays of numbers, or the fields within."""

_NUMBERS: Final[Fields] = dict.fromkeys((4, 5, 7, 9, 10, 11))
_MODEL: Final[Fields] = {7: {5: _NUMBERS}}


def check_structure(data: memoryview, file: str) -> None:
    """Raise `Damaged` where *data* is no model, or has more structure than any model."""
    parts = 0
    structure = 0
    pending: list[tuple[memoryview, Fields]] = [(data, _MODEL)]
    while pending:
        message, fields = pending.pop()
        for number, content in _fields(message, file):
            parts += 1
            within = fields.get(number, ())
            if isinstance(content, memoryview) and isinstance(within, dict):
                pending.append((content, within))
            elif within is not None:
                structure += 2 if content is None else len(content)
            if parts > _MOST_PARTS or structure > _MOST_STRUCTURE:
                raise Damaged(file, "it has more structure than any model")


def _fields(message: memoryview, file: str) -> Iterator[tuple[int, memoryview | None]]:
    """Number and content of each field; None for plain numbers."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at, file)
        kind = key & 7
        content: memoryview | None = None
        if kind == 0:
            _, at = _varint(message, at, file)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size, at = _varint(message, at, file)
            content = message[at : at + size]
            at += size
        else:
            raise Damaged(file, "it is no ONNX model")
        if at > len(message):
            raise Damaged(file, "it ends within its graph")
        yield key >> 3, content


def _varint(message: memoryview, at: int, file: str) -> tuple[int, int]:
    """The number at *at*, and where it ends."""
    found = 0
    for place, byte in enumerate(message[at : at + 10]):
        found |= (byte & 127) << 7 * place
        if byte < 128:
            return found, at + place + 1
    raise Damaged(file, "it ends within its graph")
