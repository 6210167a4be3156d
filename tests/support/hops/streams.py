"""Streams of hops on loopback, peers that keep what they hear, a way between that can be cut."""

import asyncio
import contextlib

from penstock.transport.certificates import CertificateFiles, Names
from penstock.transport.changing_certificates import ChangingCertificates
from penstock.workers.language.message import most_bytes
from penstock.workers.serve.language.hop_streams import HopStreams, HopTerms
from penstock.workers.serve.language.hops import Peer

SLOTS, CAPACITY, WIDTH = 4, 64, 24
_NAMES = Names("--hop-cert", "--hop-key", "--hop-ca")


def streams_of(pair, authority, name=None, silence_s=30.0, most=None, ports=None):
    certificates = pair and ChangingCertificates(CertificateFiles(_NAMES, *pair, authority.path))
    most = most or most_bytes(SLOTS, CAPACITY, WIDTH)
    return HopStreams(HopTerms("127.0.0.1", ports, name, silence_s, most), certificates)


class Heard(Peer):
    """A peer that keeps what it hears."""

    def __init__(self):
        super().__init__()
        self.frames = []
        self.gone = asyncio.Event()

    def hear(self, kind, content):
        self.frames.append((kind, content))

    def lost(self):
        self.gone.set()


@contextlib.asynccontextmanager
async def called(streams, address):
    """A peer behind a stream to *address*."""
    peer = Heard()
    await streams.connect(peer, address)
    try:
        yield peer
    finally:
        peer.hang_up()
        await asyncio.wait_for(peer.gone.wait(), 20)


class Callers:
    """Peers behind the streams that come, in their order."""

    def __init__(self):
        self.all = []

    def __call__(self):
        self.all.append(Heard())
        return self.all[-1]


class Proxy:
    """A way to *address* that can be cut, or fall silent.

    Attributes:
        silent: nothing goes on either way once it is set, and nobody is told.
    """

    def __init__(self, address):
        self._to = address.rpartition(":")[::2]
        self._writers = []
        self._tasks = set()
        self.silent = asyncio.Event()

    @contextlib.asynccontextmanager
    async def open(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            self.cut()
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self):
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader, writer):
        there, back = await asyncio.open_connection(*self._to)
        self._writers += writer, back
        for pair in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._copy(*pair))
            self._tasks.add(task)

    async def _copy(self, reader, writer):
        while content := await reader.read(65536):
            if self.silent.is_set():
                await asyncio.Event().wait()
            writer.write(content)
            await writer.drain()
        writer.close()
