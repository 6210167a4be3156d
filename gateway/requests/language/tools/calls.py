"""Calls: read from the text of an answer as it comes, and what is said of them. Pure.

The text is what `penstock.language.grammar.tools` lets it be; it may end anywhere.
"""

import hashlib
from enum import Enum, auto
from typing import Any, Final

from penstock.language.grammar.tools import CLOSE, NAMED, OPEN, TAG

FINISH: Final = "tool_calls"
"""Why an answer has ended that called something."""


class _At(Enum):
    """What comes next in the text."""

    TEXT = auto()
    NAME = auto()
    ARGUMENTS = auto()
    CLOSE = auto()


class Calls:
    """The calls of one answer, and the text beside them; both the same however the text comes.

    Blanks before, between and behind calls are no text.

    Attributes:
        count: how many calls have begun.
    """

    def __init__(self, answer: str) -> None:
        """*answer* is what the ids of its calls follow from."""
        self._answer = answer
        self._at = _At.TEXT
        self._held = ""
        self._arguments = _Object()
        self._said = ""
        self._called: dict[int, dict[str, Any]] = {}
        self.count = 0

    def push(self, text: str, *, last: bool = False) -> dict[str, Any]:
        """What *text* adds, as a delta of a message: content, and calls by their numbers.

        Args:
            last: nothing follows; a call that has no name yet is none.
        """
        self._held += text
        steps = {
            _At.TEXT: self._take_text,
            _At.NAME: self._take_name,
            _At.ARGUMENTS: self._take_arguments,
            _At.CLOSE: self._take_close,
        }
        while steps[self._at]():
            pass
        if last and self._at is _At.TEXT:
            text, begun, _ = self._held.partition(TAG)
            if not begun and (text.strip() or not self.count):
                self._said += text
        return self._delta()

    def finish(self, finish: str) -> str:
        """Why the answer has ended, as clients are told; *finish*: by its tokens."""
        return FINISH if self.count and finish == "stop" else finish

    def _delta(self) -> dict[str, Any]:
        said, self._said = self._said, ""
        called, self._called = self._called, {}
        return {
            **({"content": said} if said else {}),
            **({"tool_calls": list(called.values())} if called else {}),
        }

    # each says whether more may follow in what is held

    def _take_text(self) -> bool:
        text, found, behind = self._held.partition(OPEN)
        if found:
            self._said += text.rstrip()
            self._held, self._at = behind, _At.NAME
            return True
        keep = len(text) - _undecided(text)
        self._said += text[:keep]
        self._held = text[keep:]
        return False

    def _take_name(self) -> bool:
        name, found, behind = self._held.partition(NAMED)
        if not found:
            return False
        said = f"{self._answer}/{self.count}".encode()
        self._called[self.count] = {
            "index": self.count,
            "id": f"call_{hashlib.sha256(said).hexdigest()[:24]}",
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        self.count += 1
        self._held, self._at, self._arguments = behind, _At.ARGUMENTS, _Object()
        return True

    def _take_arguments(self) -> bool:
        size = self._arguments.take(self._held)
        piece, self._held = self._held[:size], self._held[size:]
        if piece:
            number = self.count - 1
            nothing = {"index": number, "function": {"arguments": ""}}
            call = self._called.setdefault(number, nothing)
            call["function"]["arguments"] += piece
        if self._arguments.is_complete:
            self._at = _At.CLOSE
        return self._arguments.is_complete

    def _take_close(self) -> bool:
        if not self._held.startswith(CLOSE):
            return False
        self._held, self._at = self._held[len(CLOSE) :], _At.TEXT
        return True


class _Object:
    """Where an object of JSON ends, in text that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self.is_complete = False

    def take(self, text: str) -> int:
        """How many characters of *text* belong to it."""
        for at, letter in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._escaped = letter == "\\"
                self._quoted = letter != '"'
            elif letter == '"':
                self._quoted = True
            elif letter in "{}":
                self._depth += 1 if letter == "{" else -1
                if not self._depth:
                    self.is_complete = True
                    return at + 1
        return len(text)


def _undecided(text: str) -> int:
    """How many characters at the end of *text* may be blanks before a call, and its beginning."""
    most = min(len(text), len(OPEN) - 1)
    begun = next(n for n in range(most, -1, -1) if text.endswith(OPEN[:n]))
    return len(text) - len(text[: len(text) - begun].rstrip())


def message_of(calls: Calls, text: str, finish: str) -> tuple[dict[str, Any], str]:
    """Content and calls of a whole answer, as its message has them; and why it has ended.

    Args:
        calls: that have read nothing yet.
        finish: why it has ended by its tokens.
    """
    found = calls.push(text, last=True)
    content = found.get("content", "")
    if not calls.count:
        return {"content": content}, finish
    called = [{k: v for k, v in one.items() if k != "index"} for one in found["tool_calls"]]
    return {"content": content or None, "tool_calls": called}, calls.finish(finish)
