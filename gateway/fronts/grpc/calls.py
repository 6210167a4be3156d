"""Takes calls off their server while there is memory for them, and ends each with its status.

A call's message is read only when it is asked for, so what is not asked for stays with its client.
A message that is not there at once is large, or its client is slow: such calls are refused first
when the memory becomes scarce, the latest of them first.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NamedTuple

from penstock.clock import NO_DEADLINE, monotonic
from penstock.errors import DeadlineExceeded, PenstockError
from penstock.gateway.fronts.grpc.rpc import Handle, Readable, Rpc
from penstock.gateway.fronts.grpc.statuses import end_with
from penstock.gateway.limits.admission import LEAST_PUSHBACK_MS, LONGEST_PUSHBACK_MS
from penstock.gateway.limits.memory import (
    LOOK_EVERY_S,
    SCARCE,
    TIGHT,
    GatewayFull,
    MemoryWatch,
)
from penstock.gateway.limits.read_turns import ReadTurns
from penstock.gateway.limits.unread import SMALL_BYTES, UnreadReplies
from penstock.gateway.requests.call import Call
from penstock.protos.wire import Buffer
from penstock.retry import Pushback

_LARGE_BYTES: Final = 1 << 20
"""After messages of this size the memory is looked at."""

_SLOW_S: Final = 0.1
_CANCEL_S: Final = 1.0

Answer = Callable[[Buffer, Call], Awaitable[bytes]]
"""From a call's message to its reply."""


class _Read(NamedTuple):
    """A message that is waited for.

    Attributes:
        waits_on: its client has set no deadline.
    """

    began_s: float
    waits_on: bool


_Reading = dict[asyncio.Task[Any], _Read]


