"""Transcripts: the text of audio of any length, window by window, by a model of speech."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

import numpy as np

from penstock.errors import InvalidRequest
from penstock.gateway.requests.call import Call
from penstock.gateway.requests.infer import Inference
from penstock.gateway.requests.language.hearing import LANGUAGE
from penstock.gateway.requests.language.languages import Language
from penstock.language.speech.segments import Segment, segments_of
from penstock.language.speech.tokens import RATE, Speech
from penstock.language.speech.wav import Floats
from penstock.language.speech.windows import windows
from penstock.models.config.language_models import (
    AUDIO_INPUT,
    LOGPROBS_OUTPUT,
    SAMPLING_INPUT,
    TEXT_INPUT,
    TEXT_OUTPUT,
    TOKENS_OUTPUT,
)
from penstock.protos import grpc_service_pb2 as pb
from penstock.tensors import pack_bytes

AT_ONCE: Final = 4
"""Windows of one audio that are under way."""


class Model(NamedTuple):
    """A model of speech, and how it is asked.

    Attributes:
        version: of it, so that all windows are of one.
        call: whoever asks; its deadline is that of all windows.
    """

    name: str
    version: int
    language: Language
    speech: Speech
    call: Call


class Wanted(NamedTuple):
    """What is wanted of a transcript.

    Attributes:
        language: its code; None where the model shall say which it hears.
        prompt: text that came before.
        timestamps: it has segments.
    """

    language: str | None
    prompt: str
    temperature: float
    timestamps: bool


class Spoken(NamedTuple):
    """A segment, and the mean of its tokens' log probabilities."""

    segment: Segment
    mean_logprob: float


class Transcript(NamedTuple):
    """What was said.

    Attributes:
        language: its code; "" where the model does not say.
        seconds: of audio.
        segments: with timestamps alone.
    """

    text: str
    language: str
    seconds: float
    segments: Sequence[Spoken]


class Piece(NamedTuple):
    """What came of one window.

    Attributes:
        window: its number; pieces come in the order of these.
        logprobs: of *tokens*, with timestamps alone.
    """

    window: int
    text: str
    tokens: list[int]
    logprobs: list[float]


async def model_of(inference: Inference, model: str, call: Call) -> Model:
    """The *model*, once it is loaded.

    Raises:
        InvalidRequest: it hears nothing.
        PenstockError: there is no such model for the caller.
    """
    probe = pb.ModelInferRequest(model_name=model).SerializeToString()
    found = await inference.read(probe, call)
    if found.served.language:
        language = await inference.language_of(model, found.call)
        if language.manifest.speech is not None:
            version = found.served.id.version
            return Model(model, version, language, language.manifest.speech, found.call)
    raise InvalidRequest(f"'{model}' is no model of speech: ask another model, or by another API")


async def transcribe(
    inference: Inference, model: Model, samples: Floats, wanted: Wanted
) -> Transcript:
    """What is said in *samples*, float32 at 16 kHz, one at least; errors as for `pieces`."""
    hearing = Hearing(inference, model, samples, wanted)
    found = [Piece(number, "", [], []) for number in range(len(hearing.places))]
    async with aclosing(hearing.pieces()) as pieces:
        async for number, text, tokens, logprobs in pieces:
            so_far = found[number]
            found[number] = so_far._replace(text=so_far.text + text)
            so_far.tokens.extend(tokens)
            so_far.logprobs.extend(logprobs)
    segments = [
        spoken
        for place, window in zip(hearing.places, found, strict=True)
        for spoken in (_spoken(model, place, window) if wanted.timestamps else ())
    ]
    joining = Joining()
    text = "".join(joining.push(window.window, window.text) for window in found)
    language = _heard(model.speech, found[0].tokens, wanted)
    return Transcript(text, language, len(samples) / RATE, segments)


