"""The route of transcriptions: a form with audio to its text, as the OpenAI API has it."""

import json
import zlib
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final

from penstock.errors import DeadlineExceeded, InvalidRequest
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.http.exchange import JSON, Exchange, Parts, Reply
from penstock.gateway.fronts.http.openai.answers import (
    KEEP_ALIVE,
    Answer,
    Piece,
    merged,
    write_events,
)
from penstock.gateway.fronts.http.openai.audio.asked import AskedTranscript, Form, transcript_of
from penstock.gateway.fronts.http.openai.audio.forms import parts_of
from penstock.gateway.fronts.http.openai.shapes import error_event
from penstock.gateway.fronts.http.statuses import refused
from penstock.gateway.offload import Offload
from penstock.gateway.requests.infer import Inference
from penstock.gateway.requests.language import transcripts
from penstock.gateway.requests.language.fields import FieldRefused
from penstock.gateway.requests.language.transcripts import (
    Hearing,
    Joining,
    Model,
    Spoken,
    Transcript,
    Wanted,
)
from penstock.language.speech.segments import as_srt, as_vtt
from penstock.language.speech.tokens import RATE, TRANSCRIBE, prompt_of
from penstock.language.speech.wav import Floats, NoWav, samples_of

_TEXT: Final = b"text/plain; charset=utf-8"
_SEEKS_IN_S: Final = 100
"""Of `seek`: frames of 10 ms."""


class Transcriptions:
    """Answers requests for transcripts."""

    def __init__(self, inference: Inference, calls: Calls) -> None:
        self._inference = inference
        self._calls = calls
        # One file at a time: each takes several times its size while it is read.
        self._reading = Offload()

    async def create(self, exchange: Exchange, _: Parts) -> Reply | None:
        """The text of audio, in one piece or as server-sent events."""
        body = await self._calls.read(exchange)
        with self._inference.hold(body):
            kind = exchange.headers.get(b"content-type", b"").decode("latin-1")
            asked = transcript_of(parts_of(body, kind))
            model = await transcripts.model_of(self._inference, asked.model, exchange.call)
            check(asked, model)
            samples = await self._samples(asked)
            wanted = Wanted(
                asked.language, asked.prompt, asked.temperature, timestamps=asked.form.has_times
            )
            with self._inference.hold(samples.data.cast("B")):
                if asked.stream:
                    await self._stream(exchange, model, samples, wanted)
                    return None
                with _enough_time(len(samples)):
                    found = await transcripts.transcribe(self._inference, model, samples, wanted)
        text, content_type = written(asked, found)
        return Reply([text.encode()], content_type)

    async def _stream(
        self, exchange: Exchange, model: Model, samples: Floats, wanted: Wanted
    ) -> None:
        """Send the text as it comes; a failure before it is raised, a later one an event."""
        hearing = Hearing(self._inference, model, samples, wanted)
        text = ""
        try:
            async with aclosing(merged([_added(hearing, len(samples))])) as pieces:
                async for piece in pieces:
                    if piece is None:
                        await write_events(exchange, KEEP_ALIVE)
                    elif piece.text:
                        text += piece.text
                        await write_events(exchange, _event("delta", delta=piece.text))
        except Exception as error:
            if not exchange.began:
                raise
            status, _, failure = refused(error, exchange.call.caller)
            await write_events(exchange, error_event(status, failure.text, error))
        else:
            await write_events(
                exchange, _event("done", text=text, usage=usage(len(samples) / RATE))
            )
        await exchange.send(b"", more=False)

    async def _samples(self, asked: AskedTranscript) -> Floats:
        try:
            # Copied when its turn has come: many may wait.
            return await self._reading.run(lambda: samples_of(bytes(asked.file)))
        except NoWav as error:
            raise FieldRefused("file", str(error)) from error


@contextmanager
def _enough_time(samples: int) -> Iterator[None]:
    """Whoever has sent so many *samples* hears what to do where there was no time for them."""
    try:
        yield
    except DeadlineExceeded as error:
        raise DeadlineExceeded(
            f"{error}: {samples / RATE:.0f} s of audio need more time than there was; send pieces "
            "of it, or have the gateway give more (--default-timeout-s)"
        ) from error


def check(asked: AskedTranscript, model: Model) -> None:
    """Whether *model* knows the language that is *asked* for. Pure.

    Raises:
        FieldRefused: it does not; says what it knows.
    """
    try:
        prompt_of(model.speech, asked.language, TRANSCRIBE, (), 0, timestamps=False)
    except InvalidRequest as error:
        raise FieldRefused("language", str(error)) from error


def written(asked: AskedTranscript, found: Transcript) -> tuple[str, bytes]:
    """The body of the answer, and its type. Pure."""
    segments = [spoken.segment for spoken in found.segments]
    if asked.form is Form.TEXT:
        return f"{found.text}\n", _TEXT
    if asked.form is Form.SRT:
        return as_srt(segments), _TEXT
    if asked.form is Form.VTT:
        return as_vtt(segments), _TEXT
    said: dict[str, Any] = {"text": found.text, "usage": usage(found.seconds)}
    if asked.form is Form.VERBOSE:
        said = {
            "task": TRANSCRIBE,
            "language": found.language,
            "duration": round(found.seconds, 3),
            **said,
            "segments": [_segment(n, asked, one) for n, one in enumerate(found.segments)],
        }
    return json.dumps(said, ensure_ascii=False), JSON


def _segment(number: int, asked: AskedTranscript, spoken: Spoken) -> dict[str, Any]:
    segment, mean_logprob = spoken
    text = segment.text.encode()
    return {
        "id": number,
        "seek": round(segment.begin_s * _SEEKS_IN_S),
        "start": segment.begin_s,
        "end": segment.end_s,
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": asked.temperature,
        "avg_logprob": mean_logprob,
        "compression_ratio": len(text) / len(zlib.compress(text)),
        # Nobody asks the model for it.
        "no_speech_prob": None,
    }


def usage(seconds: float) -> dict[str, Any]:
    """What is counted of a transcript: seconds of audio."""
    return {"type": "duration", "seconds": round(seconds, 3)}


def _event(kind: str, **fields: Any) -> bytes:
    said = {"type": f"transcript.text.{kind}", **fields}
    return b"data: " + json.dumps(said, ensure_ascii=False).encode() + b"\n\n"


async def _added(hearing: Hearing, samples: int) -> Answer:
    """The text of all windows, piece by piece."""
    joining = Joining()
    with _enough_time(samples):
        async with aclosing(hearing.pieces()) as pieces:
            async for piece in pieces:
                yield Piece(0, joining.push(piece.window, piece.text), None)
