"""The routes of the Responses API: an answer, at once, as it comes, or fetched while it goes on."""

import asyncio
import base64
import binascii
import json
import secrets
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

import structlog

from penstock.errors import Code, InvalidRequest, PenstockError
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.http.exchange import Exchange, Parts, Reply
from penstock.gateway.fronts.http.json_messages import parsed_object
from penstock.gateway.fronts.http.openai import shapes, structures
from penstock.gateway.fronts.http.openai.answers import (
    KEEP_ALIVE,
    Answer,
    Piece,
    answer,
    merged,
    write_events,
)
from penstock.gateway.fronts.http.openai.fields import FieldRefused
from penstock.gateway.fronts.http.openai.logprobs import TokenLogprobs
from penstock.gateway.fronts.http.openai.requests import request_for, resume, with_defaults
from penstock.gateway.fronts.http.openai.responses.asked import (
    NOTHING_SAID,
    AskedResponse,
    response_of,
)
from penstock.gateway.fronts.http.openai.responses.events import (
    Response,
    Said,
    event,
    tokens_before,
)
from penstock.gateway.fronts.http.statuses import refused
from penstock.gateway.replies.content_digest import BACKGROUND_PARAMETER, WHOLE_PARAMETER
from penstock.gateway.requests.infer import Inference
from penstock.models.config.language_models import LOGPROBS_OUTPUT, TEXT_OUTPUT
from penstock.protos import grpc_service_pb2 as pb

log = structlog.get_logger()

_BEGINS_S: Final = 1.0
"""An answer in the background is told of when it has begun, or after this."""

_LOOK_S: Final = 0.5
"""Whoever fetches an answer that goes on has what has come within this."""


class NoSuchResponse(PenstockError):
    """Its id is none that this API has given."""

    code = Code.NOT_FOUND


