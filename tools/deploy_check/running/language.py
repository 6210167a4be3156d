"""A language model in containers: one image exports and computes it, another speaks to callers."""

import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from deploy_check.check import ROOT, Check, Wrong, output_of, require
from deploy_check.running.engine import AS_THE_CHART, container, logs_of, podman, wait_for
from deploy_check.running.images import built
from deploy_check.running.stores import free_ports, valkey

_CHECKPOINT = """
import sys
from pathlib import Path
from support.models.tiny_language import write_folder
for path in write_folder(Path(sys.argv[1])).iterdir():
    path.chmod(0o644)
"""
_ASKED = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 12,
    "temperature": 0,
}


def _answers() -> str:
    """Two stages, each in a worker of its own, and the same text every time."""
    gateway, worker = built("language").name, built("onnx").name
    store, port, http = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="penstock-language-") as name, ExitStack() as stack:
        models = _exported(Path(name), worker)
        stack.enter_context(valkey("--bind", "127.0.0.1", "--port", str(store)))
        mount = (f"--env=PENSTOCK_REDIS=redis://127.0.0.1:{store}", f"--volume={models}:/models:ro")
        for role in ("scheduler", "node"):
            stack.enter_context(_role(worker, role, "--models=/models", options=mount))
        ports = (f"--port={port}", f"--http-port={http}", "--no-metrics")
        stack.enter_context(_role(gateway, "gateway", *ports, options=mount[:1]))
        first = wait_for("an answer", lambda: _chat(http), 120)
        (choice,) = first["choices"]
        again = _chat(http)["choices"][0]["message"]
        require([] if choice["message"] == again else [f"{choice['message']}, then {again}"])
        tokens = first["usage"]["completion_tokens"]
        if not tokens or not choice["message"]["content"]:
            raise Wrong(f"no text: {first}")
    return f"2 stages, {tokens} tokens twice"


def _exported(folder: Path, image: str) -> Path:
    """The model repository that the image makes of a checkpoint."""
    folder.chmod(0o755)
    given = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    output_of(sys.executable, "-c", _CHECKPOINT, folder / "checkpoint", env=given)
    (folder / "models" / "tiny").mkdir(parents=True)
    for path in (folder / "models", folder / "models" / "tiny"):
        path.chmod(0o777)
    place = f"--volume={folder}:/work"
    words = ("export", "/work/checkpoint", "--stages=2", "--output=/work/models/tiny/1")
    podman("run", "--rm", *AS_THE_CHART, place, image, *words, within_s=120)
    return folder / "models"


@contextmanager
def _role(image: str, *command: str, options: tuple[str, ...]) -> Iterator[None]:
    """A role until the end of the block; what it wrote is shown if that fails."""
    with container(image, *command, options=options, name=f"penstock-check-{command[0]}") as name:
        try:
            yield
        except Exception:
            print(logs_of(name)[-2000:])
            raise


def _chat(port: int) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(_ASKED).encode(),
        {"content-type": "application/json"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


CHECKS = (Check("a language model in containers: exported, served", _answers, long=True),)
