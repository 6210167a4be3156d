"""The answers of one request to the OpenAI API: whole, or as they come, beside each other."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from penstock.gateway.fronts.http.exchange import Exchange
from penstock.gateway.fronts.http.openai import shapes
from penstock.gateway.fronts.http.openai.shapes import Choice, Envelope
from penstock.gateway.fronts.http.statuses import refused
from penstock.gateway.requests.call import Call
from penstock.gateway.requests.infer import Inference
from penstock.protos import grpc_service_pb2 as pb

_EVENTS: Final = b"text/event-stream; charset=utf-8"
_KEEP_ALIVE: Final = b": waiting\n\n"
_KEEP_ALIVE_S: Final = 10.0


class Piece(NamedTuple):
    """What came of one answer.

    Attributes:
        choice: its number.
        ended: how it did, with its last piece.
    """

    choice: int
    text: str
    ended: Choice | None


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
    if "finish_reason" not in about:
        return Piece(index, text, None)
    counts = about["prompt_tokens"].int64_param, about["completion_tokens"].int64_param
    return Piece(index, text, Choice("", about["finish_reason"].string_param, *counts))


async def whole(answers: Sequence[Answer]) -> list[Choice]:
    """All *answers*, once they have ended; where one fails the others are given up."""
    texts, ended = [""] * len(answers), dict[int, Choice]()
    async with aclosing(merged(answers)) as pieces:
        async for piece in pieces:
            if piece is not None:
                texts[piece.choice] += piece.text
                if piece.ended is not None:
                    ended[piece.choice] = piece.ended
    return [ended[index]._replace(text=text) for index, text in enumerate(texts)]


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


class Stream:
    """Answers as server-sent events."""

    def __init__(
        self, exchange: Exchange, envelope: Envelope, prompts: int, *, usage: bool
    ) -> None:
        """*usage*: it ends with how many tokens there were."""
        self._exchange = exchange
        self._envelope = envelope
        self._prompts = prompts
        self._usage = usage
        self._begun: set[int] = set()
        self._ended: dict[int, Choice] = {}

    async def send(self, answers: Sequence[Answer]) -> None:
        """Send *answers*; a failure before the first piece is raised, a later one an event."""
        try:
            async with aclosing(merged(answers)) as pieces:
                async for piece in pieces:
                    await self._write(_KEEP_ALIVE if piece is None else self._events(piece))
        except Exception as error:
            if not self._exchange.began:
                raise
            status, _, failure = refused(error)
            await self._write(shapes.error_event(status, failure.text, failure.code))
        else:
            if self._usage:
                choices = [self._ended[index] for index in range(len(answers))]
                await self._write(self._envelope.counts(choices, self._prompts))
        await self._exchange.send(shapes.DONE, more=False)

    async def _write(self, events: bytes) -> None:
        if not self._exchange.began:
            head = [(b"content-type", _EVENTS), (b"cache-control", b"no-cache")]
            await self._exchange.begin(200, head)
        if events:
            await self._exchange.send(events, more=True)

    def _events(self, piece: Piece) -> bytes:
        """The events of one piece, in one write."""
        index, text, ended = piece
        events = []
        if index not in self._begun:
            self._begun.add(index)
            events.append(self._envelope.begins(index))
        if text:
            events.append(self._envelope.goes_on(index, text))
        if ended is not None:
            self._ended[index] = ended
            events.append(self._envelope.ends(index, ended.finish))
        return b"".join(events)
