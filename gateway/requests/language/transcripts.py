"""Transcripts: the text of audio of any length, window by window, by a model of speech."""

import asyncio
import json
from collections.abc import Sequence
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


class _Window(NamedTuple):
    """What became of one window."""

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
    """What is said in *samples*, float32 at 16 kHz, one at least.

    Where the model shall say which language it hears, the first window says it for all.

    Raises:
        PenstockError: how the request about one of the windows has ended.
    """
    places = windows(samples, model.speech.samples)
    room = asyncio.Semaphore(AT_ONCE)

    async def one(place: tuple[int, int], wanted: Wanted) -> _Window:
        async with room:
            request = request_for(model, samples[slice(*place)], wanted)
            reply = await inference.infer(request.SerializeToString(), model.call)
        return _window(reply)

    first = await one(places[0], wanted)
    language = _heard(model.speech, first.tokens, wanted)
    later = wanted._replace(language=language or None)
    try:
        async with asyncio.TaskGroup() as tasks:
            others = [tasks.create_task(one(place, later)) for place in places[1:]]
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    found = [first, *(task.result() for task in others)]
    segments = [
        spoken
        for place, window in zip(places, found, strict=True)
        for spoken in (_spoken(model, place, window) if wanted.timestamps else ())
    ]
    texts = (window.text.strip() for window in found)
    text = " ".join(text for text in texts if text)
    return Transcript(text, language, len(samples) / RATE, segments)


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


def _window(reply: bytes) -> _Window:
    response = pb.ModelInferResponse.FromString(reply)
    raws = dict(
        zip((one.name for one in response.outputs), response.raw_output_contents, strict=True)
    )
    said = json.loads(raws[LOGPROBS_OUTPUT][4:]) if LOGPROBS_OUTPUT in raws else []
    return _Window(
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


def _spoken(model: Model, place: tuple[int, int], window: _Window) -> Sequence[Spoken]:
    begin_s, length_s = place[0] / RATE, (place[1] - place[0]) / RATE
    decode = model.language.tokenizer.decode
    return [
        Spoken(segment, float(np.mean(window.logprobs[slice(*segment.places)])))
        for segment in segments_of(model.speech, decode, window.tokens, begin_s, length_s)
    ]
