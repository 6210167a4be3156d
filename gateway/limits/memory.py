"""How many bytes a gateway may hold for its clients, and how many it does hold.

Three things are counted: requests from their arrival to their end, replies until their clients have
taken them, and the memory of the whole process, which covers what gRPC holds out of our sight. The
defaults follow the memory that the process may use (`penstock.process.machine`).
"""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog

from penstock.errors import Code, InvalidConfiguration, PenstockError, QueueFull
from penstock.gateway.limits.admission import LEAST_PUSHBACK_MS, LONGEST_PUSHBACK_MS
from penstock.process.heap import give_back_freed_memory
from penstock.retry import Pushback
from penstock.settings import GatewaySettings

log = structlog.get_logger()

LOOK_EVERY_S: Final = 0.05
CALM_LOOK_S: Final = 0.25
"""How often to look while answers are under way alone, with much memory left."""

REST_LOOK_S: Final = 1.0
"""How often to look at rest: freed memory may be worth giving back."""

CALM: Final = 0.5
"""Of the memory that a process may have: from there nothing fills it up between two calm looks."""

SCARCE: Final = 0.8
"""Of the memory that a process may have: beyond it, some messages that are slow are refused."""

TIGHT: Final = 0.9
"""Beyond it, all messages that do not arrive at once."""

_MIB: Final = 1 << 20
TRIM_EVERY_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0
"""At rest, the pause between two looks for freed memory doubles until it is so long."""

_WORTH_TRIMMING: Final = 128 * _MIB
_STREAM_MIB: Final = 256


class GatewayFull(QueueFull):
    """This gateway holds as many bytes as it may; another may have room."""

    def __init__(self, text: str, retry_after_ms: int) -> None:
        super().__init__(text)
        self.retry_after_ms = retry_after_ms


