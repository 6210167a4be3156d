"""Health: where whoever watches over this process asks whether it lives, and whether it serves.

``GET /livez`` is answered as long as the event loop turns, ``/readyz`` with 200 while the role
serves and with 503 otherwise. Neither asks Redis: an outage of the store is no reason to start
processes again, or to send clients away from gateways that wait for it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

from penstock.errors import InvalidConfiguration
from penstock.transport.addresses import address_of

_ASKING_S: Final = 5.0
_HEAD_BYTES: Final = 8192
_MOST_AT_ONCE: Final = 64
_STATUSES: Final = {
    200: "OK",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class Health:
    """How this process is.

    Attributes:
        ready: whether its role serves at present.
        address: where it is told; empty where it is not.
    """

    def __init__(self) -> None:
        self.ready = False
        self.address = ""
        self._asking = 0

    def answer(self, method: str, path: str) -> tuple[int, str]:
        """Status and text of the answer to a request."""
        if method not in {"GET", "HEAD"}:
            return 405, "health can only be read"
        known: Mapping[str, bool] = {"/livez": True, "/readyz": self.ready}
        if path not in known:
            return 404, "health is at /livez and /readyz"
        return (200, "ok") if known[path] else (503, "not ready")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; those that are slow, or too many, are hung up on."""
        self._asking += 1
        try:
            if self._asking <= _MOST_AT_ONCE:
                await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._asking -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_ASKING_S):
            head = await reader.readuntil(b"\r\n\r\n")
            method, _, rest = head.decode("latin-1").partition(" ")
            status, text = self.answer(method, rest.partition(" ")[0].partition("?")[0])
            lines = (
                f"HTTP/1.1 {status} {_STATUSES[status]}",
                "Content-Type: text/plain",
                f"Content-Length: {len(text) + 1}",
                "Connection: close",
            )
            body = "" if method == "HEAD" else f"{text}\n"
            writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
            await writer.drain()


@contextlib.asynccontextmanager
async def telling_health(host: str, port: int | None) -> AsyncIterator[Health]:
    """Tell how this process is at *host* and *port*, until the end of the block; None: nowhere.

    Raises:
        InvalidConfiguration: nobody can listen there.
    """
    health = Health()
    if port is None:
        yield health
        return
    try:
        server = await asyncio.start_server(health.serve, host, port, limit=_HEAD_BYTES)
    except OSError as error:
        where = address_of(host, port)
        raise InvalidConfiguration(
            f"cannot tell of health at {where}: {error.strerror}; choose another port with "
            "--health-port, or an address of this machine with --health-host"
        ) from error
    health.address = address_of(host, server.sockets[0].getsockname()[1])
    try:
        yield health
    finally:
        server.close()
