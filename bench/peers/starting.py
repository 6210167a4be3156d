"""Starts each server with one model, for as long as a ``with`` lasts."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from models import MODELS, ensure, tensor_lines
from servers import Server, cluster

from peers.environments import HERE, environment, site_packages
from peers.tunings import OURS, Tuning

SERVED: Final = HERE / "served"
PATIENCE_S: Final = 120.0
_STOP_S: Final = 20.0


class DidNotServe(RuntimeError):
    """A peer ended, or answered nothing in time."""


class Peer(NamedTuple):
    """A server that was started.

    Attributes:
        server: its gRPC address, and its first process.
        http: its port for HTTP, if it is asked over that.
        log: what it has written.
        process: None for Penstock, which says itself when it serves.
    """

    server: Server
    http: int | None = None
    log: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None

    def check(self) -> None:
        """Refuse one that has ended.

        Raises:
            DidNotServe: with its last words.
        """
        if self.process is not None and self.process.poll() is not None and self.log is not None:
            words = self.log.read_text(errors="replace")[-2000:]
            raise DidNotServe(f"it ended with status {self.process.returncode}:\n{words}")


class Command(NamedTuple):
    """How a peer is started.

    Attributes:
        variables: of its environment, beside those that this process has.
        port: that it answers at.
        over_http: not over gRPC.
    """

    words: tuple[str, ...]
    variables: Mapping[str, str]
    port: int
    over_http: bool = False


@contextlib.contextmanager
def started(name: str, model: str, tuning: Tuning, *, computes: bool) -> Iterator[Peer]:
    """The server *name*, which has begun to start, with *model*.

    Raises:
        NotInstalled, DidNotServe: it cannot be had.
    """
    if name in OURS:
        with cluster(model, options=tuning.options, instances=tuning.workers) as server:
            yield Peer(server)
        return
    with tempfile.TemporaryDirectory(prefix="penstock-peers-") as folder:
        command = _COMMANDS[name](Path(folder), model, tuning, computes)
        with _running(command, Path(folder)) as peer:
            yield peer


def _triton(folder: Path, model: str, tuning: Tuning, _: bool) -> Command:  # noqa: FBT001
    own = environment("Triton")
    site = site_packages(own)
    home = site / "pytriton" / "tritonserver"
    backend = folder / "backends" / "python"
    shutil.copytree(home / "backends" / "python", backend)
    version = site.parent.name.removeprefix("python")
    stub = home / "python_backend_stubs" / version / "triton_python_backend_stub"
    for program in (home / "bin" / "tritonserver", Path(shutil.copy(stub, backend / stub.name))):
        program.chmod(0o755)
    entry = folder / "models" / model
    (entry / "1").mkdir(parents=True)
    shutil.copy(SERVED / "triton_model.py", entry / "1" / "model.py")
    shutil.copy(SERVED / "onnx_served.py", entry / "1")
    (entry / "config.pbtxt").write_text(_config(model, tuning))
    grpc_port, http_port = free_ports(2)
    command = (
        *(str(home / "bin" / "tritonserver"), "--model-repository", str(folder / "models")),
        *("--backend-directory", str(backend.parent), "--allow-metrics", "false"),
        *("--grpc-port", str(grpc_port), "--grpc-address", "127.0.0.1"),
        *("--http-port", str(http_port), "--http-address", "127.0.0.1"),
    )
    variables = {
        "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
        "VIRTUAL_ENV": str(own),
        "PATH": f"{own}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(site),
    }
    return Command(command, variables, grpc_port)


def _config(model: str, tuning: Tuning) -> str:
    tensors = "\n".join(tensor_lines(MODELS[model][2]))
    artifact = ensure(model) / "1" / "model.onnx"
    delay_us = int(tuning.delay_ms * 1000)
    return f"""
