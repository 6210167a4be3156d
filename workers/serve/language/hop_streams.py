"""Hop streams: hops between machines, which gRPC carries from worker to worker (ADR 0050).

Whoever listens and whoever connects prove who they are with certificates of the cluster; without
these nobody listens where others could call. A frame is sent once or never: nothing is tried again,
and a stream that breaks ends the group.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog

from penstock.errors import InvalidConfiguration
from penstock.protos.hops_pb2 import HopFrame
from penstock.protos.hops_pb2_grpc import HopsStub, add_HopsServicer_to_server
from penstock.settings import WorkerSettings
from penstock.transport.addresses import address_of, family_of
from penstock.transport.changing_certificates import ChangingCertificates
from penstock.transport.server_credentials import server_credentials
from penstock.transport.to_the_end import to_the_end
from penstock.workers.serve.language.hops import FORMAT, HopKind, Peer

log = structlog.get_logger()

_FORMAT_KEY: Final = "penstock-hop"
_LETS_IN: Final = ((_FORMAT_KEY, FORMAT),)
"""What a call that is let in begins with; releases before said nothing."""

_REFUSED_WITHIN_S: Final = 0.1
_CONNECTING_S: Final = 2.0
_HANDSHAKE_MS: Final = 2000
_ENDING_S: Final = 1.0
_ASKED_TIMES: Final = 4
_MOST_UNSENT: Final = 16
"""Frames that wait for the line; a group has three messages under way, and some questions."""

_MOST_CALLERS: Final = 64
"""A stage has two; more are heads that look for a free one."""

_MOST_ANSWER_BYTES: Final = 1 << 20
_WINDOW_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class HopTerms:
    """How a worker's hops with other machines are.

    Attributes:
        host: where it listens, and is reached.
        ports: of which it takes one that is free; None for any.
        name: that all certificates have; None: each has the address that is called.
        silence_s: who says nothing for longer is gone.
        most_bytes: of a message.
    """

    host: str
    ports: range | None
    name: str | None
    silence_s: float
    most_bytes: int


class HopStreams:
    """A worker's hops with workers on other machines: it connects, and it may listen."""

    def __init__(self, terms: HopTerms, certificates: ChangingCertificates | None) -> None:
        """Without *certificates* everybody who reaches its port is let in."""
        self._terms = terms
        self._certificates = certificates
        self._carrying: set[asyncio.Task[None]] = set()

    @classmethod
    def of(cls, settings: WorkerSettings, most_bytes: int) -> "HopStreams | None":
        """Those of *settings*; None where they ask for none.

        Raises:
            InvalidConfiguration: certificates cannot be used; with what to do.
        """
        if settings.hop_host is None:
            return None
        files, silence_s = settings.hop_files(), settings.lease_ms / 1000
        ports = None
        if settings.hop_ports is not None:
            first, _, last = settings.hop_ports.partition("-")
            ports = range(int(first), int(last or first) + 1)
        terms = HopTerms(settings.hop_host, ports, settings.hop_name, silence_s, most_bytes)
        return cls(terms, None if files is None else ChangingCertificates(files))

    def __repr__(self) -> str:
        return f"HopStreams({self._terms.host}, {len(self._carrying)} to others)"

    async def connect(self, peer: Peer, address: str) -> None:
        """Have *peer* at the other end of a stream to whoever listens at *address*.

        Raises:
            OSError: nobody does who lets this worker in; says why.
        """
        channel = self._channel(address)
        call = HopsStub(channel).Carry(metadata=((_FORMAT_KEY, FORMAT),))  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(_CONNECTING_S):
                # It comes once the other side has let this one in.
                refused = await _refusal(call, await to_the_end(call.initial_metadata()))
        except BaseException as error:
            self._later(_close(channel, call))
            if isinstance(error, TimeoutError):
                raise OSError(f"{address} does not answer") from None
            raise
        if refused is not None:
            self._later(_close(channel, call))
            raise OSError(f"{address} cannot be called: {refused}")
        hop = StreamHop(peer, call)
        peer.found(hop)
        self._later(_carry(hop, channel, call))

    @contextlib.asynccontextmanager
    async def listening(self, new_peer: Callable[[], Peer]) -> AsyncIterator[str]:
        """Let other machines connect, until the end of the block; yields the address.

        Args:
            new_peer: what is at the other end of a stream that comes.

        Raises:
            InvalidConfiguration: no port is free; with what to do.
        """
        server = grpc.aio.server(
            options=list(self._options(self._terms.most_bytes)),
            maximum_concurrent_rpcs=_MOST_CALLERS,
        )
        servicer = _Servicer(self._terms.name if self._certificates else None, new_peer)
        add_HopsServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
        port = self._bound(server)
        await server.start()
        try:
            yield address_of(self._terms.host, port)
        finally:
            # Handlers that are cancelled are logged as errors.
            servicer.hang_up()
            await server.stop(_ENDING_S)

    async def run(self) -> None:
        """Take up certificates that change, until cancelled; then end what it has connected."""
        try:
            if self._certificates is not None:
                await self._certificates.run()
            await asyncio.Event().wait()
        finally:
            for task in self._carrying:
                task.cancel()

    def _later(self, carrying: Any) -> None:
        task = asyncio.create_task(carrying)
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    def _channel(self, address: str) -> grpc.aio.Channel:
        options = [
            *self._options(_MOST_ANSWER_BYTES),
            # What is tried again could arrive twice, and what was tried before would be waited for.
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        ]
        if self._certificates is None:
            return grpc.aio.insecure_channel(address, options=options)
        if self._terms.name is not None:
            options.append(("grpc.ssl_target_name_override", self._terms.name))
        found = self._certificates.current
        credentials = grpc.ssl_channel_credentials(found.authorities, found.key, found.chain)
        return grpc.aio.secure_channel(address, credentials, options=options)

    def _options(self, most_bytes: int) -> Iterator[tuple[str, Any]]:
        silence_ms = int(self._terms.silence_s * 1000)
        yield "grpc.max_receive_message_length", most_bytes
        yield "grpc.max_send_message_length", -1
        # A machine that is gone, or cut off, is noticed as a worker that is stopped.
        yield "grpc.keepalive_time_ms", max(1, silence_ms // _ASKED_TIMES)
        yield "grpc.keepalive_timeout_ms", silence_ms
        # Without it the answer to a ping is waited for for a minute.
        yield "grpc.http2.ping_timeout_ms", silence_ms
        yield "grpc.keepalive_permit_without_calls", 1
        yield "grpc.http2.max_pings_without_data", 0
        yield "grpc.http2.min_recv_ping_interval_without_data_ms", 1
        yield "grpc.http2.max_ping_strikes", 0
        # What gRPC holds of a stream before it is read must not grow with the line's speed.
        yield "grpc.http2.bdp_probe", 0
        yield "grpc.http2.lookahead_bytes", _WINDOW_BYTES
        yield "grpc.so_reuseport", 0
        yield "grpc.max_allowed_incoming_connections", _MOST_CALLERS
        yield "grpc.max_concurrent_streams", _MOST_CALLERS
        yield "grpc.server_handshake_timeout_ms", _HANDSHAKE_MS

    def _bound(self, server: grpc.aio.Server) -> int:
        terms = self._terms
        own = self._certificates
        found = None if own is None else server_credentials(own, required=True)
        for port in _free_ports(terms.host, terms.ports):
            address = address_of(terms.host, port)
            with contextlib.suppress(RuntimeError):
                if found is None:
                    bound = server.add_insecure_port(address)
                else:
                    bound = server.add_secure_port(address, found)
                if bound:
                    return int(bound)
        of = "any port" if terms.ports is None else f"ports {terms.ports[0]} to {terms.ports[-1]}"
        raise InvalidConfiguration(
            f"cannot listen at {of} of {terms.host}: they are in use, or the address is not this "
            "machine's; choose others with --hop-ports (each worker needs one), or --hop-host"
        )


class StreamHop:
    """One end of a hop to another machine, as `Hop` has it."""

    def __init__(self, peer: Peer, call: Any) -> None:
        """*call* has read and write: a call of grpc.aio, or the context of one."""
        self._peer = peer
        self._call = call
        self._unsent: asyncio.Queue[HopFrame] = asyncio.Queue()
        self._over = asyncio.Event()

    def write(self, kind: HopKind, parts: Sequence[bytes]) -> None:
        """As `Hop`; a peer that takes nothing of what it is sent is hung up on."""
        if self._unsent.qsize() >= _MOST_UNSENT:
            log.warning("another stage does not take what it is sent, it is hung up on")
            self.hang_up()
            return
        self._unsent.put_nowait(HopFrame(kind=kind, content=b"".join(parts)))

    def hang_up(self) -> None:
        """As `Hop`."""
        self._over.set()

    async def carry(self) -> None:
        """Carry frames both ways until either side ends it; its peer is told."""
        tasks = [
            asyncio.create_task(one) for one in (self._read(), self._send(), self._over.wait())
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._peer.ended()

    async def _read(self) -> None:
        while (frame := await to_the_end(self._call.read())) is not grpc.aio.EOF:
            self._peer.heard(frame.kind, frame.content)

    async def _send(self) -> None:
        while True:
            await to_the_end(self._call.write(await self._unsent.get()))


async def _refusal(call: Any, begun: Any) -> str | None:
    """Why the other side ends a *call* that has *begun*; None where it lets this one in."""
    if _LETS_IN[0] not in tuple(begun or ()):
        # What ends a call may come a moment after what begins it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REFUSED_WITHIN_S):
                await call.code()
    return await call.details() if call.done() else None


class _Servicer:
    """Lets callers in."""

    def __init__(self, name: str | None, new_peer: Callable[[], Peer]) -> None:
        self._name = name
        self._new_peer = new_peer
        self._hops: set[StreamHop] = set()

    def hang_up(self) -> None:
        """End all hops that have come."""
        for hop in self._hops:
            hop.hang_up()

    async def Carry(self, _: Any, context: Any) -> None:  # noqa: N802 - the RPC's name
        """A hop that comes, for as long as it lasts."""
        refused = self._refused(context)
        if refused is not None:
            log.warning("a caller is refused a hop", caller=context.peer(), why=refused[1])
            context.set_code(refused[0])
            context.set_details(refused[1])
            return
        await context.send_initial_metadata(_LETS_IN)
        peer = self._new_peer()
        hop = StreamHop(peer, context)
        self._hops.add(hop)
        peer.found(hop)
        try:
            await hop.carry()
        finally:
            self._hops.discard(hop)

    def _refused(self, context: Any) -> tuple[grpc.StatusCode, str] | None:
        """Status and text for a caller that is none of this cluster and release; else None."""
        names = context.auth_context().get("x509_subject_alternative_name", ())
        if self._name is not None and self._name.encode() not in names:
            return grpc.StatusCode.PERMISSION_DENIED, (
                f"its certificate has not the name '{self._name}', which --hop-name asks for"
            )
        if (_FORMAT_KEY, FORMAT) not in tuple(context.invocation_metadata() or ()):
            return grpc.StatusCode.FAILED_PRECONDITION, "it speaks hops of another release"
        return None


async def _carry(hop: StreamHop, channel: grpc.aio.Channel, call: Any) -> None:
    try:
        await hop.carry()
    finally:
        await _close(channel, call)


async def _close(channel: grpc.aio.Channel, call: Any) -> None:
    call.cancel()
    await channel.close()


def _free_ports(host: str, ports: range | None) -> Iterator[int]:
    """Those of *ports* that nobody has now, in no order: others look for one as well."""
    if ports is None:
        yield 0
        return
    for port in random.sample(ports, len(ports)):
        with socket.socket(family_of(host)) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((host, port))
            except OSError:
                continue
        yield port
