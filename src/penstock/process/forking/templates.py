"""Templates: processes from which this one forks others, one for each kind of them.

Each is started when the first child of its kind is, and again when it has died. Where it cannot
be forked, children are started as programs, and the log says so once. Templates themselves may be
forked from a seed, which has some of their imports already.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Self

import structlog

from penstock.process.child_process import python_command, without_secrets
from penstock.process.command_line import ROOM
from penstock.process.forking import template
from penstock.process.forking.launch import (
    NOTHING,
    ForkedProcess,
    Launch,
    Process,
    start_program,
)
from penstock.process.lifetime import adopt_orphans

log = structlog.get_logger()

_BIRTH_S: Final = 60.0
"""How long a child may take: the template has to import everything before the first one."""

_END_S: Final = 2.0
"""How long one may take to end, once nobody orders children any more."""

_MOST_FAILURES: Final = 3
"""A template that failed so often in a row is not tried again."""

_ENVIRONMENT: Final[Mapping[str, str]] = {"OPENBLAS_NUM_THREADS": "1"}
"""Of templates: what they import starts no threads. Children have variables of their own."""


class Seed:
    """A process like this one as it was before it did anything, to be forked for templates."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        """*channel*: to the process *pid*, a child of this one that nobody else waits for."""
        self._pid = pid
        self._channel: socket.socket | None = channel
        self._process: ForkedProcess | None = None

    @property
    def pid(self) -> int | None:
        """The process; None once its end has been seen."""
        ended = self._process is not None and self._process.returncode is not None
        return None if ended else self._pid

    async def launch(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        descriptors: Mapping[str, int] = NOTHING,
        output: int | None = None,
    ) -> Process:
        """Fork a child, or start it as a program (`Launch`), as always from then on."""
        if self._channel is not None:
            try:
                return await _fork(self._channel, words, environment, descriptors, output)
            except (template.NotForked, TimeoutError, OSError) as error:
                log.warning("templates begin anew: what they came from is gone", because=str(error))
                await self.close()
        return await start_program(words, environment, descriptors, output)

    async def close(self) -> None:
        """End the process; what was forked from it lives on."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            self._process = ForkedProcess(self._pid)
        if self._process is not None:
            await _ended(self._process)


class Templates:
    """The templates of this process, which end when the context does; their children live on."""

    def __init__(self, seed: Seed | None = None) -> None:
        """*seed*: where templates come from; None: they are started as programs."""
        self._kinds: dict[str, _Template] = {}
        self._seed = seed
        self._usable = template.available()
        if self._usable:
            adopt_orphans()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for kind in self._kinds.values():
            await kind.close()
        if self._seed is not None:
            await self._seed.close()

    def launch_for(self, kind: str) -> Launch:
        """What starts processes of *kind*: workers' runtime, or "roles" for all other roles."""
        if not self._usable:
            return start_program
        start = start_program if self._seed is None else self._seed.launch
        return self._kinds.setdefault(kind, _Template(kind, start)).launch

    @property
    def pids(self) -> Collection[int]:
        """The processes, and that of the seed."""
        pids = [kind.pid for kind in self._kinds.values()]
        pids += [None if self._seed is None else self._seed.pid]
        return [pid for pid in pids if pid is not None]


class _Template:
    """The template of one kind of process, over all its lives."""

    def __init__(self, kind: str, start: Launch) -> None:
        """*start*: how the process itself begins."""
        self._kind = kind
        self._start = start
        self._process: Process | None = None
        self._channel: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._failures = 0

    def __repr__(self) -> str:
        return f"_Template({self._kind}, pid {self.pid}, {self._failures} failures)"

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def launch(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        descriptors: Mapping[str, int] = NOTHING,
        output: int | None = None,
    ) -> Process:
        """Fork a child, or start it as a program (`Launch`)."""
        while self._failures < _MOST_FAILURES:
            channel = await self._running()
            try:
                process = await _fork(channel, words, environment, descriptors, output)
            except template.Unfit as error:
                await self._failed(channel, _MOST_FAILURES, str(error))
            except (template.NotForked, TimeoutError, OSError) as error:
                await self._failed(channel, 1, str(error) or "it does not answer")
            else:
                self._failures = 0
                return process
        return await start_program(words, environment, descriptors, output)

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        if process is not None:
            await _ended(process)

    async def _failed(self, channel: socket.socket, count: int, why: str) -> None:
        """End the process behind *channel*, unless another one has taken its place already."""
        if channel is not self._channel:
            return
        self._failures += count
        if self._failures >= _MOST_FAILURES:
            log.warning("processes are started as programs", kind=self._kind, because=why)
        await self.close()

    async def _running(self) -> socket.socket:
        """The channel to the process, which runs from now on."""
        async with self._starting:
            if self._channel is not None and self.pid is not None:
                return self._channel
            await self.close()
            own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = await self._start(
                    python_command("penstock", "template", self._kind, str(os.getpid()), ROOM),
                    {**without_secrets(), **_ENVIRONMENT},
                    {template.CHANNEL: theirs.fileno()},
                )
            self._channel = own
            return own


async def _fork(
    channel: socket.socket,
    words: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Mapping[str, int],
    output: int | None,
) -> Process:
    loop = asyncio.get_running_loop()
    with template.ask(channel, words, environment, descriptors, output) as answers:
        async with asyncio.timeout(_BIRTH_S):
            answer = await loop.sock_recv(answers, template.MOST_ANSWER)
        child = ForkedProcess(template.number_in(answer))
        with contextlib.suppress(OSError):
            # One that has ended meanwhile needs no word.
            await loop.sock_sendall(answers, template.GO)
        return child


async def _ended(process: Process) -> None:
    """See the end of *process*, whose channel is closed: it ends by itself, or is killed."""
    # A signal to one that has just ended would take its exit status away from the loop.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            await process.wait()
            return
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
