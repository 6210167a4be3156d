"""Redis and Valkey servers as child processes, on unix sockets."""

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from penstock.process.lifetime import bound_command
from penstock.scheduler.store.embedded import valkey_binary

ANSWER_S = 60.0


class Store:
    """A server that can be killed and started again with its data."""

    def __init__(self, binary, *options):
        self._folder = tempfile.TemporaryDirectory(prefix="test-penstock-", dir="/tmp")
        self.directory = Path(self._folder.name)
        self.socket = self.directory / "store.sock"
        self.url = f"unix://{self.socket}"
        self._binary = str(binary)
        self._options = options
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        self._folder.cleanup()

    def start(self):
        """Start it, and wait until it answers."""
        fixed = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.directory),
            "logfile": str(self.directory / "log"),
            "save": "",
            "appendonly": "yes",
            # Each write is with the kernel before its answer, and outlives a kill. With "everysec"
            # Redis puts writes off for up to two seconds while the disk is busy with the last ones.
            "appendfsync": "no",
        }
        words = [word for name, value in fixed.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen(
            bound_command(self._binary, *words, *self._options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + ANSWER_S
        while self.command("PING") != b"+PONG":
            log = self.directory / "log"
            told = log.read_text() if log.exists() else ""
            assert self.process.poll() is None, f"the store ended:\n{told}"
            assert time.monotonic() < deadline, f"the store does not answer:\n{told}"
            time.sleep(0.005)

    def kill(self):
        """End it at once; the data stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def command(self, line):
        """The first line of the answer to *line*; None when nobody answers."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S)
            try:
                connection.connect(str(self.socket))
                connection.sendall(line.encode() + b"\r\n")
                return connection.makefile("rb").readline().rstrip()
            except OSError:
                return None


def valkey(*options):
    """The Valkey that Penstock embeds."""
    return Store(valkey_binary(), *options)


def redis(*options):
    """The system's Redis; None where there is none."""
    binary = shutil.which("redis-server")
    return None if binary is None else Store(binary, *options)
