"""Images, built and taken apart: what is in them and what is not; started as the chart does it."""

import json
import os
import re
import stat
import tempfile
import urllib.request
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from images.image import Image, build_image
from images.steps import source_date

from deploy_check.check import ROOT, Check, require
from deploy_check.running.engine import (
    container,
    exit_status,
    logs_of,
    podman,
    prepare,
    wait_for,
)
from deploy_check.running.stores import free_ports, valkey

_MOST_BYTES = {"gateway": 150_000_000, "language": 180_000_000, "onnx": 1_500_000_000}
_PROGRAMS = re.compile(
    r"(ba|da|z|k|a)?sh|busybox|g?cc(-\d+)?|[cg]\+\+|ld(\.\w+)?|as|make|pip[\d.]*|apt(-get)?|dpkg"
    r"|curl|wget|git"
)
_OF_NO_GATEWAY = re.compile(r"site-packages/(torch|onnx|onnxruntime|nvidia|pip|setuptools)[-/]")
_NO_PART = {
    "gateway": _OF_NO_GATEWAY,
    "language": _OF_NO_GATEWAY,
    "onnx": re.compile(r"site-packages/(torch|nvidia|pip|setuptools)[-/]"),
}
_HISTORY = re.compile(r"(^|/)\.\w*_history$|(^|/)\.(netrc|pypirc|git|ssh|cache|config)(/|$)")
_SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}"
    rb"|psk_\w{8,}_\w{40}|\bAKIA[0-9A-Z]{16}\b"
)


@cache
def built(target: str) -> Image:
    """The image *target* of this tree, built once."""
    prepare()
    # Also where somebody commits meanwhile.
    os.environ.setdefault("SOURCE_DATE_EPOCH", source_date())
    return build_image(target)


@cache
def _mounted(image: str) -> Path:
    return Path(podman("image", "mount", image).strip())


def _contents(target: str) -> str:
    image = built(target)
    facts = json.loads(podman("image", "inspect", image.name))[0]
    faults = []
    if facts["Size"] >= _MOST_BYTES[target]:
        faults.append(f"{facts['Size']} bytes, and {_MOST_BYTES[target]} are too many")
    if facts["User"] != "65532:65532":
        faults.append(f"it runs as {facts['User']}")
    files = sorted(path for path in _mounted(image.name).rglob("*") if not path.is_dir())
    for path in files:
        name = str(path.relative_to(_mounted(image.name)))
        if _NO_PART[target].search(name):
            faults.append(f"{name}: no part of this image")
        faults += (f"{name}: {why}" for why in _amiss(path, name))
    listed = {part["name"] for part in json.loads(image.parts.read_text())["packages"]}
    faults += (f"{name} is not in {image.parts}" for name in _known_parts(target) - listed)
    require(faults)
    return f"{len(files)} files, {facts['Size'] / 1e6:.0f} MB, {len(listed)} parts"


def _amiss(path: Path, name: str) -> Iterator[str]:
    """What must not be in any image."""
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode) and mode & 0o111 and _PROGRAMS.fullmatch(path.name):
        yield "a program that nothing here needs"
    if mode & (stat.S_ISUID | stat.S_ISGID):
        yield "it runs as somebody else"
    if _HISTORY.search(name):
        yield "what somebody did, or was told"
    if stat.S_ISREG(mode) and _SECRET.search(path.read_bytes()):
        yield "a secret"


def _known_parts(target: str) -> set[str]:
    locked = (ROOT / f"deploy/images/requirements/{target}.txt").read_text()
    return {*re.findall(r"^([\w-]+)==", locked, re.MULTILINE), "penstock", "libc6", "libssl3"}


def _starts() -> str:
    """As any user, with nothing to write to but /tmp, and hardly any shared memory."""
    image = built("gateway").name
    faults: list[str] = []
    (store_port,) = free_ports(1)
    with valkey("--bind", "127.0.0.1", "--port", str(store_port)):
        for user in ("65532:65532", "1234567:0"):
            faults += _life_of_a_gateway(image, user, f"redis://127.0.0.1:{store_port}")
    require(faults)
    return "2 users, SIGTERM, /livez, limits"


def _life_of_a_gateway(image: str, user: str, url: str) -> Iterator[str]:
    port, http, metrics = free_ports(3)
    ports = [f"--port={port}", f"--http-port={http}", f"--metrics-port={metrics}"]
    limits = ["--memory=256m", "--memory-swap=256m", "--shm-size=64k", "--cpus=1"]
    options = [f"--user={user}", f"--env=PENSTOCK_REDIS={url}", *limits]
    # As Kubernetes sets it for a Service of that name.
    options += ["--env=PENSTOCK_PORT=tcp://10.0.0.1:8001"]
    name = "penstock-check-gateway"
    with container(image, "gateway", *ports, options=options, name=name):
        try:
            wait_for("/livez answers", lambda: _answers(f"http://127.0.0.1:{http}/livez"))
        except Exception:
            print(logs_of(name))
            raise
        told = podman("exec", name, "python", "-c", _WHAT_IT_HAS).split()
        if told != ["1", str(256 << 20)]:
            yield f"as {user}: it takes itself to have {told} cores and bytes"
        if (status := exit_status(name, 20)) != 0:
            yield f"as {user}: SIGTERM ended it with status {status}: {logs_of(name)}"


_WHAT_IT_HAS = "from penstock.process import machine as m; print(m.cores(), m.memory_bytes())"


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=5) as answer:
        return bool(answer.status == 200)


def _same_again() -> str:
    first = built("gateway")
    with tempfile.TemporaryDirectory() as folder:
        again = build_image("gateway", name="localhost/penstock-again", out=Path(folder))
    require([] if first.digest == again.digest else [f"{first.digest}, then {again.digest}"])
    return str(first.digest[:19])


def _stops_at_once() -> str:
    """Told to stop before it has begun, as where a Pod is deleted just after it was made."""
    image = built("gateway").name
    statuses = []
    for _ in range(5):
        with container(image, "gateway", name="penstock-check-early") as name:
            statuses.append(exit_status(name, 20))
    require([f"status {status}" for status in statuses if status == 137])
    return f"{len(statuses)} starts"


CHECKS = (
    Check(
        "the gateway's image: small, without shell, compiler or secret",
        partial(_contents, "gateway"),
    ),
    Check("its container: read-only, any user, limits, SIGTERM", _starts),
    Check("its container: SIGTERM at its very start", _stops_at_once),
    Check("the gateway's image, built twice: one digest", _same_again, long=True),
    Check(
        "the image for gateways of language models: the same",
        partial(_contents, "language"),
        long=True,
    ),
    Check("the image for ONNX: the same, and no torch", partial(_contents, "onnx"), long=True),
)
