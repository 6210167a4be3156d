"""Language models: from text to a job's tokens, and from the tokens of its log to text."""

import asyncio
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from penstock.errors import ArtifactUnusable, InvalidRequest, ModelNotReady, Unimplemented
from penstock.gateway.models.catalog import Served
from penstock.gateway.requests.reading import Asked
from penstock.language.answer_text import AnswerText
from penstock.language.chat import ChatTemplate
from penstock.language.finish import Finish, finish_of
from penstock.language.manifest import CHAT_TEMPLATE, MANIFEST, TOKENIZER, Manifest
from penstock.language.options import DecodingOptions
from penstock.language.payload import OPTIONS, options_to_json
from penstock.language.tokenizer import Tokenizer
from penstock.models.config.language_models import (
    MESSAGES_INPUT,
    SAMPLING_INPUT,
    TEXT_INPUT,
    TEXT_OUTPUT,
    TOKENS_INPUT,
    TOKENS_OUTPUT,
    Text,
    texts_of,
)
from penstock.protos import cluster_pb2
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.requests.parts import Part

_MOST_KEPT: Final = 8
_LONG_TEXT: Final = 4096
"""Characters that are tokenized in passing; more of them beside the event loop."""

_PROMPTS: Final = (TEXT_INPUT, TOKENS_INPUT, MESSAGES_INPUT)
_OF_SERVERS: Final = frozenset({"priority", "timeout", "headers", "binary_data_output"})
_OF_SERVERS_STARTS: Final = ("triton_", "penstock_")
_JSON_STARTS: Final = ("[", "{")


