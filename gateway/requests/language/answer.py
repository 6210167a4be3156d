"""Answers of language models: text and tokens of the reply, as the log of the job brings these."""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from penstock.errors import InvalidRequest
from penstock.gateway.replies.content_digest import (
    BEGAN_PARAMETER,
    FROM_PARAMETER,
    RESUME_PARAMETER,
)
from penstock.gateway.requests.language.languages import Language
from penstock.gateway.requests.language.logprobs import Describer, as_json, joined_json
from penstock.gateway.requests.language.tools.calls import Calls, message_of
from penstock.gateway.requests.reading import Asked
from penstock.language.answer_text import AnswerText
from penstock.language.finish import Finish, finish_of
from penstock.language.log.entries import WORD_BYTES, entries_in, prompt_entries, words_of_entry
from penstock.language.options import DecodingOptions
from penstock.language.payload import CACHED_TOKENS, CALLER, ENDED, OPTIONS, options_to_json
from penstock.models.config.language_models import (
    AUDIO_INPUT,
    LOGPROBS_OUTPUT,
    TEXT_OUTPUT,
    TOKENS_INPUT,
    TOKENS_OUTPUT,
)
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire
from penstock.protos.wire import Buffer
from penstock.scheduler.requests.parts import Part
from penstock.scheduler.requests.token_log import End
from penstock.tensors import pack_bytes

_TOKENS_IN_PASSING: Final = 256
"""Of a log that is there already; then others have their turn."""

TOOL_CALLS: Final = "tool_calls"
"""A parameter of the last response: the calls of functions, as JSON in the form of chats."""

AT: Final = "penstock_at"
"""A parameter of each response: with it its client has so many tokens of the answer."""


class Resumed(NamedTuple):
    """How an answer that has a name goes on.

    Attributes:
        begin: tokens of it that its client has.
        began_s: when it began, in seconds since 1970.
        conclude: ends it, where its text ends before its tokens; says when, as `End.at_s`.
    """

    begin: int
    began_s: int
    conclude: Callable[[], Awaitable[int]]


