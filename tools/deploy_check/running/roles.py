"""Roles as processes of this machine, which the checks watch and end as a kubelet does."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from deploy_check.check import Wrong
from deploy_check.running.engine import wait_for


class Role:
    """One ``penstock <role>``; *words* say at which ports, its health port among them."""

    def __init__(self, folder: Path, name: str, words: Sequence[str], url: str) -> None:
        self._words = words
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "penstock", *words, f"--parent-pid={os.getpid()}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PENSTOCK_REDIS": url, "PENSTOCK_PORT": "tcp://10.0.0.1:8001"},
            )

    @property
    def port(self) -> int:
        """Where it serves gRPC."""
        return int(self._said("--port"))

    def wait_until_ready(self) -> None:
        """Wait until its readiness probe would succeed."""
        address = f"http://127.0.0.1:{self._said('--health-port')}/readyz"
        wait_for(f"{self._words[0]} is ready", lambda: self._answers(address), 120)

    def end(self, within_s: float) -> int:
        """SIGTERM; its exit status, that of SIGKILL where it took longer."""
        self._process.terminate()
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def _said(self, option: str) -> str:
        (value,) = (word.partition("=")[2] for word in self._words if word.startswith(f"{option}="))
        return value

    def _answers(self, address: str) -> bool:
        if self._process.poll() is not None:
            raise Wrong(f"{self._words[0]} ended before it was ready", self.log())
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(address, timeout=5) as answer:
            return bool(answer.status == 200)