class Language(NamedTuple):
    """What a gateway needs of a model to make text of its tokens.

    Attributes:
        template: makes one text of messages; None where the model has none.
        rendering: is held by whoever uses it.
    """

    tokenizer: Tokenizer
    manifest: Manifest
    template: ChatTemplate | None
    rendering: asyncio.Lock

    async def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens that ask the model to go on after *messages*.

        Raises:
            InvalidRequest: it has no chat template, or that refuses them.
        """
        if self.template is None:
            raise InvalidRequest("the model has no chat template: ask it for a completion")
        async with self.rendering:
            variables = self.manifest.template_variables
            render = partial(self.template.render, messages, **variables)
            text = await asyncio.to_thread(render)
        return await asyncio.to_thread(self.tokenizer.encode, text, special=False)


class Languages:
    """The languages of the models that were asked lately, fetched once each."""

    def __init__(self, load_requests: LoadRequests) -> None:
        self._load_requests = load_requests
        self._kept: OrderedDict[tuple[Text | None, ...], asyncio.Task[Language]] = OrderedDict()

    async def of(self, served: Served) -> Language:
        """That of *served*.

        Raises:
            ModelNotReady: its workers have not brought it, or the registry has lost it.
        """
        texts = texts_of(served.deployment.config)
        key = texts.get(TOKENIZER), texts.get(MANIFEST), texts.get(CHAT_TEMPLATE)
        fetching = self._kept.get(key)
        if fetching is None or (fetching.done() and _failed(fetching)):
            fetching = self._kept[key] = asyncio.create_task(self._fetch(*key))
            while len(self._kept) > _MOST_KEPT:
                _, oldest = self._kept.popitem(last=False)
                oldest.add_done_callback(_close)
        self._kept.move_to_end(key)
        try:
            # Others may wait for it as well: a client that leaves does not stop it.
            return await asyncio.shield(fetching)
        except ArtifactUnusable as error:
            raise ModelNotReady(
                f"the tokenizer of '{served.id.model}' is not there yet: ask again in a moment"
            ) from error
        except ModuleNotFoundError as error:
            raise Unimplemented(
                f"this gateway lacks '{error.name}', which language models need: "
                "pip install 'penstock[language]'"
            ) from error

    async def _fetch(self, *texts: Text | None) -> Language:
        tokenizer, manifest, template = [
            None if text is None else await self._load_requests.fetch(_file(text)) for text in texts
        ]
        made = await asyncio.to_thread(Tokenizer.from_json, tokenizer or b"")
        return Language(
            made,
            Manifest.from_json((manifest or b"").decode()),
            None if template is None else ChatTemplate(template.decode(errors="replace")),
            asyncio.Lock(),
        )

    async def prompted(self, asked: Asked) -> "Prompted":
        """What *asked*, whose form is known to be fine, asks the model for.

        Raises:
            InvalidRequest: it asks for what cannot be; says what to change.
            ModelNotReady: see `of`.
        """
        language = await self.of(asked.served)
        inputs = dict(
            zip((tensor.name for tensor in asked.request.inputs), asked.raws, strict=True)
        )
        options = _options(asked.request, inputs, language.manifest.defaults)
        tokens = await _tokens(inputs, language)
        room = language.manifest.context
        if not tokens or len(tokens) >= room:
            raise InvalidRequest(
                f"the prompt has {len(tokens)} tokens: it must have 1 at least, and together with "
                f"the answer there is room for {room}"
            )
        if min(tokens) < 0 or max(tokens) >= language.manifest.vocabulary:
            raise InvalidRequest(
                f"{TOKENS_INPUT} must be from 0 to {language.manifest.vocabulary - 1}"
            )
        return Prompted(asked, language, options, tokens)


class Prompted(NamedTuple):
    """A request to a language model, in tokens."""

    asked: Asked
    language: Language
    options: DecodingOptions
    tokens: list[int]

    @property
    def payload(self) -> bytes:
        """The job's: a serialized ModelInferRequest."""
        served = self.asked.served
        job = pb.ModelInferRequest(
            model_name=served.id.model,
            model_version=str(served.id.version),
            id=self.asked.parts.id,
        )
        job.inputs.add(name=TOKENS_INPUT, datatype="INT64", shape=[len(self.tokens)])
        job.raw_input_contents.append(np.asarray(self.tokens, "<i8").tobytes())
        job.parameters[OPTIONS].string_param = options_to_json(self.options)
        return job.SerializeToString()

    async def parts(self, log: AsyncIterator[bytes]) -> AsyncIterator[Part]:
        """The parts of the reply: text and tokens as *log* brings these, packed as uint32.

        It ends before *log* does where a stop string was found.
        """
        ends = self.language.manifest.end_tokens
        text = AnswerText(self.language.tokenizer.decode, self.options, ends, self.tokens)
        tokens: list[int] = []
        async for packed in log:
            new, piece = np.frombuffer(packed, "<u4").tolist(), ""
            for count, token in enumerate(new, 1):
                piece += text.push(token)
                if text.stopped_by is not None:
                    new = new[:count]
                    break
            tokens += new
            if text.stopped_by is not None:
                break
            if piece or self._wants(TOKENS_OUTPUT):
                yield Part(self._response(piece, new).SerializeToString(), final=False)
        else:
            new, piece = [], ""
        last = self._response(piece + text.flush(), new)
        finish = Finish.STOP if text.stopped_by is not None else self._finish(tokens)
        self._describe(last, finish, len(tokens))
        yield Part(last.SerializeToString(), final=False)
        yield Part(self._head().SerializeToString(), final=True)

    def _finish(self, tokens: list[int]) -> Finish:
        """Why the log has ended; where nothing else did, the context was full."""
        ends = self.language.manifest.end_tokens
        return finish_of(tokens, self.options, ends) or Finish.LENGTH

    def _wants(self, name: str) -> bool:
        outputs = self.asked.request.outputs
        return not outputs or any(output.name == name for output in outputs)

    def _head(self) -> pb.ModelInferResponse:
        served = self.asked.served
        return pb.ModelInferResponse(
            model_name=served.id.model,
            model_version=str(served.id.version),
            id=self.asked.parts.id,
        )

    def _response(self, text: str, tokens: list[int]) -> pb.ModelInferResponse:
        response = self._head()
        if self._wants(TEXT_OUTPUT):
            response.outputs.add(name=TEXT_OUTPUT, datatype="BYTES", shape=[1])
            response.raw_output_contents.append(_bytes_tensor(text.encode()))
        if self._wants(TOKENS_OUTPUT):
            response.outputs.add(name=TOKENS_OUTPUT, datatype="INT64", shape=[len(tokens)])
            response.raw_output_contents.append(np.asarray(tokens, "<i8").tobytes())
        return response

    def _describe(self, last: pb.ModelInferResponse, finish: Finish, count: int) -> None:
        last.parameters["finish_reason"].string_param = finish
        # As text: half of all seeds are beyond an int64.
        last.parameters["seed"].string_param = str(self.options.seed)
        last.parameters["prompt_tokens"].int64_param = len(self.tokens)
        last.parameters["completion_tokens"].int64_param = count


