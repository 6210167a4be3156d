"""Stores for the checks: Valkey 9, which Penstock brings along, and the system's Redis."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy_check.check import Wrong
from deploy_check.running.engine import wait_for
from penstock.process.lifetime import bound_command
from penstock.scheduler.store.embedded import valkey_binary


def free_ports(count: int) -> list[int]:
    """Ports at which nobody listens now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def redis_binary() -> Path:
    """Redis 7.0, as Debian has it; `Wrong` where it is missing."""
    found = shutil.which("redis-server")
    if found is None:
        raise Wrong("redis-server is missing: apt-get install redis-server")
    return Path(found)


@contextlib.contextmanager
def valkey(*words: str, within: Sequence[str] = ()) -> Iterator[Path]:
    """A Valkey with these words until the end of the block; its folder."""
    with server(valkey_binary(), *words, within=within) as folder:
        yield folder


@contextlib.contextmanager
def server(binary: Path, *words: str, within: Sequence[str] = ()) -> Iterator[Path]:
    """*binary* with these words, in a folder of its own, until the end of the block; the folder.

    Args:
        within: what runs it, in surroundings of its own.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-store-", dir="/tmp") as name:
        folder = Path(name)
        process = subprocess.Popen(
            bound_command(
                *(shutil.which(word) or word for word in within),
                *(str(binary), *words, "--dir", name, "--logfile", str(folder / "log")),
                *("--unixsocket", str(folder / "socket")),
            ),
            stdin=subprocess.DEVNULL,
        )
        try:
            wait_for(f"{binary.name} answers", lambda: _answers(folder / "socket", process, folder))
            yield folder
        finally:
            process.terminate()
            process.wait(20)


def _answers(path: Path, process: "subprocess.Popen[bytes]", folder: Path) -> bool:
    if process.poll() is not None:
        log = folder / "log"
        raise RuntimeError(log.read_text() if log.exists() else "it said nothing")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        # One that wants a password answers as well.
        return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
