"""Another role's process, as its parent has it: started as a program, or forked from a template."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, Protocol

NOTHING: Final[Mapping[str, int]] = {}

_UNKNOWN: Final = 255
"""Exit status of a process that somebody else has waited for, as asyncio has it."""


class ForkedProcess:
    """A child of this process that was forked from a template, as asyncio has those of its own.

    Attributes:
        returncode: its exit status, negative for a signal; None while it runs.
    """

    def __init__(self, pid: int) -> None:
        """Watch the child *pid*, which nobody has waited for yet."""
        self.pid = pid
        self.returncode: int | None = None
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = loop.create_future()
        self._descriptor = os.pidfd_open(pid)
        loop.add_reader(self._descriptor, self._reap, loop)

    def __repr__(self) -> str:
        return f"ForkedProcess({self.pid}, {self.returncode})"

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        """Raises ProcessLookupError if it has ended."""
        # Until it is reaped, nobody else can have its number.
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Raises ProcessLookupError if it has ended."""
        self.send_signal(signal.SIGKILL)

    def _reap(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            returncode = _UNKNOWN
        else:
            if not pid:
                return
            returncode = os.waitstatus_to_exitcode(status)
        self.returncode = returncode
        loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._ended.set_result(returncode)


Process = asyncio.subprocess.Process | ForkedProcess
"""What a parent has of a role's process."""


class Launch(Protocol):
    """Starts a role's process."""

    def __call__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        descriptors: Mapping[str, int] = NOTHING,
        output: int | None = None,
    ) -> Awaitable[Process]:
        """Start *words*.

        Args:
            environment: all of its variables, but for those of *descriptors*.
            descriptors: what it inherits, by the variable that tells it the number.
            output: where it writes to, errors as well; None: where this process does.
        """
        ...


async def start_program(
    words: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Mapping[str, int] = NOTHING,
    output: int | None = None,
) -> Process:
    """Start *words* as a program of its own (`Launch`)."""
    numbers = {variable: str(number) for variable, number in descriptors.items()}
    return await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        # Ctrl-C in the terminal is for the parent, which ends its children in order.
        start_new_session=True,
        env={**environment, **numbers},
        pass_fds=tuple(descriptors.values()),
    )
