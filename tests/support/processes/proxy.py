"""A proxy between a link and its server, which loses what it is told to lose."""

import asyncio
import contextlib
import tempfile
from pathlib import Path


class Proxy:
    """Passes on what a client and a server on a unix socket say to each other.

    Attributes:
        url: where clients connect.
        connections: how many have been made.
        silent: nothing the server says arrives; connections stay open.
        requests_pass, answers_pass: events; while one is cleared, what is said that way is on its
            way, and arrives when it is set again, as on a network that is cut and mended.
        swallowed: how often it said something for nothing.
        lose_answers: so many more answers are lost, each with its connection.
        lose_requests: so many more requests are lost before the server sees them, likewise.
    """

    def __init__(self, socket):
        self._socket = str(socket)
        self._tasks = set()
        self._writers = set()
        self.connections = 0
        self.silent = False
        self.requests_pass, self.answers_pass = asyncio.Event(), asyncio.Event()
        self.requests_pass.set()
        self.answers_pass.set()
        self.swallowed = 0
        self.lose_answers = 0
        self.lose_requests = 0

    async def __aenter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="test-penstock-", dir="/tmp")
        path = Path(self._folder.name) / "proxy.sock"
        self._server = await asyncio.start_unix_server(self._accept, path)
        self.url = f"unix://{path}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            # What could not be sent on will not be: its reader may have stopped.
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await self._server.wait_closed()
        self._folder.cleanup()

    def _accept(self, from_client, to_client):
        self.connections += 1
        self._writers.add(to_client)
        task = asyncio.create_task(self._serve(from_client, to_client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, from_client, to_client):
        """One connection; what has been said when it ends is still sent on."""
        writers = [to_client]
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._socket)
            writers.append(to_server)
            self._writers.add(to_server)
            ways = (
                asyncio.create_task(self._requests(from_client, to_server)),
                asyncio.create_task(self._answers(from_server, to_client)),
            )
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # The server is away; its client hears so.
        finally:
            for writer in writers:
                writer.close()

    async def _requests(self, reader, writer):
        while said := await reader.read(1 << 16):
            if self.lose_requests:
                self.lose_requests -= 1
                return
            await self.requests_pass.wait()
            writer.write(said)
            await writer.drain()

    async def _answers(self, reader, writer):
        while said := await reader.read(1 << 16):
            if self.lose_answers:
                self.lose_answers -= 1
                return
            if self.silent:
                self.swallowed += 1
                continue
            await self.answers_pass.wait()
            writer.write(said)
            await writer.drain()
