"""The stage server: where a later stage's worker is found by its head, and by the stage before it.

It is in one group at a time, for as long as the head's hop lasts; what it computes is computed in
the order in which it came, on the device's thread.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import structlog

from penstock.errors import PenstockError
from penstock.transport.lane import listen
from penstock.workers.language.head import MOST_AHEAD
from penstock.workers.language.later import NOBODYS, LaterStage, OutOfStep
from penstock.workers.language.message import (
    Message,
    Said,
    Unreadable,
    message_in,
    packed_message,
    packed_tokens,
)
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.serve.language.dialer import Dialer
from penstock.workers.serve.language.hops import (
    Hop,
    HopKind,
    HopPlace,
    Membership,
    Peer,
    SocketHop,
    listening_name,
    places_in,
)
from penstock.workers.serve.work_done import WorkMeter

log = structlog.get_logger()

_MOST_WAITING: Final = MOST_AHEAD + 1
"""Messages of one hop that wait to be computed: its head sends no more before it has tokens."""

_EPOCH_BYTES: Final = 16
_LEAVING_S: Final = 10.0
"""A head has so long to give back what is under way."""


class Computed(NamedTuple):
    """What became of a message: a frame for the next stage, or for the head."""

    epoch: bytes
    kind: HopKind
    parts: list[bytes]


class StageServer:
    """A later stage, and whom it is connected with.

    Attributes:
        work: how much it has done: messages, and the tokens that they were for.
        broken: fails when the stage cannot compute any more.
    """

    def __init__(
        self,
        stage: LaterStage,
        boot_id: str,
        device: ThreadPoolExecutor,
        renewal: Renewal,
        dialer: Dialer,
    ) -> None:
        """Make one that nobody finds yet.

        Args:
            device: the one thread that computes.
            renewal: watches what runs there.
            dialer: connects with the next stage.
        """
        self.work = WorkMeter()
        self._loop = asyncio.get_running_loop()
        self.broken: asyncio.Future[None] = self._loop.create_future()
        self._stage = stage
        self._boot_id = boot_id
        self._device = device
        self._renewal = renewal
        self._dialer = dialer
        self._head: _Caller | None = None
        self._next: Peer | None = None
        self._epoch = NOBODYS
        self._callers: set[_Caller] = set()
        self._free = asyncio.Event()
        self._free.set()
        self._leaves = False

    def __repr__(self) -> str:
        state = "free" if self._head is None else "taken"
        return f"StageServer({listening_name(self._boot_id)}, {state})"

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listen; at the end the head is told, and lets go of it first.

        Raises:
            OSError: this system has no such sockets.
        """
        loop = asyncio.get_running_loop()
        listening = listen(listening_name(self._boot_id))
        server = await loop.create_unix_server(lambda: SocketHop(self.caller()), sock=listening)
        try:
            yield
            await self._leave()
        finally:
            server.close()
            for caller in list(self._callers):
                caller.hang_up()

    async def _leave(self) -> None:
        self._leaves = True
        if self._head is not None:
            self._head.write(HopKind.LEAVING)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING_S):
                await self._free.wait()

    # who calls

    def caller(self) -> Peer:
        """Whoever connects next."""
        return _Caller(self)

    def came(self, caller: "_Caller") -> None:
        """Somebody has connected."""
        self._callers.add(caller)

    def left(self, caller: "_Caller") -> None:
        """A connection has ended; with the head's, the group."""
        self._callers.discard(caller)
        if caller is self._head:
            self._let_go()

    def _let_go(self) -> None:
        self._head = None
        self._begin(NOBODYS)
        if self._next is not None:
            self._next.hang_up()
            self._next = None
        self._free.set()

    async def form(
        self, head: "_Caller", membership: Membership, places: Sequence[HopPlace]
    ) -> None:
        """Be in a group, if it is in none; *places* as for `Group`."""
        if self._head is not None or self._leaves or self._boot_id not in membership.boot_ids:
            head.write(HopKind.TAKEN)
            return
        self._head = head
        self._free.clear()
        try:
            await self._connect(head, membership, places)
        except OSError as error:
            log.warning("the next stage cannot be reached", why=str(error))
            head.write(HopKind.TAKEN)
            if self._head is head:
                self._let_go()
            return
        # Meanwhile it may have left, and another one come.
        if self._head is head:
            self._begin(membership.epoch)
            head.write(HopKind.FORMED)

    async def _connect(
        self, head: "_Caller", membership: Membership, places: Sequence[HopPlace]
    ) -> None:
        following = membership.boot_ids.index(self._boot_id) + 1
        if following == len(membership.boot_ids):
            return
        peer = self._next = _Next(head)
        place = places[following] if following < len(places) else None
        await self._dialer.connect(peer, membership.boot_ids[following], place)
        if self._next is not peer:
            peer.hang_up()

    # what is computed

    def _begin(self, epoch: bytes) -> None:
        self._epoch = epoch
        self._device.submit(self._stage.begin, epoch)

    def take(self, caller: "_Caller", content: bytes) -> None:
        """Compute a message, behind all that came before.

        Raises:
            OutOfStep: more of them wait than a head ever sends.
        """
        if content[:_EPOCH_BYTES] != self._epoch:
            return
        caller.waiting += 1
        if caller.waiting > _MOST_WAITING:
            raise OutOfStep(f"{caller.waiting} messages wait, and {_MOST_WAITING} are the most")
        self._device.submit(self._compute_for, caller, content)

    def _compute_for(self, caller: "_Caller", content: bytes) -> None:
        """Compute *content* on the device's thread; the event loop hears what became of it."""
        made: Computed | BaseException | None
        try:
            made = self._compute(content)
        except BaseException as error:  # noqa: BLE001 - whoever looks after the device raises it
            made = error
        # At once, by one callback: with it the next stage, or the head, goes on.
        self._loop.call_soon_threadsafe(self._computed, caller, made)

    def _compute(self, content: bytes) -> Computed | None:
        """What *content* brings; None if it is of another group."""
        message = message_in(content)
        self._renewal.batch_begins(object())
        began_s = time.monotonic()
        try:
            made = self._stage.run(message)
        finally:
            self._renewal.batch_ends()
        if made is None:
            return None
        rows = len(message.batch.columns) if message.batch.grows else 0
        self.work.add(rows, time.monotonic() - began_s)
        if isinstance(made, Message):
            return Computed(message.epoch, HopKind.MESSAGE, packed_message(made))
        said = Said(message.epoch, message.step, made)
        return Computed(message.epoch, HopKind.TOKENS, packed_tokens(said))

    def _computed(self, caller: "_Caller", computed: Computed | BaseException | None) -> None:
        caller.waiting -= 1
        if isinstance(computed, PenstockError):
            log.warning("a message of the group cannot be computed", why=str(computed))
            if self._head is not None:
                self._head.hang_up()
        elif isinstance(computed, BaseException) and not self.broken.done():
            self.broken.set_exception(computed)
        # What was under way when another group began is nobody's any more.
        if not isinstance(computed, Computed) or computed.epoch != self._epoch:
            return
        to = self._next if computed.kind == HopKind.MESSAGE else self._head
        if to is not None:
            to.write(computed.kind, computed.parts)


