"""A closed loop over HTTP/1.1 with one body, for the peer that speaks no gRPC.

    python http_load.py PORT CALLERS WARMUP_S DURATION_S < BODY

Each caller has a connection and asks again as soon as it is answered. Prints a JSON object: how
many were answered in the measured time, and their median latency in ms. It does less than a client
of gRPC for each request, to the advantage of the server that is measured by it.
"""

import asyncio
import json
import statistics
import sys
import time

import uvloop


class Caller(asyncio.Protocol):
    """One connection, which asks again and again."""

    def __init__(self, request: bytes, latencies: list[tuple[float, float]]) -> None:
        self._request = request
        self._latencies = latencies
        self._buffer = b""
        self._sent_s = 0.0
        self._transport: asyncio.WriteTransport | None = None
        self.failure = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = transport  # type: ignore[assignment]
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Ask again once the answer is whole."""
        self._buffer += data
        head, parted, body = self._buffer.partition(b"\r\n\r\n")
        if not parted:
            return
        fields = head.lower().split(b"\r\n")
        length = next(int(f[15:]) for f in fields if f.startswith(b"content-length:"))
        if len(body) < length:
            return
        if b" 200 " not in head.partition(b"\r\n")[0]:
            self.failure = self.failure or self._buffer[:200].decode(errors="replace")
        now_s = time.perf_counter()
        self._latencies.append((now_s, now_s - self._sent_s))
        self._buffer = body[length:]
        self._ask()

    def connection_lost(self, _: Exception | None) -> None:
        """It must not be, before the end."""
        self.failure = self.failure or "the connection was closed"

    def _ask(self) -> None:
        self._sent_s = time.perf_counter()
        if self._transport is not None:
            self._transport.write(self._request)


async def load(port: int, callers: int, warmup_s: float, duration_s: float) -> dict[str, float]:
    """Make it, and say what was counted."""
    body = sys.stdin.buffer.read()
    head = f"POST /inference HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    latencies: list[tuple[float, float]] = []
    loop, request = asyncio.get_running_loop(), head.encode() + body
    made = [
        await loop.create_connection(lambda: Caller(request, latencies), "127.0.0.1", port)
        for _ in range(callers)
    ]
    await asyncio.sleep(warmup_s)
    begin_s = time.perf_counter()
    await asyncio.sleep(duration_s)
    end_s = time.perf_counter()
    for _, caller in made:
        if caller.failure:
            sys.exit(caller.failure)
    measured = [took for at, took in latencies if begin_s <= at <= end_s]
    if not measured:
        sys.exit("nothing was answered")
    return {
        "per_s": len(measured) / (end_s - begin_s),
        "p50_ms": statistics.median(measured) * 1000,
        "requests": len(latencies),
    }


if __name__ == "__main__":
    numbers = (int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
    print(json.dumps(uvloop.run(load(*numbers))))
