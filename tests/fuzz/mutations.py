"""Changes that keep an input's structure, so that it gets past the first check."""

import re
from random import Random

from penstock.protos import wire

WORDS = re.compile(rb"\w+|\W")
NUMBERS = (0, 1, 2, 127, 128, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1)


def message(data: bytes, random: Random) -> bytes:
    """A protobuf message with a field more, less, repeated, moved or changed, at any depth."""
    fields = _fields(data)
    if not fields:
        return data
    at = random.randrange(len(fields))
    what = random.randrange(7)
    if what == 0:
        del fields[at]
    elif what == 1:
        fields[at:at] = [fields[at]] * random.choice((1, 2, 10, 100))
    elif what == 2:
        fields.insert(random.randrange(len(fields)), fields.pop(at))
    elif what == 3:
        fields[at] = _with_content(fields[at], random.randbytes(random.randrange(20)))
    elif what == 4:
        size = wire.varint(random.choice(NUMBERS))
        fields[at] = fields[at][:1] + size + fields[at][2:]
    elif what == 5:
        fields[at] = (
            bytes([random.choice((fields[at][0] ^ random.randrange(8), 0x0A, 0x12))])
            + (fields[at][1:])
        )
    else:
        fields[at] = _with_content(fields[at], message(_content(fields[at]), random))
    return b"".join(fields)


def text(data: bytes, random: Random, *, words: tuple[bytes, ...] = ()) -> bytes:
    """Text with a word or a sign more, less, repeated, or out of *words*."""
    found = WORDS.findall(data) or [b""]
    at = random.randrange(len(found))
    what = random.randrange(5)
    if what == 0:
        del found[at]
    elif what == 1:
        found[at:at] = [found[at]] * random.choice((1, 2, 10, 100))
    elif what == 2:
        found[at] = str(random.choice((-1, *NUMBERS, 1.5, "1e400", "nan"))).encode()
    elif what == 3:
        found.insert(
            at, random.choice((*words, b"{", b"}", b"[", b'"', b":", b",", b"\0", b"\xff"))
        )
    else:
        start = random.randrange(len(found))
        found[at:at] = found[start : start + random.randrange(8)]
    return b"".join(found)


def numbers(data: bytes, random: Random) -> bytes:
    """Bytes in which four in a row are another number."""
    if len(data) < 4:
        return data + b"\0" * 4
    at = random.randrange(len(data) - 3)
    number = random.choice((random.randrange(len(data) + 1), *NUMBERS)) & 0xFFFFFFFF
    return data[:at] + number.to_bytes(4, "little") + data[at + 4 :]


def _fields(data: bytes) -> list[bytes]:
    found, at = [], 0
    try:
        while at < len(data) and len(found) < 10_000:
            _, after, _ = wire.next_field(data, at, len(data))
            found.append(data[at:after])
            at = after
    except (wire.Malformed, IndexError):
        found.append(data[at:])
    return found


def _content(one: bytes) -> bytes:
    try:
        return one[wire.next_field(one, 0, len(one))[2] :]
    except (wire.Malformed, IndexError):
        return b""


def _with_content(one: bytes, content: bytes) -> bytes:
    return one[:1] + wire.varint(len(content)) + content if one[0] & 7 == 2 else one
