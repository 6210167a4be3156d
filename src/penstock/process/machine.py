"""What this machine has: cores, memory, GPUs, as far as this process may use them."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

_MIB: Final = 1 << 20
_ASK_S: Final = 30.0
_ROOT: Final = Path("/")
# Where the memory controller may be, and what its limit is called there: version 2, the hybrid
# that systemd offers, and version 1.
_CONTROLLERS: Final = (
    ("", "sys/fs/cgroup", "memory.max"),
    ("", "sys/fs/cgroup/unified", "memory.max"),
    ("memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes"),
)


class Gpu(NamedTuple):
    """A GPU as CUDA programs of this process see it.

    Attributes:
        number: CUDA's for it: 0 is the first that `CUDA_VISIBLE_DEVICES` leaves.
        memory_bytes: 0 where the driver does not tell.
    """

    number: int
    name: str
    memory_bytes: int


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes(root: Path = _ROOT) -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's.

    A group counts with all that it lies in: the smallest limit on the way up ends a process.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _cgroup_limits(root):
        with contextlib.suppress(OSError, ValueError):  # "max", or another kind of system
            total = min(total, int(limit.read_text()))
    return total


def _cgroup_limits(root: Path) -> Iterator[Path]:
    """The files that may limit this process, from its own control group up to the outermost."""
    groups = {"": PurePosixPath("/"), "memory": PurePosixPath("/")}
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for name in controllers.split(","):
                groups[name] = PurePosixPath(path)
    for controller, mount, name in _CONTROLLERS:
        group = groups[controller]
        # A path with ".." lies outside what this process can see: what it sees begins at the mount.
        seen = PurePosixPath("/") if ".." in group.parts else group
        for part in (seen, *seen.parents):
            yield root / mount / part.relative_to("/") / name


def gpus() -> list[Gpu]:
    """The GPUs that NVIDIA's driver reports; empty where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return visible_gpus(listing.stdout, os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible_gpus(listing: str, visible: str | None) -> list[Gpu]:
    """The GPUs of nvidia-smi's answer *told* that ``CUDA_VISIBLE_DEVICES`` leaves, renumbered.

    Args:
        listing: lines of "index, uuid, name, memory in MiB".
        visible: the variable's value, None when it is not set.
    """
    by_key: dict[str, tuple[str, int]] = {}
    order: list[str] = []
    for line in listing.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4:
            number, uuid, name, memory = parts
            size = memory.partition(" ")[0]
            facts = name, int(size) * _MIB if size.isdigit() else 0
            by_key[number] = by_key[uuid] = facts
            order.append(number)
    # As in CUDA, the list ends at the first entry that is none of the GPUs.
    chosen = order if visible is None else [key.strip() for key in visible.split(",")]
    found: list[Gpu] = []
    for key in chosen:
        if key not in by_key:
            break
        found.append(Gpu(len(found), *by_key[key]))
    return found
