"""`penstock up` as a child process: started, awaited, and stopped whatever happens."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc

from penstock.protos import cluster_pb2, cluster_pb2_grpc

READY_WITHIN_S = 100.0
STOPPED_WITHIN_S = 20.0


class ClusterFailed(Exception):
    """It did not start, or did not stop; the text says why."""


class Cluster:
    """A cluster on this machine with a gateway on a free port, serving the repositories *models*.

    ``address`` and ``seconds`` (until every model could answer) are known after `start`.
    """

    def __init__(self, *models: Path, options: Sequence[str] = ()) -> None:
        self.address = ""
        self.seconds = 0.0
        self._options = [word for folder in models for word in ("--models", str(folder))]
        self._options += options
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-demo-")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it can answer.

        Raises:
            ClusterFailed: with the end of what it wrote.
        """
        ready, began = Path(self._folder.name) / "ready", time.monotonic()
        command = [sys.executable, "-m", "penstock", "up", *self._options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                [*command, "--port", "0", "--ready-file", str(ready)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the demo, which then stops the cluster in order.
                start_new_session=True,
            )
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() - began > READY_WITHIN_S:
                raise ClusterFailed(f"the cluster did not start:\n{self._last_lines()}")
            await asyncio.sleep(0.02)
        self.seconds = time.monotonic() - began
        self.address = ready.read_text().split()[0]

    async def stop(self) -> float:
        """Stop it in order; returns how many seconds that took.

        Raises:
            ClusterFailed: it had to be killed, or ended with an error.
        """
        process, began = self._process, time.monotonic()
        if process is None:
            return 0.0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            status = await asyncio.to_thread(process.wait, STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise ClusterFailed("the cluster did not stop when told to") from None
        if status != 0:
            raise ClusterFailed(f"the cluster ended with status {status}:\n{self._last_lines()}")
        self._folder.cleanup()
        return time.monotonic() - began

    @property
    def _log(self) -> Path:
        return Path(self._folder.name) / "log"

    def _last_lines(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-12:]) or "it said nothing"


async def kill(address: str, role: str, version: str) -> str:
    """SIGKILL one worker of stage 0 of that version, or a scheduler; returns who it was."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = cluster_pb2_grpc.ClusterStub(channel)
        status = await stub.Status(cluster_pb2.StatusRequest(), timeout=5)
    if role == "scheduler":
        pid = status.schedulers[0].pid
    else:
        found = next(entry for entry in status.versions if str(entry.version) == version)
        pid = found.stages[0].workers[0].pid
    os.kill(pid, signal.SIGKILL)
    return f"{role} {pid}"
