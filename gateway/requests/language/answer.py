"""Answers of language models: text and tokens of the reply, as the log of the job brings these."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from penstock.errors import InvalidRequest
from penstock.gateway.replies.content_digest import FROM_PARAMETER
from penstock.gateway.requests.language.languages import Language
from penstock.gateway.requests.language.logprobs import Describer, as_json, joined_json
from penstock.gateway.requests.reading import Asked
from penstock.language.answer_text import AnswerText
from penstock.language.finish import Finish, finish_of
from penstock.language.log.entries import WORD_BYTES, entries_in, words_of_entry
from penstock.language.options import DecodingOptions
from penstock.language.payload import CACHED_TOKENS, CALLER, OPTIONS, options_to_json
from penstock.models.config.language_models import (
    LOGPROBS_OUTPUT,
    TEXT_OUTPUT,
    TOKENS_INPUT,
    TOKENS_OUTPUT,
)
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire
from penstock.scheduler.requests.parts import Part

_TOKENS_IN_PASSING: Final = 256
"""Of a log that is there already; then others have their turn."""

AT: Final = "penstock_at"
"""A parameter of each response: with it its client has so many tokens of the answer."""

BEGAN: Final = "penstock_began"
"""A parameter of each response: when the answer began, in seconds since 1970."""


class Resumed(NamedTuple):
    """How an answer that has a name goes on.

    Attributes:
        begin: tokens of it that its client has.
        began_s: when it began, in seconds since 1970.
        conclude: ends it, where its text ends before its tokens.
    """

    begin: int
    began_s: int
    conclude: Callable[[], Awaitable[None]]


class Prompted(NamedTuple):
    """A request to a language model, in tokens."""

    asked: Asked
    language: Language
    options: DecodingOptions
    tokens: list[int]

    @property
    def entry_bytes(self) -> int:
        """What the log has for each token."""
        return WORD_BYTES * words_of_entry(self.options)

    @property
    def payload(self) -> bytes:
        """The job's: a serialized ModelInferRequest."""
        request = self.request(options_to_json(self.options))
        request.parameters[CALLER].string_param = self.asked.call.caller.name
        return request.SerializeToString()

    def request(self, options: str) -> pb.ModelInferRequest:
        """The request in tokens, with these options."""
        served = self.asked.served
        job = pb.ModelInferRequest(
            model_name=served.id.model,
            model_version=str(served.id.version),
            id=self.asked.parts.id,
        )
        job.inputs.add(name=TOKENS_INPUT, datatype="INT64", shape=[len(self.tokens)])
        job.raw_input_contents.append(np.asarray(self.tokens, "<i8").tobytes())
        job.parameters[OPTIONS].string_param = options
        return job

    async def parts(
        self,
        log: AsyncIterator[bytes],
        resumed: Resumed | None = None,
        cached_tokens: Callable[[], int] = lambda: 0,
    ) -> AsyncIterator[Part]:
        """The parts of the reply: text and tokens as *log* brings these, in whole entries.

        It ends before *log* does where a stop string was found.

        Args:
            resumed: how an answer goes on that has a name.
            cached_tokens: of the prompt, as the end of the log says it.

        Raises:
            InvalidRequest: it is to go on behind its end.
        """
        begin = 0 if resumed is None else resumed.begin
        made, responses = _Made(self, begin), _Responses(self)
        async for packed in log:
            new = await made.take(packed)
            if made.stopped:
                break
            if not new.tokens or not (new.text or responses.tell_of_tokens):
                continue
            if resumed is None:
                yield Part(responses.packed(new), final=False)
            else:
                yield self._part(responses.of(new), resumed, len(made.tokens))
        else:
            new = New("", [], [])
        count = len(made.tokens)
        if count < begin:
            raise InvalidRequest(f"{FROM_PARAMETER} is {begin}: the answer has {count} tokens")
        if made.stopped and resumed is not None:
            await resumed.conclude()
        last = responses.of(new._replace(text=new.text + made.text.flush()))
        finish = Finish.STOP if made.stopped else self._finish(made.tokens)
        self._describe(last, finish, count)
        last.parameters[CACHED_TOKENS].int64_param = cached_tokens()
        yield self._part(last, resumed, count)
        yield Part(self.head().SerializeToString(), final=True)

    def _part(self, response: pb.ModelInferResponse, resumed: Resumed | None, count: int) -> Part:
        """A part that brings the answer to *count* tokens."""
        if resumed is not None:
            response.parameters[AT].int64_param = count
            response.parameters[BEGAN].int64_param = resumed.began_s
        return Part(response.SerializeToString(), final=False)

    def _finish(self, tokens: list[int]) -> Finish:
        """Why the log has ended; where nothing else did, the context was full."""
        ends = self.language.manifest.end_tokens
        return finish_of(tokens, self.options, ends) or Finish.LENGTH

    def wants(self, name: str) -> bool:
        """Whether *name* is among the outputs of its responses."""
        if name == LOGPROBS_OUTPUT and self.options.logprobs is None:
            return False
        request = self.asked.request
        return not request.outputs or is_named(request, name)

    def head(self) -> pb.ModelInferResponse:
        """A response without outputs."""
        served = self.asked.served
        return pb.ModelInferResponse(
            model_name=served.id.model,
            model_version=str(served.id.version),
            id=self.asked.parts.id,
        )

    def _describe(self, last: pb.ModelInferResponse, finish: Finish, count: int) -> None:
        last.parameters["finish_reason"].string_param = finish
        # As text: half of all seeds are beyond an int64.
        last.parameters["seed"].string_param = str(self.options.seed)
        last.parameters["prompt_tokens"].int64_param = len(self.tokens)
        last.parameters["completion_tokens"].int64_param = count