class Responses:
    """Answers requests of the Responses API."""

    def __init__(self, inference: Inference, calls: Calls) -> None:
        self._inference = inference
        self._calls = calls
        self._going_on: set[asyncio.Task[None]] = set()

    async def create(self, exchange: Exchange, _: Parts) -> Reply | None:
        """Answer, in one piece, as server-sent events, or in the background."""
        asked = response_of(parsed_object(await self._calls.read(exchange)))
        language = await self._inference.language_of(asked.model, exchange.call)
        await structures.checked(language, asked.structure)
        tokens = await language.chat(asked.messages)
        request = request_for(asked.model, tokens, with_defaults(asked.options, language.manifest))
        response = _response(asked)
        if asked.kept:
            resume(request, response.id, 0)
            request.parameters[BACKGROUND_PARAMETER].bool_param = asked.background
        pieces = answer(self._inference, request.SerializeToString(), exchange.call, 0)
        if asked.stream:
            await _Stream(exchange, response).send(pieces)
            return None
        if asked.background:
            await self._go_on(pieces)
            return _reply(response.whole(Said()))
        return _reply(response.whole(await _said(pieces)))

    async def fetch(self, exchange: Exchange, parts: Parts) -> Reply | None:
        """An answer that was kept, as far as it has come; or its events behind one of them."""
        query = exchange.query
        after = _number(query.get("starting_after", "-1"))
        model = _model_of(parts["id"])
        request = pb.ModelInferRequest(model_name=model)
        for name in (TEXT_OUTPUT, LOGPROBS_OUTPUT):
            request.outputs.add(name=name)
        resume(request, parts["id"], tokens_before(after))
        for name in (WHOLE_PARAMETER, BACKGROUND_PARAMETER):
            request.parameters[name].bool_param = True
        response = Response(parts["id"], 0, model, background=True, kept=True, said=NOTHING_SAID)
        pieces = answer(self._inference, request.SerializeToString(), exchange.call, 0)
        if query.get("stream") == "true":
            await _Stream(exchange, response, after).send(pieces)
            return None
        if after >= 0:
            raise FieldRefused("starting_after", "starting_after is for streams: set stream=true")
        found = _Found()
        try:
            async with asyncio.timeout(_LOOK_S), aclosing(pieces):
                async for piece in pieces:
                    found.take(piece)
        except TimeoutError:
            pass
        return _reply(response._replace(created=found.began_s).whole(found.said))

    async def _go_on(self, pieces: Answer) -> None:
        """Let an answer go on by itself, once it has begun.

        Raises:
            PenstockError: it has not, and will not.
        """
        begun = asyncio.Event()

        async def to_the_end() -> None:
            async with aclosing(pieces):
                async for _ in pieces:
                    begun.set()

        going_on = asyncio.create_task(to_the_end())
        self._going_on.add(going_on)
        going_on.add_done_callback(self._ended)
        beginning = asyncio.create_task(begun.wait())
        try:
            await asyncio.wait(
                {going_on, beginning}, timeout=_BEGINS_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            beginning.cancel()
        if going_on.done() and not begun.is_set():
            going_on.result()

    def _ended(self, going_on: "asyncio.Task[None]") -> None:
        self._going_on.discard(going_on)
        if not going_on.cancelled() and (error := going_on.exception()) is not None:
            log.debug("an answer in the background has failed", error=str(error))


class _Found:
    """What has come of an answer."""

    def __init__(self) -> None:
        self.said = Said()
        self.began_s = 0
        self._logprobs: list[TokenLogprobs] = []

    def take(self, piece: Piece) -> None:
        """One piece more."""
        self.began_s = piece.began_s
        self._logprobs += piece.logprobs or ()
        self.said = self.said._replace(text=self.said.text + piece.text, logprobs=self._logprobs)
        if piece.ended is not None:
            _, finish, asked, answered, _, cached = piece.ended
            self.said = Said(self.said.text, finish, asked, answered, self._logprobs, cached)


class _Stream:
    """An answer as server-sent events."""

    def __init__(self, exchange: Exchange, response: Response, after: int = -1) -> None:
        """*after*: the number of the last event that its client has."""
        self._exchange = exchange
        self._response = response
        self._after = after
        self._found = _Found()
        self._pieces = 0

    async def send(self, pieces: Answer) -> None:
        """Send *pieces*; a failure before the first is raised, a later one an event."""
        try:
            async with aclosing(merged([pieces])) as found:
                async for piece in found:
                    await write_events(
                        self._exchange, KEEP_ALIVE if piece is None else self._events(piece)
                    )
        except Exception as error:
            if not self._exchange.began:
                raise
            status, _, failure = refused(error, self._exchange.call.caller)
            said = json.loads(shapes.error(status, failure.text, error))["error"]
            await write_events(
                self._exchange, event(_LAST, {**said, "type": "error", "error": said})
            )
        await self._exchange.send(b"", more=False)

    def _events(self, piece: Piece) -> bytes:
        events: list[tuple[int, Mapping[str, Any]]] = []
        self._found.take(piece)
        if not self._pieces:
            if piece.began_s:
                self._response = self._response._replace(created=piece.began_s)
            events += self._response.begins()
        self._pieces += 1
        if piece.ended is not None:
            events += self._response.ends(self._found.said, piece.text, piece.logprobs)
        elif piece.text or piece.logprobs:
            at = piece.at or self._pieces
            events.append(self._response.goes_on(piece.text, at, piece.logprobs))
        return b"".join(event(*one) for one in events if one[0] > self._after)


_LAST: Final = (1 << 31) - 1
"""The number of an error's event: it is behind all others."""


async def _said(pieces: Answer) -> Said:
    found = _Found()
    async with aclosing(pieces):
        async for piece in pieces:
            found.take(piece)
    return found.said


def _response(asked: AskedResponse) -> Response:
    """What is answered, under a new id; that of one that is kept says which model has it."""
    id_ = f"resp_{secrets.token_hex(16)}"
    if asked.kept:
        id_ += "_" + base64.urlsafe_b64encode(asked.model.encode()).rstrip(b"=").decode()
    return Response(id_, int(time.time()), asked.model, asked.background, asked.kept, asked.said)


def _model_of(id_: str) -> str:
    try:
        _, _, named = id_.split("_", 2)
        return base64.urlsafe_b64decode(named + "=" * (-len(named) % 4)).decode()
    except (ValueError, binascii.Error) as error:
        raise NoSuchResponse(f"no response '{id_}' is kept") from error


def _number(text: str) -> int:
    try:
        number = int(text[:12])
    except ValueError as error:
        raise InvalidRequest("starting_after must be the number of an event") from error
    return max(-1, number)


def _reply(content: Mapping[str, Any]) -> Reply:
    return Reply([json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()])
