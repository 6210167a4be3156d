"""What clients of a language model do during a soak, and whether its slots come back."""

import asyncio
import json
import re
import time
import urllib.request

import numpy as np
from support.clients.answers import request
from support.models.language_versions import Local, asked, expected, write_model

from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub

MODEL = "tiny"
ANSWERS = 16
"""Different ones, greedy and drawn; what each is, this process has computed."""
PATIENCE_S = 60.0


def write_repository(folder):
    """A repository with a language model of two stages, in one group."""
    return write_model(folder, MODEL, stages=2, count=1)


class Writing:
    """Clients that have answers written through one gateway.

    Attributes:
        kinds: the calls that they make.
    """

    def __init__(self, repository, http_url, chance):
        local = Local(repository / MODEL / "1")
        self._right = [expected(local, number) for number in range(ANSWERS)]
        self._http_url = http_url
        self._chance = chance
        self._chat = None
        self.kinds = [self._writes, self._writes, self._writes_by_name, self._leaves]
        if http_url is not None:
            self.kinds.append(self._chats)

    async def _writes(self, channel, **parameters):
        number = self._chance.randrange(ANSWERS)
        tokens, text = [], ""
        async for reply in _answer(channel, number, parameters):
            assert not reply.error_message, reply.error_message
            body = reply.infer_response
            for output, raw in zip(body.outputs, body.raw_output_contents, strict=True):
                if output.name == "text_output":
                    text += raw[4:].decode()
                else:
                    tokens += np.frombuffer(raw, "<i8").tolist()
        assert (tokens, text) == self._right[number], "another answer"

    async def _writes_by_name(self, channel):
        """An answer that outlives its call, and is kept for a while."""
        await self._writes(channel, penstock_resume=f"{self._chance.getrandbits(64):x}")
        await asyncio.sleep(1)

    async def _leaves(self, channel):
        """A client that has read enough."""
        call = _answer(channel, self._chance.randrange(ANSWERS), {})
        for _ in range(self._chance.randrange(4)):
            await call.read()
        call.cancel()
        await call.code()
        await asyncio.sleep(0.1)

    async def _chats(self, _):
        said = await asyncio.to_thread(self._chat_over_http)
        self._chat = self._chat or said
        assert said == self._chat, "another text"

    def _chat_over_http(self):
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        sent = json.dumps({**body, "temperature": 0, "max_tokens": 40}).encode()
        url = f"http://{self._http_url}/v1/chat/completions"
        headers = {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, sent, headers), timeout=60) as got:
            return json.load(got)["choices"][0]["message"]["content"]


def _answer(channel, number, parameters):
    prompt, options = asked(number)
    stub = GRPCInferenceServiceStub(channel)
    named = request(MODEL, prompt, **options, **parameters)
    return stub.ModelStreamInfer(iter([named]), timeout=PATIENCE_S)


def slots_lost(metrics_url):
    """How many slots are taken, once nobody asks any more, and none is given back."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        with urllib.request.urlopen(metrics_url, timeout=30) as told:  # noqa: S310 - its own
            text = told.read().decode()
        (taken,) = re.findall(
            rf'^penstock_slots_taken{{model="{MODEL}".*}} (\S+)$', text, re.MULTILINE
        )
        if float(taken) == 0 or time.monotonic() > ends:
            return int(float(taken))
        time.sleep(1)