class _Next(Peer):
    """The stage behind this one."""

    def __init__(self, head: Peer) -> None:
        super().__init__()
        self._head = head

    def lost(self) -> None:
        """The hop has ended: the group has, which its head may not see from where it is."""
        self._head.hang_up()


class _Caller(Peer):
    """A head, or the stage before this one.

    Attributes:
        waiting: its messages that have not been computed yet.
    """

    def __init__(self, server: StageServer) -> None:
        super().__init__()
        self.waiting = 0
        self._server = server
        self._places: Sequence[HopPlace] = ()
        self._forming: asyncio.Task[None] | None = None

    def found(self, hop: Hop) -> None:
        """For the hop."""
        super().found(hop)
        self._server.came(self)

    def hear(self, kind: int, content: bytes) -> None:
        """A frame has come."""
        if kind == HopKind.MESSAGE:
            self._server.take(self, content)
        elif kind == HopKind.PING:
            self.write(HopKind.PONG)
        elif kind == HopKind.PLACES:
            self._places = places_in(content)
        elif kind == HopKind.FORM:
            if self._forming is not None:
                raise Unreadable("a head forms its group twice")
            forming = self._server.form(self, Membership.of(content), self._places)
            self._forming = asyncio.create_task(forming)

    def lost(self) -> None:
        """The hop has ended."""
        self._server.left(self)
