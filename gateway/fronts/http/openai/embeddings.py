"""The route of embeddings: texts or tokens to vectors, as the OpenAI API has it."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.http.exchange import Exchange, Parts, Reply
from penstock.gateway.fronts.http.json_messages import parsed_object
from penstock.gateway.fronts.http.openai.asked import are_tokens, check_known, model_of
from penstock.gateway.requests import embeddings
from penstock.gateway.requests.embeddings import Embedded, Rows, Vectors
from penstock.gateway.requests.infer import Inference
from penstock.gateway.requests.language.fields import FieldRefused
from penstock.models.embeddings import Embedder

MOST_INPUTS: Final = 2048
"""Texts, or lists of tokens, of one request: as many as OpenAI's own."""

LONGEST_TEXT: Final = 1 << 18
"""Characters of a text."""

MOST_TOKENS: Final = 8192
"""Of one input."""

_LARGEST_TOKEN: Final = (1 << 31) - 1

MOST_NUMBERS: Final = 1 << 22
"""In all vectors of a reply: some 90 MB of JSON, or 22 MB as base64."""

_IN_PASSING: Final = 1 << 12
"""Numbers that are written as JSON on the event loop."""

_KNOWN: Final = frozenset({"model", "input", "encoding_format", "dimensions", "user"})
_FORMATS: Final = ("float", "base64")


class AskedEmbeddings(NamedTuple):
    """A request, read.

    Attributes:
        rows: texts, or lists of tokens.
        as_text: vectors come as base64 of little-endian float32.
        dimensions: how many numbers a vector shall have, if that was asked for.
    """

    model: str
    rows: Rows
    as_text: bool
    dimensions: int | None


class Embeddings:
    """Answers requests for embeddings."""

    def __init__(self, inference: Inference, calls: Calls) -> None:
        self._inference = inference
        self._calls = calls

    async def create(self, exchange: Exchange, _: Parts) -> Reply:
        """A vector for each text."""
        asked = embeddings_of(parsed_object(await self._calls.read(exchange)))
        model = await embeddings.model_of(self._inference, asked.model, exchange.call)
        check(asked, model.embedder)
        found = await embeddings.embed(self._inference, model, asked.rows)
        if found.vectors.size <= _IN_PASSING:
            return Reply([*written(asked, found)], may_shrink=True)
        return Reply(await asyncio.to_thread(written, asked, found), may_shrink=True)


def embeddings_of(body: Mapping[str, Any]) -> AskedEmbeddings:
    """What a body sent to /v1/embeddings asks for. Pure.

    Raises:
        FieldRefused: names the field that cannot be so.
    """
    check_known(body, _KNOWN, {})
    form = body.get("encoding_format")
    if form is not None and form not in _FORMATS:
        raise FieldRefused("encoding_format", "encoding_format must be 'float' or 'base64'")
    dimensions = body.get("dimensions")
    if dimensions is not None and (not are_tokens([dimensions]) or dimensions < 1):
        raise FieldRefused("dimensions", "dimensions must be an integer from 1")
    return AskedEmbeddings(model_of(body), _rows(body.get("input")), form == "base64", dimensions)


def check(asked: AskedEmbeddings, embedder: Embedder) -> None:
    """Whether *embedder* can make what is *asked* for. Pure.

    Raises:
        FieldRefused: it cannot; says what it can.
    """
    model, size, count = asked.model, embedder.size, len(asked.rows)
    if asked.dimensions not in (None, size):
        raise FieldRefused(
            "dimensions",
            f"dimensions is {asked.dimensions}: the vectors of '{model}' have {size} numbers, and "
            "cannot have another count: remove it",
        )
    if count * size > MOST_NUMBERS:
        raise FieldRefused(
            "input",
            f"input has {count} texts: of '{model}', whose vectors have {size} numbers, a request "
            f"may have {MOST_NUMBERS // size}: send several",
        )
    if isinstance(asked.rows[0], str) and embedder.texts is None:
        raise FieldRefused("input", f"input has texts, and '{model}' takes tokens alone")
    if not isinstance(asked.rows[0], str) and embedder.tokens is None:
        raise FieldRefused(
            "input",
            f"input has tokens, and '{model}' takes texts alone: send these (of langchain's "
            "OpenAIEmbeddings: check_embedding_ctx_length=False)",
        )


def written(asked: AskedEmbeddings, found: Embedded) -> list[bytes]:
    """The body of the answer, in pieces. Pure."""
    tokens = _tokens(asked.rows) if found.tokens is None else found.tokens
    last = {"model": asked.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    parts = [b'{"object":"list","data":[']
    for index, vector in enumerate(found.vectors):
        head = b"," if index else b""
        said = _base64(vector) if asked.as_text else json.dumps(vector.tolist())
        one = f'{{"object":"embedding","index":{index},"embedding":{said}}}'
        parts.append(head + one.encode())
    return [*parts, b"]," + json.dumps(last, ensure_ascii=False).encode()[1:]]


def _base64(vector: Vectors) -> str:
    return f'"{base64.b64encode(vector.astype("<f4").tobytes()).decode()}"'


def _tokens(rows: Rows) -> int:
    """How many tokens are known of without the model: none of texts."""
    return sum(len(row) for row in rows if not isinstance(row, str))


def _rows(given: Any) -> Rows:
    rows = [given] if isinstance(given, str) or are_tokens(given) else given
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_INPUTS:
        raise FieldRefused(
            "input", f"input must be a text, a list of tokens, or a list of 1 to {MOST_INPUTS} such"
        )
    if all(isinstance(row, str) for row in rows):
        return [_text(at, row) for at, row in enumerate(rows)]
    if all(map(are_tokens, rows)):
        return [_of_tokens(at, row) for at, row in enumerate(rows)]
    raise FieldRefused(
        "input", "input must have texts alone, or lists of tokens alone, none of them empty"
    )


def _text(at: int, text: str) -> str:
    _check_length(at, len(text), LONGEST_TEXT, "characters")
    return text


def _of_tokens(at: int, tokens: list[int]) -> list[int]:
    _check_length(at, len(tokens), MOST_TOKENS, "tokens")
    if min(tokens) < 0 or max(tokens) > _LARGEST_TOKEN:
        raise FieldRefused("input", f"the tokens of input {at} must be from 0 to {_LARGEST_TOKEN}")
    return tokens


def _check_length(at: int, length: int, most: int, what: str) -> None:
    if not 0 < length <= most:
        raise FieldRefused("input", f"input {at} has {length} {what}: it must have 1 to {most}")
