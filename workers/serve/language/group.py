"""A group as its head has it: connected with the workers of all later stages, until one is gone."""

import asyncio
import queue
from collections.abc import Sequence
from typing import Final

import structlog

from penstock.clock import monotonic
from penstock.language.rebuild import Rebuild
from penstock.workers.language.head import GroupBroken
from penstock.workers.language.message import Message, Said, Unreadable, packed_message, tokens_in
from penstock.workers.serve.language.dialer import Dialer
from penstock.workers.serve.language.hops import (
    HopKind,
    HopPlace,
    Membership,
    Peer,
    packed_places,
)

log = structlog.get_logger()

_FORMING_S: Final = 2.0
"""A stage that does not answer within this is left out of the next try."""

_ASKED_TIMES: Final = 4
"""So often within the longest silence a stage is asked whether it is there."""


class Group:
    """A head's later stages.

    Attributes:
        epoch: of all messages.
        leaving: a stage is about to end: give back what is under way, and close.
        rebuild: how a lost cache of all stages comes back.
    """

    def __init__(
        self,
        membership: Membership,
        silence_s: float,
        dialer: Dialer,
        places: Sequence[HopPlace] = (),
        rebuild: Rebuild = Rebuild.NONE,
    ) -> None:
        """Make one that has nobody yet.

        Args:
            silence_s: a stage that says nothing for longer, while it is waited for, is gone.
            dialer: connects with the stages.
            places: where all of them are, the first one too; none: on this machine.
        """
        self.epoch = membership.epoch
        self.rebuild = rebuild
        self._dialer = dialer
        self._places = places
        self.leaving = asyncio.Event()
        self._membership = membership
        self._silence_s = silence_s
        self._stages: list[_Stage] = []
        self._said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._broken = asyncio.Event()
        self._why = ""

    def __repr__(self) -> str:
        return f"Group({self._membership}, {self._why or 'whole'})"

    async def form(self) -> list[str]:
        """Connect with all stages, or none; returns the boot ids of those that cannot be had."""
        later = self._membership.boot_ids[1:]
        tried = await asyncio.gather(*(self._ask(number) for number in range(1, len(later) + 1)))
        self._stages = [stage for stage in tried if stage is not None]
        missing = [id_ for id_, stage in zip(later, tried, strict=True) if stage is None]
        if self._broken.is_set():
            # One of them has gone while others were waited for.
            missing = list(later)
        if missing:
            self.close()
        return missing

    async def _ask(self, number: int) -> "_Stage | None":
        stage = _Stage(self, self._loop.create_future())
        boot_id = self._membership.boot_ids[number]
        try:
            async with asyncio.timeout(_FORMING_S):
                place = self._places[number] if self._places else None
                await self._dialer.connect(stage, boot_id, place)
                if self._places:
                    stage.write(HopKind.PLACES, [packed_places(self._places)])
                stage.write(HopKind.FORM, [self._membership.packed()])
                if await stage.formed:
                    return stage
        except TimeoutError:
            log.debug("a stage does not answer", boot_id=boot_id)
        except OSError as error:
            log.warning("no connection with a stage", boot_id=boot_id, why=str(error))
        stage.hang_up()
        return None

    async def breaks(self) -> None:
        """Wait until it is broken.

        Raises:
            GroupBroken: it is.
        """
        await self._broken.wait()
        raise GroupBroken(self._why)

    def close(self) -> None:
        """Let go of all stages: they are free for another group."""
        self.break_off("it was let go of")

    def break_off(self, why: str) -> None:
        """It is broken, and says *why* to whoever waits."""
        if not self._broken.is_set():
            self._why = why
            self._broken.set()
            self._said.put(None)
        for stage in self._stages:
            stage.hang_up()

    def heard(self, content: bytes) -> None:
        """Tokens have come."""
        self._said.put(content)

    # on the thread that computes

    def send(self, message: Message) -> None:
        """See `Hops`."""
        parts = packed_message(message)
        self._loop.call_soon_threadsafe(self._stages[0].write, HopKind.MESSAGE, parts)

    def receive(self) -> Said:
        """See `Hops`."""
        while True:
            try:
                content = self._said.get(timeout=self._silence_s / _ASKED_TIMES)
            except queue.Empty:
                self._loop.call_soon_threadsafe(self._look_after_stages)
                continue
            if content is None:
                # For whoever asks again.
                self._said.put(None)
                raise GroupBroken(self._why)
            try:
                return tokens_in(content)
            except Unreadable as error:
                raise GroupBroken(str(error)) from error

    def _look_after_stages(self) -> None:
        for number, stage in enumerate(self._stages, 1):
            if stage.silent_s() > self._silence_s:
                self.break_off(f"stage {number} is silent")


class _Stage(Peer):
    """One later stage."""

    def __init__(self, group: Group, formed: "asyncio.Future[bool]") -> None:
        super().__init__()
        self.formed = formed
        self._group = group
        self._asked_s: float | None = None

    def hear(self, kind: int, content: bytes) -> None:
        """A frame has come."""
        self._asked_s = None
        if kind == HopKind.TOKENS:
            self._group.heard(content)
        elif kind in (HopKind.FORMED, HopKind.TAKEN) and not self.formed.done():
            self.formed.set_result(kind == HopKind.FORMED)
        elif kind == HopKind.LEAVING:
            self._group.leaving.set()

    def lost(self) -> None:
        """The hop has ended."""
        if not self.formed.done():
            self.formed.set_result(False)
        elif self.formed.result():
            self._group.break_off("the worker of a stage is gone")

    def silent_s(self) -> float:
        """Ask whether it is there; seconds since it was asked first, and has said nothing."""
        now_s = monotonic()
        if self._asked_s is None:
            self._asked_s = now_s
        self.write(HopKind.PING)
        return now_s - self._asked_s
