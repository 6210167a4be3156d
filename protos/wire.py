"""Messages put together and taken apart at the level of protobuf's wire format.

Tensors make up nearly all bytes of a request or a reply. Here they are referred to rather than
copied: a serialized message is a sequence of fields, and serialized fields may be concatenated
(https://protobuf.dev/programming-guides/encoding/).
"""

_RAW_INPUT_TAG = 7 << 3 | 2
_RAW_OUTPUT_TAG = 6 << 3 | 2
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5

Buffer = bytes | memoryview


class Malformed(ValueError):
    """The bytes are not a sequence of protobuf fields."""


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


def bytes_field(number: int, length: int) -> bytes:
    """What precedes *length* bytes of a message or a string in the field *number*."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(length)


def split_request(serialized: bytes) -> tuple[bytes, list[Buffer]]:
    """A serialized ModelInferRequest without its raw contents, and views of these.

    Raises:
        Malformed: it is cut off, or no protobuf message at all.
    """
    return _split(serialized, _RAW_INPUT_TAG)


def split_response(serialized: bytes) -> tuple[bytes, list[Buffer]]:
    """A serialized ModelInferResponse without its raw contents, and views of these.

    Raises:
        Malformed: as for `split_request`.
    """
    return _split(serialized, _RAW_OUTPUT_TAG)


def _split(serialized: bytes, wanted: int) -> tuple[bytes, list[Buffer]]:
    view = memoryview(serialized)
    raws: list[Buffer] = []
    kept: list[memoryview] = []
    at, end = 0, len(view)
    while at < end:
        start = at
        tag, at = _read_varint(view, at)
        at, data = _skip(view, at, tag & 7)
        if tag == wanted:
            raws.append(view[data:at])
        else:
            kept.append(view[start:at])
    return b"".join(kept), raws


def _skip(view: memoryview, at: int, kind: int) -> tuple[int, int]:
    """The end of a field whose value begins at *at*, and where its data begins."""
    start = at
    if kind == _LENGTH_DELIMITED:
        length, start = _read_varint(view, at)
        at = start + length
    elif kind == _VARINT:
        _, at = _read_varint(view, at)
    elif kind == _FIXED64:
        at += 8
    elif kind == _FIXED32:
        at += 4
    else:
        raise Malformed(f"field of unknown kind {kind}")
    if at > len(view):
        raise Malformed("the last field is cut off")
    return at, start


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise Malformed("a number is cut off")
        byte = view[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
