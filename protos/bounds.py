"""Bounds: what a message may consist of, counted before anything is made of it.

A byte of a message can cost a hundred in memory, and a microsecond of a processor: an empty entry
of a list takes two bytes on the wire. So the parts of a message are counted on the wire first, and
one that has too many is refused by the limit that it breaks. Short messages cannot do any harm.

Parts are fields at any depth, entries of lists and maps, and dimensions of shapes. The elements of
typed tensor contents are counted apart: numbers by their bytes, strings one by one.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from penstock.errors import InvalidRequest
from penstock.protos import wire
from penstock.protos.grpc_service_pb2 import InferTensorContents

M = TypeVar("M", bound=Message)

SHORT_BYTES: Final = 4096
"""A message, or the head of a request, that is no longer is not counted."""

MOST_PARTS: Final = 65_536
"""Fields, entries of lists and maps, and dimensions of one message."""

MOST_STRINGS: Final = 1 << 21
"""Elements of one BYTES tensor, and of the typed BYTES contents of one request."""

MOST_NUMBERS: Final = 1 << 23
"""Elements of typed contents of one request that have no fixed size on the wire."""

LONGEST_DESCRIPTION: Final = 1 << 20
"""Bytes of a request beside its tensors: names, shapes, parameters."""

_SLICE: Final = 1 << 20
_MOST_DEPTH: Final = 32


class TooMuch(InvalidRequest):
    """The message has more of something than is read."""


class _Table(dict[int, Any]):
    """Tag -> what its field holds: a `_Table`, or one of the kinds below."""


_PACKED: Final = object()
"""Whole numbers, as many as there are bytes at most."""

_NUMBERS: Final = object()
"""Typed contents of no fixed size: up to eight bytes in memory for one on the wire."""

_FIXED: Final = object()
"""Typed contents of a fixed size: as many bytes in memory as on the wire."""

_STRING: Final = object()
"""One element of typed BYTES contents."""


@dataclass(slots=True)
class _Left:
    """What may still come."""

    parts: int = MOST_PARTS
    strings: int = MOST_STRINGS
    numbers: int = MOST_NUMBERS
    description: int = LONGEST_DESCRIPTION

    def check(self) -> None:
        """Refuse the message once it has too much of anything but bytes."""
        if self.parts < 0:
            what, most = "parts (fields, entries of lists and maps, dimensions)", MOST_PARTS
        elif self.strings < 0:
            what, most = "elements of typed BYTES contents", MOST_STRINGS
        elif self.numbers < 0:
            what, most = "whole numbers in typed contents", MOST_NUMBERS
        else:
            return
        raise TooMuch(f"a message may have {most} {what}, and this one has more")


def check_parts(serialized: wire.Buffer, kind: type[Message]) -> None:
    """Refuse a message of *kind* that has too many parts.

    Raises:
        TooMuch: it has; the text says how many there may be.
        Malformed: it is no protobuf message.
    """
    _walk(serialized, 0, len(serialized), _table_of(kind.DESCRIPTOR), _Left())


def check_head(head: wire.Buffer, kind: type[Message]) -> None:
    """As `check_parts`, for a request without its raw contents, which has to be short.

    Raises:
        TooMuch, Malformed: as `check_parts`; or names, shapes and parameters are too long.
    """
    left = _Left()
    _walk(head, 0, len(head), _table_of(kind.DESCRIPTOR), left)
    if left.description < 0:
        raise TooMuch(
            f"names, shapes and parameters of a request may have {LONGEST_DESCRIPTION} bytes "
            f"altogether, and this one's have {LONGEST_DESCRIPTION - left.description}"
        )


def parse(kind: type[M], serialized: bytes, most_bytes: int | None) -> M:
    """The message of *kind* that a client sent as *serialized*.

    Args:
        most_bytes: that it may have; None for any.

    Raises:
        InvalidRequest: it is longer, has too many parts, or is damaged.
    """
    name = kind.DESCRIPTOR.full_name
    if most_bytes is not None and len(serialized) > most_bytes:
        raise TooMuch(f"a {name} may have {most_bytes} bytes, and this one has {len(serialized)}")
    try:
        if len(serialized) > SHORT_BYTES:
            check_parts(serialized, kind)
        return kind.FromString(serialized)
    except (DecodeError, wire.Malformed) as error:
        raise InvalidRequest(f"the message is not an {name}: it is damaged or cut off") from error


_tables: Final[dict[Any, _Table]] = {}


def _table_of(descriptor: Any) -> _Table:
    """What the fields of a message hold, made once."""
    known = _tables.get(descriptor)
    if known is None:
        known = _tables[descriptor] = _Table()
        for field in descriptor.fields:
            held = _held(field)
            if held is not None:
                known[field.number << 3 | 2] = held
    return known


def _held(field: Any) -> object:
    """What the bytes of a field hold; None where they are only bytes."""
    typed = field.containing_type.full_name == InferTensorContents.DESCRIPTOR.full_name
    if field.message_type is not None:
        return _table_of(field.message_type)
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return _STRING if typed else None
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE) and typed:
        return _FIXED
    return _NUMBERS if typed else _PACKED


def _walk(data: wire.Buffer, at: int, end: int, table: _Table, left: _Left, depth: int = 0) -> None:
    """Count the fields of the message from *at* to *end*."""
    if depth > _MOST_DEPTH:
        raise TooMuch(f"the message is nested more than {_MOST_DEPTH} deep")
    while at < end:
        start = at
        tag, at, content = wire.next_field(data, at, end)
        held = table.get(tag)
        if held is _STRING:
            at, more = _strings_from(data, at, end, tag)
            left.strings -= 1 + more
            left.check()
            continue
        left.parts -= 1
        if isinstance(held, _Table):
            left.description -= content - start
            _walk(data, content, at, held, left, depth + 1)
        elif held is _NUMBERS:
            left.numbers -= _numbers_in(data, content, at)
        elif held is not _FIXED:
            left.description -= at - start
            left.parts -= at - content if held is _PACKED else 0
        left.check()


def _strings_from(data: wire.Buffer, at: int, end: int, tag: int) -> tuple[int, int]:
    """Where a run of short strings ends that begins at *at*, and how many they are."""
    count, last = 0, end - 1
    # Nobody reads more of them than may be.
    while at < last and data[at] == tag and data[at + 1] < 0x80 and count <= MOST_STRINGS:
        after = at + 2 + data[at + 1]
        if after > end:
            break
        at = after
        count += 1
    return at, count


def _numbers_in(data: wire.Buffer, at: int, end: int) -> int:
    """How many numbers of variable length there are: each has one byte without the upper bit."""
    view = memoryview(data)
    return sum(
        int(np.count_nonzero(np.frombuffer(view[start : min(end, start + _SLICE)], np.int8) >= 0))
        for start in range(at, end, _SLICE)
    )
