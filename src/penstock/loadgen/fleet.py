"""Several generator processes that begin together, and the sum of what they counted."""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from penstock.errors import PenstockError
from penstock.loadgen.outcome import Outcome
from penstock.loadgen.plan import Plan
from penstock.process.child_process import python_command

Progress = Callable[[int], None]
"""Told from time to time how many good answers have been counted so far."""

_LINE_LIMIT = 1 << 24


class LoadFailed(PenstockError):
    """A generator process could not make its share of the load."""


class _Process:
    """One generator process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.answered = 0

    async def prepare(self, plan: Plan) -> None:
        """Hand over the plan, and wait until the process is connected."""
        assert self._process.stdin is not None  # noqa: S101 - opened as PIPE
        data = plan.to_bytes()
        self._process.stdin.write(b"%d\n%b" % (len(data), data))
        await self._process.stdin.drain()
        await self._heard()

    def begin(self) -> None:
        """Let it send."""
        assert self._process.stdin is not None  # noqa: S101 - opened as PIPE
        self._process.stdin.write(b"go\n")

    async def outcome(self, on_answers: Callable[[], None]) -> Outcome:
        """What it counted, once it is done."""
        while "outcome" not in (message := await self._heard()):
            self.answered = message["answered"]
            on_answers()
        return Outcome.from_json(message["outcome"])

    async def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - opened as PIPE
        line = await self._process.stdout.readline()
        if not line:
            raise LoadFailed(
                f"a load generator process ended early (status {await self._process.wait()})"
            )
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise LoadFailed(message["error"])
        return message


async def run_load(plan: Plan, on_progress: Progress | None = None) -> Outcome:
    """Make the load of *plan* and return what it led to.

    The processes begin together, once each is connected; a cancelled call leaves none behind.

    Raises:
        LoadFailed: the target does not answer, or a process died.
    """
    shares = plan.shares()
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(_started()) for _ in shares]
        await asyncio.gather(
            *(process.prepare(share) for process, share in zip(processes, shares, strict=True))
        )
        for process in processes:
            process.begin()

        def on_answers() -> None:
            if on_progress is not None:
                on_progress(sum(process.answered for process in processes))

        outcomes = await asyncio.gather(*(process.outcome(on_answers) for process in processes))
    total = Outcome(plan.duration_s)
    for outcome in outcomes:
        total.add(outcome)
    return total


@asynccontextmanager
async def _started() -> AsyncIterator[_Process]:
    process = await asyncio.create_subprocess_exec(
        *python_command("penstock.loadgen"), stdin=PIPE, stdout=PIPE, limit=_LINE_LIMIT
    )
    try:
        yield _Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
