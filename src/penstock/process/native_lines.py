"""Lines that libraries in other languages write to standard error, as they come.

They write to the descriptor, past Python. While `NativeLines` has it, each line is offered to
whoever understands it, and passed on where nobody does; Python itself writes past it.
"""

import os
import sys
import threading
from collections.abc import Callable
from typing import Final, TextIO

_STDERR: Final = 2
_END_S: Final = 1.0
_LONGEST: Final = 1 << 16
"""Bytes of a line that are waited for; longer ones are passed on in pieces."""


class NativeLines:
    """Standard error of this process, for a while.

    Args:
        take: gets each line, without its end, in a thread; says whether it was one of its own.
    """

    def __init__(self, take: Callable[[bytes], bool]) -> None:
        self._take = take
        self._thread: threading.Thread | None = None
        self._true = -1

    def begin(self) -> TextIO:
        """Take the descriptor; gives what Python is to write to meanwhile."""
        self._true = os.dup(_STDERR)
        reading, writing = os.pipe()
        os.dup2(writing, _STDERR)
        os.close(writing)
        self._thread = threading.Thread(
            target=self._read, args=(reading,), name="native-lines", daemon=True
        )
        self._thread.start()
        sys.stderr.flush()
        return open(os.dup(self._true), "w", buffering=1)  # noqa: PTH123 - a descriptor

    def end(self) -> None:
        """Give the descriptor back, once all that was written is read."""
        if self._thread is None:
            return
        # This closes the pipe's only other end.
        os.dup2(self._true, _STDERR)
        self._thread.join(_END_S)
        self._thread = None

    def _read(self, reading: int) -> None:
        left = b""
        while part := os.read(reading, _LONGEST):
            *lines, left = (left + part).split(b"\n")
            for line in lines:
                self._line(line)
            if len(left) > _LONGEST:
                self._line(left)
                left = b""
        if left:
            self._line(left)
        os.close(reading)

    def _line(self, line: bytes) -> None:
        if not self._take(line):
            os.write(self._true, line + b"\n")
