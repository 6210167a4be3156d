"""Containers for the checks: podman and buildah with a place and settings of their own, on runc."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from deploy_check.check import Wrong, output_of

# As Debian 12 has them: buildah 1.28.2, podman 4.3.1, runc 1.1.5, mmdebstrap 1.3.5.
_PROGRAMS = ("buildah", "podman", "runc", "mmdebstrap")
_PACKAGE_OF = {"systemd-analyze": "systemd", "ip": "iproute2", "nsenter": "util-linux"}
_PLACE = Path(f"/var/tmp/penstock-containers-{os.geteuid()}")  # noqa: S108 - nobody else's
_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{place}/images"
runroot = "{place}/run"
"""
_SETTINGS = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
AS_THE_CHART = (
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--network=host"),
    *("--security-opt=no-new-privileges", "--tmpfs=/tmp:rw,size=64m,mode=1777"),
)
"""How the chart starts containers; but on this machine's network, since there is no other."""


def needed(*programs: str) -> None:
    """Make sure that *programs*, which Debian has in packages, are there.

    In CI, where this machine is nobody's, they are installed; no service is started.

    Raises:
        Wrong: one is missing; it says what to install.
    """
    missing = [name for name in programs if shutil.which(name) is None]
    if not missing:
        return
    packages = [_PACKAGE_OF.get(name, name) for name in missing]
    words = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if os.environ.get("CI") != "true" or os.geteuid() != 0:
        raise Wrong(f"{', '.join(missing)}: not installed here; as root: {words}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    output_of("apt-get", "update", "-qq", within_s=300, env=environment)
    with _no_services():
        output_of(*words.split(), "-y", "-qq", within_s=300, env=environment)


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Whatever is installed in this block starts nothing."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


@cache
def prepare() -> None:
    """Let podman and buildah keep all that they make in a place of the checks' own.

    Raises:
        Wrong: they are missing, or this is not root, who alone can limit memory here.
    """
    needed(*_PROGRAMS)
    if os.geteuid() != 0:
        raise Wrong("images are built, and containers limited, by root: run this as root")
    _PLACE.mkdir(mode=0o700, exist_ok=True)
    for variable, name, text in (
        ("CONTAINERS_STORAGE_CONF", "storage.conf", _STORAGE.format(place=_PLACE)),
        ("CONTAINERS_CONF", "containers.conf", _SETTINGS),
    ):
        (_PLACE / name).write_text(text)
        os.environ[variable] = str(_PLACE / name)
    # What earlier runs left, and nothing names any more.
    output_of("podman", "image", "umount", "--all", "--force")
    output_of("podman", "image", "prune", "--force", within_s=120)


def podman(*words: str | Path, within_s: float = 60) -> str:
    """What podman answers; `Wrong` where it refuses."""
    prepare()
    return output_of("podman", *words, within_s=within_s)


@contextlib.contextmanager
def container(
    image: str, *command: str, options: Sequence[str | Path] = (), name: str
) -> Iterator[str]:
    """A container that runs *command* until the end of the block; its name."""
    podman("rm", "--force", "--ignore", "--time", "0", name)
    podman("run", "--detach", "--name", name, *AS_THE_CHART, *options, image, *command)
    try:
        yield name
    finally:
        podman("rm", "--force", "--time", "0", name)


def exit_status(name: str, within_s: int) -> int:
    """Stop the container *name* by SIGTERM; its status, 137 where it did not end in time."""
    podman("stop", "--time", str(within_s), name, within_s=within_s + 60)
    return int(podman("inspect", "--format", "{{.State.ExitCode}}", name))


def logs_of(name: str) -> str:
    """What the container has written, on both of its outputs."""
    prepare()
    ended = subprocess.run(
        ["podman", "logs", name], capture_output=True, text=True, check=False, timeout=60
    )
    return ended.stdout + ended.stderr


def wait_for(what: str, condition: Callable[[], Any], within_s: float = 60) -> Any:
    """What *condition* gives once that is something; `Wrong`, with its last error, if never."""
    end, last = time.monotonic() + within_s, ""
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (OSError, ValueError, Wrong) as error:
            last = f" ({error})"
        time.sleep(0.1)
    raise Wrong(f"not within {within_s:g} s: {what}{last}")