def joined(parts: Sequence[bytes]) -> bytes:
    """One reply of all *parts* of an answer, whose last one tells of the whole."""
    responses = [pb.ModelInferResponse.FromString(part) for part in parts]
    whole = responses[-1]
    contents = list(zip(*(response.raw_output_contents for response in responses), strict=True))
    del whole.raw_output_contents[:]
    for output, raws in zip(whole.outputs, contents, strict=True):
        if output.name == TEXT_OUTPUT:
            whole.raw_output_contents.append(_bytes_tensor(b"".join(raw[4:] for raw in raws)))
        else:
            raw = b"".join(raws)
            output.shape[:] = [len(raw) // 8]
            whole.raw_output_contents.append(raw)
    return whole.SerializeToString()


def _bytes_tensor(content: bytes) -> bytes:
    """A BYTES tensor with one element."""
    return len(content).to_bytes(4, "little") + content


def _file(text: Text) -> cluster_pb2.File:
    return cluster_pb2.File(path="the model's texts", digest=text.digest, size=text.size)


def _close(task: "asyncio.Task[Language]") -> None:
    if not _failed(task) and (template := task.result().template) is not None:
        template.close()


def _failed(task: "asyncio.Task[Language]") -> bool:
    return task.cancelled() or task.exception() is not None


async def _tokens(inputs: Mapping[str, Any], language: Language) -> list[int]:
    if sum(name in inputs for name in _PROMPTS) != 1:
        raise InvalidRequest(f"give one of {', '.join(_PROMPTS)}")
    if MESSAGES_INPUT in inputs:
        return await language.chat(_messages(inputs[MESSAGES_INPUT]))
    if TOKENS_INPUT in inputs:
        tokens: list[int] = np.frombuffer(inputs[TOKENS_INPUT], "<i8").tolist()
        return tokens
    text = _text(TEXT_INPUT, inputs[TEXT_INPUT])
    if len(text) <= _LONG_TEXT:
        return language.tokenizer.encode(text, special=True)
    return await asyncio.to_thread(language.tokenizer.encode, text, special=True)


def _messages(raw: Any) -> list[dict[str, Any]]:
    """A conversation as JSON."""
    try:
        said = json.loads(_text(MESSAGES_INPUT, raw))
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, list) or not said or not all(isinstance(one, dict) for one in said):
        raise InvalidRequest(
            f'{MESSAGES_INPUT} must be JSON, as [{{"role": "user", "content": "hello"}}]'
        )
    return said


def _options(
    request: pb.ModelInferRequest, inputs: Mapping[str, Any], defaults: Mapping[str, Any]
) -> DecodingOptions:
    """What the request says, as parameters or as JSON; with a seed, its own or a new one."""
    given = dict(_parameters(request))
    if SAMPLING_INPUT in inputs:
        text = _text(SAMPLING_INPUT, inputs[SAMPLING_INPUT])
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise InvalidRequest(f"{SAMPLING_INPUT} must be a JSON object")
        given = {**said, **given}
    return DecodingOptions.of(given, defaults).seeded(lambda: secrets.randbits(64))


def _parameters(request: pb.ModelInferRequest) -> Iterator[tuple[str, Any]]:
    """The request's own parameters; lists and objects as JSON."""
    for name in request.parameters:
        if name in _OF_SERVERS or name.startswith(_OF_SERVERS_STARTS):
            continue
        value = request.parameters[name]
        kind = value.WhichOneof("parameter_choice")
        found = getattr(value, kind) if kind else None
        if isinstance(found, str) and found.startswith(_JSON_STARTS) and name != "stop":
            try:
                found = json.loads(found)
            except (ValueError, RecursionError):
                raise InvalidRequest(f"{name} must be a list or an object as JSON") from None
        yield name, found


def _text(name: str, raw: Any) -> str:
    """The only element of a BYTES tensor."""
    try:
        return bytes(raw[4:]).decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name} must be UTF-8") from None
