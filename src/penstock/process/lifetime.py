"""The life of a process: how it ends, together with whom, and how it says that it serves.

Roles end in order at the first SIGTERM or SIGINT, at once at the second, and never outlive the
process that started them (`penstock.bound`).
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from penstock.bound import set_process_option
from penstock.clock import monotonic
from penstock.process.child_process import python_command

if TYPE_CHECKING:
    # A tenth of a second, which those need not wait for who only ask for help.
    import asyncio

INTERRUPTED = 130
"""Exit status of a process that was told twice to stop: 128 + SIGINT, as shells have it."""

_TERMINATED = 143
"""Exit status of a process that was told to stop before it had begun: 128 + SIGTERM."""

_PR_SET_CHILD_SUBREAPER = 36
_REAP_EVERY_S = 5.0

_KILLED_S = 2.0
"""How long processes may take to end once they are killed: the kernel takes them apart."""


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent dies, so that none can be lost (Linux)."""
    set_process_option(_PR_SET_CHILD_SUBREAPER, 1)


def children_of(pid: int) -> list[int]:
    """The processes that *pid* is the parent of; empty where /proc does not tell."""
    found: list[int] = []
    # A process may end while it is looked at.
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


async def reap_strangers(own: Callable[[], Collection[int]]) -> None:
    """Let go of adopted children that have ended, from time to time until cancelled.

    Args:
        own: those that others wait for.
    """
    import asyncio

    seen: set[int] = set()
    while True:
        await asyncio.sleep(_REAP_EVERY_S)
        strangers = set(children_of(os.getpid())).difference(own())
        # Twice seen: a child that is just being started is not known yet.
        _let_go(seen & strangers)
        seen = strangers


def _let_go(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def kill_descendants(pid: int) -> None:
    """Kill everything that *pid* has started, and what those have started, and see it end.

    What the kernel has not taken apart within `_KILLED_S` is not waited for.
    """
    with contextlib.ExitStack() as stack:
        ends = select.poll()
        killed = list(_killed_below(pid))
        for descriptor in killed:
            stack.callback(os.close, descriptor)
            ends.register(descriptor, select.POLLIN)
        give_up_s = monotonic() + _KILLED_S
        while killed and (left_s := give_up_s - monotonic()) > 0:
            for descriptor, _ in ends.poll(1000 * left_s):
                ends.unregister(descriptor)
                killed.remove(descriptor)


def _killed_below(pid: int) -> Iterator[int]:
    """Kill the descendants; for each a descriptor that can be read once it has ended."""
    for child in children_of(pid):
        yield from _killed_below(child)
        descriptor = None
        # Where there are no more of them it is killed all the same.
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(child)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        if descriptor is not None:
            yield descriptor


@contextlib.asynccontextmanager
async def stop_signals(
    on_second: Callable[[], None] | None = None,
) -> "AsyncIterator[asyncio.Event]":
    """An event that is set at the first SIGTERM or SIGINT.

    The second ends the process at once with status 130, after *on_second* was called.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def heard() -> None:
        if stop.is_set():
            if on_second is not None:
                on_second()
            os._exit(INTERRUPTED)
        stop.set()

    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, heard)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def starting(stop: "asyncio.Event") -> "AsyncIterator[Callable[[], object]]":
    """What a role does before it heeds *stop* itself: *stop* breaks it off, without an error.

    A store that says nothing is waited for patiently, and whoever stops the role is not patient.
    Gives what ends the starting: from then on *stop* is only set.
    """
    import asyncio

    task = asyncio.current_task()

    async def break_off() -> None:
        await stop.wait()
        if task is not None:
            task.cancel()

    breaking = asyncio.create_task(break_off())
    try:
        yield breaking.cancel
    except asyncio.CancelledError:
        broken_off = breaking.done() and not breaking.cancelled()
        if not broken_off or task is None or task.uncancel():
            raise
    finally:
        breaking.cancel()


def end_if_told_early() -> None:
    """Let SIGTERM end the first process of a container also while it still starts.

    From such a process the kernel keeps every signal that it does not handle: whoever stops the
    container just after its start would wait for as long as is granted, and kill it.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(_TERMINATED))


async def until_first(stop: "asyncio.Event", *tasks: "asyncio.Future[None]") -> None:
    """Wait for *stop*, or for the first of *tasks* to end: one that failed raises here."""
    import asyncio

    stopping = asyncio.ensure_future(stop.wait())
    waited: set[asyncio.Future[Any]] = {stopping, *tasks}
    try:
        done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    for task in done:
        task.result()


def quiet_libraries() -> None:
    """Tell libraries that are loaded from now on what they may not do, unless somebody else has."""
    # ONNX Runtime would send usage data, from a thread that must not be there in a fork.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # A line of gRPC's own for each handshake that fails, whoever tried, is none of our log.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def tune_gc() -> None:
    """Let the garbage collector look seldom: what a start makes, modules above all, stays.

    As Python sets it, it looks hundreds of times meanwhile, a tenth of the whole start.
    """
    gc.set_threshold(50_000, 20, 20)


def freeze_gc() -> None:
    """Spare the garbage collector what was made until now: it stays until the end.

    Each full collection would look at all of it, for milliseconds, and find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def end_process(*_kept: object, status: int = 0) -> NoReturn:
    """End this process now; what it is given is not let go of before.

    Nothing is taken apart: for a role that has ended in order this would be a tenth of its work.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def say_ready(path: Path | None, text: str) -> None:
    """Say that this role serves: in the file *path*, and to systemd, if that started it."""
    write_ready(path, text)
    # Workers are started from here on, and are not who was asked.
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.sendto(b"READY=1", address.replace("@", "\0", 1))


def write_ready(path: Path | None, text: str) -> None:
    """Say in the file *path* that the process serves; whoever sees the file sees all of *text*."""
    if path is None:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def bound_command(*command: str) -> list[str]:
    """The command line of *command* as a child that ends together with this process."""
    return python_command("penstock.bound", str(os.getpid()), *command)