class RepliesUnread(PenstockError):
    """A client does not take the replies that it has asked for."""

    code = Code.RESOURCE_EXHAUSTED
    retry_after_ms = 1000


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """How many bytes one gateway process may hold.

    Attributes:
        memory: of the whole process.
        held: of requests, from their arrival to their end.
        unread: of replies that clients have not taken.
        stream: of one stream's unsent answers.
    """

    memory: int
    held: int
    unread: int
    stream: int

    @classmethod
    def of(cls, settings: GatewaySettings, machine_bytes: int) -> "MemoryLimits":
        """What *settings* say; else shares of half of *machine_bytes*, for each process.

        Raises:
            InvalidConfiguration: one message would not fit.
        """
        share = machine_bytes // 2 // settings.processes
        memory = _given(settings.max_memory_mib, share)
        message = settings.max_message_mib * _MIB
        if message > memory:
            raise InvalidConfiguration(
                f"--max-message-mib {settings.max_message_mib} does not fit into "
                f"--max-memory-mib {memory // _MIB}: allow smaller messages, or more memory"
            )
        unread = _given(settings.max_unread_mib, memory // 4)
        return cls(
            memory,
            _given(settings.max_pending_mib, max(memory // 2, message)),
            unread,
            _given(settings.max_stream_mib, min(_STREAM_MIB * _MIB, unread // 4)),
        )

    def options(self) -> dict[str, int]:
        """The settings that lead to these limits, whatever the machine has."""
        return {
            "max_memory_mib": self.memory // _MIB,
            "max_pending_mib": max(1, self.held // _MIB),
            "max_unread_mib": max(1, self.unread // _MIB),
            "max_stream_mib": max(1, self.stream // _MIB),
        }


def _given(mib: int | None, default: int) -> int:
    return default if mib is None else mib * _MIB


def warn_if_tight(limits: MemoryLimits, max_message_mib: int) -> None:
    """Say at the start if a few of the largest messages fill the process's memory."""
    if max_message_mib * _MIB * 4 > limits.memory:
        log.warning(
            "four of the largest messages do not fit into the gateway's memory: give it more, or "
            "lower --max-message-mib",
            max_message_mib=max_message_mib,
            max_memory_mib=limits.memory // _MIB,
        )


class ByteBudget:
    """Bytes that may be held at one time.

    Attributes:
        held: now.
        refused: how often there was no room.
    """

    def __init__(self, most: int, full: str) -> None:
        """*full*: what a client is told when there is no room."""
        self._most = most
        self._full = full
        self._pushback = Pushback(LEAST_PUSHBACK_MS, LONGEST_PUSHBACK_MS)
        self.held = 0
        self.refused = 0

    def __repr__(self) -> str:
        return f"ByteBudget({self.held} of {self._most} bytes)"

    def hold(self, size: int) -> "Held":
        """Hold *size* bytes within a ``with``, which raises GatewayFull where they do not fit."""
        return Held(self, size)

    def take(self, size: int) -> None:
        """Hold *size* bytes until `give`.

        Raises:
            GatewayFull: they do not fit.
        """
        if self.held + size > self._most:
            self.refused += 1
            raise GatewayFull(self._full, self._pushback.next_ms())
        self.held += size

    def give(self, size: int) -> None:
        """Hold *size* bytes no more."""
        self.held -= size


class Held:
    """Some bytes of a budget; a generator would take three times as long, for each request."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: ByteBudget, size: int) -> None:
        self._budget, self._size = budget, size

    def __enter__(self) -> None:
        self._budget.take(self._size)

    def __exit__(self, *_: object) -> None:
        self._budget.give(self._size)


def pending_budget(limits: MemoryLimits) -> ByteBudget:
    """Of the requests of one gateway."""
    return ByteBudget(
        limits.held,
        "this gateway holds as many bytes of requests as it may (--max-pending-mib "
        f"{limits.held // _MIB}); try again later",
    )


class MemoryWatch:
    """Looks at the memory that this process has, and gives back what it needs no more.

    Attributes:
        used: the share of its memory that the process has, as of the last look; 0 at rest.
        resident_bytes: then.
        busy: tells whether messages are being held: at rest, freed memory is given back earlier.
        reading: tells whether messages are on their way in: then it looks often.
        stirred: to be set when a message comes: without any it looks seldom.
        gave_back_s: when freed memory was given back last, on the event loop's clock.
        pause_s: how long it is left at rest before the next time.
    """

    def __init__(
        self,
        most: int,
        resident: Callable[[], int] | None = None,
        give_back: Callable[[], None] = give_back_freed_memory,
    ) -> None:
        self._most = most
        self._resident = resident or _Resident().read
        self._give_back = give_back
        self._least = self.resident_bytes = self._resident()
        self.gave_back_s, self.pause_s = float("-inf"), TRIM_EVERY_S
        self.stirred = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.used = 0.0
        self.busy: Callable[[], bool] = lambda: True
        self.reading: Callable[[], bool] = lambda: True

    @property
    def most_mib(self) -> int:
        """MiB that the process may use."""
        return self._most // _MIB

    def see(self) -> None:
        """See at once how much memory the process has: much has just come, and more may follow.

        Small calls are refused by the regular look alone, which gives back first what is freed.
        """
        self._note(self._resident())
        self.used = min(self.used, 1.0)

    async def run(self, then: Callable[[], Any]) -> None:
        """Look regularly until cancelled, and call *then* after each look."""
        while True:
            # What was used while it was busy refuses calls until the next look.
            if not self.used and not self.busy():
                await self._until_stirred(REST_LOOK_S)
            elif self.used > CALM or self.reading():
                await asyncio.sleep(LOOK_EVERY_S)
            else:
                await self._until_stirred(CALM_LOOK_S)
            await self.look()
            then()

    async def _until_stirred(self, most_s: float) -> None:
        """Wait until a message has come and the others of its moment have, or for so long."""
        self.stirred.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self.stirred.wait()
                await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """See how much memory the process has, after giving back what is freed if that matters."""
        held, at_rest = self._resident(), not self.busy()
        if not at_rest:
            self.pause_s = TRIM_EVERY_S
        if self._may_give_back(held, at_rest=at_rest):
            self.gave_back_s = asyncio.get_running_loop().time()
            # Where much was freed, this takes some hundredths of a second.
            await asyncio.to_thread(self._give_back)
            held = self._resident()
            if at_rest:
                # What is left is in use, or is freed in a while: gRPC takes its time.
                self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)
        self._note(held)

    def _note(self, held: int) -> None:
        self.resident_bytes = held
        self._least = min(self._least, held)
        # With nothing to wait for, refusing would be for ever.
        used = held / self._most if self.busy() else 0.0
        if used > 1 >= self.used:
            log.warning("the gateway's memory is full", mib=held // _MIB, max_mib=self.most_mib)
        self.used = used
        (self._room.clear if used > TIGHT else self._room.set)()

    async def room(self) -> None:
        """Wait while the memory is tight."""
        await self._room.wait()

    def _may_give_back(self, held: int, *, at_rest: bool) -> bool:
        now_s = asyncio.get_running_loop().time()
        if now_s - self.gave_back_s < (self.pause_s if at_rest else TRIM_EVERY_S):
            return False
        return held > self._most * SCARCE or (at_rest and held > self._least + _WORTH_TRIMMING)


class _Resident:
    """Bytes of this process that lie in memory; 0 where the system does not tell (no Linux)."""

    def __init__(self) -> None:
        self._page = os.sysconf("SC_PAGE_SIZE")
        # Kept open: to open it anew costs ten times what there is to read, twenty times a second.
        self._file = os.open("/proc/self/statm", os.O_RDONLY) if sys.platform == "linux" else None

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def read(self) -> int:
        if self._file is None:
            return 0
        return int(os.pread(self._file, 128, 0).split()[1]) * self._page