class Ending:
    """Within it, an error ends the call with its status; a call that was cancelled has none."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if not isinstance(error, Exception):
            return False
        end_with(self._rpc, error)
        return True


class Calls:
    """The calls of one gateway.

    Attributes:
        memory: of this process.
        unread: their replies that clients have not taken.
        followers: calls that hear of changes until they leave.
        refused: how many were refused for want of room.
    """

    def __init__(
        self,
        memory: MemoryWatch,
        unread: UnreadReplies,
        turns: ReadTurns,
        most: int,
        patience_s: float,
    ) -> None:
        """*patience_s*: how long a call's only message may take to arrive."""
        self.memory = memory
        self._turns = turns
        self._most = most
        self._pushback = Pushback(LEAST_PUSHBACK_MS, LONGEST_PUSHBACK_MS)
        self._patience_s = patience_s
        self._reading: _Reading = {}
        self._waiting: _Reading = {}
        self._errors: dict[asyncio.Task[Any], PenstockError] = {}
        self._in_flight: set[asyncio.Task[Any]] = set()
        self.unread = unread
        self.followers = self.refused = 0

    def __repr__(self) -> str:
        return f"Calls({len(self)} open, {len(self._reading)} being read)"

    def __len__(self) -> int:
        return len(self._reading) + len(self._in_flight) + self.followers

    def begin(self) -> None:
        """Count the call whose handler this is: until its status has been written, or it fails.

        Each server runs a call in a task of its own, which writes the status after the handler's
        end.
        """
        task = asyncio.current_task()
        if task is not None:
            self._begin(task)

    def _begin(self, task: asyncio.Task[Any]) -> None:
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def finish(self, within_s: float) -> int:
        """Wait for those that have begun until now, and cancel those that take too long.

        Returns:
            how many were cancelled.
        """
        if not self._in_flight:
            return 0
        _, late = await asyncio.wait(set(self._in_flight), timeout=within_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_CANCEL_S)
        return len(late)

    async def read(self, source: Readable, *, always: bool = False, begins: bool = True) -> bytes:
        """The only message of a call, or the body of a request over HTTP.

        Args:
            always: it says how this gateway is, and is taken whatever else there is.
            begins: a gateway that stops must see it to its end.

        Raises:
            GatewayFull: there is no memory for it.
            DeadlineExceeded: it did not arrive.
        """
        return bytes(_there(await self._read_only(source, always=always, begins=begins)))

    def _read_only(
        self, source: Readable, *, always: bool, begins: bool
    ) -> Awaitable[Buffer | None]:
        if not always:
            self._check_room()
        return self._read(source, self._reading, self._turns, begins=begins)

    async def messages(self, rpc: Rpc) -> AsyncIterator[bytes]:
        """The messages of a stream; while the memory is full they stay with the client.

        Raises:
            GatewayFull: there is no memory for one that has begun to arrive.
        """
        while True:
            await self.memory.room()
            message = await self._read(rpc, self._waiting)
            if message is None:
                return
            yield bytes(message)

    def answering(self, answer: Answer, *, always: bool = False, begins: bool = True) -> Handle:
        """How calls with one message each are handled: it is read, answered, and ends the call.

        Args:
            answer: gives the reply to a message; its error is the call's.
            always, begins: as for `read`.
        """

        async def handle(rpc: Rpc) -> bytes | None:
            with Ending(rpc):
                message = await self._read_only(rpc, always=always, begins=begins)
                reply = await answer(_there(message), rpc.call)
                if len(reply) >= SMALL_BYTES:
                    self.count_unread(rpc.call.connection, len(reply))
                return reply
            return None

        return handle

    def count_unread(self, peer: str, size: int) -> None:
        """A reply of *size* bytes is unread until it has been sent, which ends the call's task.

        Raises:
            RepliesUnread: its client does not read.
        """
        task = asyncio.current_task()
        if task is not None:
            self.unread.take(peer, size)
            task.add_done_callback(lambda _: self.unread.give(peer, size))

    def shed(self) -> None:
        """End what takes too long to arrive, and, as memory becomes scarce, what is large."""
        now_s = monotonic()
        for task, (began_s, waits_on) in self._reading.items():
            if waits_on and now_s - began_s > self._patience_s:
                late = DeadlineExceeded("the request did not arrive within the time it had")
                self._end(task, late)
        for task in self._in_the_way(now_s):
            self.refused += 1
            self._end(task, self._full())
        if self.memory.used <= SCARCE:
            self._turns.pass_on(_SLOW_S)

    def busy(self) -> bool:
        """Whether messages are being read or answered, or replies are unread."""
        return bool(self._reading or self.unread.held or len(self._in_flight))

    def reading(self) -> bool:
        """Whether messages are on their way in."""
        return bool(self._reading)

    async def _read(
        self,
        source: Readable,
        among: "_Reading",
        turns: ReadTurns | None = None,
        *,
        begins: bool = False,
    ) -> Buffer | None:
        """The next message, in its turn where there are any; None when there is no more."""
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("calls have tasks")
        among[task] = _Read(monotonic(), source.call.deadline is NO_DEADLINE)
        self.memory.stirred.set()
        try:
            if turns is not None and not turns.try_take(task):
                await turns.take(task)
            message = await source.read()
            if begins:
                self._begin(task)
        except asyncio.CancelledError:
            error = self._errors.pop(task, None)
            if error is None:
                raise
            task.uncancel()
            raise error from None
        finally:
            if turns is not None:
                turns.give(task)
            # A cancelled task keeps its error, which knows this frame: it must not know the task.
            del among[task], task
        if not isinstance(message, bytes | memoryview):
            return None
        if len(message) >= _LARGE_BYTES:
            # Until the next regular look many of its kind may come.
            self.memory.see()
            self.shed()
        return message

    def _in_the_way(self, now_s: float) -> list[asyncio.Task[Any]]:
        """Calls to be refused now, so that the memory suffices for the others."""
        if self.memory.used <= SCARCE:
            return []
        if self.memory.used <= TIGHT:
            # Half of them: the others may fit then.
            slow = _older(self._reading, now_s - _SLOW_S)
            return slow[len(slow) // 2 :]
        # A stream may wait for its next message, and hold nothing: one at a time.
        return (
            _older(self._reading, now_s - LOOK_EVERY_S)
            or _older(self._waiting, now_s - _SLOW_S)[-1:]
        )

    def _check_room(self) -> None:
        if self.memory.used > 1:
            self.refused += 1
            raise self._full()
        if len(self) >= self._most:
            self.refused += 1
            raise GatewayFull(
                f"this gateway has as many calls as it may (--max-calls {self._most}); "
                "try again later",
                self._pushback.next_ms(),
            )

    def _full(self) -> GatewayFull:
        return GatewayFull(
            "this gateway has as much memory as it may (--max-memory-mib "
            f"{self.memory.most_mib}); try again later",
            self._pushback.next_ms(),
        )

    def _end(self, task: asyncio.Task[Any], error: PenstockError) -> None:
        if task not in self._errors:
            self._errors[task] = error
            task.cancel()


def _there(message: Buffer | None) -> Buffer:
    """The only *message* of a call; without one its client has gone, and nobody hears a status."""
    if message is None:
        raise asyncio.CancelledError
    return message


def _older(reading: _Reading, than_s: float) -> list[asyncio.Task[Any]]:
    """Those that began earlier, in the order in which they came."""
    return [task for task, (began_s, _) in reading.items() if began_s < than_s]
