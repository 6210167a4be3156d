"""The routes of tokens: texts and messages as a model reads them, and back, as vLLM has these."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.http.exchange import Exchange, Parts, Reply
from penstock.gateway.fronts.http.json_messages import parsed_object
from penstock.gateway.fronts.http.openai.asked import (
    are_tokens,
    messages_of,
    model_of,
)
from penstock.gateway.requests.infer import Inference
from penstock.gateway.requests.language.fields import FieldRefused
from penstock.gateway.requests.language.languages import Language

_TOKENIZE: Final = frozenset(
    {"model", "prompt", "messages", "add_special_tokens", "return_token_strs"}
)
_DETOKENIZE: Final = frozenset({"model", "tokens"})


class Tokens:
    """Makes tokens of texts, and texts of tokens."""

    def __init__(self, inference: Inference, calls: Calls) -> None:
        self._inference = inference
        self._calls = calls

    async def tokenize(self, exchange: Exchange, _: Parts) -> Reply:
        """The tokens of a text, or of messages as the model's template writes them."""
        body = await self._body(exchange, _TOKENIZE)
        special, written = (_switch(body, name, default=default) for name, default in _SWITCHES)
        prompt = body.get("prompt")
        if (prompt is None) == (body.get("messages") is None):
            raise FieldRefused("prompt", "give either prompt or messages")
        if prompt is None:
            chat = messages_of(body)
            language = await self._language(exchange, body)
            tokens = await language.chat(chat)
        elif isinstance(prompt, str):
            language = await self._language(exchange, body)
            tokens = await asyncio.to_thread(language.tokenizer.encode, prompt, special=special)
        else:
            raise FieldRefused("prompt", "prompt must be a text")
        return _json(
            {
                "count": len(tokens),
                "max_model_len": language.manifest.context,
                "tokens": tokens,
                "token_strs": [*map(language.tokenizer.written, tokens)] if written else None,
            }
        )

    async def detokenize(self, exchange: Exchange, _: Parts) -> Reply:
        """The text of tokens."""
        body = await self._body(exchange, _DETOKENIZE)
        tokens: Any = body.get("tokens")
        if tokens != [] and not are_tokens(tokens):
            raise FieldRefused("tokens", "tokens must be a list of integers")
        language = await self._language(exchange, body)
        most = language.manifest.vocabulary
        if any(not 0 <= token < most for token in tokens):
            raise FieldRefused("tokens", f"tokens must be from 0 to {most - 1}")
        return _json({"prompt": await asyncio.to_thread(language.tokenizer.decode, tokens)})

    async def _body(self, exchange: Exchange, known: frozenset[str]) -> dict[str, Any]:
        body = parsed_object(await self._calls.read(exchange))
        for name in body:
            if name not in known:
                raise FieldRefused(name, f"unknown field '{name}': remove it")
        return body

    async def _language(self, exchange: Exchange, body: Mapping[str, Any]) -> Language:
        return await self._inference.language_of(model_of(body), exchange.call)


_SWITCHES: Final = (("add_special_tokens", True), ("return_token_strs", False))


def _switch(body: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise FieldRefused(name, f"{name} must be true or false")
    return value


def _json(content: Mapping[str, Any]) -> Reply:
    return Reply([json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()])