class Prompted(NamedTuple):
    """A request to a language model, in tokens.

    Attributes:
        calls: its answer may call functions, and is asked for by messages.
        audio: what a model of speech shall hear: FP32 samples.
    """

    asked: Asked
    language: Language
    options: DecodingOptions
    tokens: list[int]
    calls: bool = False
    audio: Buffer | None = None

    @property
    def entry_bytes(self) -> int:
        """What the log has for each token."""
        return WORD_BYTES * words_of_entry(self.options)

    @property
    def prompt_entries(self) -> int:
        """How many entries of the log are of the prompt."""
        return prompt_entries(self.options, len(self.tokens))

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
        if self.audio is not None:
            job.inputs.add(name=AUDIO_INPUT, datatype="FP32", shape=[len(self.audio) // 4])
            job.raw_input_contents.append(bytes(self.audio))
        job.parameters[OPTIONS].string_param = options
        return job

    async def parts(
        self,
        log: AsyncIterator[bytes],
        resumed: Resumed | None = None,
        end: Callable[[], End] = End,
    ) -> AsyncIterator[Part]:
        """The parts of the reply: text and tokens as *log* brings these, in whole entries.

        It ends before *log* does where a stop string was found.

        Args:
            resumed: how an answer goes on that has a name.
            end: what the end of the log has said.

        Raises:
            InvalidRequest: it is to go on behind its end.
        """
        begin = 0 if resumed is None else resumed.begin
        made, responses = _Made(self, begin), _Responses(self)
        async for packed in self._bounded(log) if self.options.echo else log:
            new = await made.take(packed)
            if made.stopped:
                break
            if not new.entries or not (new.text or responses.tell_of_tokens):
                continue
            if resumed is None:
                yield Part(responses.packed(new), final=False)
            else:
                yield self._part(responses.of(new), resumed, made.count)
        else:
            new = New("", [], [])
        if made.count < begin:
            raise InvalidRequest(f"{FROM_PARAMETER} is {begin}: the answer has {made.count} tokens")
        ended = end()
        if made.stopped and resumed is not None:
            ended = End(at_s=await resumed.conclude())
        yield self._part(self._last(made, responses, new, ended), resumed, made.count)
        yield Part(self.head().SerializeToString(), final=True)

    async def _bounded(self, log: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """*log* in pieces that make no part too large; one that begins with the prompt is."""
        most = _TOKENS_IN_PASSING * self.entry_bytes
        async for packed in log:
            for at in range(0, len(packed), most):
                yield packed[at : at + most]

    def _last(
        self, made: "_Made", responses: "_Responses", new: "New", end: End
    ) -> pb.ModelInferResponse:
        """The last response, which tells of the whole."""
        held = made.text.flush()
        last = responses.of(new._replace(text=new.text + held))
        finish = self._finish(made, end)
        last.parameters["finish_reason"].string_param = finish
        # As text: half of all seeds are beyond an int64.
        last.parameters["seed"].string_param = str(self.options.seed)
        last.parameters["prompt_tokens"].int64_param = len(self.tokens)
        last.parameters["completion_tokens"].int64_param = len(made.tokens)
        if self.calls:
            self._tell_calls(last, "".join(made.said) + held, finish)
        last.parameters[CACHED_TOKENS].int64_param = end.cached_tokens
        if end.at_s:
            last.parameters[ENDED].int64_param = end.at_s
        return last

    def _part(self, response: pb.ModelInferResponse, resumed: Resumed | None, count: int) -> Part:
        """A part that brings the answer to *count* tokens."""
        if resumed is not None:
            response.parameters[AT].int64_param = count
            response.parameters[BEGAN_PARAMETER].int64_param = resumed.began_s
        return Part(response.SerializeToString(), final=False)

    def _finish(self, made: "_Made", end: End) -> Finish:
        """Why the answer has ended; where nothing else ended it, the context was full."""
        if end.cancelled:
            return Finish.CANCELLED
        if made.stopped:
            return Finish.STOP
        ends = self.language.manifest.end_tokens
        return finish_of(made.tokens, self.options, ends) or Finish.LENGTH

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

    def _tell_calls(self, last: pb.ModelInferResponse, text: str, finish: Finish) -> None:
        """What of *text*, the whole of it, are calls, in the form of chats."""
        given = self.asked.request.parameters
        # Ids follow from the answer's name: whoever goes on with it has the same ones.
        named = RESUME_PARAMETER in given
        name = given[RESUME_PARAMETER].string_param if named else secrets.token_hex(12)
        message, ended = message_of(Calls(name), text, finish)
        last.parameters["finish_reason"].string_param = ended
        last.parameters[TOOL_CALLS].string_param = json.dumps(message.get("tool_calls", []))


class New(NamedTuple):
    """What entries of the log add to an answer.

    Attributes:
        tokens: of the answer; those of its prompt are none of them.
        likely: how likely they were, and those of its prompt where these are told of.
        entries: how many there were.
    """

    text: str
    tokens: list[int]
    likely: list[dict[int, dict[str, Any]]]
    entries: int = 0


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
        return wire.with_raw_outputs(self._common, self._contents(new))

    def _contents(self, new: New) -> list[bytes]:
        found = [pack_bytes([new.text])] if self._text else []
        if self._tokens:
            found.append(b"".join(token.to_bytes(8, "little") for token in new.tokens))
        if self._likely:
            found.append(pack_bytes([as_json(new.likely)]))
        return found


class _Made:
    """What has been made of an answer's log.

    Attributes:
        tokens: all of the answer that have come, up to where a stop string ended the text.
        count: entries of the log that have come.
        said: the pieces of the whole text, of an answer that may call functions.
    """

    def __init__(self, prompted: Prompted, begin: int) -> None:
        """*begin*: tokens whose text nobody wants."""
        language, options = prompted.language, prompted.options
        tokenizer, ends = language.tokenizer, language.manifest.end_tokens
        self.text = AnswerText(tokenizer.decode, options, ends, prompted.tokens, tokenizer.plain)
        self.tokens: list[int] = []
        self.count = 0
        self._begin = begin
        self._options = options
        self._describer = None if options.logprobs is None else Describer(language.spelling)
        self._prompt = prompted.tokens
        self._calls = prompted.calls
        self._of_prompt = prompted.prompt_entries
        self._decode = tokenizer.decode
        self.said: list[str] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the text."""
        return self.text.stopped_by is not None

    async def take(self, packed: bytes) -> New:
        """What is new; nothing behind a stop string."""
        piece, likely = self._begun() if self.count == 0 else ("", [])
        new: list[int] = []
        there, entries = max(self.count, self._begin), entries_in(packed, self._options)
        for at, token in enumerate(entries[:, 0].tolist()):
            self.count += 1
            said = "" if self.count <= self._of_prompt else self._taken(token)
            offset = 0 if self._describer is None else self._describer.push(token)
            if self.count > self._begin:
                new += self.tokens[-1:] if self.count > self._of_prompt else ()
                piece += said
                if self._describer is not None:
                    likely.append(self._describer.described(entries[at], offset))
            if self.stopped:
                break
            if self.count % _TOKENS_IN_PASSING == 0:
                await asyncio.sleep(0)
        return New(piece, new, likely, max(0, self.count - there))

    def _taken(self, token: int) -> str:
        self.tokens.append(token)
        text = self.text.push(token)
        if self._calls:
            self.said.append(text)
        return text

    def _begun(self) -> tuple[str, list[dict[int, dict[str, Any]]]]:
        """What is before all entries: the prompt, where it is wanted, and its first token."""
        if not self._options.echo:
            return "", []
        text = "" if self._begin else self._decode(self._prompt)
        if self._describer is None:
            return text, []
        first = self._describer.first(self._prompt[0])
        return text, [] if self._begin else [first]


async def cut_at(log: AsyncIterator[bytes], left: int) -> AsyncGenerator[bytes, None]:
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
            whole.raw_output_contents.append(pack_bytes([likely]))
        elif output.name == TEXT_OUTPUT:
            whole.raw_output_contents.append(pack_bytes([b"".join(raw[4:] for raw in raws)]))
        else:
            raw = b"".join(raws)
            output.shape[:] = [len(raw) // 8]
            whole.raw_output_contents.append(raw)
    return whole.SerializeToString()