class Hearing:
    """The windows of one audio, heard beside each other.

    Attributes:
        places: beginning and end of each window.
    """

    def __init__(self, inference: Inference, model: Model, samples: Floats, wanted: Wanted) -> None:
        self._inference = inference
        self._model = model
        self._samples = samples
        self.places = windows(samples, model.speech.samples)
        self._wanted = wanted
        self._room = asyncio.Semaphore(AT_ONCE)
        self._language: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # As many as a window has tokens wait for their turn; None is its end.
        self._queues: list[asyncio.Queue[Piece | None]] = [asyncio.Queue() for _ in self.places]

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """What is said, as it comes, in the order of the windows.

        Where the model shall say which language it hears, the first window says it for all.

        Raises:
            PenstockError: how the request about one of the windows has ended.
        """
        hearing = asyncio.create_task(self._hear_all())
        try:
            for queue in self._queues:
                while (piece := await queue.get()) is not None:
                    yield piece
            await hearing
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    async def _hear_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(len(self.places)):
                    tasks.create_task(self._hear(number))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            for queue in self._queues:
                queue.put_nowait(None)

    async def _hear(self, number: int) -> None:
        wanted, queue = self._wanted, self._queues[number]
        # The first one has its turn first.
        async with self._room:
            if number:
                wanted = wanted._replace(language=await self._language or None)
            samples = self._samples[slice(*self.places[number])]
            request = request_for(self._model, samples, wanted)
            answer = _answer(self._inference, self._model, request, number)
            async with aclosing(answer) as pieces:
                async for piece in pieces:
                    self._learn(piece.tokens)
                    queue.put_nowait(piece)
            self._learn([-1])
        queue.put_nowait(None)

    def _learn(self, tokens: Sequence[int]) -> None:
        """The first of an answer's tokens say which language is spoken."""
        if tokens and not self._language.done():
            self._language.set_result(_heard(self._model.speech, tokens, self._wanted))


async def _answer(
    inference: Inference, model: Model, request: pb.ModelInferRequest, window: int
) -> AsyncGenerator[Piece, None]:
    """The pieces of the answer about one window."""
    message = request.SerializeToString()
    with inference.hold(message):
        asked = await inference.read(message, model.call)
        async with aclosing(inference.responses(asked)) as parts:
            async for part in parts:
                if not part.final:
                    yield _piece(part.body, window)


class Joining:
    """The texts of windows as one text: a space between them, and none around it.

    The pieces that it gives, joined, are the same however the texts come.
    """

    def __init__(self) -> None:
        self._window = -1
        self._said = False
        # Spaces that are written if something comes behind them.
        self._held = ""
        self._begins = True

    def push(self, window: int, text: str) -> str:
        """What *text* of this window adds; windows come in their order."""
        if window != self._window:
            self._window, self._begins = window, True
            self._held = " " if self._said else ""
        if self._begins:
            text = text.lstrip()
        if not text:
            return ""
        whole = self._held + text
        added = whole.rstrip()
        self._held, self._begins, self._said = whole[len(added) :], False, True
        return added


def request_for(model: Model, samples: Floats, wanted: Wanted) -> pb.ModelInferRequest:
    """The request about one window."""
    request = pb.ModelInferRequest(model_name=model.name, model_version=str(model.version))
    request.inputs.add(name=AUDIO_INPUT, datatype="FP32", shape=[len(samples)])
    request.raw_input_contents.append(samples.astype("<f4", copy=False).tobytes())
    options = {"temperature": wanted.temperature}
    if wanted.timestamps:
        options |= {"timestamps": True, "logprobs": 0}
    request.inputs.add(name=SAMPLING_INPUT, datatype="BYTES", shape=[1])
    request.raw_input_contents.append(pack_bytes([json.dumps(options)]))
    if wanted.prompt:
        request.inputs.add(name=TEXT_INPUT, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(pack_bytes([wanted.prompt]))
    if wanted.language is not None:
        request.parameters[LANGUAGE].string_param = wanted.language
    outputs = [TEXT_OUTPUT, TOKENS_OUTPUT, *([LOGPROBS_OUTPUT] if wanted.timestamps else [])]
    for name in outputs:
        request.outputs.add(name=name)
    return request


def _piece(body: bytes, window: int) -> Piece:
    response = pb.ModelInferResponse.FromString(body)
    raws = dict(
        zip((one.name for one in response.outputs), response.raw_output_contents, strict=True)
    )
    said = json.loads(raws[LOGPROBS_OUTPUT][4:]) if LOGPROBS_OUTPUT in raws else []
    return Piece(
        window,
        raws[TEXT_OUTPUT][4:].decode(),
        np.frombuffer(raws[TOKENS_OUTPUT], "<i8").tolist(),
        [next(iter(one.values()))["logprob"] for one in said],
    )


def _heard(speech: Speech, tokens: Sequence[int], wanted: Wanted) -> str:
    """The code of the language that is spoken."""
    if wanted.language is not None:
        return wanted.language
    if not speech.languages:
        return "en"
    return (speech.language_of(tokens[0]) if tokens else None) or ""


def _spoken(model: Model, place: tuple[int, int], window: Piece) -> Sequence[Spoken]:
    begin_s, length_s = place[0] / RATE, (place[1] - place[0]) / RATE
    decode = model.language.tokenizer.decode
    return [
        Spoken(segment, float(np.mean(window.logprobs[slice(*segment.places)])))
        for segment in segments_of(model.speech, decode, window.tokens, begin_s, length_s)
    ]
