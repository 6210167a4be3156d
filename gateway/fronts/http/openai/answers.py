"""The answers of one request to the OpenAI API: whole, or as they come, beside each other."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from penstock.gateway.fronts.http.exchange import Exchange
from penstock.gateway.fronts.http.openai import shapes
from penstock.gateway.fronts.http.openai.logprobs import TokenLogprobs, logprobs_in
from penstock.gateway.fronts.http.openai.places import Place, Resumable
from penstock.gateway.fronts.http.openai.shapes import Choice, Envelope
from penstock.gateway.fronts.http.statuses import refused
from penstock.gateway.replies.content_digest import BEGAN_PARAMETER
from penstock.gateway.requests.call import Call
from penstock.gateway.requests.infer import Inference
from penstock.gateway.requests.language.answer import AT
from penstock.gateway.requests.language.tools.calls import Calls
from penstock.language.payload import ENDED
from penstock.protos import grpc_service_pb2 as pb

_EVENTS: Final = b"text/event-stream; charset=utf-8"
"""The content type of streams."""

KEEP_ALIVE: Final = b": waiting\n\n"
"""What is sent where nothing has come for a while."""

_KEEP_ALIVE_S: Final = 10.0


class Piece(NamedTuple):
    """What came of one answer.

    Attributes:
        choice: its number.
        ended: how it did, with its last piece.
        at: tokens that its client has with it, and
        began_s: when it began, in seconds since 1970: of an answer that may be resumed, else 0.
        logprobs: of its tokens; None where nobody asked for that.
    """

    choice: int
    text: str
    ended: Choice | None
    at: int = 0
    began_s: int = 0
    logprobs: list[TokenLogprobs] | None = None


Answer = AsyncGenerator[Piece, None]


async def answer(inference: Inference, message: bytes, call: Call, index: int) -> Answer:
    """The pieces of the answer to *message*; the last one says how it ended.

    Raises:
        PenstockError: how it ended instead.
    """
    with inference.hold(message):
        asked = await inference.read(message, call)
        async with aclosing(inference.responses(asked)) as parts:
            async for part in parts:
                if not part.final:
                    yield _piece_of(part.body, index)


def _piece_of(body: bytes, index: int) -> Piece:
    response = pb.ModelInferResponse.FromString(body)
    text = response.raw_output_contents[0][4:].decode()
    about = response.parameters
    place = (about[AT].int64_param, about[BEGAN_PARAMETER].int64_param) if AT in about else (0, 0)
    if "finish_reason" not in about:
        return Piece(index, text, None, *place, logprobs_in(response))
    counts = about["prompt_tokens"].int64_param, about["completion_tokens"].int64_param
    logprobs = logprobs_in(response)
    cached = about["cached_tokens"].int64_param
    ended_s = about[ENDED].int64_param if ENDED in about else int(time.time())
    ended = Choice("", about["finish_reason"].string_param, *counts, logprobs, cached, ended_s)
    return Piece(index, text, ended, *place, logprobs)


async def whole(answers: Sequence[Answer]) -> list[Choice]:
    """All *answers*, once they have ended; where one fails the others are given up."""
    texts, ended = [""] * len(answers), dict[int, Choice]()
    logprobs: list[list[TokenLogprobs]] = [[] for _ in answers]
    async with aclosing(merged(answers)) as pieces:
        async for piece in pieces:
            if piece is not None:
                texts[piece.choice] += piece.text
                logprobs[piece.choice] += piece.logprobs or []
                if piece.ended is not None:
                    ended[piece.choice] = piece.ended
    return [
        ended[index]._replace(
            text=text, logprobs=None if ended[index].logprobs is None else logprobs[index]
        )
        for index, text in enumerate(texts)
    ]


async def merged(answers: Sequence[Answer]) -> AsyncGenerator[Piece | None, None]:
    """The pieces of all *answers* as they come; None where none has come for a while.

    Raises:
        PenstockError: one has failed; the others are given up.
    """
    # As many as there is context for wait for a client at most; None is the end.
    pieces: asyncio.Queue[Piece | None] = asyncio.Queue()

    async def pass_on(one: Answer) -> None:
        async with aclosing(one):
            async for piece in one:
                pieces.put_nowait(piece)

    async def until_all() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for one in answers:
                    tasks.create_task(pass_on(one))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            pieces.put_nowait(None)

    passing = asyncio.create_task(until_all())
    try:
        while True:
            try:
                async with asyncio.timeout(_KEEP_ALIVE_S):
                    piece = await pieces.get()
            except TimeoutError:
                yield None
                continue
            if piece is None:
                break
            yield piece
        await passing
    finally:
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)


@dataclass(slots=True)
class Stream:
    """Answers as server-sent events."""

    _exchange: Exchange
    _envelope: Envelope
    _prompts: int
    # The request, where the stream may be resumed.
    _resumable: Resumable | None = None
    _places: list[Place] = field(default_factory=list)
    _created: int = 0
    _begun: set[int] = field(default_factory=set)
    _ended: dict[int, Choice] = field(default_factory=dict)
    _calls: dict[int, Calls] = field(default_factory=dict)

    async def send(self, answers: Sequence[Answer]) -> None:
        """Send *answers*; a failure before the first piece is raised, a later one an event."""
        if self._resumable is not None:
            self._places = [self._resumable.place(index) for index in range(len(answers))]
            self._begun = {index for index, place in enumerate(self._places) if place.tokens}
        try:
            async with aclosing(merged(answers)) as pieces:
                async for piece in pieces:
                    await write_events(
                        self._exchange, KEEP_ALIVE if piece is None else self._events(piece)
                    )
        except Exception as error:
            if not self._exchange.began:
                raise
            status, _, failure = refused(error, self._exchange.call.caller)
            await write_events(self._exchange, shapes.error_event(status, failure.text, error))
        else:
            if self._envelope.counted:
                choices = [self._ended[index] for index in range(len(answers))]
                await write_events(self._exchange, self._envelope.counts(choices, self._prompts))
        await self._exchange.send(shapes.DONE, more=False)

    def _events(self, piece: Piece) -> bytes:
        """The events of one piece, in one write."""
        index, text, ended, at, began_s, logprobs = piece
        if ended is not None:
            self._ended[index] = ended
        if self._resumable is not None:
            # All chunks of a stream have one time, though others may have begun some answers later.
            self._created = self._created or began_s
            self._envelope = self._envelope._replace(created=self._created)
            if self._places[index].ended:
                return b""
        added: str | Mapping[str, Any] = text
        finish = "" if ended is None else ended.finish
        if self._envelope.calls:
            added, finish = self._read(piece)
            if ended is None and at and at <= self._had(index):
                return b""
        events = []
        if index not in self._begun:
            self._begun.add(index)
            events.append(self._envelope.begins(index))
        if added or logprobs:
            said = self._envelope.goes_on(index, added, logprobs)
            events.append(self._placed(said, index, Place(at)))
        if ended is not None:
            end = Place(at, ended=True)
            events.append(self._placed(self._envelope.ends(index, finish), index, end))
        return b"".join(events)

    def _read(self, piece: Piece) -> tuple[Mapping[str, Any], str]:
        """What *piece* adds to a message that may have calls, and how the answer has ended."""
        calls = self._calls.setdefault(piece.choice, self._envelope.reader(piece.choice))
        if piece.ended is None:
            return calls.push(piece.text), ""
        return calls.push(piece.text, last=True), calls.finish(piece.ended.finish)

    def _had(self, index: int) -> int:
        """How many tokens of an answer its client had when the stream began."""
        return 0 if self._resumable is None else self._resumable.place(index).tokens

    def _placed(self, event: bytes, index: int, place: Place) -> bytes:
        """*event*, with the id of what its client has then, where the stream may be resumed."""
        if self._resumable is None:
            return event
        self._places[index] = place
        return b"id: " + self._resumable.event_id(self._places).encode() + b"\n" + event


async def write_events(exchange: Exchange, events: bytes) -> None:
    """Send *events* on a stream of them, which begins with the first."""
    if not exchange.began:
        await exchange.begin(200, [(b"content-type", _EVENTS), (b"cache-control", b"no-cache")])
    if events:
        await exchange.send(events, more=True)
