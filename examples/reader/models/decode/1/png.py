"""PNG files of 8-bit grey values, not interlaced (https://www.w3.org/TR/png-3/); no others."""

import struct
import zlib

import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
"""[height, width]"""

_START = b"\x89PNG\r\n\x1a\n"
_MOST_PIXELS = 1 << 20


class NotReadable(ValueError):
    """No such file; the text says why."""


def grey_values(data: bytes) -> Grey:
    """The grey values of a file, uint8 [height, width].

    Raises:
        NotReadable: it is no PNG file, is damaged, or is of another kind.
    """
    if not data.startswith(_START):
        raise NotReadable("the picture is not a PNG file")
    try:
        parts = _parts(data)
        width, height, *kind = struct.unpack(">IIBBBBB", parts[b"IHDR"])
        if kind != [8, 0, 0, 0, 0]:
            raise NotReadable("the picture must have 8-bit grey values, and not be interlaced")
        if width * height > _MOST_PIXELS:
            raise NotReadable(f"the picture is too large: {width} x {height}")
        unpacking = zlib.decompressobj()
        lines = unpacking.decompress(parts[b"IDAT"], height * (width + 1))
        return _unfiltered(np.frombuffer(lines, np.uint8).reshape(height, width + 1))
    except (KeyError, struct.error, zlib.error, ValueError) as error:
        if isinstance(error, NotReadable):
            raise
        raise NotReadable("the picture is damaged") from error


def _parts(data: bytes) -> dict[bytes, bytes]:
    """Name and content of each part; of those of one name, all together."""
    found: dict[bytes, bytes] = {}
    at = len(_START)
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        found[name] = found.get(name, b"") + data[at + 8 : at + 8 + length]
        at += 12 + length
    return found


def _unfiltered(lines: Grey) -> Grey:
    """Undo each line's filter, which its first byte names."""
    above = np.zeros(lines.shape[1] - 1, np.uint8)
    values = []
    for kind, line in zip(lines[:, 0].tolist(), lines[:, 1:], strict=True):
        above = _line(kind, line.tolist(), above.tolist())
        values.append(above)
    return np.stack(values)


def _line(kind: int, line: list[int], above: list[int]) -> Grey:
    if kind > 4:
        raise NotReadable("the picture is damaged")
    left = corner = 0
    done = []
    for value, up in zip(line, above, strict=True):
        guess = (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]
        left, corner = (value + guess) % 256, up
        done.append(left)
    return np.array(done, np.uint8)


def _paeth(left: int, up: int, corner: int) -> int:
    around = left + up - corner
    return min((left, up, corner), key=lambda one: abs(around - one))
