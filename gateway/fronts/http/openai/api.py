"""The routes of the OpenAI API: each answer is a request to a language model, as any other."""

import secrets
import time
from collections.abc import Mapping
from typing import Any

from penstock.errors import ModelNotFound
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.http.exchange import Exchange, Parts, Reply
from penstock.gateway.fronts.http.json_messages import parsed_object
from penstock.gateway.fronts.http.openai import shapes, structures
from penstock.gateway.fronts.http.openai.answers import Stream, answer, whole
from penstock.gateway.fronts.http.openai.asked import Asked, chat_of, completion_of
from penstock.gateway.fronts.http.openai.places import checked, resumable_of
from penstock.gateway.fronts.http.openai.requests import request_for, resume, with_defaults
from penstock.gateway.fronts.http.openai.shapes import Envelope
from penstock.gateway.replies.content_digest import WHOLE_PARAMETER
from penstock.gateway.requests.infer import Inference


class OpenAi:
    """Answers requests of the OpenAI API."""

    def __init__(self, inference: Inference, calls: Calls) -> None:
        self._inference = inference
        self._calls = calls
        self._began_s = int(time.time())

    async def models(self, exchange: Exchange, _: Parts) -> Reply:
        """The models that the caller may use: those that answer with text, or make embeddings."""
        may_use = exchange.call.caller.may_use
        names = [name for name in self._inference.text_models() if may_use(name)]
        return Reply([shapes.models(names, self._began_s)])

    async def model(self, exchange: Exchange, parts: Parts) -> Reply:
        """One of them."""
        name = parts["model"]
        exchange.call.caller.check_model(name)
        if name not in self._inference.text_models():
            raise ModelNotFound(f"there is no model '{name}' that takes texts")
        return Reply([shapes.model(name, self._began_s)])

    async def completions(self, exchange: Exchange, _: Parts) -> Reply | None:
        """Go on from each prompt, in one piece or as server-sent events."""
        asked = completion_of(await self._body(exchange))
        return await self._answer(exchange, asked, chat=False)

    async def chat(self, exchange: Exchange, _: Parts) -> Reply | None:
        """Answer messages, in one piece or as server-sent events."""
        asked = chat_of(await self._body(exchange))
        return await self._answer(exchange, asked, chat=True)

    async def _body(self, exchange: Exchange) -> dict[str, Any]:
        return parsed_object(await self._calls.read(exchange))

    async def _answer(self, exchange: Exchange, asked: Asked, *, chat: bool) -> Reply | None:
        language = await self._inference.language_of(asked.model, exchange.call)
        await structures.checked(language, asked.structure)
        prompts = [await language.chat(one, asked.tools) if chat else one for one in asked.prompts]
        options = with_defaults(asked.options, language.manifest)
        requests = [
            request_for(asked.model, prompt, _of_choice(options, number))
            for prompt in prompts
            for number in range(asked.choices)
        ]
        now_s = int(time.time())
        resumable = checked(resumable_of(exchange.headers), len(requests), stream=asked.stream)
        if resumable is not None:
            for index, request in enumerate(requests):
                resume(request, resumable.answer(index), resumable.place(index).tokens, now_s)
                # Calls are read from their beginning on.
                request.parameters[WHOLE_PARAMETER].bool_param = bool(asked.tools)
        token = secrets.token_hex(12) if resumable is None else resumable.token
        kind = "chatcmpl" if chat else "cmpl"
        id_, calls = f"{kind}-{token}", bool(asked.tools)
        envelope = Envelope(id_, now_s, asked.model, chat, asked.usage, calls)
        answers = [
            answer(self._inference, request.SerializeToString(), exchange.call, index)
            for index, request in enumerate(requests)
        ]
        if asked.stream:
            stream = Stream(exchange, envelope, len(prompts), resumable)
            await stream.send(answers)
            return None
        return Reply([envelope.whole(await whole(answers), len(prompts))])


def _of_choice(options: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Those of one of several answers to a prompt: each draws otherwise."""
    seed = options.get("seed")
    if number == 0 or not isinstance(seed, int):
        return dict(options)
    return {**options, "seed": (seed + number) % (1 << 64)}
