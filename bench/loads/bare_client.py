"""Large requests by bare sockets: what a client in C++ sends, for little processor time.

h2load makes frames of 16 KiB whatever the server allows, and gRPC's own client takes as long for
600 KB as a gateway does. Here each request is one `send` of a frame as large as the server allows,
as gRPC's C++ core makes them, and each answer is compared with those that are known to be right.

It speaks as much HTTP/2 as that needs: https://www.rfc-editor.org/rfc/rfc9113.
"""

import socket
import ssl
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from servers import Server

from loads.h2load import CONNECTIONS, Load, LoadFailed

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_INITIAL_WINDOW, _MAX_FRAME = 4, 5
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DEFAULT_WINDOW: Final = (1 << 16) - 1
_MOST_WINDOW: Final = (1 << 31) - 1
_FRAME = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_SAID_AT: Final = 1 << 20
"""So many bytes of answers have come when the server hears that there is room for as many more."""

_PATIENCE_S: Final = 30.0
_READ_BYTES: Final = 1 << 16


@dataclass(slots=True)
class _Call:
    """A request under way.

    Attributes:
        window: bytes that the server takes of it at present.
        at: bytes of its body that have been sent.
    """

    began_s: float
    window: int
    at: int = 0
    answer: bytearray = field(default_factory=bytearray)


class _Encrypted:
    """TLS over *wire*, many records for each call of the system, as in gRPC's C++ core.

    An `ssl.SSLSocket` reads and writes each record of 16 KiB by a call of its own.
    """

    def __init__(self, wire: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._wire = wire
        self._come, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._come, self._going, server_hostname=host)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._wire.recv(_READ_BYTES)
                if not data:
                    raise LoadFailed("the server has closed a connection") from None
                self._come.write(data)
            else:
                break
        self._flush()

    def sendmsg(self, parts: list[bytes | memoryview]) -> None:
        """As that of a socket that waits."""
        for part in parts:
            self._tls.write(part)
        self._flush()

    def recv(self, _: int) -> bytes:
        """All that has come, once anything has; nothing when the server has closed."""
        found: list[bytes] = []
        while True:
            try:
                found.append(self._tls.read(_READ_BYTES))
            except ssl.SSLWantReadError:
                if found:
                    return b"".join(found)
                data = self._wire.recv(_READ_BYTES)
                if not data:
                    return data
                self._come.write(data)
            except ssl.SSLZeroReturnError:
                return b"".join(found)

    def close(self) -> None:
        """As that of a socket."""
        self._wire.close()

    def _flush(self) -> None:
        if self._going.pending:
            self._wire.sendall(self._going.read())