name: "{model}" backend: "python" max_batch_size: {tuning.batch}
{tensors}
instance_group [{{ kind: KIND_CPU count: {tuning.workers} }}]
dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}
parameters {{ key: "artifact" value {{ string_value: "{artifact}" }} }}
parameters {{ key: "threads" value {{ string_value: "{tuning.threads}" }} }}
"""


def _kserve(_: Path, model: str, tuning: Tuning, computes: bool) -> Command:  # noqa: FBT001
    """As many processes as workers: the kernel spreads connections over them."""
    python = environment("KServe") / "bin" / "python"
    grpc_port, *http_ports = free_ports(1 + tuning.workers)
    program = f"""
import subprocess, sys
words = [sys.executable, {str(SERVED / "kserve_server.py")!r}, "{grpc_port}"]
started = [subprocess.Popen([*words, str(port), "{computes}"]) for port in {http_ports}]
sys.exit(max(one.wait() for one in started))
"""
    command = (str(python), "-c", program)
    return Command(command, _variables(model, tuning), grpc_port)


def _mlserver(folder: Path, model: str, tuning: Tuning, _: bool) -> Command:  # noqa: FBT001
    own = environment("MLServer")
    grpc_port, http_port, metrics_port = free_ports(3)
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "grpc_port": grpc_port,
        "http_port": http_port,
        "metrics_port": metrics_port,
        "metrics_endpoint": None,
        "parallel_workers": tuning.workers,
        "grpc_max_message_length": 64 << 20,
        "logging_settings": {"version": 1, "root": {"level": "WARNING"}},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    batches = {"max_batch_size": tuning.batch, "max_batch_time": tuning.delay_ms / 1000}
    described = {
        "name": model,
        "implementation": "mlserver_model.Run",
        **(batches if tuning.batch > 1 else {}),
    }
    (folder / "model-settings.json").write_text(json.dumps(described))
    command = (str(own / "bin" / "mlserver"), "start", str(folder))
    variables = {**_variables(model, tuning), "PYTHONPATH": str(SERVED)}
    return Command(command, variables, grpc_port)


def _mosec(folder: Path, model: str, tuning: Tuning, _: bool) -> Command:  # noqa: FBT001
    python = environment("mosec") / "bin" / "python"
    (port,) = free_ports(1)
    command = (
        *(str(python), str(SERVED / "mosec_server.py"), "--address", "127.0.0.1"),
        *("--port", str(port), "--path", str(folder / "ipc"), "--log-level", "warning"),
        *("--timeout", "60000", "--capacity", "4096"),
    )
    return Command(command, _variables(model, tuning), port, over_http=True)


def _variables(model: str, tuning: Tuning) -> dict[str, str]:
    """What `served/onnx_served.py` reads."""
    return {
        "PEER_ARTIFACT": str(ensure(model) / "1" / "model.onnx"),
        "PEER_MODEL": model,
        "PEER_WORKERS": str(tuning.workers),
        "PEER_THREADS": str(tuning.threads),
        "PEER_BATCH": str(tuning.batch),
        "PEER_DELAY_MS": str(tuning.delay_ms),
    }


@contextlib.contextmanager
def _running(command: Command, folder: Path) -> Iterator[Peer]:
    log = folder / "log"
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**inherited, **command.variables},
            process_group=0,
        )
    try:
        server = Server(f"127.0.0.1:{command.port}", process.pid)
        yield Peer(server, command.port if command.over_http else None, log, process)
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """It and what it has started, which are one group."""
    for number in (15, 9):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)


def free_ports(count: int) -> list[int]:
    """As many ports of the loopback that nobody has."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def until_answered(peer: Peer, ask: Callable[[], bytes]) -> bytes:
    """The first answer.

    Raises:
        DidNotServe: none came.
    """
    gives_up_at = time.monotonic() + PATIENCE_S
    while True:
        peer.check()
        try:
            return ask()
        except Exception as error:  # whatever a client says while nobody answers
            if time.monotonic() > gives_up_at:
                raise DidNotServe(f"it has not answered in {PATIENCE_S:g} s: {error}") from error
        time.sleep(0.3)


_COMMANDS: Final[dict[str, Callable[[Path, str, Tuning, bool], Command]]] = {
    "Triton": _triton,
    "KServe": _kserve,
    "MLServer": _mlserver,
    "mosec": _mosec,
}
