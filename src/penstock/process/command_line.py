"""This process's command line, as the list of processes shows it: found, and written over."""

import contextlib
import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOM: Final = "." * 4096
"""The last word of a process that will show another, longer command line."""

_ARGUMENTS_AT: Final = 45
"""Place of arg_start in /proc/self/stat, behind the program's name; arg_end follows it."""


def shown_bytes() -> Any:
    """The memory that holds this process's words, each with a zero behind it; None: unknown.

    A ctypes array of characters. What Python has read of it (``sys.argv``) is a copy.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        numbers = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(numbers[_ARGUMENTS_AT]), int(numbers[_ARGUMENTS_AT + 1])
        if 0 < start < end:
            return (ctypes.c_char * (end - start)).from_address(start)
    return None


def has_room() -> bool:
    """Whether this process was started with `ROOM`."""
    shown = shown_bytes()
    return shown is not None and len(shown) >= len(ROOM)


def show(words: Sequence[str]) -> None:
    """Show *words* as this process's command line, as far as there is room."""
    shown = shown_bytes()
    if shown is not None:
        text = b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
        room = len(shown)
        ctypes.memmove(shown, text[: room - 1].ljust(room, b"\0"), room)