class _Connection:
    """One connection, with so many calls at a time, until *until_s*."""

    def __init__(
        self,
        wire: socket.socket | _Encrypted,
        head: bytes,
        body: bytes,
        is_right: Callable[[bytes], bool],
    ) -> None:
        self._wire = wire
        self._head, self._body, self._is_right = head, memoryview(body), is_right
        self._times: list[tuple[float, float]] = []
        self._calls: dict[int, _Call] = {}
        self._next = 1
        self._frame_bytes = 1 << 14
        self._window = self._call_window = _DEFAULT_WINDOW
        self._read = bytearray()
        self._unsaid = 0

    def run(self, callers: int, until_s: float) -> list[tuple[float, float]]:
        """Call until then, and for the last answers; when each began and ended, seconds."""
        # Answers come whatever their size.
        settings = _frame(_SETTINGS, 0, 0, _SETTING.pack(_INITIAL_WINDOW, _MOST_WINDOW))
        update = _wider(_MOST_WINDOW - _DEFAULT_WINDOW)
        self._write([_PREFACE, settings, update])
        self._hear()
        while self._calls or time.monotonic() < until_s:
            if len(self._calls) < callers and time.monotonic() < until_s:
                self._calls[self._next] = _Call(time.monotonic(), self._call_window)
                self._next += 2
            if not self._send():
                self._hear()
        return self._times

    def _send(self) -> bool:
        """Send what the server takes of the first call that it takes anything of; if there is."""
        for stream, call in self._calls.items():
            sent = min(self._window, call.window, len(self._body) - call.at)
            if sent > 0:
                self._window -= sent
                call.window -= sent
                self._write(list(self._parts(stream, call, sent)))
                return True
        return False

    def _parts(self, stream: int, call: _Call, left: int) -> Iterator[bytes | memoryview]:
        """The next bytes of a call, in frames."""
        if not call.at:
            yield _frame(_HEADERS, _END_HEADERS, stream, self._head)
        while left:
            size = min(self._frame_bytes, left)
            part = self._body[call.at : call.at + size]
            left -= size
            call.at += size
            flags = _END_STREAM if call.at == len(self._body) else 0
            yield _frame_head(_DATA, flags, stream, size)
            yield part

    def _write(self, parts: list[bytes | memoryview]) -> None:
        # It waits, so that all of it is sent.
        self._wire.sendmsg(parts)

    def _hear(self) -> None:
        data = self._wire.recv(_READ_BYTES)
        if not data:
            raise LoadFailed("the server has closed a connection")
        self._read += data
        for kind, flags, stream, content in self._frames():
            self._take(kind, flags, stream, content)

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        at, read = 0, bytes(self._read)
        while len(read) - at >= 9:
            high, low, kind, flags, stream = _FRAME.unpack_from(read, at)
            end = at + 9 + (high << 8 | low)
            if end > len(read):
                break
            yield kind, flags, stream & _MOST_WINDOW, read[at + 9 : end]
            at = end
        del self._read[:at]

    def _take(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        if kind in (_RESET, _GOAWAY) or (kind == _DATA and flags & _PADDED):
            raise LoadFailed(f"the server sends a frame of kind {kind}: {content[:200]!r}")
        if kind == _DATA:
            self._calls[stream].answer += content
            self._unsaid += len(content)
            if self._unsaid >= _SAID_AT:
                self._write([_wider(self._unsaid)])
                self._unsaid = 0
        elif kind == _WINDOW:
            self._widen(stream, int.from_bytes(content, "big"))
        elif kind == _PING and not flags & _ACK:
            self._write([_frame(_PING, _ACK, 0, content)])
        elif kind == _SETTINGS and not flags & _ACK:
            self._set(content)
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            self._end(stream)

    def _widen(self, stream: int, by: int) -> None:
        if not stream:
            self._window += by
        elif stream in self._calls:
            self._calls[stream].window += by

    def _set(self, content: bytes) -> None:
        for name, value in _SETTING.iter_unpack(content):
            if name == _MAX_FRAME:
                self._frame_bytes = value
            elif name == _INITIAL_WINDOW:
                for call in self._calls.values():
                    call.window += value - self._call_window
                self._call_window = value
        self._write([_frame(_SETTINGS, _ACK, 0, b"")])

    def _end(self, stream: int) -> None:
        call = self._calls.pop(stream)
        if not self._is_right(bytes(call.answer)):
            raise LoadFailed(f"an answer of {len(call.answer)} bytes is not right")
        self._times.append((call.began_s, time.monotonic()))


def load(
    server: Server,
    path: str,
    body: bytes,
    is_right: Callable[[bytes], bool],
    *,
    callers: int,
    warmup_s: float,
    seconds: float,
) -> Load:
    """Send *body* to *path*, again and again; over TLS where *server* has a certificate.

    Args:
        is_right: whether an answer, framed as *body* is, may be.
        callers: requests under way at any time.

    Raises:
        LoadFailed: a call had no answer, or one that is not right.
    """
    connections = min(CONNECTIONS, callers)
    head = _headers(server, path)
    from_s = time.monotonic() + warmup_s
    until_s = from_s + seconds

    def run(_: int) -> list[tuple[float, float]]:
        with closing(_connected(server)) as wire:
            connection = _Connection(wire, head, body, is_right)
            return connection.run(callers // connections, until_s)

    try:
        with ThreadPoolExecutor(connections) as threads:
            times = list(chain.from_iterable(threads.map(run, range(connections))))
    except BlockingIOError as error:
        raise LoadFailed(f"requests failed: nothing has moved for {_PATIENCE_S:g} s") from error
    except Exception as error:
        raise LoadFailed(f"requests failed: {error}") from error
    return _load(times, from_s, until_s)


def _load(times: list[tuple[float, float]], from_s: float, until_s: float) -> Load:
    answered = sum(from_s <= end < until_s for _, end in times)
    took_ms = [(end - began) * 1000 for began, end in times if from_s <= began < until_s]
    if not took_ms:
        raise LoadFailed("no request was answered")
    return Load(answered / (until_s - from_s), statistics.median(took_ms), len(times))


def _connected(server: Server) -> socket.socket | _Encrypted:
    host, _, port = server.address.rpartition(":")
    wire = socket.create_connection((host, int(port)), _PATIENCE_S)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The kernel's, since a timeout of Python's would have it send as much as there is room for.
    wire.settimeout(None)
    patience = struct.pack("ll", int(_PATIENCE_S), 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        wire.setsockopt(socket.SOL_SOCKET, option, patience)
    if server.ca is None:
        return wire
    context = ssl.create_default_context(cafile=server.ca)
    context.set_alpn_protocols(["h2"])
    return _Encrypted(wire, context, host)


def _headers(server: Server, path: str) -> bytes:
    """A header block that changes nobody's table, so that all requests have the same."""
    # Of the static table: the method POST, and the scheme.
    block = bytearray([0x83, 0x86 if server.ca is None else 0x87])
    for name, value in (
        (":path", path),
        (":authority", server.address),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ):
        block.append(0)
        for text in (name, value):
            if len(text) > 126:
                raise ValueError(f"{text} is too long")
            block.append(len(text))
            block += text.encode()
    return bytes(block)


def _frame_head(kind: int, flags: int, stream: int, size: int) -> bytes:
    return _FRAME.pack(size >> 8, size & 0xFF, kind, flags, stream)


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return _frame_head(kind, flags, stream, len(content)) + content


def _wider(by: int) -> bytes:
    """What says that *by* more bytes of a connection may come."""
    return _frame(_WINDOW, 0, 0, struct.pack(">I", by))
