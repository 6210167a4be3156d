"""``penstock up`` as a real process: started, watched, hurt, and stopped."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
from support.processes.forks import start

READY_S = 100.0
STOP_S = 45.0
ROLES = ("gateway", "scheduler", "node", "worker")
STORE = "store"


class Cluster:
    """A cluster of real processes on a free port.

    Attributes:
        url: the gateway's address, "127.0.0.1:12345".
        ready_after_s: from the start of the process to its ready file.
    """

    def __init__(self, folder, models, *options, environment=None):
        self.models = Path(models)
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._ready = self._folder / "ready"
        self._log = self._folder / "log"
        self._options = options
        self._environment = environment or {}
        self.process = None
        self.url = ""
        self.ready_after_s = 0.0

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        """Start it, and wait until every model that can be ready is."""
        began = time.monotonic()
        self._ready.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            self.process = start(
                *("up", "--models", str(self.models)),
                *("--port", "0", "--metrics-port", "0"),
                *("--ready-file", str(self._ready), *self._options),
                output=log,
                environment=self._environment,
            )
        while not self._ready.exists():
            assert self.process.poll() is None, self.reworded(
                "the cluster ended before it was ready"
            )
            late = time.monotonic() - began > READY_S
            assert not late, self.reworded(f"the cluster is not ready after {READY_S:.0f} s")
            time.sleep(0.02)
        self.url = self._ready.read_text().split()[0]
        self.ready_after_s = time.monotonic() - began
        return self

    @contextlib.contextmanager
    def running(self):
        """Started; at the end it must stop well, and whatever happened, nothing of it is left."""
        try:
            yield self.start()
            self.stop()
        finally:
            self.destroy()

    def metrics_url(self):
        """Where the metrics are; what it said of them."""
        return re.search(r"Metrics at (http://\S+)", self.output())[1]

    def http_url(self):
        """Where the REST protocol is, with "--http --http-port 0"; what it said of that."""
        return re.search(r"HTTP at https?://(\S+)", self.output())[1]

    def store_url(self):
        """Where its embedded store is, for other roles that shall join."""
        (store,) = self.processes()[STORE]
        sockets = psutil.Process(store).net_connections("unix")
        return "unix://" + next(one.laddr for one in sockets if one.laddr.endswith(".sock"))

    def output(self):
        """What the cluster has written so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def reworded(self, what):
        """*what*, with the cluster's own words."""
        return f"{what}; it wrote:\n{self.output()}"

    def processes(self):
        """The live processes by role; the store is called "store"."""
        found = {role: [] for role in (*ROLES, STORE)}
        for process in psutil.Process(self.pid).children(recursive=True):
            role = role_of(process)
            if role is not None:
                found[role].append(process.pid)
        return found

    def kill(self, role, number=signal.SIGKILL):
        """Send a signal to one process of *role*, and say which."""
        pid = self.processes()[role][0]
        os.kill(pid, number)
        return pid

    def stop(self):
        """Stop it like Ctrl-C does; it must end well and leave nothing behind."""
        if self.process is None or self.process.poll() is not None:
            return
        family = psutil.Process(self.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.destroy()
            raise AssertionError(self.reworded("the cluster does not stop")) from None
        left = [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        for process in left:
            process.kill()

        assert status == 0, self.reworded(f"the cluster ended with status {status}")
        assert not left, self.reworded(f"left behind: {left}")

    def destroy(self):
        """End everything at once."""
        if self.process is None:
            return
        family = []
        if self.process.poll() is None:
            family = psutil.Process(self.pid).children(recursive=True)
            self.process.kill()
            self.process.wait()
        for process in family:
            if process.is_running():
                process.kill()


def role_of(process):
    """Of what a cluster consists of; None for others, and for one that has ended."""
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return None
    if words[1:4] == ["-P", "-m", "penstock"] and len(words) > 4 and words[4] in ROLES:
        return words[4]
    if any("valkey-server" in word for word in words[:1]):
        return STORE
    return None
