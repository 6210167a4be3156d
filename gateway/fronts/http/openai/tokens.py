"""The routes of tokens: texts and messages as a model reads them, and back, as vLLM has these."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.http.exchange import Exchange, Parts, Reply
from penstock.gateway.fronts.http.json_messages import parsed_object
from penstock.gateway.fronts.http.openai.asked import (
    are_tokens,
    check_known,
    messages_of,
    model_of,
)
from penstock.gateway.fronts.http.openai.shapes import dumped
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
        special = _switch(body, "add_special_tokens", default=True)
        written = _switch(body, "return_token_strs", default=False)
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
        found = {
            "count": len(tokens),
            "max_model_len": language.manifest.context,
            "tokens": tokens,
            "token_strs": [*map(language.tokenizer.written, tokens)] if written else None,
        }
        return Reply([dumped(found)])

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
        text = await asyncio.to_thread(language.tokenizer.decode, tokens)
        return Reply([dumped({"prompt": text})])

    async def _body(self, exchange: Exchange, known: frozenset[str]) -> dict[str, Any]:
        body = parsed_object(await self._calls.read(exchange))
        check_known(body, known, {})
        return body

    async def _language(self, exchange: Exchange, body: Mapping[str, Any]) -> Language:
        return await self._inference.language_of(model_of(body), exchange.call)


def _switch(body: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise FieldRefused(name, f"{name} must be true or false")
    return value
