"""What ``penstock check`` looks at: each function looks, and says what it found."""

import asyncio
import contextlib
import importlib.metadata
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from penstock.errors import PenstockError
from penstock.process.machine import cores, gpus, memory_bytes

if TYPE_CHECKING:
    from penstock.cli.offline.trial import Seen
    from penstock.protos import cluster_pb2 as pb

Verdict = Literal["ok", "note", "wrong"]

_OLDEST_PYTHON: Final = (3, 11)
_OPEN_FILES: Final = 4096
_GIB: Final = 1 << 30
_LITTLE_MEMORY: Final = 2 * _GIB
_DISTRIBUTIONS: Final = {
    "server": ("grpcio", "protobuf", "redis", "hiredis", "pydantic", "structlog"),
    "onnx": ("onnxruntime-gpu", "onnxruntime", "onnx"),
    "language": ("tokenizers", "jinja2", "llguidance", "gguf", "safetensors"),
    "torch": ("torch",),
}
_REQUIRED: Final = {
    "server": (
        "grpc",
        "google.protobuf",
        "grpc_health",
        "grpc_reflection",
        "grpc_status",
        "redis",
        "hiredis",
        "pydantic",
        "structlog",
        "uvloop",
        "PIL",
    ),
    "onnx": ("onnxruntime", "onnx"),
    "language": ("tokenizers", "jinja2", "llguidance", "gguf", "safetensors"),
    "torch": ("torch",),
}


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        remedy: what to do; empty when nothing is wrong.
    """

    subject: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def machine(port: int) -> Iterator[Finding]:
    """This machine and what is installed on it."""
    yield python()
    for extra in _REQUIRED:
        yield installed(extra)
    yield accelerators()
    yield embedded_store()
    yield port_free(port)
    yield open_files()
    yield memory()


def python() -> Finding:
    """Python's version."""
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("python", "wrong", version, "install Python 3.11 or newer")
    return Finding("python", "ok", version)


def installed(extra: str) -> Finding:
    """What belongs to an extra of the package."""
    missing = [name for name in _REQUIRED[extra] if not _findable(name)]
    if missing:
        # A gateway needs no runtime, a client no server: this may be as it should be.
        verdict: Verdict = "wrong" if extra == "server" else "note"
        remedy = f"pip install 'penstock[{extra}]'"
        return Finding(f"extra {extra}", verdict, f"missing: {', '.join(missing)}", remedy)
    versions = []
    for name in _DISTRIBUTIONS[extra]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    return Finding(f"extra {extra}", "ok", ", ".join(versions))


def accelerators() -> Finding:
    """Whether the runtimes can use the GPUs that are there."""
    names = [gpu.name for gpu in gpus()]
    if not names:
        return Finding("gpu", "ok", "none; models run on the CPU")
    seen = f"{len(names)}: {', '.join(sorted(set(names)))}"
    if find_spec("onnxruntime"):
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            return Finding(
                *("gpu", "wrong", f"{seen}; ONNX Runtime cannot use it"),
                "pip uninstall onnxruntime && pip install onnxruntime-gpu",
            )
    if find_spec("torch"):
        import torch

        if not torch.cuda.is_available():
            return Finding(
                *("gpu", "wrong", f"{seen}; PyTorch cannot use it"),
                "install a driver that fits this torch, or a torch that fits the driver",
            )
    return Finding("gpu", "ok", seen)


def embedded_store() -> Finding:
    """Whether the Valkey that comes with Penstock runs here."""
    from penstock.scheduler.store.embedded import valkey_binary

    try:
        binary = valkey_binary()
        output = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except PenstockError as error:
        return Finding("embedded valkey", "note", "none", str(error))
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(
            *("embedded valkey", "wrong", f"does not run: {error}"),
            "pass --redis URL to use a Redis or Valkey of your own",
        )
    version = next((w[2:] for w in output.stdout.split() if w.startswith("v=")), "?")
    return Finding("embedded valkey", "ok", version)


