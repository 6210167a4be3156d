"""The servers that are compared, each in its own processes, for as long as a ``with`` lasts."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
import psutil
from models import ensure

from penstock.client.access import Access
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc
from penstock.transport.credentials import Credentials

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"

_QUIET = {"PENSTOCK_HTTP": "false"}
"""Several clusters at a time have one port 8000; older revisions do not know the variable."""

_START_S = 120.0
_STOP_S = 30.0


class Server(NamedTuple):
    """A server that answers.

    Attributes:
        address: host:port of its gRPC server.
        pid: of the process that was started; the cluster's others descend from it.
        ca: who signed its certificate, if it speaks TLS.
    """

    address: str
    pid: int
    ca: str | None = None

    @property
    def target(self) -> str:
        """The address as Penstock's clients have it."""
        return self.address if self.ca is None else f"grpcs://{self.address}"

    @property
    def credentials(self) -> Credentials:
        """What they get in with."""
        return Credentials(ca=self.ca)


def processor_s(server: Server) -> float:
    """Processor time that all processes of *server* have had, seconds."""
    first = psutil.Process(server.pid)
    spent_s = 0.0
    for process in (first, *first.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            spent_s += sum(process.cpu_times()[:2])
    return spent_s


class DidNotStart(RuntimeError):
    """A server ended, or took too long, before it served."""

    def __init__(self, command: list[str], log: Path) -> None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        super().__init__(f"{' '.join(command)} did not start:\n{tail}")


@contextlib.contextmanager
def cluster(
    *models: str,
    tree: Path | None = None,
    options: Sequence[str] = (),
    ca: str | None = None,
    instances: int = 1,
) -> Iterator[Server]:
    """A whole cluster (``penstock up``) that serves only *models*, once they are ready.

    Args:
        tree: the sources to run; the installed ones if none is given.
        options: of `penstock up`.
        ca: who signed its certificate, if *options* give it one.
        instances: workers of each model.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        repository = Path(folder) / "models"
        for model in models:
            shutil.copytree(ensure(model), repository / model)
            if instances > 1:
                with (repository / model / "config.pbtxt").open("a") as config:
                    config.write(f"instance_group [{{ kind: KIND_CPU count: {instances} }}]\n")
        with serving_repository(repository, *options, tree=tree) as started:
            server = started._replace(ca=ca)
            for model in models:
                _wait_until_ready(server, model)
            yield server


def serving_repository(
    repository: Path, *options: str, tree: Path | None = None, patience_s: float = _START_S
) -> contextlib.AbstractContextManager[Server]:
    """A whole cluster that serves *repository*, once it says that it is ready."""
    words = ["-m", "penstock", "up", "--models", str(repository), *options]
    return _serving(*words, "--port", "0", "--metrics-port", "0", tree=tree, patience_s=patience_s)


@contextlib.contextmanager
def ceiling(reply: bytes) -> Iterator[Server]:
    """The server that does nothing but answer *reply*."""
    with tempfile.NamedTemporaryFile(prefix="penstock-bench-") as file:
        file.write(reply)
        file.flush()
        with _serving(str(HERE / "ceiling.py"), "--reply", file.name) as server:
            yield server


def run_by(program: str, kind: str) -> contextlib.AbstractContextManager[Server]:
    """One of the servers that *program*, a file of this folder, has."""
    return _serving(str(HERE / program), "--run", kind)


@contextlib.contextmanager
def _serving(
    *words: str, tree: Path | None = None, patience_s: float = _START_S
) -> Iterator[Server]:
    """A program of Python's, once it has written its ready file."""
    command = [sys.executable, *words]
    with (
        tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder,
        (Path(folder) / "log").open("wb") as output,
    ):
        ready = Path(folder) / "ready"
        process = subprocess.Popen(
            [*command, "--ready-file", str(ready)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | _QUIET | ({} if tree is None else {"PYTHONPATH": str(tree / "src")}),
        )
        try:
            gives_up_at = time.monotonic() + patience_s
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > gives_up_at:
                    raise DidNotStart(command, Path(output.name))
                time.sleep(0.05)
            yield Server(ready.read_text().strip(), process.pid)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(server: Server, model: str) -> None:
    gives_up_at = time.monotonic() + _START_S
    with Access.of(server.target, server.credentials).channel() as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        while time.monotonic() < gives_up_at:
            with contextlib.suppress(grpc.RpcError):
                if stub.ModelReady(pb.ModelReadyRequest(name=model), timeout=5).ready:
                    return
            time.sleep(0.1)
    raise TimeoutError(f"{model} was not ready after {_START_S:g} s")
