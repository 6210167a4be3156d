"""The processes of ``penstock up``: each runs one role, and is started again when it dies."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from penstock.errors import Code, PenstockError
from penstock.process.forking.launch import Launch, Process, start_program
from penstock.settings import RoleSettings

Say = Callable[[str, str], None]
"""Shows a line of a role to the user: (role, line)."""

_PAUSE_FIRST_S, _PAUSE_MAX_S = 0.2, 5.0
_STEADY_S: Final = 10.0
_LAST_WORDS_S: Final = 0.1
_LONGEST_LINE: Final = 1 << 20
_REFUSED: Final = 1
_ERROR_PREFIX: Final = "penstock: "


class RoleFailed(PenstockError):
    """A role refused to begin; its text is what it said itself."""

    code = Code.FAILED_PRECONDITION


class Child:
    """One role's process over all its lives.

    Attributes:
        role: as in ``penstock <role>``.
        options: of its next life, by the names of its settings.
        ready_file: exists once the role has served.
    """

    def __init__(
        self,
        kind: type[RoleSettings],
        options: Mapping[str, Any],
        ready_file: Path,
        say: Say,
        environment: Mapping[str, str],
        launch: Launch = start_program,
    ) -> None:
        """*launch* starts its process."""
        self.role = kind.role
        self.ready_file = ready_file
        self.options = {**options, "ready_file": ready_file}
        self._kind = kind
        self._say = say
        self._environment = environment
        self._launch = launch
        self._process: Process | None = None
        self._error = ""
        self._relaying: asyncio.Task[None] | None = None
        # One pipe for all its lives: a worker that outlives its node keeps writing to it.
        self._reading, self._writing = os.pipe()

    def __repr__(self) -> str:
        return f"Child({self.role}, pid {self.pid})"

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def keep(self) -> None:
        """Run the role for ever.

        Raises:
            RoleFailed: it refused to begin, for a reason that another start would not change.
        """
        self._relaying = asyncio.create_task(self._relay())
        pause_s = _PAUSE_FIRST_S
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            status = await self._live()
            await asyncio.sleep(_LAST_WORDS_S)
            self._judge(status)
            if loop.time() - started > _STEADY_S:
                pause_s = _PAUSE_FIRST_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def end(self, patience_s: float) -> None:
        """Stop the process in order; kill it when that takes longer than *patience_s*."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(patience_s):
                    await process.wait()
            except TimeoutError:
                self._say(self.role, f"does not stop within {patience_s:.0f} s, killing it")
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        await self._hear_out()

    async def _hear_out(self) -> None:
        """Show what is still to be read; what the role has started may write on."""
        os.close(self._writing)
        if self._relaying is not None:
            await asyncio.wait({self._relaying}, timeout=_LAST_WORDS_S)
            self._relaying.cancel()
            await asyncio.gather(self._relaying, return_exceptions=True)

    async def _live(self) -> int:
        self._error = ""
        words = self._kind.child_command(self.options)
        self._process = await self._launch(words, self._environment, output=self._writing)
        return await self._process.wait()

    def _judge(self, status: int) -> None:
        if status == _REFUSED and not self.ready_file.exists():
            raise RoleFailed(self._error or f"the {self.role} could not begin; see the lines above")
        if self._error:
            self._say(self.role, self._error)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        self._say(self.role, f"{how}, starting it again")

    async def _next_line(self, reader: asyncio.StreamReader) -> bytes:
        while True:
            try:
                return await reader.readline()
            except ValueError:
                self._say(self.role, f"a line of more than {_LONGEST_LINE >> 10} KiB is left out")

    async def _relay(self) -> None:
        reader = asyncio.StreamReader(limit=_LONGEST_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._reading, "rb")
        )
        try:
            while line := await self._next_line(reader):
                text = line.decode(errors="replace").rstrip()
                if text.startswith(_ERROR_PREFIX):
                    # Shown once it is known whether it is the end.
                    self._error = text.removeprefix(_ERROR_PREFIX)
                elif text:
                    self._say(self.role, text)
        finally:
            transport.close()