class New(NamedTuple):
    """What entries of the log add to an answer: *text*, *tokens*, and how likely these were."""

    text: str
    tokens: list[int]
    likely: list[dict[int, dict[str, Any]]]


class _Responses:
    """The responses of one answer. What all of one token have in common is put together once.

    Attributes:
        tell_of_tokens: something is said of a token that has no text yet.
    """

    def __init__(self, prompted: Prompted) -> None:
        self._prompted = prompted
        self._common = b""
        self._text, self._tokens, self._likely = (
            prompted.wants(name) for name in (TEXT_OUTPUT, TOKENS_OUTPUT, LOGPROBS_OUTPUT)
        )
        self.tell_of_tokens = self._tokens or self._likely

    def of(self, new: New) -> pb.ModelInferResponse:
        """The response that brings what is *new*."""
        response = self._prompted.head()
        if self._text:
            response.outputs.add(name=TEXT_OUTPUT, datatype="BYTES", shape=[1])
        if self._tokens:
            response.outputs.add(name=TOKENS_OUTPUT, datatype="INT64", shape=[len(new.tokens)])
        if self._likely:
            response.outputs.add(name=LOGPROBS_OUTPUT, datatype="BYTES", shape=[1])
            response.parameters[LOGPROBS_OUTPUT].int64_param = self._prompted.options.logprobs or 0
        response.raw_output_contents.extend(self._contents(new))
        return response

    def packed(self, new: New) -> bytes:
        """The same, serialized."""
        if len(new.tokens) != 1:
            return self.of(new).SerializeToString()
        if not self._common:
            response = self.of(new)
            del response.raw_output_contents[:]
            self._common = response.SerializeToString()
        parts: list[wire.Buffer] = [self._common]
        for content in self._contents(new):
            parts += wire.raw_output_field(content)
        return b"".join(parts)

    def _contents(self, new: New) -> list[bytes]:
        found = [_bytes_tensor(new.text.encode())] if self._text else []
        if self._tokens:
            found.append(b"".join(token.to_bytes(8, "little") for token in new.tokens))
        if self._likely:
            found.append(_bytes_tensor(as_json(new.likely)))
        return found


class _Made:
    """What has been made of an answer's log.

    Attributes:
        tokens: all that have come, up to where a stop string ended the text.
    """

    def __init__(self, prompted: Prompted, begin: int) -> None:
        """*begin*: tokens whose text nobody wants."""
        language, options = prompted.language, prompted.options
        tokenizer, ends = language.tokenizer, language.manifest.end_tokens
        self.text = AnswerText(tokenizer.decode, options, ends, prompted.tokens, tokenizer.plain)
        self.tokens: list[int] = []
        self._begin = begin
        self._options = options
        self._describer = None if options.logprobs is None else Describer(language.spelling)

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the text."""
        return self.text.stopped_by is not None

    async def take(self, packed: bytes) -> New:
        """What is new; nothing behind a stop string."""
        piece, new, likely = "", [], []
        entries = entries_in(packed, self._options)
        for at, token in enumerate(entries[:, 0].tolist()):
            self.tokens.append(token)
            said = self.text.push(token)
            before = 0 if self._describer is None else self._describer.push(token)
            if len(self.tokens) > self._begin:
                new.append(token)
                piece += said
                if self._describer is not None:
                    likely.append(self._describer.described(entries[at], before))
            if self.stopped:
                break
            if len(self.tokens) % _TOKENS_IN_PASSING == 0:
                await asyncio.sleep(0)
        return New(piece, new, likely)


async def cut_at(log: AsyncIterator[bytes], left: int) -> AsyncIterator[bytes]:
    """*log* with a piece that ends with its first *left* bytes."""
    async for packed in log:
        if 0 < left < len(packed):
            yield packed[:left]
            yield packed[left:]
        else:
            yield packed
        left -= len(packed)


def is_named(request: pb.ModelInferRequest, output: str) -> bool:
    """Whether *request* asks for this *output* by its name."""
    return any(one.name == output for one in request.outputs)


def joined(parts: Sequence[bytes]) -> bytes:
    """One reply of all *parts* of an answer, whose last one tells of the whole."""
    responses = [pb.ModelInferResponse.FromString(part) for part in parts]
    whole = responses[-1]
    contents = list(zip(*(response.raw_output_contents for response in responses), strict=True))
    del whole.raw_output_contents[:]
    for output, raws in zip(whole.outputs, contents, strict=True):
        if output.name == LOGPROBS_OUTPUT:
            likely = joined_json(raw[4:] for raw in raws)
            whole.raw_output_contents.append(_bytes_tensor(likely))
        elif output.name == TEXT_OUTPUT:
            whole.raw_output_contents.append(_bytes_tensor(b"".join(raw[4:] for raw in raws)))
        else:
            raw = b"".join(raws)
            output.shape[:] = [len(raw) // 8]
            whole.raw_output_contents.append(raw)
    return whole.SerializeToString()


def _bytes_tensor(content: bytes) -> bytes:
    """A BYTES tensor with one element."""
    return len(content).to_bytes(4, "little") + content
