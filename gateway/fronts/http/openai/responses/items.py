"""Items of an answer that may call functions: messages and calls, as its text comes. Pure.

Events are numbered by where in the text they are: that of a piece by the character that it ends
with. So the same number means the same place at every gateway, however the text comes.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from penstock.gateway.requests.language.tools.calls import Calls
from penstock.language.grammar.tools import CLOSE, TAG

_FIRST: Final = 2
"""The number of the first event that an item may have."""

_OF_CHARACTER: Final = 16
"""How many events there may be at one character: the end of an item, and another's beginning."""

_COMPLETED, _INCOMPLETE, _GOES_ON = "completed", "incomplete", "in_progress"

Event = tuple[int, dict[str, Any]]


class _Delta(NamedTuple):
    """What was added to the open item by characters in a row, and its number."""

    number: int
    text: str


class Items:
    """The items of one answer.

    Attributes:
        output: those that there are, as they are now.
    """

    def __init__(self, response: str, after: int = -1) -> None:
        """*response* is the answer's id, *after* the number of the last event its client has."""
        self._response = response
        self._after = after
        self._calls = Calls(response)
        self._at = 0
        self._place = 0
        self._events: list[Event] = []
        self._delta: _Delta | None = None
        self.output: list[dict[str, Any]] = []

    def push(self, text: str) -> list[Event]:
        """The events of *text*, those that the client has left out."""
        for letter in text:
            self._at += 1
            self._place = 0
            self.hear(letter)
        return self._taken()

    def hear(self, text: str) -> None:
        """Take *text* in, wherever it is; the text of a message and a call never together."""
        self._take(self._calls.push(text))

    def end(self, finish: str) -> list[Event]:
        """The events behind the text, which ended so; items are whole then."""
        self._at += 1
        self._place = 0
        self._take(self._calls.push("", last=True))
        self._close(_COMPLETED if finish == "stop" else _INCOMPLETE)
        return self._taken()

    @property
    def next_number(self) -> int:
        """That of an event behind all that there were."""
        return _FIRST + self._at * _OF_CHARACTER + self._place

    def _taken(self) -> list[Event]:
        self._flush()
        found, self._events = self._events, []
        return [event for event in found if event[0] > self._after]

    def _take(self, delta: Mapping[str, Any]) -> None:
        if said := delta.get("content"):
            if not self.output or self._open["type"] != "message":
                self._close(_COMPLETED)
                self._begin(_message(self._response, len(self.output)))
            self._add(said)
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                self._close(_COMPLETED)
                self._begin(_call(call))
            if arguments := call["function"]["arguments"]:
                self._add(arguments)

    @property
    def _open(self) -> dict[str, Any]:
        return self.output[-1]

    def _begin(self, item: dict[str, Any]) -> None:
        self.output.append(item)
        added = {**item, "content": []} if item["type"] == "message" else dict(item)
        self._say("response.output_item.added", item=added)
        if item["type"] == "message":
            self._say("response.content_part.added", **self._in_item(), part=_part(""))

    def _add(self, text: str) -> None:
        if self._open["type"] == "message":
            self._open["content"][0]["text"] += text
        else:
            self._open["arguments"] += text
        if self._delta is not None and self._delta.number <= self._after:
            # What the client has ends here: no event reaches across that.
            self._flush()
        before = "" if self._delta is None else self._delta.text
        self._delta = _Delta(self.next_number, before + text)
        self._place += 1

    def _flush(self) -> None:
        if self._delta is None:
            return
        (number, text), self._delta = self._delta, None
        if self._open["type"] == "message":
            self._event(number, _TEXT + "delta", **self._in_item(), delta=text, logprobs=[])
        else:
            self._event(number, _ARGUMENTS + "delta", **self._in_item(), delta=text)

    def _close(self, status: str) -> None:
        """End the open item, if there is one."""
        self._flush()
        if not self.output or self._open["status"] != _GOES_ON:
            return
        item, place = self._open, self._in_item()
        item["status"] = status
        if item["type"] == "message":
            part = dict(item["content"][0])
            self._say(_TEXT + "done", **place, text=part["text"], logprobs=[])
            self._say("response.content_part.done", **place, part=part)
        else:
            arguments, name = item["arguments"], item["name"]
            self._say(_ARGUMENTS + "done", **place, name=name, arguments=arguments)
        self._say("response.output_item.done", item=dict(item))

    def _in_item(self) -> dict[str, Any]:
        content = {"content_index": 0} if self._open["type"] == "message" else {}
        return {"item_id": self._open["id"], **content}

    def _say(self, kind: str, **fields: Any) -> None:
        self._flush()
        self._event(self.next_number, kind, **fields)
        self._place += 1

    def _event(self, number: int, kind: str, **fields: Any) -> None:
        place = {"output_index": len(self.output) - 1}
        self._events.append((number, {"type": kind, **place, **fields}))


_SEAMS: Final = re.compile(f"(?={re.escape(TAG)})|(?<={re.escape(CLOSE)})")
"""Where calls may begin and end in a text."""

_TEXT: Final = "response.output_text."
_ARGUMENTS: Final = "response.function_call_arguments."


def items_of(response: str, text: str, finish: str) -> list[dict[str, Any]]:
    """The items of an answer that has come to *text*; *finish*: empty while it goes on."""
    items = Items(response)
    for piece in _SEAMS.split(text):
        items.hear(piece)
    if finish:
        items.end(finish)
    return items.output


def _message(response: str, index: int) -> dict[str, Any]:
    id_ = response.replace("resp_", "msg_", 1)
    return {
        "id": f"{id_}_{index}" if index else id_,
        "type": "message",
        "status": _GOES_ON,
        "role": "assistant",
        "content": [_part("")],
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": call["id"].replace("call_", "fc_", 1),
        "type": "function_call",
        "status": _GOES_ON,
        "call_id": call["id"],
        "name": call["function"]["name"],
        "arguments": "",
    }
