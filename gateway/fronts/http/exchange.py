"""One HTTP request, and its answer: a body is read within bounds; both may be compressed."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from penstock.clock import NO_DEADLINE
from penstock.gateway.fronts.asgi import Receive, Scope, Send, certificate_of, connection_of
from penstock.gateway.fronts.compression import KNOWN, LONG, TooLarge, compressed, inflated
from penstock.gateway.fronts.grpc.connections import is_local
from penstock.gateway.fronts.http.statuses import Header, Refused
from penstock.gateway.offload import Offload
from penstock.gateway.requests.call import Call

_PART: Final = 1 << 15
"""Bytes that are sent at a time: a server waits for slow clients by the part, however large."""

_FAST: Final = 1
"""The level of replies: stock clients ask for compression whether it pays or not."""

_MOST_FIELDS: Final = 64

JSON: Final = b"application/json"


Parts = Mapping[str, str]
"""What a route's pattern has found in the path, by name; missing parts are empty."""


class Reply(NamedTuple):
    """What a handler answers.

    Attributes:
        parts: of the body.
        may_shrink: it is compressed for clients that like that. Stock clients ask for it always,
            and understand it in replies of inference alone, as in Triton.
    """

    parts: Sequence[bytes | memoryview] = ()
    kind: bytes = JSON
    status: int = 200
    headers: Sequence[Header] = ()
    may_shrink: bool = False


class Exchange:
    """A request, and what is answered.

    Attributes:
        call: who asks, and the headers.
        method: GET, POST ...
        path: with what was escaped, as segments are told apart by it.
        headers: by name, in lower case; the last of those with one name.
        began: the head of its answer is sent.
        gone: whoever asked is not there any more, and their request's task was ended for that.
        left: so is who asked over HTTP/1.1, which nobody but the kernel knows.
        status: of the answer; 0 before it began.
        received, sent: bytes of the bodies, as they came and went.
    """

    __slots__ = (
        *("_most", "_offload", "_query", "_receive", "_send"),
        *("began", "call", "gone", "headers", "left", "method", "path"),
        *("received", "sent", "status"),
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, most: int, offload: Offload
    ) -> None:
        """*most*: bytes that a body may have."""
        sent: Sequence[Header] = scope["headers"]
        connection = connection_of(scope)
        metadata = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in sent)
        local, names = is_local(connection), certificate_of(scope)
        self.call = Call(NO_DEADLINE, connection, local, metadata, certificate=names)
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("latin-1").partition("?")[0]
        self._query: bytes = scope.get("query_string", b"")
        self.headers: Mapping[bytes, bytes] = dict(sent)
        self._receive, self._send = receive, send
        self._most = most
        self._offload = offload
        self.began = self.gone = self.left = False
        self.status = self.received = self.sent = 0

    @property
    def query(self) -> Mapping[str, str]:
        """What is asked behind the path, by name; the last of those with one name."""
        return dict(parse_qsl(self._query.decode("latin-1"), max_num_fields=_MOST_FIELDS))

    async def read(self) -> bytes:
        """The whole body, decompressed.

        Raises:
            TooLarge: it has more bytes than it may.
            Refused: nobody here knows how it is compressed.
        """
        encoding = self.headers.get(b"content-encoding", b"").strip().lower()
        if encoding not in (b"", b"identity") and encoding not in KNOWN:
            raise Refused(415, "Unsupported compression type, only gzip and deflate are supported")
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._most:
            raise self._too_large(int(length))
        body = await self._body()
        if encoding not in KNOWN:
            return body
        return await inflated(body, encoding, self._most, self._offload)

    async def answer(self, reply: Reply) -> None:
        """Send *reply*; nothing once an answer began."""
        if self.began:
            return
        body = reply.parts[0] if len(reply.parts) == 1 else b"".join(reply.parts)
        headers = [(b"content-type", reply.kind), *reply.headers] if body else [*reply.headers]
        encoding = accepted(self.headers.get(b"accept-encoding", b""))
        if body and reply.may_shrink and encoding in KNOWN:
            body = await self._squeezed(bytes(body), encoding)
            headers.append((b"content-encoding", encoding))
        headers.append((b"content-length", b"%d" % len(body)))
        await self.begin(reply.status, headers)
        if self.method == "HEAD":
            body = b""
        for at in range(0, len(body) - _PART, _PART):
            await self.send(bytes(body[at : at + _PART]), more=True)
        rest = -(-len(body) // _PART) - 1
        await self.send(bytes(body[max(0, rest) * _PART :]), more=False)

    async def begin(self, status: int, headers: Sequence[Header]) -> None:
        """Send the head of an answer."""
        self.began, self.status = True, status
        head = {"type": "http.response.start", "status": status, "headers": list(headers)}
        await self._send(head)

    async def send(self, body: bytes, *, more: bool) -> None:
        """Send a part of an answer's body; waits while its client does not read."""
        self.sent += len(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _body(self) -> bytes:
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                self.gone = True
                raise asyncio.CancelledError
            parts.append(event.get("body", b""))
            size += len(parts[-1])
            self.received = size
            if size > self._most:
                raise self._too_large(size)
            more = event.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _squeezed(self, body: bytes, encoding: bytes) -> bytes:
        if len(body) <= LONG:
            return compressed(body, encoding, _FAST)
        return await self._offload.run(compressed, body, encoding, _FAST)

    def _too_large(self, size: int) -> TooLarge:
        return TooLarge(f"the body has {size} bytes or more, and may have {self._most}")


def accepted(header: bytes) -> bytes:
    """The encoding that *header*, an Accept-Encoding, likes best."""
    best, most = b"identity", 0.0
    for one in header.split(b","):
        name, _, weight = one.strip().lower().partition(b";q=")
        try:
            liked = float(weight) if weight else 1.0
        except ValueError:
            continue
        if liked > most and (name in KNOWN or name == b"identity"):
            best, most = name, liked
    return best


def segment(text: str) -> str:
    """A part of a path without escapes.

    Raises:
        Refused: it is no text.
    """
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise Refused(400, "a part of the path is no UTF-8") from error
