"""Errors of Triton's Python contract: what a model raises, or answers a request with."""

import inspect
import traceback
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Final

from penstock.errors import Code


class _ErrorCode(IntEnum):
    """Triton's error codes, with its numbers."""

    UNKNOWN = 0
    INTERNAL = 1
    NOT_FOUND = 2
    INVALID_ARG = 3
    UNAVAILABLE = 4
    UNSUPPORTED = 5
    ALREADY_EXISTS = 6
    CANCELLED = 7


_HERE: Final = str(Path(__file__).parent)
"""Where the calls lie that models make; in Triton they are no Python, and in no traceback."""

_STATUSES: Final = {
    _ErrorCode.UNKNOWN: Code.UNKNOWN,
    _ErrorCode.INTERNAL: Code.INTERNAL,
    _ErrorCode.NOT_FOUND: Code.NOT_FOUND,
    _ErrorCode.INVALID_ARG: Code.INVALID_ARGUMENT,
    _ErrorCode.UNAVAILABLE: Code.UNAVAILABLE,
    _ErrorCode.UNSUPPORTED: Code.UNIMPLEMENTED,
    _ErrorCode.ALREADY_EXISTS: Code.ALREADY_EXISTS,
    _ErrorCode.CANCELLED: Code.CANCELLED,
}


class TritonError:
    """Why a request has no outputs: a text, and one of Triton's codes."""

    UNKNOWN: Final = _ErrorCode.UNKNOWN
    INTERNAL: Final = _ErrorCode.INTERNAL
    NOT_FOUND: Final = _ErrorCode.NOT_FOUND
    INVALID_ARG: Final = _ErrorCode.INVALID_ARG
    UNAVAILABLE: Final = _ErrorCode.UNAVAILABLE
    UNSUPPORTED: Final = _ErrorCode.UNSUPPORTED
    ALREADY_EXISTS: Final = _ErrorCode.ALREADY_EXISTS
    CANCELLED: Final = _ErrorCode.CANCELLED

    def __init__(self, message: str, code: int = _ErrorCode.INTERNAL) -> None:
        if not isinstance(message, str):
            raise TypeError(f"TritonError: message must be a str, not {type(message).__name__}")
        self._message = message
        self._code = _ErrorCode(code)

    def __str__(self) -> str:
        return self._message

    def message(self) -> str:
        """The text that the request's client reads."""
        return self._message

    def code(self) -> int:
        """One of the codes above."""
        return self._code


class TritonModelException(Exception):
    """What a call of the backend's module raises, and a model may raise itself."""

    def message(self) -> str:
        """The text."""
        return str(self)


def status_of(error: TritonError) -> Code:
    """The status that a client sees of *error*."""
    return _STATUSES[_ErrorCode(error.code())]


def raised_text(error: BaseException, caller: str) -> str:
    """*error* in the words of Triton's stub: type and text, then the way there, innermost first.

    As there, the way begins where the model was called, or with the coroutine that was awaited.

    Args:
        caller: the file of the code that called the model.
    """
    name = type(error).__name__
    text = f"{name}: {str(error) or '<EMPTY MESSAGE>'}"
    places = list(_places(error.__traceback__, caller))
    return f"{text}\n\nAt:\n" + "".join(places) if places else text


def _places(trace: TracebackType | None, caller: str) -> Iterator[str]:
    for frame, line in reversed(list(traceback.walk_tb(trace))):
        code = frame.f_code
        if code.co_filename == caller:
            return
        if not code.co_filename.startswith(_HERE):
            yield f"  {code.co_filename}({line}): {code.co_name}\n"
        if code.co_flags & inspect.CO_COROUTINE:
            return
