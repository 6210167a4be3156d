"""What is said of an answer in the Responses API: the object, and the events of its stream. Pure.

Events are numbered by what they say, not by how many there were: that of a piece of text by the
token that it ends with. So the same number means the same place at every gateway.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from penstock.gateway.fronts.http.openai.logprobs import TokenLogprobs, of_parts
from penstock.gateway.fronts.http.openai.responses.items import Event, items_of

_FIRST: Final = 3
"""The number of the last event before the first token's."""

_STATUS: Final = {"stop": "completed", "length": "incomplete", "cancelled": "cancelled"}


class Said(NamedTuple):
    """What has been said.

    Attributes:
        finish: how it ended; empty while it has not.
        logprobs: of its tokens, where somebody asked for that.
        cached_tokens: of the prompt, that had been computed before.
        ended_s: when it ended, in seconds since 1970; 0 while it has not.
    """

    text: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    logprobs: Sequence[TokenLogprobs] = ()
    cached_tokens: int = 0
    ended_s: int = 0

    @property
    def item_status(self) -> str:
        """That of its message."""
        if not self.finish:
            return "in_progress"
        return "completed" if self.finish == "stop" else "incomplete"


class Response(NamedTuple):
    """One answer.

    Attributes:
        said: what it repeats of its request.
        calls: there may be calls of functions in its text.
    """

    id: str
    created: int
    model: str
    background: bool
    kept: bool
    said: Mapping[str, Any]
    calls: bool = False

    def whole(self, said: Said) -> dict[str, Any]:
        """The object, as far as it has come."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": _STATUS.get(said.finish, "in_progress"),
            "background": self.background,
            "completed_at": said.ended_s or None if said.finish == "stop" else None,
            "error": None,
            "incomplete_details": (
                {"reason": "max_output_tokens"} if said.finish == "length" else None
            ),
            "model": self.model,
            "output": self._output(said),
            **_UNUSED,
            "store": self.kept,
            **self.said,
            "usage": _usage(said) if said.finish else None,
        }

    def _output(self, said: Said) -> list[dict[str, Any]]:
        if self.calls:
            return items_of(self.id, said.text, said.finish)
        return [self._item(said)] if said.finish or said.text else []

    def begins(self) -> Iterator[Event]:
        """The events before all others."""
        nothing = Said()
        yield 0, {"type": "response.created", "response": self.whole(nothing)}
        yield 1, {"type": "response.in_progress", "response": self.whole(nothing)}

    def begins_text(self) -> Iterator[Event]:
        """The events before the text, where nothing is called."""
        nothing = Said()
        item = {**self._item(nothing), "content": []}
        yield 2, {"type": "response.output_item.added", "output_index": 0, "item": item}
        place, part = self._place(), _part(nothing)
        yield _FIRST, {"type": "response.content_part.added", **place, "part": part}

    def goes_on(self, text: str, at: int, logprobs: Sequence[TokenLogprobs] | None = None) -> Event:
        """The event of a piece of text, with which the answer has *at* tokens."""
        kind, place = "response.output_text.delta", self._place()
        said = {"delta": text, "logprobs": of_parts(logprobs or ())}
        return _FIRST + at, {"type": kind, **place, **said}

    def ends(
        self, said: Said, last: str, logprobs: Sequence[TokenLogprobs] | None = None
    ) -> Iterator[Event]:
        """The events of the text's end; *last* is text that belongs to no token more."""
        at = said.completion_tokens + 1
        place = self._place()
        if last or logprobs:
            yield self.goes_on(last, at, logprobs)
        part = _part(said)
        done = {"text": said.text, "logprobs": part["logprobs"]}
        yield _FIRST + at + 1, {"type": "response.output_text.done", **place, **done}
        yield _FIRST + at + 2, {"type": "response.content_part.done", **place, "part": part}
        item = self._item(said)
        yield (
            _FIRST + at + 3,
            {"type": "response.output_item.done", "output_index": 0, "item": item},
        )
        yield self.last(said, _FIRST + at + 4)

    def last(self, said: Said, number: int) -> Event:
        """The last event of all."""
        kind = "response.completed" if said.finish == "stop" else "response.incomplete"
        return number, {"type": kind, "response": self.whole(said)}

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._message, "output_index": 0, "content_index": 0}

    @property
    def _message(self) -> str:
        return self.id.replace("resp_", "msg_", 1)

    def _item(self, said: Said) -> dict[str, Any]:
        return {
            "id": self._message,
            "type": "message",
            "status": said.item_status,
            "role": "assistant",
            "content": [_part(said)],
        }


_UNUSED: Final[Mapping[str, Any]] = {
    "max_tool_calls": None,
    "parallel_tool_calls": False,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": None,
    "safety_identifier": None,
    "service_tier": "default",
    "text": {"format": {"type": "text"}},
    "tool_choice": "none",
    "tools": [],
    "truncation": "disabled",
}


def tokens_before(number: int) -> int:
    """How many tokens a client has that has had all events up to this *number*."""
    return max(0, number - _FIRST)


def event(number: int, content: Mapping[str, Any]) -> bytes:
    """An event as it is sent."""
    body = json.dumps({**content, "sequence_number": number}, ensure_ascii=False)
    return f"event: {content['type']}\ndata: {body}\n\n".encode()


def _part(said: Said) -> dict[str, Any]:
    logprobs = of_parts(said.logprobs)
    return {"type": "output_text", "text": said.text, "annotations": [], "logprobs": logprobs}


def _usage(said: Said) -> dict[str, Any]:
    return {
        "input_tokens": said.prompt_tokens,
        "input_tokens_details": {"cached_tokens": said.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": said.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": said.prompt_tokens + said.completion_tokens,
    }
