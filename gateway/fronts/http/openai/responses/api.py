"""The routes of the Responses API: an answer, at once, as it comes, or fetched while it goes on."""

import asyncio
import base64
import binascii
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import aclosing
from typing import Final

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
from penstock.gateway.fronts.http.openai.responses.input_items import (
    InputNotKept,
    items_of_input,
    page_of,
)
from penstock.gateway.fronts.http.openai.responses.items import Event, Items
from penstock.gateway.fronts.http.statuses import refused
from penstock.gateway.replies.content_digest import (
    BACKGROUND_PARAMETER,
    CANCEL_PARAMETER,
    INPUT_PARAMETER,
    WHOLE_PARAMETER,
)
from penstock.gateway.requests.infer import Inference
from penstock.gateway.requests.language.fields import FieldRefused
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
        tokens = await language.chat(asked.messages, asked.tools)
        request = request_for(asked.model, tokens, with_defaults(asked.options, language.manifest))
        response = _response(asked)
        if asked.kept:
            resume(request, response.id, 0, response.created)
            request.parameters[BACKGROUND_PARAMETER].bool_param = asked.background
            items = json.dumps(items_of_input(response.id, asked.given), ensure_ascii=False)
            request.parameters[INPUT_PARAMETER].string_param = items
        pieces = answer(self._inference, request.SerializeToString(), exchange.call, 0)
        if asked.stream:
            await _Stream(exchange, response).send(pieces)
            return None
        if asked.background:
            await self._go_on(pieces)
            return Reply([shapes.dumped(response.whole(Said()))])
        return Reply([shapes.dumped(response.whole(await _said(pieces)))])

    async def fetch(self, exchange: Exchange, parts: Parts) -> Reply | None:
        """An answer that was kept, as far as it has come; or its events behind one of them."""
        query = exchange.query
        after = _number(query.get("starting_after", "-1"))
        response = _kept(parts["id"])
        request = _rest_of(response, after)
        pieces = answer(self._inference, request.SerializeToString(), exchange.call, 0)
        if query.get("stream") == "true":
            await _Stream(exchange, response, after).send(pieces)
            return None
        if after >= 0:
            raise FieldRefused("starting_after", "starting_after is for streams: set stream=true")
        return await _as_it_is(response, pieces)

    async def input_items(self, exchange: Exchange, parts: Parts) -> Reply:
        """The items of the input of an answer that was kept, some at a time."""
        request = _rest_of(_kept(parts["id"])).SerializeToString()
        text = await self._inference.input_of(request, exchange.call)
        if not text:
            raise InputNotKept(f"the input of '{parts['id']}' was not kept")
        return Reply([shapes.dumped(page_of(json.loads(text), exchange.query))])

    async def cancel(self, exchange: Exchange, parts: Parts) -> Reply:
        """End an answer that was kept where it is; one that has ended stays as it is."""
        response = _kept(parts["id"])
        request = _rest_of(response)
        request.parameters[CANCEL_PARAMETER].bool_param = True
        pieces = answer(self._inference, request.SerializeToString(), exchange.call, 0)
        return await _as_it_is(response, pieces)

    async def count(self, exchange: Exchange, _: Parts) -> Reply:
        """How many tokens of input a request would have."""
        asked = response_of(parsed_object(await self._calls.read(exchange)))
        language = await self._inference.language_of(asked.model, exchange.call)
        tokens = await language.chat(asked.messages, asked.tools)
        counted = {"object": "response.input_tokens", "input_tokens": len(tokens)}
        return Reply([shapes.dumped(counted)])

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
            _, finish, asked, answered, _, *rest = piece.ended
            self.said = Said(self.said.text, finish, asked, answered, self._logprobs, *rest)


class _Stream:
    """An answer as server-sent events."""

    def __init__(self, exchange: Exchange, response: Response, after: int = -1) -> None:
        """*after*: the number of the last event that its client has."""
        self._exchange = exchange
        self._response = response
        self._after = after
        self._found = _Found()
        self._items = Items(response.id, after)
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
        events: list[Event] = []
        self._found.take(piece)
        if not self._pieces:
            if piece.began_s:
                self._response = self._response._replace(created=piece.began_s)
            events += self._response.begins()
            if not self._response.calls:
                events += self._response.begins_text()
        self._pieces += 1
        events += self._events_of_items(piece) if self._response.calls else self._of_text(piece)
        return b"".join(event(*one) for one in events if one[0] > self._after)

    def _of_text(self, piece: Piece) -> Iterator[Event]:
        if piece.ended is not None:
            yield from self._response.ends(self._found.said, piece.text, piece.logprobs)
        elif piece.text or piece.logprobs:
            at = piece.at or self._pieces
            yield self._response.goes_on(piece.text, at, piece.logprobs)

    def _events_of_items(self, piece: Piece) -> Iterator[Event]:
        yield from self._items.push(piece.text)
        if piece.ended is not None:
            yield from self._items.end(piece.ended.finish)
            yield self._response.last(self._found.said, self._items.next_number)


_CALLS: Final = "t"
"""How what was drawn of the id of an answer ends that may have calls: no digit of it."""

_LAST: Final = (1 << 31) - 1
"""The number of an error's event: it is behind all others."""


def _rest_of(response: Response, after: int = -1) -> pb.ModelInferRequest:
    """The request for all of an answer, cut where its client has the event *after*."""
    request = pb.ModelInferRequest(model_name=response.model)
    for name in (TEXT_OUTPUT, LOGPROBS_OUTPUT):
        request.outputs.add(name=name)
    # Events of items find their place in the text by themselves.
    resume(request, response.id, 0 if response.calls else tokens_before(after))
    for name in (WHOLE_PARAMETER, BACKGROUND_PARAMETER):
        request.parameters[name].bool_param = True
    return request


async def _as_it_is(response: Response, pieces: Answer) -> Reply:
    """*response*, as far as it has come."""
    found = _Found()
    try:
        async with asyncio.timeout(_LOOK_S), aclosing(pieces):
            async for piece in pieces:
                found.take(piece)
    except TimeoutError:
        pass
    return Reply([shapes.dumped(response._replace(created=found.began_s).whole(found.said))])


async def _said(pieces: Answer) -> Said:
    found = _Found()
    async with aclosing(pieces):
        async for piece in pieces:
            found.take(piece)
    return found.said


def _response(asked: AskedResponse) -> Response:
    """What is answered, under a new id.

    That of one that is kept says which model has it, and whether it may have calls.
    """
    id_, calls = f"resp_{secrets.token_hex(16)}", bool(asked.tools)
    if asked.kept:
        named = base64.urlsafe_b64encode(asked.model.encode()).rstrip(b"=").decode()
        id_ += f"{_CALLS if calls else ''}_{named}"
    now_s = int(time.time())
    return Response(id_, now_s, asked.model, asked.background, asked.kept, asked.said, calls)


def _kept(id_: str) -> Response:
    """One that was kept, of which nothing is known but its id."""
    try:
        _, drawn, named = id_.split("_", 2)
        model = base64.urlsafe_b64decode(named + "=" * (-len(named) % 4)).decode()
    except (ValueError, binascii.Error) as error:
        raise NoSuchResponse(f"no response '{id_}' is kept") from error
    calls = drawn.endswith(_CALLS)
    return Response(id_, 0, model, background=True, kept=True, said=NOTHING_SAID, calls=calls)


def _number(text: str) -> int:
    try:
        number = int(text[:12])
    except ValueError as error:
        raise InvalidRequest("starting_after must be the number of an event") from error
    return max(-1, number)
