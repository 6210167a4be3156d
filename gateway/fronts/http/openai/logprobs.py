"""Log probabilities in the forms of the OpenAI API. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from penstock.models.config.language_models import LOGPROBS_OUTPUT
from penstock.protos import grpc_service_pb2 as pb


class Likely(NamedTuple):
    """A token, and how likely it was.

    Attributes:
        text: of it; its name where it is no text, such as an end token.
        content: its bytes; None where it is no text.
        logprob: None for the first token of a prompt.
    """

    text: str
    content: bytes | None
    logprob: float | None

    def written(self, before_bytes: str) -> str:
        """Its text; where its bytes are no characters, these behind *before_bytes*."""
        try:
            return self.text if self.content is None else self.content.decode()
        except UnicodeDecodeError:
            return before_bytes + "".join(f"\\x{byte:02x}" for byte in self.content or b"")


class TokenLogprobs(NamedTuple):
    """What is told of a token that came.

    Attributes:
        likeliest: the likeliest tokens in its place, in order; as many as were asked for.
        offset: how many characters of the text are before it.
    """

    came: Likely
    likeliest: Sequence[Likely]
    offset: int


def logprobs_in(response: pb.ModelInferResponse) -> list[TokenLogprobs] | None:
    """What a response tells of its tokens; None where nobody asked for that."""
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.name == LOGPROBS_OUTPUT:
            count = response.parameters[LOGPROBS_OUTPUT].int64_param
            return [_described(list(one.values()), count) for one in json.loads(raw[4:])]
    return None


def _described(tokens: Sequence[Mapping[str, Any]], count: int) -> TokenLogprobs:
    ranked = sorted((one for one in tokens if one["rank"]), key=lambda one: int(one["rank"]))
    likeliest = [_likely(one) for one in ranked if one["rank"] <= count]
    return TokenLogprobs(_likely(tokens[0]), likeliest, tokens[0]["text_offset"])


def _likely(token: Mapping[str, Any]) -> Likely:
    content = token["bytes"]
    kept = None if content is None else bytes(content)
    return Likely(token["decoded_token"], kept, token["logprob"])


def of_chat(logprobs: Sequence[TokenLogprobs] | None) -> dict[str, Any] | None:
    """The `logprobs` of a choice of a chat, or of a chunk of one."""
    return None if logprobs is None else {"content": of_parts(logprobs), "refusal": None}


def of_parts(logprobs: Sequence[TokenLogprobs]) -> list[dict[str, Any]]:
    """A list of tokens, each with the likeliest in its place."""
    return [
        {**_of(one.came), "top_logprobs": [_of(other) for other in one.likeliest]}
        for one in logprobs
    ]


def _of(likely: Likely) -> dict[str, Any]:
    content = None if likely.content is None else list(likely.content)
    return {"token": likely.written(""), "logprob": likely.logprob, "bytes": content}


def of_completion(logprobs: Sequence[TokenLogprobs] | None) -> dict[str, Any] | None:
    """The `logprobs` of a choice of a completion, or of a chunk of one."""
    if logprobs is None:
        return None
    return {
        "tokens": [_key(one.came) for one in logprobs],
        "token_logprobs": [one.came.logprob for one in logprobs],
        "top_logprobs": [
            None
            if one.came.logprob is None
            else {_key(other): other.logprob for other in (*one.likeliest, one.came)}
            for one in logprobs
        ],
        "text_offset": [one.offset for one in logprobs],
    }


def _key(likely: Likely) -> str:
    return likely.written("bytes:")
