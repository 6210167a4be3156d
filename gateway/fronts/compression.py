"""gzip and deflate, as both protocols have them: bounded, and in steps that hold nobody up."""

import zlib
from typing import Final

from penstock.errors import Code, InvalidRequest, PenstockError
from penstock.gateway.offload import Offload

KNOWN: Final = {b"gzip": 31, b"deflate": 15}
"""What each encoding is to zlib."""

LONG: Final = 1 << 16
"""Bytes that are compressed, or decompressed to, in passing; more of them beside the event loop."""


class TooLarge(PenstockError):
    """A message is larger than messages may be."""

    code = Code.RESOURCE_EXHAUSTED


class Damaged(InvalidRequest):
    """What came cannot be decompressed."""


def compressed(message: bytes, encoding: bytes, level: int = -1) -> bytes:
    """*message* in one of the `KNOWN` encodings; *level* as zlib has them."""
    squeeze = zlib.compressobj(level, wbits=KNOWN[encoding])
    return squeeze.compress(message) + squeeze.flush()


class Inflation:
    """One compressed message, which is decompressed in steps.

    Args:
        most: bytes that it may have.
    """

    def __init__(self, message: bytes, encoding: bytes, most: int) -> None:
        self._inflate = zlib.decompressobj(wbits=KNOWN[encoding])
        self._left = message
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0

    def step(self, size: int) -> bytes | None:
        """Go on by *size* bytes or fewer; the message, once it is whole.

        Raises:
            Damaged: it is damaged, or cut off.
            TooLarge: it has more bytes than it may.
        """
        try:
            part = self._inflate.decompress(self._left, size)
        except zlib.error as error:
            raise Damaged(f"a message cannot be decompressed: {error}") from error
        self._left = self._inflate.unconsumed_tail
        self._size += len(part)
        self._parts.append(part)
        if self._size > self._most:
            raise TooLarge(f"a message is larger than {self._most} bytes when it is decompressed")
        if self._inflate.eof:
            return b"".join(self._parts)
        if not part and not self._left:
            raise Damaged("a message cannot be decompressed: it is cut off")
        return None

    def whole(self) -> bytes:
        """The message; raises as `step` does."""
        while (message := self.step(1 << 20)) is None:
            pass
        return message


async def inflated(message: bytes, encoding: bytes, most: int, offload: Offload) -> bytes:
    """*message*, decompressed; *most*, and what is raised, as of `Inflation`."""
    inflation = Inflation(message, encoding, most)
    found = inflation.step(LONG)
    return found if found is not None else await offload.run(inflation.whole)
