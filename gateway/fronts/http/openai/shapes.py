"""What answers of the OpenAI API look like: objects, chunks of streams, errors. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from penstock.errors import Code, ModelNotFound, PenstockError
from penstock.gateway.fronts.http.openai.logprobs import TokenLogprobs, of_chat, of_completion
from penstock.gateway.requests.language.prompts import PromptTooLong
from penstock.gateway.requests.language.tools.calls import Calls, message_of

_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    501: "invalid_request_error",
    503: "service_unavailable_error",
}
_OURS: Final = 500
"""From this status on it is no fault of the request."""

_NOTHING_ELSE: Final[Mapping[str, Any]] = {"refusal": None, "annotations": []}
"""Of a message."""

DONE: Final = b"data: [DONE]\n\n"


class Choice(NamedTuple):
    """One answer, as it ended.

    Attributes:
        logprobs: of its tokens; None where nobody asked for that.
        cached_tokens: of the prompt, that had been computed before.
        ended_s: when it ended, in seconds since 1970.
    """

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    logprobs: Sequence[TokenLogprobs] | None = None
    cached_tokens: int = 0
    ended_s: int = 0


class Envelope(NamedTuple):
    """What all chunks of an answer, or the whole of it, have in common.

    Attributes:
        counted: a stream ends with its usage, and says in each chunk that it is still to come.
        calls: there may be calls of tools in the text.
    """

    id: str
    created: int
    model: str
    chat: bool
    counted: bool = False
    calls: bool = False

    def whole(self, choices: Sequence[Choice], prompts: int) -> bytes:
        """The answer in one piece; *prompts* are how many were asked."""
        found = [self._choice(index, choice) for index, choice in enumerate(choices)]
        kind = "chat.completion" if self.chat else "text_completion"
        return dumped({**self._head(kind), "choices": found, "usage": usage(choices, prompts)})

    def begins(self, index: int) -> bytes:
        """The first event of a choice; "" where there is none."""
        if not self.chat:
            return b""
        return self._event({"index": index, "delta": {"role": "assistant", "content": ""}})

    def reader(self, index: int) -> Calls:
        """Reads the calls of a choice."""
        return Calls(f"{self.id}/{index}")

    def goes_on(
        self,
        index: int,
        text: str | Mapping[str, Any],
        logprobs: Sequence[TokenLogprobs] | None = None,
    ) -> bytes:
        """An event with *text*, or a delta of a message, and the *logprobs* of its tokens."""
        said: dict[str, Any] = {"text": text}
        if self.chat:
            said = {"delta": {"content": text} if isinstance(text, str) else text}
        return self._event({"index": index, **said, "logprobs": self._logprobs(logprobs)})

    def ends(self, index: int, finish: str) -> bytes:
        """The last event of a choice."""
        said: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        return self._event({"index": index, **said, "finish_reason": finish})

    def counts(self, choices: Sequence[Choice], prompts: int) -> bytes:
        """An event with the usage, and no choice."""
        head = self._head("chat.completion.chunk" if self.chat else "text_completion")
        return _event({**head, "choices": [], "usage": usage(choices, prompts)})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        said: dict[str, Any] = {"text": choice.text}
        finish = choice.finish
        if self.chat:
            message: dict[str, Any] = {"content": choice.text}
            if self.calls:
                message, finish = message_of(self.reader(index), choice.text, finish)
            said = {"message": {"role": "assistant", **message, **_NOTHING_ELSE}}
        return {
            "index": index,
            **said,
            "finish_reason": finish,
            "logprobs": self._logprobs(choice.logprobs),
        }

    def _logprobs(self, logprobs: Sequence[TokenLogprobs] | None) -> dict[str, Any] | None:
        return of_chat(logprobs) if self.chat else of_completion(logprobs)

    def _event(self, choice: dict[str, Any]) -> bytes:
        head = self._head("chat.completion.chunk" if self.chat else "text_completion")
        chunk = {**head, "choices": [{"finish_reason": None, "logprobs": None, **choice}]}
        return _event({**chunk, "usage": None} if self.counted else chunk)


def usage(choices: Sequence[Choice], prompts: int) -> dict[str, Any]:
    """Tokens of all answers; each of *prompts* prompts counts once."""
    each = len(choices) // prompts
    asked = sum(choice.prompt_tokens for choice in choices[::each])
    answered = sum(choice.completion_tokens for choice in choices)
    cached = sum(choice.cached_tokens for choice in choices[::each])
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def models(names: Sequence[str], created: int) -> bytes:
    """The list of models."""
    return dumped({"object": "list", "data": [_model(name, created) for name in names]})


def model(name: str, created: int) -> bytes:
    """One of them."""
    return dumped(_model(name, created))


def error(status: int, text: str, why: Exception) -> bytes:
    """The body of a refusal, as the official client reads it.

    Args:
        text: what the client is told of *why*.
    """
    other = "invalid_request_error" if status < _OURS else "server_error"
    kind, param = _TYPES.get(status, other), getattr(why, "field", None)
    return dumped({"error": {"message": text, "type": kind, "param": param, "code": _code(why)}})


def error_event(status: int, text: str, why: Exception) -> bytes:
    """A refusal within a stream."""
    return b"data: " + error(status, text, why) + b"\n\n"


def _code(why: Exception) -> str:
    """The word for *why*: those of OpenAI that clients look for, or the status's name."""
    if isinstance(why, PromptTooLong):
        return "context_length_exceeded"
    if isinstance(why, ModelNotFound):
        return "model_not_found"
    return (why.code if isinstance(why, PenstockError) else Code.INTERNAL).name.lower()


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "penstock"}


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + dumped(content) + b"\n\n"


def dumped(content: Mapping[str, Any]) -> bytes:
    """A body of JSON, as this API writes it."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