def port_free(port: int) -> Finding:
    """Whether a gateway could serve at the usual place."""
    subject = f"port {port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            why = error.strerror or str(error)
            remedy = "stop what serves there, or choose another with --port"
            return Finding(subject, "note", why, remedy)
    return Finding(subject, "ok", "free")


def open_files() -> Finding:
    """Each client connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _OPEN_FILES:
        remedy = f"ulimit -n {_OPEN_FILES} (the hard limit is {hard})"
        return Finding("open files", "note", f"at most {soft}: many clients may exceed it", remedy)
    return Finding("open files", "ok", f"at most {soft}")


def memory() -> Finding:
    """The memory that this process may use."""
    total = memory_bytes()
    text = f"{total / _GIB:.1f} GiB, {cores()} cores"
    if total < _LITTLE_MEMORY:
        return Finding("memory", "note", text, "serve small models only, or use a larger machine")
    return Finding("memory", "ok", text)


def repository(
    *roots: Path,
    load: bool = True,
    python_models: bool = False,
    about: Callable[[str], None] = lambda _: None,
) -> Iterator[Finding]:
    """Each version of each model in the repositories at *roots*, as a cluster would see it.

    Args:
        load: load the artifacts; else only files and configurations are looked at.
        python_models: run those that are Python code, too.
        about: told what is being loaded.
    """
    from penstock.cli.offline.trial import try_versions
    from penstock.models.files.repository import scan
    from penstock.scheduler.registry.snapshot import VersionId

    try:
        versions = scan(*roots, hash_of=lambda _: "")
    except PenstockError as error:
        yield Finding(_named(roots), "wrong", "cannot be used", str(error))
        return
    if not versions:
        remedy = f"put a model at {roots[0]}/NAME/1/model.onnx"
        yield Finding(_named(roots), "wrong", "holds no model", remedy)
    tried = {}
    if load:
        good = [version for version in versions if not version.error]
        tried = try_versions(roots, good, python_models=python_models, about=about)
    for version in versions:
        yield _version(version, tried.get(VersionId(version.model, version.version)))


def _named(roots: Sequence[Path]) -> str:
    return ", ".join(map(str, roots))


def _version(version: "pb.ModelVersion", found: "Seen | PenstockError | None") -> Finding:
    number = f" version {version.version}" if version.version else ""
    subject = f"{version.model}{number}"
    if version.error:
        return Finding(subject, "wrong", "cannot be served", version.error)
    files = [stage.artifact.rpartition("/")[2] for stage in version.stages]
    stages = "1 stage" if len(files) == 1 else f"{len(files)} stages"
    detail = f"{stages}: {', '.join(files)}" if files else "an ensemble"
    if not isinstance(found, PenstockError):
        return _good(subject, detail, found)
    from penstock.cli.offline.trial import NotTried

    if isinstance(found, NotTried):
        remedy = "to try it, too: --allow-python-models"
        return Finding(subject, "note", f"{detail}; {found}", remedy)
    return Finding(subject, "wrong", "cannot be served", str(found))


def _good(subject: str, detail: str, seen: "Seen | None") -> Finding:
    if seen is None:
        return Finding(subject, "ok", detail)
    parts = [detail, seen.batching]
    if seen.completed:
        parts.append(f"taken from the artifact: {seen.completed}")
    if seen.warmed:
        parts.append(f"ran on {seen.warmed}")
    if seen.refused:
        parts.append(f"refuses made-up inputs, which says nothing of requests: {seen.refused}")
        remedy = "model_warmup in config.pbtxt can give it a request to be tried on"
        return Finding(subject, "note", "; ".join(parts), remedy)
    return Finding(subject, "ok", "; ".join(parts))


def store(url: str) -> Finding:
    """Whether Redis answers at *url*, and is new enough."""
    from penstock.process.redaction import redacted
    from penstock.scheduler.store.link import Links

    async def reach() -> None:
        async with Links(url):
            pass

    try:
        asyncio.run(reach())
    except PenstockError as error:
        return Finding("redis", "wrong", redacted(url), str(error))
    return Finding("redis", "ok", f"{redacted(url)} answers and is new enough")


def _findable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
