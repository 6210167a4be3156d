"""Steps: the engine's, on the device's thread; each begins at once when the one before is done.

What a step brought goes to the event loop, which stores it while the next one computes. Between two
steps the device waits for nobody: two may be done whose tokens are not stored, and as a rule those
of the first are by the time the second has ended.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine, NewToken
from penstock.workers.liveness.renewal import Renewal

MOST_AHEAD: Final = 2
"""Steps whose tokens are not in the store: one that is being stored, and one that computes."""


class Step(NamedTuple):
    """What a step brought, in *took_s* seconds."""

    brought: Sequence[NewToken]
    took_s: float


class Steps:
    """The steps of *engine*, as its owner's event loop has them.

    It steps by itself as long as there is something to do, and `next` gives what each brought.
    """

    def __init__(self, engine: Engine, device: ThreadPoolExecutor, renewal: Renewal) -> None:
        """*device* is the one thread that computes; *renewal* watches what runs there."""
        self._engine = engine
        self._device = device
        self._renewal = renewal
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Queue[Step | BaseException | None] = asyncio.Queue()
        # What follows is both threads'.
        self._lock = threading.Lock()
        self._coming: list[Answer] = []
        self._leaving: list[Answer] = []
        self._ahead = 0
        self._runs = self._stopped = False
        # The device's alone.
        self._took_s = 0.0

    def __repr__(self) -> str:
        return f"Steps({self._engine}, {self._ahead} ahead)"

    def admit(self, answer: Answer) -> None:
        """*answer* is in the next step that begins."""
        with self._lock:
            self._coming.append(answer)
        self._go_on()

    def evict(self, answer: Answer) -> None:
        """*answer* is in no step that begins from now on."""
        with self._lock:
            if answer in self._coming:
                self._coming.remove(answer)
                return
            self._leaving.append(answer)
        self._go_on()

    async def next(self) -> Step | None:
        """What the next step brought; None once it was stopped and all is said.

        Raises:
            Exception: what ended a step; there will be no other.
        """
        done = await self._done.get()
        if isinstance(done, BaseException):
            raise done
        return done

    def stored(self) -> None:
        """What `next` gave is in the store, or there was nothing to store: one more may begin."""
        with self._lock:
            self._ahead -= 1
        self._go_on()

    def stop(self) -> None:
        """No step begins any more."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            if self._runs:
                # It says so itself, behind what its last step brings.
                return
        self._say(None)

    def _go_on(self) -> None:
        """Have the device step, where it does not and there may be something to do."""
        with self._lock:
            if self._runs or self._stopped or self._ahead >= MOST_AHEAD:
                return
            if self._engine.is_idle and not self._coming and not self._leaving:
                return
            self._runs = True
        self._device.submit(self._run)

    # on the device's thread

    def _run(self) -> None:
        try:
            while self._begins():
                self._renewal.batch_begins(object(), self._took_s)
                began_s = time.monotonic()
                try:
                    brought = self._engine.step()
                finally:
                    self._renewal.batch_ends()
                self._took_s = time.monotonic() - began_s
                self._say(Step(brought, self._took_s))
        except BaseException as error:  # noqa: BLE001 - whoever waits for the next one raises it
            # It stays in `_runs`: what failed does not step again.
            self._say(error)

    def _begins(self) -> bool:
        """Let come and go who does; whether a step begins now, which counts as one ahead."""
        with self._lock:
            coming, self._coming = self._coming, []
            leaving, self._leaving = self._leaving, []
            for answer in coming:
                self._engine.admit(answer)
            for answer in leaving:
                self._engine.evict(answer)
            if not self._stopped and self._ahead < MOST_AHEAD and not self._engine.is_idle:
                self._ahead += 1
                return True
            self._runs = False
            if self._stopped:
                self._say(None)
            return False

    def _say(self, done: Step | BaseException | None) -> None:
        self._loop.call_soon_threadsafe(self._done.put_nowait, done)
