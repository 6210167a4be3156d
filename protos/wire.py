"""Messages put together and taken apart at the level of protobuf's wire format.

Tensors make up nearly all bytes of a request or a reply. Here they are referred to rather than
copied: a serialized message is a sequence of fields, and serialized fields may be concatenated
(https://protobuf.dev/programming-guides/encoding/).
"""

from collections.abc import Iterable
from itertools import chain
from typing import Final, NamedTuple

from penstock.errors import InvalidRequest

_REQUEST_ID_TAG: Final = 3 << 3 | 2
_RAW_INPUT_TAG: Final = 7 << 3 | 2
_RAW_OUTPUT_TAG: Final = 6 << 3 | 2
_ONE_BYTE: Final = 0x7F
"""The largest number that protobuf writes in one byte."""
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5

MOST_FIELDS: Final = 8192
"""Fields of a ModelInferRequest: its inputs, outputs, parameters and raw contents altogether."""

LONGEST_ID: Final = 1024
"""Bytes of a request's id."""

_ANY: Final = 1 << 62

Buffer = bytes | memoryview


class Malformed(ValueError):
    """The bytes are not a sequence of protobuf fields."""


class TooManyFields(InvalidRequest):
    """A request consists of more than anybody reads one by one."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"a request may have {most} fields (inputs, outputs, parameters and "
            "raw_input_contents altogether), and this one has more"
        )


class IdTooLong(InvalidRequest):
    """A request's id would not fit into the answers that repeat it."""

    def __init__(self, size: int) -> None:
        super().__init__(f"a request's id may have {LONGEST_ID} bytes, and this one has {size}")


def varint(number: int) -> bytes:
    """*number*, not negative, in protobuf's variable length."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def raw_input_field(data: Buffer) -> tuple[bytes, Buffer]:
    """One entry of ``ModelInferRequest.raw_input_contents``, as parts to be joined."""
    return b"\x3a" + varint(len(data)), data


def raw_output_field(data: Buffer) -> tuple[bytes, Buffer]:
    """One entry of ``ModelInferResponse.raw_output_contents``, as parts to be joined."""
    return b"\x32" + varint(len(data)), data


def with_raw_inputs(request: bytes, raws: Iterable[Buffer]) -> bytes:
    """A serialized *request* with *raws* as its raw contents."""
    return b"".join((request, *chain.from_iterable(map(raw_input_field, raws))))


def with_raw_outputs(response: bytes, raws: Iterable[Buffer]) -> bytes:
    """A serialized *response* with *raws* as its raw contents."""
    return b"".join((response, *chain.from_iterable(map(raw_output_field, raws))))


def bytes_field(number: int, length: int) -> bytes:
    """What precedes *length* bytes of a message or a string in the field *number*."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(length)


class Apart(NamedTuple):
    """A serialized ModelInferRequest, taken apart.

    Attributes:
        head: all but the two others: another request that differs in these alone has the same.
        id: the request's.
        raws: views of its raw contents.
    """

    head: bytes
    id: str
    raws: list[memoryview]


def take_apart(serialized: Buffer, most_fields: int = MOST_FIELDS) -> Apart:
    """What a serialized ModelInferRequest consists of.

    Costs no more than *most_fields* fields do, whatever it consists of.

    Raises:
        Malformed: it is cut off, or no protobuf message at all.
        TooManyFields, IdTooLong: it has more than a request may.
    """
    head, raws, ids = _split(serialized, _RAW_INPUT_TAG, _REQUEST_ID_TAG, most_fields)
    if not ids:
        return Apart(head, "", raws)
    if len(ids[-1]) > LONGEST_ID:
        raise IdTooLong(len(ids[-1]))
    try:
        # As in protobuf, the last one counts.
        return Apart(head, [str(id_, "utf-8") for id_ in ids][-1], raws)
    except UnicodeDecodeError as error:
        raise Malformed("the id is not UTF-8") from error


def split_response(serialized: bytes) -> tuple[bytes, list[memoryview]]:
    """A serialized ModelInferResponse without its raw contents, and views of these.

    Raises:
        Malformed: as for `take_apart`.
    """
    head, raws, _ = _split(serialized, _RAW_OUTPUT_TAG)
    return head, raws


def field_numbers(serialized: Buffer, most: int) -> set[int]:
    """The numbers of the fields that a serialized message, of any kind, consists of.

    Raises:
        Malformed: it is cut off, no protobuf message at all, or has more than *most* fields.
    """
    found: set[int] = set()
    at, end = 0, len(serialized)
    for _ in range(most):
        if at == end:
            return found
        tag, at, _ = next_field(serialized, at, end)
        found.add(tag >> 3)
    raise Malformed(f"there are more than {most} fields")


def _split(
    serialized: Buffer, raw_tag: int, id_tag: int = -1, most_fields: int = _ANY
) -> tuple[bytes, list[memoryview], list[memoryview]]:
    """All other fields, and the data of those that have either tag; errors as for `take_apart`."""
    view, end, left = memoryview(serialized), len(serialized), most_fields
    raws: list[memoryview] = []
    ids: list[memoryview] = []
    kept: list[Buffer] = []
    kept_from = at = 0
    while at < end and left:
        left -= 1
        start = at
        tag, at = serialized[at], at + 1
        if tag > _ONE_BYTE:
            tag, at = _read_varint(serialized, start)
        data = at
        if tag & 7 == _LENGTH_DELIMITED:
            if at < end and serialized[at] <= _ONE_BYTE:
                data = at + 1
                at = data + serialized[at]
            else:
                size, data = _read_varint(serialized, at)
                at = data + size
        else:
            at = _after_number(serialized, at, tag & 7)
        if tag == raw_tag:
            raws.append(view[data:at])
        elif tag == id_tag:
            ids.append(view[data:at])
        else:
            continue
        if kept_from < start:
            kept.append(serialized[kept_from:start])
        kept_from = at
    if at != end:
        raise TooManyFields(most_fields) if at < end else Malformed("the last field is cut off")
    kept.append(serialized[kept_from:])
    return b"".join(kept), raws, ids


def next_field(serialized: Buffer, at: int, end: int) -> tuple[int, int, int]:
    """The field that begins at *at*: its tag, where it ends, and where its data begins.

    Raises:
        Malformed: it is none, or does not end by *end*.
    """
    tag = serialized[at]
    data = at + 1
    if tag > _ONE_BYTE:
        tag, data = _read_varint(serialized, at)
    if tag & 7 == _LENGTH_DELIMITED:
        size, data = _read_varint(serialized, data)
        after = data + size
    else:
        after = _after_number(serialized, data, tag & 7)
    if after > end:
        raise Malformed("the last field is cut off")
    return tag, after, data


def _after_number(serialized: Buffer, at: int, kind: int) -> int:
    """The end of a number of that *kind*, which begins at *at*."""
    if kind == _VARINT:
        return _read_varint(serialized, at)[1]
    if kind == _FIXED64:
        return at + 8
    if kind == _FIXED32:
        return at + 4
    raise Malformed(f"field of unknown kind {kind}")


def _read_varint(serialized: Buffer, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(serialized) or shift > 63:
            raise Malformed("a number is cut off")
        byte = serialized[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte <= _ONE_BYTE:
            return number, at
        shift += 7
