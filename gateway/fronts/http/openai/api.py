"""The routes of the OpenAI API: each answer is a request to a language model, as any other."""

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.http.exchange import Exchange, Parts, Reply
from penstock.gateway.fronts.http.json_messages import parsed_object
from penstock.gateway.fronts.http.openai import shapes
from penstock.gateway.fronts.http.openai.answers import Stream, answer, whole
from penstock.gateway.fronts.http.openai.asked import Asked, chat_of, completion_of
from penstock.gateway.fronts.http.openai.shapes import Envelope
from penstock.gateway.requests.infer import Inference
from penstock.models.config.language_models import (
    SAMPLING_INPUT,
    TEXT_INPUT,
    TEXT_OUTPUT,
    TOKENS_INPUT,
)
from penstock.protos import grpc_service_pb2 as pb

_TEMPERATURE: Final = 1.0
"""Of requests that name none, to models whose makers advise none."""


class OpenAi:
    """Answers requests of the OpenAI API."""

    def __init__(self, inference: Inference, calls: Calls) -> None:
        self._inference = inference
        self._calls = calls
        self._began_s = int(time.time())

    async def models(self, exchange: Exchange, _: Parts) -> Reply:
        """The language models that the caller may use."""
        may_use = exchange.call.caller.may_use
        names = [name for name in self._inference.language_models() if may_use(name)]
        return Reply([shapes.models(names, self._began_s)])

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
        prompts = [await language.chat(one) if chat else one for one in asked.prompts]
        options = dict(asked.options)
        options.setdefault(
            "temperature", language.manifest.defaults.get("temperature", _TEMPERATURE)
        )
        messages = [
            _message(asked.model, prompt, _of_choice(options, number))
            for prompt in prompts
            for number in range(asked.choices)
        ]
        kind = "chatcmpl" if chat else "cmpl"
        envelope = Envelope(f"{kind}-{secrets.token_hex(12)}", int(time.time()), asked.model, chat)
        answers = [
            answer(self._inference, message, exchange.call, index)
            for index, message in enumerate(messages)
        ]
        if asked.stream:
            await Stream(exchange, envelope, len(prompts), usage=asked.usage).send(answers)
            return None
        return Reply([envelope.whole(await whole(answers), len(prompts))])


def _of_choice(options: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Those of one of several answers to a prompt: each draws otherwise."""
    seed = options.get("seed")
    if number == 0 or not isinstance(seed, int):
        return dict(options)
    return {**options, "seed": (seed + number) % (1 << 64)}


def _message(model: str, prompt: str | list[int], options: Mapping[str, Any]) -> bytes:
    """The serialized ModelInferRequest for one answer."""
    request = pb.ModelInferRequest(model_name=model)
    if isinstance(prompt, str):
        request.inputs.add(name=TEXT_INPUT, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(_bytes_tensor(prompt))
    else:
        request.inputs.add(name=TOKENS_INPUT, datatype="INT64", shape=[len(prompt)])
        request.raw_input_contents.append(np.asarray(prompt, "<i8").tobytes())
    request.inputs.add(name=SAMPLING_INPUT, datatype="BYTES", shape=[1])
    request.raw_input_contents.append(_bytes_tensor(json.dumps(options)))
    request.outputs.add(name=TEXT_OUTPUT)
    return request.SerializeToString()


def _bytes_tensor(text: str) -> bytes:
    content = text.encode()
    return len(content).to_bytes(4, "little") + content
